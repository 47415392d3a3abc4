// When the client connects again, and with which token (protocol §4.5).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, StopError } from "../src/index.js";
import { Backoff } from "../src/backoff.js";
import { fails, Service, settled } from "./fake.js";

const never = -1;
const cases = {
  1000: [1000, "token-1"], 1001: [1000, "token-1"], 1002: [1000, "token-1"], 1006: [1000, "token-1"], 1007: [1000, "token-1"],
  1008: [1000, "token-1"], 1009: [1000, "token-1"], 1011: [1000, "token-1"], 1013: [1000, "token-1"], 4000: [1000, "token-1"],
  4001: [1000, "token-2"], 4002: [0, "token-2"], 4003: [never], 4010: [31_000, "token-1"], 4011: [1000, "token-1"],
  4012: [never], 4020: [never], 4099: [1000, "token-1"], // the last one a later service may have
};
for (const [text, [pause, token]] of Object.entries(cases)) {
  const code = Number(text);
  for (const live of [false, true]) {
    test(`close code ${code}, ${live ? "on a connection" : "instead of a welcome"}`, async (t) => {
      const service = new Service(t);
      const client = service.client();
      const first = await service.accept();
      assert.equal(first.bearer, "token-1");
      if (live) await first.welcome();
      await first.shut(code, "because");
      if (pause === never) {
        const error = await client.ended;
        assert.equal(error.code, "stopped");
        assert.equal(error.closeCode, code);
        assert.equal(service.states.at(-1), "stopped");
        await fails(client.publish("c", 1), "stopped");
        await service.pass(3_600_000);
        assert.equal(service.sockets.length, 1);
        return;
      }
      assert.equal(service.states.at(-1), `waiting ${pause}`);
      if (pause > 0) await service.pass(pause - 1);
      assert.equal(service.sockets.length, 1);
      await service.pass(1);
      assert.equal((await service.accept(2)).bearer, token);
    });
  }
}

test("a second refused token stops the client, unless it was welcomed in between", async (t) => {
  const service = new Service(t);
  const client = service.client();
  await (await service.accept()).shut(4001);
  await service.pass(1000);
  await service.socket.welcome();
  await service.socket.shut(4001);
  await service.pass(2000);
  assert.equal((await service.accept(3)).bearer, "token-3");
  await service.socket.shut(4001);
  assert.equal((await client.ended).closeCode, 4001);
});

test("tokens that come expired are replaced at once only the first time", async (t) => {
  const service = new Service(t);
  service.client();
  for (const [n, pause] of [0, 0, 1000, 2000, 4000].entries()) {
    const socket = await service.accept(n + 1);
    if (n === 0) await socket.welcome(); // this one expires on the connection
    assert.equal(socket.bearer, `token-${n + 1}`);
    await socket.shut(4002);
    assert.equal(service.states.at(-1), `waiting ${pause}`);
    await service.pass(Math.max(pause, 1));
  }
});

test("pauses double to a minute, and begin anew after a connection of 10 s", async (t) => {
  const service = new Service(t);
  service.client();
  const pauses = [];
  for (let n = 1; n <= 8; n++) {
    await (await service.accept(n)).shut(1006, "refused");
    pauses.push(Number(service.states.at(-1).split(" ")[1]));
    await service.pass(pauses.at(-1));
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  for (const [lives, pause] of [[9999, 60_000], [10_000, 1000]]) {
    await service.socket.welcome();
    await service.pass(lives);
    await service.socket.shut(1006);
    assert.equal(service.states.at(-1), `waiting ${pause}`);
    await service.pass(pause);
  }
});

test("pauses are random", (t) => {
  const backoff = new Backoff();
  t.mock.method(Math, "random", () => 0.25);
  assert.equal(backoff.after({ error: {} }).pauseMs, 250);
});

test("the option backoff shortens pauses", async (t) => {
  const service = new Service(t);
  service.client({ backoff: { firstMs: 10, mostMs: 15, planFullMs: 5 } });
  for (const [n, [code, pause]] of [[1006, 10], [1006, 15], [4010, 20]].entries()) {
    await (await service.accept(n + 1)).shut(code);
    assert.equal(service.states.at(-1), `waiting ${pause}`);
    await service.pass(pause);
  }
});

test("after going_away the client is back when the frame has said, whenever the close comes", async (t) => {
  const service = new Service(t);
  service.client();
  await (await service.accept()).welcome();
  await service.socket.say({ type: "going_away", retryAfterMs: 5000 });
  assert.equal(service.states.at(-1), "going_away 5000");
  await service.pass(2000);
  await service.socket.shut(1001);
  assert.equal(service.states.at(-1), "waiting 3000");
  await service.pass(3000);
  await (await service.accept(2)).welcome();

  // A connection that still stands then is left.
  await service.socket.say({ type: "going_away", retryAfterMs: 5000 });
  await service.pass(5000);
  assert.equal(service.socket.closed, 1000);
  await service.pass(250);
  assert.equal(service.states.at(-1), "waiting 0");
  await service.pass(1);
  await service.accept(3);
});

test("a token function that fails is asked again, after what its error asks for", async (t) => {
  const service = new Service(t);
  let asked = 0;
  service.client({
    token: async () => {
      if (++asked === 1) throw new Error("the token server is away");
      if (asked === 2) throw Object.assign(new Error("too many"), { retryAfterMs: 7000 });
      if (asked === 3) return "no token\n";
      if (asked === 4) return undefined;
      return "good";
    },
  });
  await settled();
  for (const pause of [1000, 9000, 4000, 8000]) {
    assert.equal(service.states.at(-1), `waiting ${pause}`);
    await service.pass(pause);
  }
  assert.equal((await service.accept()).bearer, "good");
});

test("a token function that throws StopError, and a single token, stop the client", async (t) => {
  const service = new Service(t);
  const stopped = service.client({ token: () => Promise.reject(new StopError("the device is retired")) });
  assert.match((await stopped.ended).message, /the device is retired/);

  const single = service.client({ token: "the-only-one" });
  await (await service.accept()).welcome();
  await service.socket.shut(4002, "expired");
  await service.pass(1);
  const { closeCode, message } = await single.ended;
  assert.equal(closeCode, 4002, "says why it needed another");
  assert.match(message, /^stopped: the only token was refused or has expired; .*; after: the service closed the connection: 4002 expired$/);
});

test("a publishable key is in the URL; there is no other to get", async (t) => {
  const service = new Service(t);
  const client = service.client({ token: undefined, publishableKey: "pk_live_1 &2" });
  assert.equal((await service.accept()).url, "ws://service.test/v1?key=pk_live_1%20%262");
  await service.socket.shut(4001);
  assert.equal((await client.ended).closeCode, 4001);
});

test("silence: the service is asked after 50 s, and given up after 75 s", async (t) => {
  const service = new Service(t);
  service.client();
  await (await service.accept()).welcome();
  for (let n = 0; n < 4; n++) {
    await service.pass(25_000);
    assert.equal(service.socket.sent.length, n);
    await service.pass(25_000);
    assert.deepEqual(service.socket.last("ping"), { type: "ping" });
    await service.socket.say({ type: "pong" });
  }
  await service.pass(50_000);
  await service.pass(25_000);
  assert.match(service.states.at(-1), /^waiting/);
});

test("no welcome: the client gives up after 30 s, and at another first frame", async (t) => {
  const service = new Service(t);
  service.client();
  await service.accept();
  await service.pass(30_000);
  assert.equal(service.states.at(-1), "waiting 1000");
  await service.pass(1000);
  await (await service.accept(2)).say({ type: "hello" });
  assert.equal(service.states.at(-1), "waiting 2000");
});

test("wrong options", () => {
  const url = "https://host";
  const WebSocket = class {};
  for (const [options, what] of [
    [{ url, WebSocket }, /one of token and publishableKey/],
    [{ url, WebSocket, token: "t", publishableKey: "pk" }, /one of token and publishableKey/],
    [{ WebSocket, token: "t" }, /malformed/],
    [{ url: "ftp://host", WebSocket, token: "t" }, /scheme is "ftp:"/],
    [{ url: "https://user:pass@host", WebSocket, token: "t" }, /credentials have options/],
    [{ url: "https://host?token=t", WebSocket, token: "t" }, /a scheme, a host/],
    [{ url, token: "t", WebSocket: null }, /use Node.js >= 22, or give the one of the package ws/],
  ]) {
    assert.throws(() => new Client(options), what);
  }
});

test("the URL's path is kept, up to /v1", async (t) => {
  const service = new Service(t);
  for (const [n, [url, want]] of [["https://host/realtime/", "wss://host/realtime/v1"], ["ws://host:8080/v1", "ws://host:8080/v1"], ["wss://host", "wss://host/v1"]].entries()) {
    service.client({ url });
    assert.equal((await service.accept(n + 1)).url, want);
  }
});

test("close ends the connection in order, and is told to all that wait", async (t) => {
  const service = new Service(t);
  const client = service.client();
  const waits = [client.connected(), client.publish("c", 1), client.subscribe("c", () => {}), client.group("g", () => {}), client.setWill("c", 1)].map((p) => fails(p, "closed"));
  await (await service.accept());
  const closed = client.close();
  await Promise.all(waits.slice(0, 4));
  await service.socket.shut(1000);
  await closed;
  await waits[4];
  assert.equal((await client.ended).code, "closed");
  assert.deepEqual(service.states, ["connecting"]);
  await service.pass(60_000);
  assert.equal(service.sockets.length, 1);
  await fails(client.publish("c", 1), "closed");
  await fails(client.connected(), "closed");
  await client.close();
});

test("close waits a second for the service at most, and what was sent before goes out", async (t) => {
  const service = new Service(t);
  const client = await service.connected({ framesPerSecond: 1 });
  const sent = [1, 2, 3].map((n) => client.publish("c", n));
  sent.forEach((p) => p.catch(() => {}));
  await settled();
  assert.equal(service.socket.sent.length, 1, "paced");
  const closed = client.close();
  assert.deepEqual(service.socket.sent.map(({ data }) => data), [1, 2, 3]);
  assert.equal(service.socket.closed, 1000);
  await service.pass(1000);
  await closed;
  await Promise.all(sent.map((p) => fails(p, "connection_lost")));
});
