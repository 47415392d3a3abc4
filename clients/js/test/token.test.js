// Tokens that a backend signs itself (protocol §3).

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { Backend, signToken } from "../src/index.js";

const json = (part) => JSON.parse(Buffer.from(part, "base64url").toString());

test("a token is a JWT with the claims of the request", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });
  const request = { peer: "camera-001", channels: ["devices/*"], permissions: ["publish"], ttlSec: 60, metadata: { "ü": "€😀" }, peerMetadata: { big: "x".repeat(4000) } };
  for (const key of ["sk_1:secret:with:colons", "sk_1_secret_secret:with:colons".replaceAll(":", "-")]) {
    const token = await signToken(key, request);
    const [header, claims, signature] = token.split(".");
    assert.deepEqual(json(header), { alg: "HS256", typ: "JWT", kid: "sk_1" });
    const { peer, ttlSec, ...rest } = request;
    assert.deepEqual(json(claims), { sub: "camera-001", iat: 1_700_000_000, exp: 1_700_000_060, ...rest });
    const secret = key.startsWith("sk_1:") ? "secret:with:colons" : "secret-with-colons";
    assert.equal(signature, createHmac("sha256", secret).update(`${header}.${claims}`).digest("base64url"));
    assert.equal(await new Backend({ url: "https://host", secretKey: key }).signToken(request), token);
  }
  assert.deepEqual(json((await signToken("a:b", { peer: "a" })).split(".")[1]), { sub: "a", iat: 1_700_000_000, exp: 1_700_003_600 });
});

test("a key that is none is refused, and not shown", async () => {
  for (const key of ["", "5ec4e7", ":5ec4e7", "5ec4e7:", "5ec4e7_secret_"]) {
    await assert.rejects(signToken(key, { peer: "a" }), (error) => error instanceof TypeError && !error.message.includes("5ec4e7"));
  }
});
