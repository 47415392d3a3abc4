// The exchange of a token before it expires.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Service } from "./fake.js";

const serverTime = 1_000_000;

test("a token is exchanged when a fifth of its time is left, and the connection goes on", async (t) => {
  const service = new Service(t);
  service.client();
  await (await service.accept()).welcome({ serverTime, expiresAt: serverTime + 101 });
  await service.live(89_999); // of 100 s a fifth is left at 80 s; the most of the jitter is another 10 s
  assert.equal(service.socket.last("refresh"), undefined);
  await service.live(1);
  assert.equal(service.socket.last("refresh").token, "token-2");
  await service.socket.ack("refresh", { expiresAt: serverTime + 201, unsubscribed: [] });

  await service.live(98_999); // 110 s are left, of which it takes the last tenth
  assert.equal(service.socket.last("refresh").token, "token-2");
  await service.live(1);
  assert.equal(service.socket.last("refresh").token, "token-3");
  await service.socket.ack("refresh", { expiresAt: serverTime + 301, unsubscribed: ["c"] });
  assert.equal(service.errors[0].code, "channel_not_authorized");
  assert.match(service.errors[0].message, /"c".*does not cover/);

  await service.socket.shut(1006);
  await service.pass(1000);
  assert.equal((await service.accept(2)).bearer, "token-3", "the next connection goes on with it");
});

test("a refresh that fails is tried again; one that is refused is reported, and the connection ends with its token", async (t) => {
  const service = new Service(t);
  let away = false;
  service.client({
    token: () => {
      if (away) throw new Error("the token server is away");
      return `token-${++service.tokens}`;
    },
  });
  await (await service.accept()).welcome({ serverTime, expiresAt: serverTime + 21 });
  away = true;
  await service.pass(18_000);
  away = false;
  await service.pass(4000);
  assert.equal(service.socket.last("refresh").token, "token-2");
  await service.socket.refuse("refresh", "backend_error");
  await service.pass(4000);
  assert.equal(service.socket.last("refresh").token, "token-3");
  await service.socket.refuse("refresh", "invalid_token");
  await service.pass(60_000);
  assert.equal(service.socket.sent.filter(({ type }) => type === "refresh").length, 2);
  assert.deepEqual(service.errors.map(({ code }) => code), ["invalid_token"]);
});

test("tokens that live for years, for no time, and a token that is the only one", async (t) => {
  const service = new Service(t);
  service.client();
  await (await service.accept()).welcome({ serverTime, expiresAt: serverTime + 10 * 365 * 86_400 });
  await service.pass(60_000);
  assert.equal(service.tokens, 1, "a timer that is too long would fire at once");

  service.client();
  await (await service.accept(2)).welcome({ serverTime, expiresAt: serverTime });
  await service.pass(99);
  assert.equal(service.tokens, 2);
  await service.pass(1);
  assert.equal(service.socket.last("refresh").token, "token-3");

  service.client({ token: "the-only-one" });
  await (await service.accept(3)).welcome({ serverTime, expiresAt: serverTime + 11 });
  await service.pass(10_000);
  assert.equal(service.socket.last("refresh"), undefined);
  assert.deepEqual(service.errors, []);
});
