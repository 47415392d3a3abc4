// The device's side of commands (protocol §8.3).

import assert from "node:assert/strict";
import { test } from "node:test";
import { Rejected } from "../src/index.js";
import { fails, Service, settled } from "./fake.js";

const command = (id, data, more) => ({ type: "message", channel: "c", from: "server", data, command: { id, attempt: 1, timeoutMs: 30_000, ...more } });

async function handling(service, handler, options) {
  const client = await service.connected();
  const done = client.handleCommands("c", handler, options);
  await service.socket.ack("subscribe");
  await done;
  return client;
}

const answers = (socket) => socket.sent.filter(({ type }) => type === "answer").map(({ command, status, data }) => [command, status, data]);

/** Acks answers until no more come. */
async function ackAll(service) {
  const { socket } = service;
  for (socket.acked ??= 0; socket.acked < socket.sent.length; socket.acked++) {
    const { type, requestId } = socket.sent[socket.acked];
    if (type === "answer") await socket.say({ type: "ack", requestId });
  }
}

test("each command is done once, in order, and answered with what the handler returns or throws", async (t) => {
  const service = new Service(t);
  const done = [];
  await handling(service, async ({ id, data, progress, attempt, timeoutMs, channel, from }) => {
    done.push([id, data, attempt, timeoutMs, channel, from]);
    if (data === "progress") await progress({ percent: 50 });
    if (data === "fail") throw new Error("it is broken");
    if (data === "reject") throw new Rejected("not now");
    if (data === "nothing") return undefined;
    if (data === "long") return "x".repeat(16_384);
    if (data === "cyclic") return (data = {}), (data.data = data);
    return { did: data };
  }, { confirm: true });
  assert.equal(service.socket.last("subscribe").commands, "confirm");
  const all = ["reboot", "progress", "fail", "reject", "nothing", "long", "cyclic"];
  for (const [n, data] of all.entries()) await service.socket.say(command(`cmd_${n}`, data));
  await ackAll(service);
  assert.deepEqual(done, all.map((data, n) => [`cmd_${n}`, data, 1, 30_000, "c", "server"]));
  const said = answers(service.socket);
  assert.deepEqual(said.slice(0, 9), [
    ["cmd_0", "received", undefined], ["cmd_0", "succeeded", { did: "reboot" }],
    ["cmd_1", "received", undefined], ["cmd_1", "running", { percent: 50 }], ["cmd_1", "succeeded", { did: "progress" }],
    ["cmd_2", "received", undefined], ["cmd_2", "failed", "it is broken"],
    ["cmd_3", "received", undefined], ["cmd_3", "rejected", "not now"],
  ]);
  assert.deepEqual(said.slice(9, 11), [["cmd_4", "received", undefined], ["cmd_4", "succeeded", undefined]]);
  assert.match(said[12][2], /^done, but its answer is 16386 bytes long/);
  assert.equal(said[14][1], "failed");

  // One that comes again is answered, and not done.
  await service.socket.say(command("cmd_0", "reboot", { attempt: 2 }));
  await ackAll(service);
  assert.equal(done.length, all.length);
  assert.deepEqual(answers(service.socket).at(-1), ["cmd_0", "succeeded", { did: "reboot" }]);
});

test("an answer goes on the next connection if its ack was lost, and again if the store did not take it", async (t) => {
  const service = new Service(t);
  let release;
  await handling(service, () => new Promise((resolve) => (release = resolve)));
  await service.socket.say(command("cmd_1", 1));
  await ackAll(service);
  const socket = await service.reconnect();
  await socket.ack("subscribe");
  release("done");
  await settled();
  await socket.refuse("answer", "backend_error");
  assert.equal(answers(socket).length, 1);
  await service.pass(2000);
  assert.deepEqual(answers(socket), [["cmd_1", "succeeded", "done"], ["cmd_1", "succeeded", "done"]]);
  const next = await service.reconnect();
  await next.ack("subscribe");
  assert.deepEqual(answers(next), [["cmd_1", "succeeded", "done"]]);
  await next.refuse("answer", "command_final");
  assert.equal(service.errors.at(-1).code, "command_final");
});

test("a command that is cancelled is not done, or its handler is told", async (t) => {
  const service = new Service(t);
  const done = [];
  await handling(service, ({ id, signal }) => {
    done.push(id);
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  for (const id of ["cmd_1", "cmd_2"]) await service.socket.say(command(id, 1));
  await ackAll(service);
  await service.socket.say({ type: "command_cancelled", command: "cmd_2" }); // waits for its turn
  await service.socket.say({ type: "command_cancelled", command: "cmd_1" });
  await ackAll(service);
  assert.deepEqual(done, ["cmd_1"]);
  const cancelled = "the command was cancelled";
  assert.deepEqual(answers(service.socket), [["cmd_1", "received", undefined], ["cmd_1", "rejected", cancelled], ["cmd_2", "rejected", cancelled]]);
});

test("a command that is cancelled before the service knows that it came is not done", async (t) => {
  const service = new Service(t);
  await handling(service, () => assert.fail("is done"));
  await service.socket.say(command("cmd_1", 1));
  await service.socket.say({ type: "command_cancelled", command: "cmd_1" });
  await ackAll(service);
  assert.deepEqual(answers(service.socket), [["cmd_1", "received", undefined], ["cmd_1", "rejected", "the command was cancelled"]]);
});

test("messages that are no commands go to their own handler", async (t) => {
  const service = new Service(t);
  const [commands, messages] = [[], []];
  await handling(service, ({ data }) => commands.push(data), { messages: ({ data }) => messages.push(data) });
  await service.socket.say({ type: "message", channel: "c", from: "b", data: 1 });
  await service.socket.say(command("cmd_1", 2));
  await ackAll(service);
  assert.deepEqual([commands, messages], [[2], [1]]);
});

test("close aborts a handler that is running", async (t) => {
  const service = new Service(t);
  let aborted;
  const client = await handling(service, ({ signal }) => new Promise((resolve) => signal.addEventListener("abort", () => resolve((aborted = signal.reason.code)))));
  await service.socket.say(command("cmd_1", 1));
  await ackAll(service);
  client.close();
  await settled();
  assert.equal(aborted, "closed");
  await fails(client.handleCommands("c", () => {}), "closed");
});

test("commands of the last 1000 are known", async (t) => {
  const service = new Service(t);
  let done = 0;
  await handling(service, () => ++done);
  const ask = async (id) => {
    await service.socket.say(command(id, 1));
    await ackAll(service);
    await service.live(1000); // the client paces itself
  };
  service.socket.sent = [];
  for (let n = 0; n < 1001; n++) {
    service.socket.onmessage({ data: JSON.stringify(command(`cmd_${n}`, 1)) });
  }
  for (let before = -1; before !== done; ) {
    before = done;
    await ackAll(service);
    await service.live(1000);
    await ackAll(service);
  }
  assert.equal(done, 1001);
  await ask("cmd_1");
  assert.equal(done, 1001);
  await ask("cmd_0");
  assert.equal(done, 1002);
});

test("commands need a name and a handler", async (t) => {
  const service = new Service(t);
  const client = await service.connected();
  await fails(client.handleCommands("devices/*/commands", () => {}), "invalid_channel");
  await assert.rejects(client.handleCommands("c"), TypeError);
});
