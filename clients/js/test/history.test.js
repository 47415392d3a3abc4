// Subscriptions to channels that remember (protocol §9.1).

import assert from "node:assert/strict";
import { test } from "node:test";
import { fails, Service } from "./fake.js";

const at = (offset, epoch = "e") => ({ epoch, offset });
const message = (offset, more) => ({ type: "message", channel: "c", from: "b", data: offset, offset, ...more });

/** A client that is subscribed to "c", and the offsets that came. */
async function subscribed(service, options, ack) {
  const client = await service.connected();
  const got = [];
  const done = client.subscribe("c", ({ data, position, replayed }) => got.push([data, position?.epoch, replayed]), options);
  await service.socket.ack("subscribe", ack);
  await done;
  return got;
}

test("after a reconnect the subscription goes on behind the last message", async (t) => {
  const service = new Service(t);
  const got = await subscribed(service, {}, at(7));
  await service.socket.say(message(8));
  let socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(8));
  await socket.ack("subscribe", { ...at(9), recovered: true });
  socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(8), "what was announced has not come");
  await socket.ack("subscribe", { ...at(9), recovered: true });
  await socket.say(message(9, { replayed: true }));
  assert.deepEqual(got, [[8, "e", false], [9, "e", true]]);
  socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(9));
  assert.deepEqual(service.gaps, []);
});

test("what was forgotten meanwhile is a gap", async (t) => {
  const service = new Service(t);
  await subscribed(service, {}, at(7));
  let socket = await service.reconnect();
  await socket.ack("subscribe", { ...at(20), recovered: false });
  assert.deepEqual(service.gaps, [{ channel: "c", after: at(7), until: at(20) }]);
  socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(20));
  await socket.ack("subscribe", { recovered: false }); // it remembers nothing any more
  assert.deepEqual(service.gaps.at(-1), { channel: "c", after: at(20), until: undefined });
});

test("the service tells of a gap on a connection that stands", async (t) => {
  const service = new Service(t);
  await subscribed(service, {}, at(7));
  await service.socket.say({ type: "gap", channel: "c", ...at(3, "f") });
  assert.deepEqual(service.gaps, [{ channel: "c", after: at(7), until: at(3, "f") }]);
  assert.deepEqual((await service.reconnect()).last("subscribe").since, at(3, "f"));
});

test("last: what was asked for and did not come is asked for again", async (t) => {
  const service = new Service(t);
  await subscribed(service, { last: 5 }, at(7));
  let socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(2));
  await socket.ack("subscribe", { ...at(7), recovered: true });
  await socket.say(message(3, { replayed: true }));
  socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(3));
});

test("last: behind the first message that comes nothing is owed", async (t) => {
  const service = new Service(t);
  await subscribed(service, { last: 5 }, at(7));
  await service.socket.say(message(3, { replayed: true }));
  assert.deepEqual((await service.reconnect()).last("subscribe").since, at(3));
});

test("a gap of a subscription that was replaced is not told", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const first = client.subscribe("c", () => {});
  await service.socket.ack("subscribe", at(7));
  await first;
  const socket = await service.reconnect();
  const { requestId } = socket.last("subscribe");
  const second = client.subscribe("c", () => {});
  await socket.say({ type: "ack", requestId, ...at(20), recovered: false });
  assert.deepEqual(service.gaps, []);
  await socket.ack("subscribe", at(20));
  await second;
});

test("a subscription that is replaced while it is under way has no gap", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  const first = client.subscribe("c", () => {});
  const one = service.socket.last("subscribe");
  const second = client.subscribe("c", () => {});
  const two = service.socket.last("subscribe");
  await fails(first, "replaced");
  await service.socket.say({ type: "ack", requestId: one.requestId, ...at(1) });
  const three = service.socket.last("subscribe"); // makes sure which one counts
  assert.equal(new Set([one.requestId, two.requestId, three.requestId]).size, 3);
  await service.socket.say({ type: "ack", requestId: two.requestId, ...at(2) });
  await second;
  await service.socket.say({ type: "ack", requestId: three.requestId, ...at(3) });
  assert.deepEqual(service.gaps, []);
});

test("last: fewer than asked for is no gap, unless others came meanwhile", async (t) => {
  const service = new Service(t);
  await subscribed(service, { last: 1000 }, at(7));
  let socket = await service.reconnect();
  assert.deepEqual(socket.last("subscribe").since, at(0));
  await socket.ack("subscribe", { ...at(7), recovered: false });
  assert.deepEqual(service.gaps, []);
});

test("since: begins behind a position that the program has kept", async (t) => {
  const service = new Service(t);
  await subscribed(service, { since: at(4) }, { ...at(9), recovered: false });
  assert.deepEqual(service.gaps, [{ channel: "c", after: at(4), until: at(9) }]);
});

test("a message before the ack moves nothing, and a channel without memory has no position", async (t) => {
  const service = new Service(t);
  const got = await subscribed(service, {}, at(7));
  const socket = await service.reconnect();
  await socket.say(message(9));
  assert.deepEqual(got.at(-1), [9, undefined, false]);
  assert.deepEqual((await service.reconnect()).last("subscribe").since, at(7));

  await service.socket.ack("subscribe", { recovered: false });
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  assert.equal((await service.reconnect()).last("subscribe").last, 0);
});

test("wrong beginnings", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  for (const [name, options] of [["a/*", { last: 1 }], ["a/*", { since: at(1) }], ["c", { last: 1, since: at(1) }], ["c", { last: 1001 }], ["c", { last: -1 }], ["c", { last: 1.5 }], ["c", { since: { offset: 1 } }], ["c", { since: "e:1" }]]) {
    await assert.rejects(client.subscribe(name, () => {}, options), (error) => error instanceof TypeError || error instanceof RangeError);
  }
  assert.deepEqual(service.socket.sent, []);
});
