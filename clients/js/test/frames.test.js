// Subscribing, publishing, and what comes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fails, Service, settled, standing } from "./fake.js";

const without = ({ requestId, ...frame }) => frame;
const lost = (service) => service.socket.shut(1006, "broken");

test("subscribe resolves with the ack, and its messages come", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  const subscribed = client.subscribe("c", (message) => got.push(message), { senderMetadata: true });
  assert.deepEqual(without(service.socket.last("subscribe")), { type: "subscribe", channel: "c", includeSenderMetadata: true, last: 0 });
  assert.ok((await standing(subscribed)).pending);
  await service.socket.ack("subscribe");
  await subscribed;
  await service.socket.say({ type: "message", channel: "c", from: "b", fromMetadata: { name: "B" }, data: null });
  assert.deepEqual(got, [{ channel: "c", from: "b", fromMetadata: { name: "B" }, data: null, replayed: false, missed: 0 }]);
});

test("messages go to the handler by name, then to those of patterns, the oldest first", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  for (const name of ["**", "devices/*/events", "devices/a/events", "cars/*"]) {
    const subscribed = client.subscribe(name, ({ channel }) => got.push(`${name}: ${channel}`));
    await service.socket.ack("subscribe");
    await subscribed;
  }
  await service.socket.say({ type: "message", channel: "devices/a/events", from: "a", data: 1 });
  await service.socket.say({ type: "message", channel: "_system/connectivity/a", from: "_system", data: 1 });
  await service.socket.say({ type: "message", channel: "devices/*/events", from: "a", data: 1 });
  assert.deepEqual(got, ["devices/a/events: devices/a/events", "**: devices/a/events", "devices/*/events: devices/a/events", "**: devices/*/events", "devices/*/events: devices/*/events"]);
});

test("a refused subscription is gone, also after a reconnect", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const refused = fails(client.subscribe("c", () => {}), "channel_not_authorized");
  await service.socket.refuse("subscribe", "channel_not_authorized");
  await refused;
  await fails(client.subscribe("", () => {}), "invalid_channel");
  await fails(client.subscribe("a/../b", () => {}), "invalid_channel");
  await assert.rejects(client.subscribe("c"), TypeError);
  const socket = await service.reconnect();
  assert.deepEqual(socket.sent, []);
  assert.equal(service.states.at(-1), "live");
});

test("a subscription that is given up is taken back", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const giveUp = new AbortController();
  const subscribed = client.subscribe("c", () => {}, { signal: giveUp.signal });
  giveUp.abort(new Error("too long"));
  await assert.rejects(subscribed, /too long/);
  assert.equal(service.socket.last("unsubscribe").channel, "c");
});

test("unsubscribe", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  await client.unsubscribe("never");
  const got = [];
  const subscribed = client.subscribe("c", ({ data }) => got.push(data));
  const unsubscribed = client.unsubscribe("c");
  const { requestId } = service.socket.last("unsubscribe");
  await fails(subscribed, "replaced");
  await service.socket.ack("subscribe"); // of the two frames the last one may have come first
  assert.equal(service.socket.sent.filter(({ type }) => type === "unsubscribe").length, 2);
  assert.ok((await standing(unsubscribed)).pending);
  await service.socket.say({ type: "ack", requestId });
  await unsubscribed;
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  assert.deepEqual(got, []);
});

test("subscribing again replaces the handler, and what the service has in the end is the last one", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  const first = client.subscribe("c", () => got.push("first"));
  const { requestId } = service.socket.last("subscribe");
  const second = client.subscribe("c", () => got.push("second"), { senderMetadata: true });
  await fails(first, "replaced");
  await service.socket.ack("subscribe");
  await second;
  await service.socket.say({ type: "ack", requestId }); // which of the two came last is not known
  assert.equal(service.socket.sent.length, 3);
  assert.equal(service.socket.last("subscribe").includeSenderMetadata, true);
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  assert.deepEqual(got, ["second"]);
});

test("subscriptions are renewed on the next connection, before anything is published there", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  for (const name of ["a", "b/*"]) {
    const subscribed = client.subscribe(name, () => {}, { senderMetadata: name === "a" });
    await service.socket.ack("subscribe");
    await subscribed;
  }
  await lost(service);
  const published = [client.publish("c", 1), client.publish("c", 2)];
  await service.pass(1000);
  await service.socket.welcome();
  assert.deepEqual(service.socket.sent.map(without), [{ type: "subscribe", channel: "a", includeSenderMetadata: true, last: 0 }, { type: "subscribe", channel: "b/*" }]);
  const [{ requestId }] = service.socket.sent;
  await service.socket.ack("subscribe");
  assert.notEqual(service.states.at(-1), "live");
  await service.socket.say({ type: "ack", requestId });
  assert.equal(service.states.at(-1), "live");
  assert.deepEqual(service.socket.sent.slice(2).map(({ data }) => data), [1, 2]);
  for (const frame of service.socket.sent.slice(2)) await service.socket.say({ type: "ack", requestId: frame.requestId });
  await Promise.all(published);
});

test("a renewal that the store does not take is tried again; another refusal is reported", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const subscribed = client.subscribe("c", () => {});
  await service.socket.ack("subscribe");
  await subscribed;
  const socket = await service.reconnect();
  await socket.refuse("subscribe", "backend_error", { outcome: "none" });
  assert.equal(service.errors.length, 1);
  await service.pass(3999);
  assert.equal(socket.sent.length, 1);
  await service.pass(1);
  assert.equal(socket.sent.length, 2);
  await socket.refuse("subscribe", "channel_not_authorized");
  assert.deepEqual(service.errors.map(({ code }) => code), ["backend_error", "channel_not_authorized"]);
  assert.match(service.errors[1].message, /renewing the subscription to "c"/);
  assert.equal(service.states.at(-1), "live");
});

test("publish resolves with the ack, and rejects with the refusal", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const published = client.publish("c", { n: 1 }, { idempotencyKey: "k", if: { epoch: "e", offset: 7 } });
  await settled();
  assert.deepEqual(without(service.socket.last("publish")), { type: "publish", channel: "c", idempotencyKey: "k", ifOffset: 7, ifEpoch: "e", data: { n: 1 } });
  await service.socket.ack("publish", { epoch: "e", offset: 8 });
  assert.deepEqual(await published, { position: { epoch: "e", offset: 8 } });
  const late = assert.rejects(client.publish("c", 1, { if: { epoch: "e", offset: 7 } }), { code: "offset_mismatch", position: { epoch: "e", offset: 8 } });
  await settled();
  await service.socket.refuse("publish", "offset_mismatch", { epoch: "e", offset: 8 });
  await late;
  const unknown = assert.rejects(client.publish("c", 1), { code: "backend_error", outcome: "unknown" });
  await settled();
  await service.socket.refuse("publish", "backend_error", { outcome: "unknown" });
  await unknown;
  await assert.rejects(client.publish("c", 1, { if: { offset: 7 } }), /whole position/);
  await fails(client.publish("\n", 1), "invalid_channel");
});

test("a message whose answer is lost is not sent again, but with an idempotencyKey", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const once = fails(client.publish("c", 1), "connection_lost");
  const again = client.publish("c", 2, { idempotencyKey: "k" });
  const third = client.publish("c", 3, { idempotencyKey: "l" });
  await settled();
  const socket = await service.reconnect();
  await once;
  assert.deepEqual(socket.sent.map(({ data }) => data), [2, 3]);
  for (const { requestId } of socket.sent) await socket.say({ type: "ack", requestId });
  await Promise.all([again, third]);
});

test("what waited for its turn when the connection ended goes on the next one, in order", async (t) => {
  const service = new Service(t);
  const client = await service.connected({ framesPerSecond: 2 });
  const published = [1, 2, 3, 4].map((n) => client.publish("c", n));
  published.forEach((p) => p.catch(() => {}));
  await settled();
  assert.equal(service.socket.sent.length, 2);
  const socket = await service.reconnect();
  assert.deepEqual(socket.sent.map(({ data }) => data), [3, 4]);
  await fails(published[0], "connection_lost");
});

test("what comes back from a lost connection goes before what was published since", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const first = client.publish("c", 1, { idempotencyKey: "k" });
  const giveUp = new AbortController();
  const givenUp = assert.rejects(client.publish("c", "given up", { idempotencyKey: "l", signal: giveUp.signal }), /too late/);
  await settled();
  giveUp.abort(new Error("too late"));
  await givenUp;
  const broken = lost(service);
  const second = client.publish("c", 2);
  await broken;
  await service.pass(1000);
  await service.socket.welcome();
  assert.deepEqual(service.socket.sent.map(({ data }) => data), [1, 2]);
  for (const { requestId } of service.socket.sent) await service.socket.say({ type: "ack", requestId });
  await Promise.all([first, second]);
});

test("the client paces itself", async (t) => {
  const service = new Service(t);
  const client = await service.connected({ framesPerSecond: 10 });
  for (let n = 0; n < 30; n++) client.publish("c", n).catch(() => {});
  const sent = [service.socket.sent.length];
  for (let n = 0; n < 10; n++) {
    await service.pass(100);
    sent.push(service.socket.sent.length);
  }
  assert.deepEqual(sent, [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
  assert.deepEqual(service.socket.sent.map(({ data }) => data), [...Array(20).keys()]);
});

test("a publish can be given up while there is no connection", async (t) => {
  const service = new Service(t);
  const client = service.client();
  const giveUp = new AbortController();
  const published = client.publish("c", 1, { signal: giveUp.signal });
  giveUp.abort(new Error("too late"));
  await assert.rejects(published, /too late/);
  await assert.rejects(client.publish("c", 1, { signal: giveUp.signal }), /too late/);
  await (await service.accept()).welcome();
  assert.deepEqual(service.socket.sent, []);
});

test("what is too large is not sent", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  await fails(client.publish("c", "x".repeat(65_500)), "too_large");
  await fails(client.publish("c", "ü".repeat(32_760)), "too_large");
  const fits = client.publish("c", "ü".repeat(32_700));
  await settled();
  await service.socket.ack("publish");
  await fits;
});

test("send, direct messages and presence", async (t) => {
  const service = new Service(t);
  const directs = [];
  const client = await service.connected({ onDirect: (message) => directs.push(message) });
  const sent = fails(client.send("b", [1]), "peer_not_found");
  await settled();
  assert.deepEqual(without(service.socket.last("send")), { type: "send", to: "b", data: [1] });
  await service.socket.refuse("send", "peer_not_found");
  await sent;
  await fails(client.send("ü", 1), "invalid_peer_id");
  await service.socket.say({ type: "direct", from: "b", data: 1, fromMetadata: { a: 1 } });
  assert.deepEqual(directs, [{ from: "b", data: 1, fromMetadata: { a: 1 }, missed: 0 }]);

  const presences = [];
  const subscribed = client.subscribe("c", () => {}, { presence: (presence) => presences.push(presence) });
  await service.socket.ack("subscribe");
  await subscribed;
  await service.socket.say({ type: "presence", channel: "c", joined: [{ peerId: "a" }], left: [] });
  assert.deepEqual(presences, [{ channel: "c", joined: [{ peerId: "a" }], left: [], missed: 0 }]);
});

test("handlers run one after the other, and one that fails holds up no other", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  let release;
  const slow = async ({ data }) => {
    got.push(`begins ${data}`);
    if (data === 1) await new Promise((resolve) => (release = resolve));
    if (data === 2) throw new Error("the handler's own");
    got.push(`ends ${data}`);
  };
  for (const name of ["c", "*"]) {
    const subscribed = client.subscribe(name, name === "c" ? slow : ({ data }) => got.push(`* ${data}`));
    await service.socket.ack("subscribe");
    await subscribed;
  }
  for (const data of [1, 2]) await service.socket.say({ type: "message", channel: "c", from: "b", data });
  assert.deepEqual(got, ["begins 1"]);
  release();
  await settled();
  assert.deepEqual(got, ["begins 1", "ends 1", "* 1", "begins 2", "* 2"]);
  assert.deepEqual(service.errors.map(({ message }) => message), ["the handler's own"]);
});

test("no function is called before there is a client", async (t) => {
  const service = new Service(t);
  const there = [];
  let client;
  client = service.client({ onState: () => there.push(client !== undefined) });
  await service.accept();
  assert.deepEqual(there, [true]);
});

test("an onError that throws is heard, and ends no client", async (t) => {
  const service = new Service(t);
  const heard = t.mock.method(console, "error", () => {});
  const client = await service.connected({ onError: () => { throw new Error("of onError"); } });
  const got = [];
  const subscribed = client.subscribe("c", ({ data }) => {
    got.push(data);
    if (data === 1) throw new Error("of the handler");
  });
  await service.socket.ack("subscribe");
  await subscribed;
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  assert.equal(heard.mock.calls[0].arguments[0].message, "of onError");
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 2 });
  assert.deepEqual(got, [1, 2]);
});

test("messages that wait are bounded, and the next one says how many were dropped", async (t) => {
  const service = new Service(t);
  const client = await service.connected({ queueBytes: 1500 });
  const got = [];
  let release;
  const blocked = new Promise((resolve) => (release = resolve));
  const subscribed = client.subscribe("c", async ({ data, missed }) => {
    await blocked;
    got.push([data, missed]);
  });
  await service.socket.ack("subscribe");
  await subscribed;
  for (let data = 1; data <= 8; data++) await service.socket.say({ type: "message", channel: "c", from: "b", data });
  release();
  await settled();
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 9 });
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 10 });
  assert.deepEqual(got, [[1, 0], [2, 0], [3, 0], [4, 0], [9, 4], [10, 0]]);
});

test("no handler is called after close", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  let release;
  const subscribed = client.subscribe("c", ({ data }) => {
    got.push(data);
    return new Promise((resolve) => (release = resolve));
  });
  await service.socket.ack("subscribe");
  await subscribed;
  for (const data of [1, 2]) await service.socket.say({ type: "message", channel: "c", from: "b", data });
  client.close();
  release();
  await settled();
  assert.deepEqual(got, [1]);
});

test("a connection that ends before all subscriptions are renewed is not live", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const subscribed = client.subscribe("c", () => {});
  await service.socket.ack("subscribe");
  await subscribed;
  await service.reconnect();
  await lost(service);
  assert.deepEqual(service.states.slice(3), ["waiting 1000", "connecting", "connected", "waiting 2000"]);
});

test("handlers may call the client", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const subscribed = client.subscribe("c", async ({ data }) => {
    await client.publish("answers", data);
    await client.unsubscribe("c");
    await client.close();
  });
  await service.socket.ack("subscribe");
  await subscribed;
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  await service.socket.ack("publish");
  await service.socket.ack("unsubscribe");
  await service.socket.shut(1000);
  assert.equal((await client.ended).code, "closed");
});

test("frames that the service never sends change nothing", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  const subscribed = client.subscribe("c", ({ data }) => got.push(data));
  await service.socket.ack("subscribe");
  await subscribed;
  const hostile = ["", "{", "null", "1", "[]", '"text"', "{}", { type: 1 }, { type: "new" }, { type: "ack" }, { type: "ack", requestId: "404" },
    { type: "error", requestId: "404", code: "x", message: "of no request" }, { type: "gap", channel: "unknown" }, { type: "message", channel: "other", data: 1 },
    { type: "message", group: "unknown", ackId: "1" }, { type: "command_cancelled" }, { type: "message", channel: "__proto__", data: 1 },
    { type: "message", channel: "constructor", group: "toString" }, '{"type":"message","__proto__":{"polluted":true}}'];
  for (const frame of hostile) await service.socket.say(frame);
  await service.socket.say({ type: "message", channel: "c", from: "b", data: "still there" });
  assert.deepEqual(got, ["still there"]);
  assert.equal({}.polluted, undefined);
  assert.deepEqual(service.errors, []);
  assert.equal(service.sockets.length, 1);
});

test("an error without a request is reported", async (t) => {
  const service = new Service(t);
  await service.connected();
  await service.socket.say({ type: "error", code: "channel_not_authorized", message: "the key lost it", channel: "c" });
  assert.equal(service.errors[0].code, "channel_not_authorized");
});

test("the will is set on each connection, before subscriptions", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const set = client.setWill("c", { online: false }, { delayMs: 60_000 });
  await settled();
  assert.deepEqual(without(service.socket.last("will")), { type: "will", channel: "c", delayMs: 60_000, data: { online: false } });
  await service.socket.ack("will");
  await set;
  const subscribed = client.subscribe("c", () => {});
  await service.socket.ack("subscribe");
  await subscribed;
  let socket = await service.reconnect();
  assert.deepEqual(socket.sent.map(({ type }) => type), ["will", "subscribe"]);
  await socket.refuse("will", "backend_error", { outcome: "none" });
  await service.pass(4000);
  assert.equal(socket.sent.filter(({ type }) => type === "will").length, 2);
  await socket.ack("will");

  // A refused one leaves the former; one that was taken back is not set any more.
  const refused = fails(client.setWill("other", 1), "channel_not_authorized");
  await settled();
  await socket.refuse("will", "channel_not_authorized");
  await refused;
  socket = await service.reconnect();
  assert.equal(socket.last("will").channel, "c");
  await socket.ack("will");
  const cleared = client.clearWill();
  await settled();
  assert.equal(socket.last("will").channel, null);
  await socket.ack("will");
  await cleared;
  socket = await service.reconnect();
  assert.equal(socket.last("will"), undefined);
  await fails(client.setWill("c", "x".repeat(5000)), "too_large");
});

test("a will whose answer is lost is set on the next connection", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const set = client.setWill("c", 1);
  await settled();
  await service.reconnect();
  await service.socket.ack("will");
  await set;
});
