// The device's side of commands (protocol §8.3).

import { mayPass, Rejected } from "./errors.js";
import { byteLength } from "./names.js";
import { Queue } from "./queue.js";
import { jitter, pause } from "./time.js";

const REMEMBERED = 1000; // commands whose answer is known
const ANSWER_BYTES = 16_384; // what the data of an answer may have
const RETRY_MS = 1000; // before an answer is sent again that the service's store did not take; up to twice as long

/** Does each command once, and answers it, over as many connections as that takes. */
export class Commands {
  #deliver;
  #onError;
  #closing;
  #outcomes = new Map(); // of the last commands, by id, the oldest first
  #running = new Map(); // AbortControllers, by id

  /** deliver(frame) sends a frame until it is acked or refused. closing aborts when the client is closed or stops. */
  constructor(deliver, onError, closing) {
    this.#deliver = deliver;
    this.#onError = onError;
    this.#closing = closing;
    closing.addEventListener("abort", () => this.#running.forEach((running) => running.abort(closing.reason)));
  }

  /** A function that takes commands, and has handler do them one after the other. */
  taker(handler) {
    const queue = new Queue(Infinity, this.#onError);
    return (message, command) => queue.put(() => this.#do(message, command, handler));
  }

  async #do({ channel, from, data }, { id, attempt, timeoutMs, expiresInMs }, handler) {
    if (this.#closing.aborted) return;
    if (!this.#outcomes.has(id)) {
      const running = new AbortController();
      this.#running.set(id, running);
      await this.#insist(id, "received"); // else it comes again, if the connection ends
      if (this.#closing.aborted) return;
      const progress = (data) => this.#answer(id, "running", data);
      const command = { id, channel, from, data, attempt, timeoutMs, expiresInMs, signal: running.signal, progress };
      const outcome = running.signal.aborted ? CANCELLED : await outcomeOf(handler, command);
      this.#running.delete(id);
      this.#remember(id, outcome);
    }
    const { status, data: result } = this.#outcomes.get(id);
    await this.#insist(id, status, result);
  }

  /** A command was cancelled: its handler is told. One that waits for its turn will not be done. */
  cancel(id) {
    const running = this.#running.get(id);
    if (running) running.abort(new Rejected("the command was cancelled"));
    else if (!this.#outcomes.has(id)) this.#remember(id, CANCELLED);
  }

  #remember(id, outcome) {
    this.#outcomes.set(id, outcome);
    if (this.#outcomes.size > REMEMBERED) this.#outcomes.delete(this.#outcomes.keys().next().value);
  }

  async #answer(id, status, data) {
    await this.#deliver(JSON.stringify({ type: "answer", command: id, status, data }));
  }

  /** Answers until the service has the answer, or refuses it. */
  async #insist(id, status, data) {
    while (!this.#closing.aborted) {
      try {
        return await this.#answer(id, status, data);
      } catch (error) {
        if (this.#closing.aborted) return;
        if (!mayPass(error)) return this.#onError(error);
      }
      await pause(RETRY_MS + jitter(RETRY_MS), this.#closing);
    }
  }
}

const CANCELLED = { status: "rejected", data: "the command was cancelled" };

async function outcomeOf(handler, command) {
  try {
    const data = await handler(command);
    const length = byteLength(JSON.stringify(data) ?? "");
    if (length > ANSWER_BYTES) throw new Error(`done, but its answer is ${length} bytes long; at most ${ANSWER_BYTES} go`);
    return { status: "succeeded", data };
  } catch (error) {
    const text = String(error?.message ?? error).slice(0, ANSWER_BYTES / 6 - 10); // fits, however it is escaped
    return { status: error instanceof Rejected ? "rejected" : "failed", data: text };
  }
}
