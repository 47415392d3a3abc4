// A socket, and the token to open it with.

import { FleetwireError, StopError } from "./errors.js";
import { unlessAborted } from "./time.js";

const TOKEN_MS = 30_000; // what a token function may take

// A header keeps the token out of URLs, which end up in logs. Pages can't set one.
const setsHeaders = typeof document === "undefined" && globalThis.process?.versions?.node !== undefined;

/** The WebSocket class to use: the option's, or the runtime's own. */
export function socketClass({ WebSocket = globalThis.WebSocket }) {
  if (typeof WebSocket === "function") return WebSocket;
  throw new TypeError("there is no WebSocket here: use Node.js >= 22, or give the one of the package ws as the option WebSocket");
}

/** Opens a WebSocket with a token or a publishable key. */
export function openSocket(url, token, options) {
  const WebSocket = socketClass(options);
  if (options.publishableKey !== undefined) return new WebSocket(`${url}?key=${encodeURIComponent(options.publishableKey)}`);
  if (setsHeaders) return new WebSocket(url, { headers: { Authorization: `Bearer ${token}` } });
  return new WebSocket(`${url}?token=${encodeURIComponent(token)}`);
}

/** A function that gets the next token, or undefined for a publishable key. A string is good for one token only. */
export function tokenSource({ token }) {
  if (token === undefined) return undefined;
  if (typeof token === "function") return (signal) => ask(token, signal);
  let given = false;
  return async () => {
    if (given) throw new StopError("the only token was refused or has expired; give a function as token to get others");
    given = true;
    return checked(token);
  };
}

async function ask(provider, signal) {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(TOKEN_MS)]);
  try {
    return checked(await unlessAborted(Promise.resolve(provider({ signal: limit })), limit));
  } catch (error) {
    if (error instanceof StopError) throw error;
    const why = limit.aborted && !signal.aborted ? `it took over ${TOKEN_MS / 1000} s` : (error?.message ?? error);
    throw new FleetwireError("no_token", `no token: ${why}`, { cause: error, retryAfterMs: error?.retryAfterMs });
  }
}

function checked(token) {
  if (typeof token === "string" && /^[!-~]+$/.test(token)) return token;
  throw new TypeError(`the token should be a JWT, and is ${typeof token === "string" ? "a string that is none" : typeof token}`);
}
