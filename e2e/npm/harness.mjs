// What the programs here share: their settings, tokens, REST, and waiting.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";

export const settings = JSON.parse(await text(process.stdin));

/** patience is how long anything may take before a program gives up on it. */
export const patience = 20_000;

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token signed with a secret credential, as a backend does; it lives for an hour unless claims say otherwise. */
export function sign(credential, sub, claims = {}) {
  const [kid, secret] = credential.split(":");
  const payload = { sub, exp: Math.floor(Date.now() / 1000) + 3600, ...claims };
  const signed = `${base64url({ alg: "HS256", kid })}.${base64url(payload)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** One REST call; wants 200. */
export async function rest(method, path, credential, body) {
  const response = await fetch(settings.rest + path, {
    method,
    headers: { authorization: `Bearer ${credential}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const answer = await response.text();
  assert.equal(response.status, 200, `${method} ${path}: ${answer}`);
  return JSON.parse(answer);
}

export const publishREST = (credential, channel, data) =>
  rest("POST", `/v1/channels/${encodeURIComponent(channel)}/publish`, credential, { data });

/** Rejects when the promise takes longer than patience. */
export function within(promise, what) {
  const giveUp = AbortSignal.timeout(patience);
  return Promise.race([
    promise,
    new Promise((_, reject) => giveUp.addEventListener("abort", () => reject(new Error(`not within ${patience} ms: ${what}`)))),
  ]);
}

/** Asks again and again, where there is nothing to wait on, until the answer is truthy. */
export async function eventually(what, ask) {
  for (const begin = Date.now(); ; await delay(10)) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() - begin > patience) throw new Error(`not within ${patience} ms: ${what}`);
  }
}
