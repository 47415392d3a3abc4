// What codes and states mean, in words; protocol §4.5, §5 and §8.2 have them all.

// Without a prototype: a device chooses the reason of its close, which may be "constructor".
const codes = {
  __proto__: null,
  0: "the link broke",
  other: "codes of the devices’ own",
  1000: "closed by the device",
  1001: "the node went away",
  1002: "broke the WebSocket protocol",
  1005: "closed by the device",
  1006: "the link broke",
  1007: "text that is not UTF-8",
  1008: "read too slowly",
  1009: "a frame over 64 KiB",
  1011: "the node failed",
  1013: "the node could not serve connections",
  4000: "nothing heard of the device",
  4001: "token or key not valid",
  4002: "the token has expired",
  4003: "the token claims more than its key covers",
  4010: "the plan's limit of connections",
  4011: "sent too many frames",
  4012: "the app is suspended",
  4020: "disconnected by an operator",
  400: "not a good request",
  401: "no good credential",
  426: "not a WebSocket request",
  429: "too many connects from one address",
  503: "the node had no room for the request",
  over_message_quota: "the plan’s messages are used up",
  group_full: "a group has no room",
  queue_full: "too many commands wait in the channel",
  offset_mismatch: "the channel’s newest offset was another",
  idempotency_conflict: "the key was used with another message",
  nobody_subscribed: "no device was there for a command",
  peer_not_found: "the device it was sent to was not there",
  backend_error: "Redis did not take it",
  internal_error: "the node failed",
};

export const meaningOf = (code) => codes[code] ?? "";

const reasons = {
  __proto__: null,
  closed: "closed by the device",
  lost: "the link broke",
  inactive: "nothing heard of it",
  expired: "its token expired",
  revoked: "its key or the app is gone",
  kicked: "disconnected by an operator",
  suspended: "the app is suspended",
  protocol: "it broke the protocol",
  slow: "it read too slowly",
  rate: "it sent too many frames",
  node_lost: "its node died",
  going_away: "its node stopped in order",
};

export const meaningOfReason = (reason) => reasons[reason] ?? reason;

/** tone is how a state is coloured. */
export function tone(state) {
  if (["succeeded", "answered", "ok", "online", "ready", "up"].includes(state)) return "good";
  if (["failed", "rejected", "timed_out", "aborted", "expired", "stopped", "down", "missing"].includes(state)) return "bad";
  if (["mixed", "failing", "draining", "cancelled", "superseded"].includes(state)) return "warn";
  return "";
}

export const stateName = (state) => state.replaceAll("_", " ");

/** isFinal says whether a command has ended. */
export const isFinal = (status) => status !== "waiting" && status !== "active";

/** isPattern says whether a channel name has wildcards. */
export const isPattern = (name) => /(^|[^\\])(\\\\)*\*/.test(name);
