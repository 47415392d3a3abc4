// Taking part in a group of ingesters (protocol §10.2).

import { mayPass } from "./errors.js";
import { deferred, pause, unlessAborted } from "./time.js";

const MOST_SETTLED = 400; // events that one frame tells of
const ALONE = 3; // from this attempt on the handler gets an event alone: it may be the one on which the handler fails
const [FIRST_NACK_MS, LAST_NACK_MS] = [1000, 300_000]; // how long events wait on which the handler failed
const RETRY_MS = 1000; // before the service is told again what its store did not take
const LEAVING_MS = 2000; // how long the service is told that an ingester leaves

/** An ingester takes part in a group over as many connections as it takes. */
export class Ingester {
  #name;
  #maxInFlight;
  #joined; // the link that a subscribe was sent on last
  #link; // the link that events came on last
  #events = [];
  #woken = deferred(); // there are events, or it is refused
  #refused;

  constructor(name, maxInFlight) {
    if (!(Number.isInteger(maxInFlight) && maxInFlight >= 1 && maxInFlight <= 1000)) {
      throw new RangeError(`maxInFlight is ${maxInFlight}; it should be 1 to 1000 events`);
    }
    this.#name = name;
    this.#maxInFlight = maxInFlight;
  }

  /** Subscribes on a connection. */
  join(link) {
    if (this.#joined === link) return;
    this.#joined = link;
    const frame = { type: "subscribe", group: this.#name, includeSenderMetadata: true, maxInFlight: this.#maxInFlight };
    link.request(JSON.stringify(frame)).catch((error) => {
      if (error.code !== "connection_lost") this.end(error); // else the next connection has its own
    });
  }

  /** Keeps an event until the handler is free. Those of the connection before come again. */
  take(link, { type, group, ...event }) {
    if (this.#link !== link) [this.#link, this.#events] = [link, []];
    this.#events.push(event);
    this.#woken.resolve();
  }

  /** Has `work` end with an error. */
  end(error) {
    this.#refused = error;
    this.#woken.resolve();
  }

  /** Has handle get the events that have come, and settles them, until the signal aborts or `end` is called. */
  async work(handle, onError, signal) {
    for (;;) {
      await unlessAborted(this.#woken.promise, signal);
      if (this.#refused) throw this.#refused;
      const [link, events] = [this.#link, this.#next()];
      if (events.length === 0) continue;
      let failed = false;
      try {
        await handle(events.map(({ ackId, ...event }) => event));
      } catch (error) {
        failed = true;
        onError(error);
      }
      await settle(link, events, failed);
    }
  }

  /** The events that the handler gets together. */
  #next() {
    if (this.#link.over) this.#events = [];
    const alone = this.#events.findIndex(({ attempt }) => attempt >= ALONE);
    const events = this.#events.splice(0, alone < 0 ? Infinity : Math.max(alone, 1));
    if (this.#events.length === 0) this.#woken = deferred();
    return events;
  }

  /** Leaves the group, and gives back what the handler did not get. */
  async leave(link) {
    if (!link || link.over || this.#refused) return;
    const told = async () => {
      await link.request(JSON.stringify({ type: "unsubscribe", group: this.#name })).catch(() => {});
      if (this.#link === link) await settle(link, this.#events, true, 0);
    };
    const done = new AbortController();
    await Promise.race([told(), pause(LEAVING_MS, done.signal)]);
    done.abort();
  }
}

/** How long an event waits on which the handler failed. */
const nackDelay = (attempt) => Math.min(LAST_NACK_MS, FIRST_NACK_MS * 2 ** Math.min(attempt - 1, 20));

/** Tells the service what became of events, unless their connection has ended. */
async function settle(link, events, failed, delayMs) {
  for (let i = 0; i < events.length; i += MOST_SETTLED) {
    const some = events.slice(i, i + MOST_SETTLED);
    const what = failed
      ? { nack: some.map(({ ackId, attempt }) => ({ ackId, delayMs: delayMs ?? nackDelay(attempt) })) }
      : { ackIds: some.map(({ ackId }) => ackId) };
    await tell(link, JSON.stringify({ type: "group_ack", ...what }));
  }
}

async function tell(link, frame) {
  while (!link.over) {
    try {
      return await link.request(frame);
    } catch (error) {
      if (!mayPass(error)) return; // the connection has ended, or the group is gone: they come again
    }
    await pause(RETRY_MS, link.signal);
  }
}
