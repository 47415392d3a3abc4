// One WebSocket connection.

import { asked } from "./backoff.js";
import { FleetwireError, refusal } from "./errors.js";
import { byteLength } from "./names.js";
import { now } from "./time.js";

const WELCOME_MS = 30_000; // connecting, to the first frame, may take so long
const QUIET_MS = 25_000; // the service is asked for a sign of life after two of these, and given up after three
const FAREWELL_MS = 1000; // the service may take so long to answer a close
const LEAVING_MS = 250; // the same for one that wants the client to be back by now
const FRAME_BYTES = 65_536; // what the service takes, unless its welcome says otherwise

/**
 * A link paces what is sent, gives answers to those who asked, and notices when the service is silent. onFrame gets all
 * frames that are no answer. `ended` resolves to how it ended: {error, welcomed, livedMs, backAt}.
 */
export class Link {
  welcome; // the first frame
  #socket;
  #onFrame;
  #welcomedAt;
  #backAt;
  #cause = "the connection broke";
  #ending = new AbortController();
  #timers = {};
  #quiet = 0;
  #requests = 0;
  #waiting = new Map(); // requestId → {resolve, reject}
  #out = []; // frames that wait for their turn: {text, requestId}
  #tokens;
  #refilledAt = now();

  constructor(socket, framesPerSecond, onFrame) {
    this.#socket = socket;
    this.#onFrame = onFrame;
    this.framesPerSecond = this.#tokens = framesPerSecond;
    this.ended = new Promise((resolve) => (this.resolveEnded = resolve));
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onerror = ({ message }) => {
      this.#cause = message || this.#cause;
      // The close follows at once. Node.js 20 and 22 send none if there was no connection yet.
      this.#timers.error ??= setTimeout(() => this.#lose(this.#cause), this.welcome ? FAREWELL_MS : 0);
    };
    socket.onclose = ({ code, reason }) => {
      const what = code === 1006 ? this.#cause : `the service closed the connection: ${code} ${reason}`.trim();
      this.end(new FleetwireError("disconnected", what, { closeCode: code }));
    };
    socket.on?.("ping", () => (this.#quiet = 0)); // the ws package tells; browsers do not
    this.#timers.welcome = setTimeout(() => this.#lose(`no welcome came within ${WELCOME_MS / 1000} s`), WELCOME_MS);
  }

  /** Aborts when the link ends. */
  get signal() {
    return this.#ending.signal;
  }

  get over() {
    return this.signal.aborted;
  }

  #take(text) {
    this.#quiet = 0;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // a newer service may send more than frames
    }
    if (this.welcome === undefined) return this.#first(frame);
    const waiting = this.#waiting.get(frame?.requestId);
    switch (frame?.type) {
      case "ack":
        waiting?.resolve(frame);
        break;
      case "error":
        if (waiting) waiting.reject(refusal(frame));
        else if (frame.requestId === undefined) this.#onFrame(frame, text.length);
        break;
      case "going_away":
        this.#goAway(asked(frame.retryAfterMs));
      // falls through
      default:
        if (frame !== null && typeof frame === "object") this.#onFrame(frame, text.length);
    }
  }

  #first(frame) {
    if (frame?.type !== "welcome") return this.#lose("the first frame is not a welcome; is the URL right?");
    clearTimeout(this.#timers.welcome);
    this.welcome = frame;
    this.#welcomedAt = now();
    this.#timers.quiet = setInterval(() => {
      if (++this.#quiet === 3) this.#lose("nothing was heard for 75 s");
      else if (this.#quiet === 2) this.send('{"type":"ping"}');
    }, QUIET_MS);
    this.#onFrame(frame, 0);
  }

  /** The service wants the client back after so long, counted from now, whether or not it closes the link before. */
  #goAway(ms) {
    if (ms === 0) return;
    this.#backAt = now() + ms;
    clearTimeout(this.#timers.leave);
    const reason = "left: the service did not close the connection within retryAfterMs";
    this.#timers.leave = setTimeout(() => this.close(LEAVING_MS, new FleetwireError("disconnected", reason, { closeCode: 1001 })), ms);
  }

  /**
   * Sends a frame, JSON without a requestId, and resolves to its ack. Rejects with the service's error, too_large, or
   * connection_lost, which has `unsent` if the frame was not sent.
   */
  request(text) {
    const requestId = String(++this.#requests);
    const frame = `${text.slice(0, -1)},"requestId":"${requestId}"}`;
    return new Promise((resolve, reject) => {
      const most = this.welcome.maxMessageSize ?? FRAME_BYTES;
      if (this.over) return reject(lost(true));
      if (frame.length * 3 > most && byteLength(frame) > most) {
        return reject(new FleetwireError("too_large", `the frame is ${byteLength(frame)} bytes long; the service takes ${most}`));
      }
      this.#waiting.set(requestId, { resolve, reject });
      this.send(frame, requestId);
    }).finally(() => this.#waiting.delete(requestId));
  }

  send(text, requestId) {
    this.#out.push({ text, requestId });
    this.#flush();
  }

  // The service closes a connection that sends too much (4011).
  #flush = () => {
    if (this.over) return;
    const at = now();
    const earned = ((at - this.#refilledAt) / 1000) * this.framesPerSecond;
    this.#tokens = Math.min(this.framesPerSecond, this.#tokens + earned);
    this.#refilledAt = at;
    let sent = 0;
    for (; sent < this.#out.length && this.#tokens >= 1; sent++, this.#tokens--) this.#socket.send(this.#out[sent].text);
    this.#out.splice(0, sent);
    clearTimeout(this.#timers.flush);
    if (this.#out.length > 0) this.#timers.flush = setTimeout(this.#flush, ((1 - this.#tokens) / this.framesPerSecond) * 1000);
  };

  /** Ends the connection in order: what waits is sent, then a close, and the service has a moment to answer. */
  close(withinMs = FAREWELL_MS, error = new FleetwireError("closed", "the client is closed")) {
    if (this.over) return this.ended;
    if (this.welcome !== undefined) for (const { text } of this.#out.splice(0)) this.#socket.send(text);
    this.#socket.onclose = () => this.end(error);
    clearTimeout(this.#timers.close);
    this.#timers.close = setTimeout(() => this.end(error), withinMs);
    closeQuietly(this.#socket);
    return this.ended;
  }

  #lose(why) {
    this.end(new FleetwireError("disconnected", why, { closeCode: 1006 }));
  }

  /** The connection is of no use any more. */
  end(error) {
    if (this.over) return;
    this.#ending.abort();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    socket.onmessage = socket.onclose = null;
    socket.onerror = () => {}; // without one, the ws package would end the process
    closeQuietly(socket);
    if (socket.readyState !== 3) socket.terminate?.();
    const unsent = new Set(this.#out.map(({ requestId }) => requestId));
    for (const [requestId, { reject }] of this.#waiting) reject(lost(unsent.has(requestId), error));
    const welcomed = this.welcome !== undefined;
    this.resolveEnded({ error, welcomed, livedMs: welcomed ? now() - this.#welcomedAt : 0, backAt: this.#backAt });
  }
}

const lost = (unsent, cause) =>
  Object.assign(new FleetwireError("connection_lost", "the connection ended before the answer came: whether it was done is not known", { cause }), { unsent });

function closeQuietly(socket) {
  try {
    socket.close(1000);
  } catch {
    // it is being opened, or closed already
  }
}
