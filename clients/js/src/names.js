// The names of channels and peers, and patterns (protocol §2, §3).

import { FleetwireError } from "./errors.js";

const RESERVED = /^_(metered|internal|system)\//;
const CONNECTIVITY = "_system/connectivity/";

/** The length of a text in bytes of UTF-8. */
export const byteLength = (text) => new TextEncoder().encode(text).length;

/** Throws what the service would answer to a name that breaks the rules. */
export function checkChannel(name) {
  const ok =
    typeof name === "string" && name.isWellFormed?.() !== false && name !== "" && byteLength(name) <= 256 &&
    !/[\u0000-\u001f\u007f-\u009f]/.test(name) && !name.split("/").some((level) => level === "." || level === "..");
  if (!ok) {
    const rule = 'use 1 to 256 bytes of UTF-8 without control characters, and no level "." or ".."';
    throw new FleetwireError("invalid_channel", `invalid channel ${JSON.stringify(name)}: ${rule}`);
  }
}

export function checkPeer(id) {
  if (typeof id !== "string" || !/^[ -~]{1,128}$/.test(id)) {
    const rule = "use 1 to 128 printable ASCII characters";
    throw new FleetwireError("invalid_peer_id", `invalid peer id ${JSON.stringify(id)}: ${rule}`);
  }
}

/** Wildcards, escape pairs and other characters, from left to right. */
const parts = (pattern) => pattern.match(/\*+|\\[\\*]|[^]/g);

/** Does the name have a wildcard? Without one it is the name of a channel. */
export const isPattern = (name) => parts(name).some((part) => part[0] === "*");

/** A function that says whether a pattern matches a name. */
export function matcher(pattern) {
  const expression = parts(pattern).map((part) => {
    if (part[0] === "*") return part === "*" ? "[^/]*" : "[^]*";
    return part.at(-1).replace(/[\\^$.*+?()[\]{}|/-]/, "\\$&");
  });
  const all = new RegExp(`^${expression.join("")}$`);
  // No wildcard reaches reserved names, but for those of connectivity (protocol §4.6).
  const reaches = pattern.startsWith(CONNECTIVITY);
  return (name) => all.test(name) && (reaches || !RESERVED.test(name));
}

/** The WebSocket's URL and the one of REST, up to and with /v1. */
export function serviceURL(raw, scheme) {
  let url;
  try {
    url = new URL(raw);
  } catch {
    throw new TypeError("the URL is malformed; it should be like https://host");
  }
  if (!/^(https?|wss?):$/.test(url.protocol)) {
    throw new TypeError(`the URL's scheme is "${url.protocol}"; it should be https:, or http: without TLS`);
  }
  if (url.username || url.password || url.search || url.hash) {
    throw new TypeError("the URL should be a scheme, a host and perhaps a path, like https://host; credentials have options of their own");
  }
  const secure = url.protocol === "https:" || url.protocol === "wss:" ? "s" : "";
  return `${scheme}${secure}://${url.host}${url.pathname.replace(/\/+$/, "").replace(/\/v1$/, "")}/v1`;
}
