// When to connect again (protocol §4.5).

import { StopError } from "./errors.js";
import { jitter, now } from "./time.js";

const [INVALID, EXPIRED, NOT_COVERED, PLAN_FULL, SUSPENDED, KICKED] = [4001, 4002, 4003, 4010, 4012, 4020];
const SETTLED_MS = 10_000; // after a connection that lasted so long, pauses are short again
const LONGEST_ASKED_MS = 300_000; // what going_away or Retry-After may ask for

/** What a frame or a header asks for, in milliseconds and bounded. */
export const asked = (ms) => Math.min(Math.max(Number(ms) || 0, 0), LONGEST_ASKED_MS);

/**
 * Decides what to do when an attempt or a connection has ended. A pause is random between 0 and a bound, so that a
 * fleet which lost its node does not come back as one wave. The bound doubles from firstMs to mostMs.
 */
export class Backoff {
  #failures = 0;
  #refused = false; // the last token was refused with 4001
  #expired = false; // the last attempt ended with 4002, before a welcome

  constructor({ firstMs = 1000, mostMs = 60_000, planFullMs = 30_000 } = {}) {
    Object.assign(this, { firstMs, mostMs, planFullMs });
  }

  /** What follows an ending {error, welcomed, livedMs, backAt}: {stop}, or {newToken, pauseMs}. */
  after({ error, welcomed, livedMs = 0, backAt }) {
    if (welcomed) this.#refused = this.#expired = false;
    if (livedMs >= SETTLED_MS) this.#failures = 0;
    switch (error.closeCode) {
      case NOT_COVERED:
      case SUSPENDED:
      case KICKED:
        return { stop: true };
      case INVALID:
        if (this.#refused) return { stop: true };
        this.#refused = true;
        return { newToken: true, pauseMs: this.#grow() };
      case EXPIRED:
        if (this.#expired) return { newToken: true, pauseMs: this.#grow() };
        this.#expired = !welcomed;
        return { newToken: true, pauseMs: 0 };
      case PLAN_FULL:
        return { pauseMs: this.planFullMs + this.#grow() };
    }
    if (error instanceof StopError) return { stop: true };
    if (backAt !== undefined) return { pauseMs: Math.max(backAt - now(), 0) };
    return { pauseMs: asked(error.retryAfterMs) + this.#grow() };
  }

  #grow() {
    return jitter(Math.min(this.firstMs * 2 ** Math.min(this.#failures++, 30), this.mostMs));
  }
}
