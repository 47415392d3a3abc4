// The exchange of a token on a live connection (protocol §4.2, refresh).

import { FleetwireError, mayPass, StopError } from "./errors.js";
import { jitter, now, pause } from "./time.js";

// A token is exchanged when a fifth of its time is left, or this much; when in that time's first half is random, lest a
// fleet does it all at once.
const LEAD_MS = 300_000;
const RETRY_MS = 2000; // after an attempt that failed; up to twice as long
const LEAST_MS = 100; // between two tokens, however short they live

/**
 * Exchanges the link's token before its time is over, as often as it takes. Where that does not work the service ends
 * the connection with the token, and the next one is made with a new one. accepted(token) hears of each exchange.
 */
export async function keepFresh(link, askToken, accepted, onError) {
  const { expiresAt, serverTime } = link.welcome;
  if (!expiresAt) return;
  const welcomedAt = now(); // our own clock may be set: what has passed counts
  for (let expires = expiresAt; ; ) {
    const leftMs = (expires - serverTime - 1) * 1000 - (now() - welcomedAt); // serverTime has whole seconds
    const leadMs = Math.min(leftMs / 5, LEAD_MS);
    if (!(await pause(Math.max(leftMs - leadMs + jitter(leadMs / 2), LEAST_MS), link.signal))) return;
    expires = await exchange(link, askToken, accepted, onError);
    if (!expires) return;
  }
}

/** Resolves to when the next token expires; to undefined if there will be none on this connection. */
async function exchange(link, askToken, accepted, onError) {
  for (;;) {
    try {
      const token = await askToken();
      const { expiresAt, unsubscribed = [] } = await link.request(JSON.stringify({ type: "refresh", token }));
      accepted(token);
      for (const channel of unsubscribed) {
        onError(new FleetwireError("channel_not_authorized", `the subscription to ${JSON.stringify(channel)} has ended: the new token does not cover it`));
      }
      return expiresAt;
    } catch (error) {
      if (link.over || error instanceof StopError) return undefined;
      if (error.code !== "no_token" && !mayPass(error)) {
        onError(error);
        return undefined;
      }
    }
    if (!(await pause(RETRY_MS + jitter(RETRY_MS), link.signal))) return undefined;
  }
}
