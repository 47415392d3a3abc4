// The client on real sockets: those of the package ws, and those of Node.js itself, which version 20 has behind
// --experimental-websocket.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { WebSocket as WS, WebSocketServer } from "ws";
import { Client } from "../src/index.js";

const classes = { "the package ws": WS, ...(globalThis.WebSocket && { "Node.js": globalThis.WebSocket }) };

/** A service that does to its n-th connection what the n-th function says. */
async function serve(t, ...acts) {
  const server = createServer();
  const sockets = new WebSocketServer({ noServer: true });
  const upgrades = [];
  server.on("upgrade", (request, socket, head) => {
    upgrades.push(request);
    const act = acts[upgrades.length - 1];
    if (act.refuse) return socket.end(`HTTP/1.1 ${act.refuse}\r\nConnection: close\r\n\r\n`);
    sockets.handleUpgrade(request, socket, head, (ws) => {
      if (!act.close) ws.send(JSON.stringify({ type: "welcome", peerId: "a", expiresAt: null, serverTime: 1, maxMessageSize: 65536 }));
      act(ws);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => (sockets.clients.forEach((ws) => ws.terminate()), server.close(resolve))));
  return { url: `http://127.0.0.1:${server.address().port}`, upgrades };
}

const answer = (ws) => ws.on("message", (text) => ws.send(JSON.stringify({ type: "ack", requestId: JSON.parse(text).requestId })));

for (const [name, WebSocket] of Object.entries(classes)) {
  test(`${name}: connects with a header, comes back, and closes in order`, async (t) => {
    let closed;
    const closes = new Promise((resolve) => (closed = resolve));
    const { url, upgrades } = await serve(
      t,
      (ws) => ws.terminate(), // the network breaks
      Object.assign(() => {}, { refuse: "429 Too Many Requests" }),
      (ws) => ws.close(4000, "inactive"),
      (ws) => (answer(ws), ws.on("close", closed)),
    );
    const errors = [];
    const onState = ({ state, error }) => state === "waiting" && errors.push(error);
    const client = new Client({ url, token: "the.token", WebSocket, onState, backoff: { firstMs: 1, mostMs: 1 } });
    t.after(() => client.close());
    while (errors.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    await client.publish("c", { n: 1 });
    await client.close();
    assert.equal(await closes, 1000);
    assert.deepEqual(errors.map(({ closeCode }) => closeCode), [1006, 1006, 4000]);
    assert.match(errors[2].message, /4000 inactive/);
    assert.equal(upgrades.length, 4);
    for (const { url, headers } of upgrades) assert.deepEqual([url, headers.authorization], ["/v1", "Bearer the.token"]);
  });

  test(`${name}: an operator's disconnect stops it, and it waits where no service listens`, async (t) => {
    const { url } = await serve(t, (ws) => ws.close(4020, "disconnected by an operator"));
    const stopped = await new Client({ url, token: "t", WebSocket }).ended;
    assert.equal(stopped.closeCode, 4020);
    const away = new Client({ url: "http://127.0.0.1:1", token: "t", WebSocket, onState: ({ state, error }) => state === "waiting" && seen(error) });
    let seen;
    const error = await new Promise((resolve) => (seen = resolve));
    assert.equal(error.closeCode, 1006);
    await away.close();
  });
}
