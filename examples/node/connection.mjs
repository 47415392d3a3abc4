// A connection that is made again when it ends, as docs/clients.md says in section 4: what
// the camera and the ingester share. Needs ws (npm ci in this directory).
import WebSocket from "ws";

export const baseURL = (process.env.FLEETWIRE_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");

const SILENCE_MS = 75_000; // the service pings every 25 s: a connection this quiet is dead
const FINAL = new Set([4003, 4012, 4020]); // scope too wide, app suspended, disconnected by an operator
const [REFUSED, EXPIRED, PLAN_FULL, GOING_AWAY] = [4001, 4002, 4010, 1001];
const SETTLED_MS = 10_000; // after a connection that lasted so long, pauses are short again
const LONGEST_MS = 300_000; // what going_away or Retry-After may ask for

// Prints one JSON object a line for each thing that happens.
export const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

// A Retry-After header, in milliseconds.
const retryAfter = (seconds) => (/^\d+$/.test(seconds ?? "") ? Math.min(seconds * 1000, LONGEST_MS) : 0);

// Asks for a token, and returns the JSON of the answer.
export async function askToken(url, options) {
  const response = await fetch(url, { ...options, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) {
    const error = new Error(`${url}: ${response.status} ${await response.text()}`);
    throw Object.assign(error, { retryAfterMs: retryAfter(response.headers.get("retry-after")) });
  }
  return response.json();
}

// One connection, to its end. Resolves to its close code and reason, and: how long it
// lived after its welcome (if one came), when going_away wants it back, and the pause
// that a refusal by HTTP asked for.
function session(token, take) {
  return new Promise((resolve) => {
    const end = { code: 1006, reason: "", lived: undefined, backAt: undefined, retryAfterMs: 0 };
    let welcomedAt, leaving, left;
    // going_away counts from its frame: a connection that the service has not closed by then is left.
    const leave = () => {
      left = { code: GOING_AWAY, reason: "left: the service did not close it within retryAfterMs" };
      ws.close(1000);
      leaving = setTimeout(() => ws.terminate(), 250);
    };
    // The token goes in a header, not in the URL: URLs end up in logs.
    const ws = new WebSocket(`${baseURL.replace(/^http/, "ws")}/v1`, { headers: { Authorization: `Bearer ${token}` } });
    const send = (frame) => ws.send(JSON.stringify(frame));
    const silence = setTimeout(() => ws.terminate(), SILENCE_MS);
    ws.on("ping", () => silence.refresh());
    ws.on("error", (error) => (end.reason ||= error.message)); // "close" follows
    ws.on("unexpected-response", (_, response) => {
      end.reason = `the upgrade was refused with ${response.statusCode}`;
      end.retryAfterMs = retryAfter(response.headers["retry-after"]);
      response.resume();
      ws.terminate();
    });
    ws.on("close", (code, reason) => {
      clearTimeout(silence);
      clearTimeout(leaving);
      if (welcomedAt !== undefined) end.lived = performance.now() - welcomedAt;
      resolve({ ...end, code, reason: reason.toString() || end.reason, ...left });
    });
    const handle = (frame) => {
      if (frame.type === "welcome") welcomedAt = performance.now();
      if (frame.type === "error") say("error", { code: frame.code, message: frame.message });
      if (frame.type === "going_away" && frame.retryAfterMs > 0) {
        const inMs = Math.min(frame.retryAfterMs, LONGEST_MS);
        end.backAt = performance.now() + inMs;
        clearTimeout(leaving);
        leaving = setTimeout(leave, inMs);
      }
      take(frame, send);
    };
    ws.on("message", (bytes) => {
      silence.refresh();
      // A peer wrote a part of this: what cannot be read is skipped, and never ends the program.
      try {
        handle(JSON.parse(bytes));
      } catch (error) {
        if (error.code) throw error; // the system's: the disk is full
        say("skipped", { bytes: bytes.length, reason: error.message.slice(0, 200) });
      }
    });
  });
}

// The state that decides how long to wait when a connection has ended.
const backoff = { failures: 0, refused: false, expired: false };

// Random, so that not everyone who lost a node comes back at once; 1 s, doubled to 60 s.
const pause = () => Math.random() * Math.min(60_000, 1000 * 2 ** Math.min(backoff.failures++, 6));

// Milliseconds to wait, or undefined to stop.
function waitAfter({ code, lived, backAt, retryAfterMs }) {
  if (lived !== undefined) backoff.refused = backoff.expired = false;
  if (lived >= SETTLED_MS) backoff.failures = 0;
  if (FINAL.has(code) || (code === REFUSED && backoff.refused)) return undefined; // a new token was refused as well
  if (code === EXPIRED && !backoff.expired) {
    backoff.expired = lived === undefined;
    return 0;
  }
  if (code === REFUSED) backoff.refused = true;
  else if (code === PLAN_FULL) return 30_000 + pause(); // give others time to end
  else if (backAt !== undefined) return Math.max(0, backAt - performance.now());
  return (retryAfterMs ?? 0) + pause();
}

// Stays connected until the service says that this is of no use. token() resolves to a
// new token; take(frame, send) is called with each frame of the service; ended(), if
// there is one, when a connection has ended.
export async function stayConnected({ token, take, ended }) {
  for (let current; ; ) {
    let end;
    try {
      current ??= await token();
      end = await session(current, take);
    } catch (error) {
      end = { code: 1006, reason: error.message, retryAfterMs: error.retryAfterMs };
    }
    ended?.();
    const wait = waitAfter(end);
    if (wait === undefined) {
      say("stopped", { code: end.code, reason: end.reason });
      process.exit(1);
    }
    if (end.code === REFUSED || end.code === EXPIRED) current = undefined;
    say("disconnected", { code: end.code, reason: end.reason, retryInMs: Math.round(wait) });
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
