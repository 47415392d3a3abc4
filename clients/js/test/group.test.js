// Taking part in a group (protocol §10.2).

import assert from "node:assert/strict";
import { test } from "node:test";
import { fails, Service, settled } from "./fake.js";

const event = (n, more) => ({ type: "message", group: "g", channel: "c", from: "b", data: n, publishedAt: 1000 + n, ackId: `id-${n}`, attempt: 1, ...more });
const acks = (socket) => socket.sent.filter(({ type }) => type === "group_ack").map(({ ackIds, nack }) => ackIds ?? nack.map(({ ackId, delayMs }) => `${ackId} again in ${delayMs}`));

test("events are acknowledged when the handler has returned, and come again when it has thrown", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  let release;
  const leave = new AbortController();
  const over = client.group("g", async (events) => {
    got.push(events.map(({ data }) => data));
    await new Promise((resolve) => (release = resolve));
    if (events[0].data === 2) throw new Error("the disk is full");
  }, { maxInFlight: 10, signal: leave.signal });
  const ended = assert.rejects(over, /enough/);
  const { type, group, maxInFlight, includeSenderMetadata } = service.socket.last("subscribe");
  assert.deepEqual([type, group, maxInFlight, includeSenderMetadata], ["subscribe", "g", 10, true]);
  await service.socket.ack("subscribe");
  for (const n of [1, 2, 3]) await service.socket.say(event(n));
  assert.deepEqual(got, [[1]]);
  assert.deepEqual(acks(service.socket), []);
  release();
  await settled();
  assert.deepEqual(acks(service.socket), [["id-1"]]);
  await service.socket.ack("group_ack");
  assert.deepEqual(got, [[1], [2, 3]]);
  release();
  await settled();
  assert.deepEqual(acks(service.socket).at(-1), ["id-2 again in 1000", "id-3 again in 1000"]);
  assert.equal(service.errors[0].message, "the disk is full");
  await service.socket.ack("group_ack");

  // What the handler did not get is given back at once.
  await service.socket.say(event(4));
  await service.socket.say(event(5, { attempt: 2 }));
  leave.abort(new Error("enough"));
  release();
  await settled();
  await service.socket.ack("group_ack");
  await service.socket.ack("unsubscribe");
  assert.deepEqual(acks(service.socket).slice(2), [["id-4"], ["id-5 again in 0"]]);
  await service.socket.ack("group_ack");
  await ended;
  assert.equal((await service.reconnect()).last("subscribe"), undefined);
});

test("an event gets the fields of the protocol, but for what the client needs alone", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  client.group("g", (events) => void got.push(...events)).catch(() => {});
  await service.socket.say(event(1, { fromMetadata: { name: "B" } }));
  assert.deepEqual(got, [{ channel: "c", from: "b", data: 1, publishedAt: 1001, attempt: 1, fromMetadata: { name: "B" } }]);
});

test("an event that comes for the third time is handled alone", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  let release;
  client.group("g", async (events) => {
    got.push(events.map(({ data }) => data));
    await new Promise((resolve) => (release = resolve));
  }).catch(() => {});
  await service.socket.say(event(0));
  for (const [n, attempt] of [[1, 1], [2, 2], [3, 3], [4, 4], [5, 1], [6, 1]]) await service.socket.say(event(n, { attempt }));
  for (let n = 0; n < 4; n++) {
    release();
    await settled();
    await service.socket.ack("group_ack");
  }
  assert.deepEqual(got, [[0], [1, 2], [3], [4], [5, 6]]);
});

test("events of a connection that has ended are dropped: they come again on the next one", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const got = [];
  let release;
  client.group("g", async (events) => {
    got.push(events.map(({ data, attempt }) => `${data}, attempt ${attempt}`));
    await new Promise((resolve) => (release = resolve));
  }).catch(() => {});
  for (const n of [1, 2]) await service.socket.say(event(n));
  const socket = await service.reconnect();
  assert.equal(socket.last("subscribe").group, "g");
  await socket.ack("subscribe");
  for (const n of [1, 2]) await socket.say(event(n, { attempt: 2 }));
  release();
  await settled();
  assert.deepEqual(acks(socket), [], "the ackId was the other connection's");
  assert.deepEqual(got, [["1, attempt 1"], ["1, attempt 2", "2, attempt 2"]]);
});

test("an ingester that leaves does not join on the next connection", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const leave = new AbortController();
  const over = assert.rejects(client.group("g", () => {}, { signal: leave.signal }), /enough/);
  await service.socket.ack("subscribe");
  leave.abort(new Error("enough"));
  await settled();
  assert.equal(service.socket.last("unsubscribe").group, "g");
  await service.socket.shut(1006);
  await service.pass(1000);
  await service.socket.welcome();
  assert.equal(service.socket.last("subscribe"), undefined);
  await over;
});

test("many events are settled with several frames, and again when the store did not take one", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  let release;
  client.group("g", () => new Promise((resolve) => (release = resolve)), { maxInFlight: 1000 }).catch(() => {});
  await service.socket.say(event(0));
  for (let n = 1; n <= 500; n++) await service.socket.say(event(n));
  release();
  await settled();
  await service.socket.ack("group_ack");
  release();
  await settled();
  await service.socket.refuse("group_ack", "backend_error");
  await service.pass(1000);
  await service.socket.ack("group_ack");
  await service.socket.ack("group_ack");
  assert.deepEqual(acks(service.socket).map((ids) => ids.length), [1, 400, 400, 100]);
});

test("a refused group ends with the service's error, at once or later", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const unknown = fails(client.group("unknown", () => {}), "group_not_found");
  await service.socket.refuse("subscribe", "group_not_found");
  await unknown;
  const later = fails(client.group("g", () => {}), "channel_not_authorized");
  await service.socket.ack("subscribe");
  await service.socket.say({ type: "error", code: "channel_not_authorized", message: "the key lost it", group: "g" });
  await later;
  assert.deepEqual(service.errors, []);
});

test("wrong groups", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  await assert.rejects(client.group("g"), TypeError);
  for (const maxInFlight of [0, 1001, 1.5]) await assert.rejects(client.group("g", () => {}, { maxInFlight }), RangeError);
  const first = fails(client.group("g", () => {}), "closed");
  await assert.rejects(client.group("g", () => {}), /takes part in the group "g" already/);
  client.close();
  await service.socket.shut(1000);
  await first;
});
