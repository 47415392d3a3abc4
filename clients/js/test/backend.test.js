// The requests of a backend, against a server that the tests play.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { Backend } from "../src/index.js";
import { fails } from "./fake.js";

const secretKey = "sk_live_1_secret_5ec4e7";

/** A backend, and the requests that came. answer(request, n) says what the n-th one gets: [status, body, headers]. */
async function backendOf(t, answer) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const asked = { what: `${request.method} ${request.url}`, authorization: request.headers.authorization, body: text && JSON.parse(text) };
    requests.push(asked);
    const said = answer(asked, requests.length);
    if (!said) return request.socket.destroy();
    const [status, body, headers] = said;
    response.writeHead(status, headers);
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())));
  const url = `http://127.0.0.1:${server.address().port}/`;
  return { backend: new Backend({ url, secretKey }), requests };
}

/** Has the client's pauses pass at once, and notes them. */
function pausesOf(t) {
  const pauses = [];
  const real = setTimeout;
  t.mock.method(Math, "random", () => 0);
  t.mock.method(globalThis, "setTimeout", (f, ms, ...args) => {
    if (args[0] !== true) return real(f, ms, ...args); // those of fetch: only the client's timers have an argument
    pauses.push(ms);
    return real(f, 0, ...args);
  });
  return pauses;
}

async function all(list) {
  const entries = [];
  for await (const entry of list) entries.push(entry);
  return entries;
}

test("the paths and bodies of all requests", async (t) => {
  const { backend, requests } = await backendOf(t, () => [200, { token: "t", results: [{ subscribers: 1 }, { error: "group_full", message: "full" }], closed: 2, messages: [], peers: [], commands: [], answers: [], cursor: null, status: "succeeded", epoch: "e", offset: 7, subscribers: 3 }]);
  const cases = [
    [() => backend.mintToken({ peer: "a", channels: [], permissions: ["send"], ttlSec: 60, metadata: { n: 1 } }), "POST /v1/tokens", { peerId: "a", expiresInSec: 60, channels: [], permissions: ["send"], metadata: { n: 1 } }],
    [() => backend.tokens({ peer: "a" })(), "POST /v1/tokens", { peerId: "a" }],
    [() => backend.publish("devices/a ü/%", null, { from: "b", peerMetadata: {}, idempotencyKey: "k", if: { epoch: "e", offset: 1 } }), "POST /v1/channels/devices%2Fa%20%C3%BC%2F%25/publish", { data: null, idempotencyKey: "k", ifOffset: 1, ifEpoch: "e", from: "b", peerMetadata: {} }],
    [() => backend.publishMany([{ channel: "c", data: 1, idempotencyKey: "k" }, { channel: "d", data: 2, idempotencyKey: "l" }]), "POST /v1/publish", { messages: [{ channel: "c", data: 1, idempotencyKey: "k" }, { channel: "d", data: 2, idempotencyKey: "l" }] }],
    [() => backend.command("c", 1, { ttlMs: 5, idempotencyKey: "k", rollout: { perMinute: 1 } }), "POST /v1/channels/c/commands", { data: 1, waitMs: 10_000, idempotencyKey: "k", ttlMs: 5, rollout: { perMinute: 1 } }],
    [() => backend.startCommand("c", 1, { idempotencyKey: "k" }), "POST /v1/channels/c/commands", { data: 1, waitMs: 0, idempotencyKey: "k" }],
    [() => backend.readCommand("cmd_1"), "GET /v1/commands/cmd_1?waitMs=10000"],
    [() => backend.cancelCommand("cmd_1"), "DELETE /v1/commands/cmd_1"],
    [() => all(backend.commands("c", { status: "waiting" })), "GET /v1/channels/c/commands?status=waiting"],
    [() => all(backend.answers("cmd_1")), "GET /v1/commands/cmd_1/answers"],
    [() => backend.history("c"), "GET /v1/channels/c/messages"],
    [() => backend.history("c", { last: 5 }), "GET /v1/channels/c/messages?last=5"],
    [() => backend.history("c", { since: { epoch: "e", offset: 7 } }), "GET /v1/channels/c/messages?since=e%3A7"],
    [() => backend.forget("c"), "DELETE /v1/channels/c/messages"],
    [() => all(backend.peers({ prefix: "a b", online: false, seenBefore: 5 })), "GET /v1/peers?prefix=a+b&online=false&seenBefore=5"],
    [() => backend.peer("a/b"), "GET /v1/peers/a%2Fb"],
    [() => all(backend.members("c")), "GET /v1/channels/c/peers"],
    [() => backend.disconnect("a"), "DELETE /v1/peers/a"],
    [() => backend.disconnect("a", { revoke: true }), "DELETE /v1/peers/a?revoke=true"],
    [() => backend.pull("g", { max: 5, waitMs: 10, consumer: "me" }), "POST /v1/groups/g/pull", { max: 5, waitMs: 10, consumer: "me" }],
    [() => backend.ack("g", ["1"], { nack: [{ ackId: "2" }] }), "POST /v1/groups/g/ack", { ackIds: ["1"], nack: [{ ackId: "2" }] }],
    [() => backend.ack("g", [], { nack: [{ ackId: "2" }] }), "POST /v1/groups/g/ack", { nack: [{ ackId: "2" }] }],
    [() => backend.group("g"), "GET /v1/groups/g"],
    [() => backend.request("GET", "/usage"), "GET /v1/usage"],
  ];
  for (const [call, what, body] of cases) {
    await call();
    assert.deepEqual(requests.at(-1), { what, authorization: `Bearer ${secretKey}`, body: body ?? "" });
  }
  assert.equal(requests.length, cases.length);
  assert.equal(await backend.disconnect("a"), 2);
  assert.deepEqual(await backend.publish("c", 1), { subscribers: 3, position: { epoch: "e", offset: 7 } });
  const [published, refused] = await backend.publishMany([{ channel: "c", data: 1 }, { channel: "c", data: 1 }]);
  assert.deepEqual(published, { subscribers: 1, position: undefined });
  assert.equal(refused.error.code, "group_full");
});

test("a publish, a command and an ack whose answer is lost are sent again, the same", async (t) => {
  const pauses = pausesOf(t);
  for (const call of [(b) => b.publish("c", 1), (b) => b.publishMany([{ channel: "c", data: 1 }]), (b) => b.startCommand("c", 1), (b) => b.ack("g", ["1"])]) {
    const lost = [undefined, [503, { error: "backend_error", message: "m", outcome: "unknown" }, { "Retry-After": "7" }], [502, "a proxy's"], [500, { error: "internal_error", message: "m" }]];
    const { backend, requests } = await backendOf(t, (_, n) => (n <= lost.length ? lost[n - 1] : [200, { results: [] }]));
    await call(backend);
    assert.equal(requests.length, 5);
    for (const request of requests) assert.deepEqual(request, requests[0]);
  }
  assert.deepEqual(pauses.slice(0, 4), [1000, 7000, 1000, 1000]);
});

test("two publishes have keys of their own", async (t) => {
  const { backend, requests } = await backendOf(t, () => [200, { subscribers: 0 }]);
  await backend.publish("c", 1);
  await backend.publish("c", 1);
  assert.notEqual(requests[0].body.idempotencyKey, requests[1].body.idempotencyKey);
});

test("after five tries it is over, and a refusal or another request is not repeated", async (t) => {
  pausesOf(t);
  const away = await backendOf(t, () => [503, { error: "backend_error", message: "m", outcome: "none" }]);
  await assert.rejects(away.backend.publish("c", 1), { code: "backend_error", status: 503, outcome: "none" });
  assert.equal(away.requests.length, 5);
  await fails(away.backend.mintToken({ peer: "a" }), "backend_error");
  await fails(away.backend.pull("g"), "backend_error");
  assert.equal(away.requests.length, 7);
  const refusing = await backendOf(t, () => [429, { error: "over_message_quota", message: "m" }, { "Retry-After": "60" }]);
  await assert.rejects(refusing.backend.publish("c", 1), { code: "over_message_quota", status: 429, retryAfterMs: 60_000 });
  assert.equal(refusing.requests.length, 1);
});

test("offset_mismatch has the newest position and message", async (t) => {
  const newest = { offset: 57, at: 1, from: "server", data: { fps: 12 } };
  const { backend } = await backendOf(t, () => [412, { error: "offset_mismatch", message: "m", epoch: "e", offset: 57, newest }]);
  await assert.rejects(backend.publish("c", 1), { code: "offset_mismatch", status: 412, position: { epoch: "e", offset: 57 }, newest });
});

test("what is not the service is told apart, and no error has the secret key", async (t) => {
  const { backend, requests } = await backendOf(t, ({ what }) => {
    if (what.includes("redirect")) return [302, "", { Location: "http://127.0.0.1:1/elsewhere" }];
    if (what.includes("html")) return [200, "<html>"];
    return [404, "null"];
  });
  const errors = [];
  for (const peer of ["redirect", "html", "other"]) errors.push(await backend.peer(peer).catch((error) => error));
  assert.deepEqual(errors.map(({ code, status }) => [code, status]), [["not_service", 302], ["not_service", 200], ["not_service", 404]]);
  assert.equal(requests.length, 3, "a redirect is not followed");
  const away = new Backend({ url: "http://127.0.0.1:1", secretKey });
  errors.push(await away.peer("a").catch((error) => error));
  assert.equal(errors.at(-1).code, "connection_lost");
  for (const error of errors) assert.ok(!JSON.stringify([error.stack, error.cause?.stack, error]).includes("5ec4e7"));
});

test("names are checked before the service is asked", async (t) => {
  const { backend, requests } = await backendOf(t, () => [200, {}]);
  await fails(backend.publish("a/../b", 1), "invalid_channel");
  await assert.rejects(backend.publishMany([{ channel: "", data: 1 }]), { code: "invalid_channel" });
  await assert.rejects(backend.disconnect(""), { code: "invalid_peer_id" });
  await assert.rejects(backend.peer(".."), /front doors fold it/);
  assert.throws(() => new Backend({ url: "https://host" }), /give a secretKey/);
  assert.equal(requests.length, 0);
});

test("a command is waited for with as many requests as that takes", async (t) => {
  const pauses = pausesOf(t);
  const says = [[202, { id: "cmd_1", status: "waiting" }], [202, { id: "cmd_1", status: "active" }], undefined, [429, { error: "rate_limited", message: "m" }], [200, { id: "cmd_1", status: "succeeded" }]];
  const { backend, requests } = await backendOf(t, (_, n) => says[n - 1]);
  assert.equal((await backend.command("c", 1)).status, "succeeded");
  assert.deepEqual(requests.slice(1).map(({ what }) => what), Array(4).fill("GET /v1/commands/cmd_1?waitMs=10000"));
  assert.equal(pauses.length, 3);
  const giveUp = new AbortController();
  const waiting = await backendOf(t, () => (giveUp.abort(new Error("too long")), [202, { id: "cmd_2", status: "active" }]));
  await assert.rejects(waiting.backend.command("c", 1, { signal: giveUp.signal }), /too long/);
});

test("lists and history are read page after page", async (t) => {
  const { backend, requests } = await backendOf(t, ({ what }) => {
    const { searchParams: query, pathname } = new URL(what.split(" ")[1], "http://x");
    if (pathname === "/v1/peers") return [200, query.get("cursor") ? { peers: [{ peerId: "b" }], cursor: null } : { peers: [{ peerId: "a" }], cursor: "next" }];
    if (pathname === "/v1/channels/c/peers") return [200, { other: [] }];
    const since = Number(query.get("since")?.split(":")[1] ?? 0);
    return [200, { epoch: "e", offset: 3 + since, recovered: query.has("since") ? true : undefined, messages: [{ offset: since + 1, at: 1, from: "a", data: 1 }, { offset: since + 2, at: 1, from: "a", data: 2 }] }];
  });
  assert.deepEqual(await all(backend.peers()), [{ peerId: "a" }, { peerId: "b" }]);
  await fails(all(backend.members("c")), "not_service");
  const history = await backend.history("c", { last: 3 });
  assert.deepEqual(history.messages.map(({ position }) => position.offset), [1, 2, 3, 4], "up to what was the newest at first");
  assert.deepEqual(history.position, { epoch: "e", offset: 4 });
  assert.equal(history.recovered, undefined);
  assert.equal((await backend.history("c", { since: { epoch: "e", offset: 1 } })).recovered, true);
  assert.equal(requests.length, 2 + 1 + 2 + 2);
});
