// One request, and its repetition (protocol §5).

import { asked } from "./backoff.js";
import { FleetwireError, refusal } from "./errors.js";
import { serviceURL } from "./names.js";
import { jitter, pause } from "./time.js";

const REQUEST_MS = 15_000; // what a request may take, beside what it waits for at the service
const TRIES = 5; // of a request with an idempotency key whose answer is lost
const RETRY_MS = 1000; // before a request is repeated; up to twice as long

/** A segment of a path. Front doors fold "." and "..", however they are encoded. */
export function segment(text) {
  if (text === "." || text === "..") throw new TypeError(`${JSON.stringify(text)} has no URL: front doors fold it`);
  return encodeURIComponent(text);
}

/** A query of the values that are given: "" or "?a=1&b=2". */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
  return given.length > 0 ? `?${new URLSearchParams(given)}` : "";
}

export class Http {
  #base;
  #secretKey;

  constructor(url, secretKey) {
    if (typeof secretKey !== "string" || secretKey === "") throw new TypeError("give a secretKey: <id>:<secret>, or <id>_secret_<secret>");
    this.#base = serviceURL(url, "http");
    this.#secretKey = secretKey;
  }

  /** Makes a request once, and resolves to the JSON of its answer. waitMs is what it waits for at the service. */
  async request(method, path, body, { signal, waitMs = 0 } = {}) {
    const limit = AbortSignal.timeout(REQUEST_MS + waitMs);
    const headers = { Authorization: `Bearer ${this.#secretKey}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response, text;
    try {
      // A redirect would take the secret key to another place.
      const options = { method, headers, body: body && JSON.stringify(body), redirect: "manual", cache: "no-store" };
      response = await fetch(this.#base + path, { ...options, signal: signal ? AbortSignal.any([signal, limit]) : limit });
      text = await response.text();
    } catch (error) {
      signal?.throwIfAborted();
      const why = limit.aborted ? "it took too long" : (error.cause?.message ?? error.message);
      throw new FleetwireError("connection_lost", `${method} /v1${path}: ${why}`, { cause: error });
    }
    const answer = parsed(text);
    if (response.ok && answer !== undefined) return answer;
    if (typeof answer?.error !== "string") {
      const status = response.status;
      throw new FleetwireError("not_service", `${method} /v1${path}: HTTP ${status}, and not the service's JSON; is the URL right?`, { status });
    }
    throw refusal(answer, { status: response.status, retryAfterMs: retryAfter(response.headers.get("retry-after")) });
  }

  /** Makes a request that is safe to repeat, until there is an answer, but not without end. */
  async untilAnswered(method, path, body, options = {}) {
    for (let tries = 1; ; tries++) {
      try {
        return await this.request(method, path, body, options);
      } catch (error) {
        if (tries === TRIES || !passing(error)) throw error;
        await pauseAfter(error, options.signal);
        options.signal?.throwIfAborted();
      }
    }
  }
}

/** An error that is not the service's word on the request. */
export const passing = (error) => error.code === "connection_lost" || error.status >= 500;

/** Waits before another request, as long as the answer asked for. */
export const pauseAfter = (error, signal) => pause(Math.max(RETRY_MS, asked(error?.retryAfterMs)) + jitter(RETRY_MS), signal);

function parsed(text) {
  try {
    const answer = JSON.parse(text);
    return answer !== null && typeof answer === "object" ? answer : undefined;
  } catch {
    return undefined;
  }
}

/** A Retry-After header (RFC 9110 §10.2.3) in milliseconds. */
function retryAfter(value) {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? value * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
