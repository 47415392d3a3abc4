// The driver of the client for JavaScript, for the clients' suite: ../../suite/README.md has the protocol.

import { createInterface } from "node:readline";
import { Backend, Client, FleetwireError, Rejected } from "../src/index.js";

// Node.js < 22 has none of its own.
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;

const AGAIN = new Error("not the first time"); // what the handler of a group throws
const peers = new Map(); // by the names that the runner gives them
const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const codeOf = (error) => (error instanceof FleetwireError ? error.code : "other");

/** One client of the suite. */
class Peer {
  #name;
  #groups = new Map(); // {leave, ended}, by name
  #release;
  #released = new Promise((resolve) => (this.#release = resolve));

  constructor({ client: name, url, tokenServer, token }) {
    this.#name = name;
    this.client = new Client({
      url, WebSocket, token: tokenServer ? ({ signal }) => fetchToken(tokenServer, signal) : token,
      onState: (change) => this.#state(change),
      onDirect: (direct) => this.#tell("direct", message(direct)),
      onError: (error) => error !== AGAIN && this.#tell("error", { code: codeOf(error) }),
      onGap: (gap) => this.#tell("gap", gap),
    });
  }

  #tell(event, fields) {
    write({ event, client: this.#name, ...fields });
  }

  #state({ state, welcome, error, retryInMs }) {
    const code = error?.closeCode ?? 1006;
    if (state === "connected") this.#tell(state, { peer: welcome.peerId, expiresAt: welcome.expiresAt ?? undefined });
    else if (state === "live") this.#tell(state);
    else if (state === "going_away") this.#tell(state, { retryAfterMs: retryInMs });
    else if (state === "waiting") this.#tell("disconnected", { code, retryInMs: Math.floor(retryInMs) });
    else if (state === "stopped") this.#tell(state, { code });
  }

  async close() {
    for (const { leave } of this.#groups.values()) leave.abort();
    await Promise.all([...this.#groups.values()].map(({ ended }) => ended));
    await this.client.close();
  }

  #options({ presence, metadata, last, since, confirm }) {
    const told = ({ channel, joined, left }) => this.#tell("presence", { channel, joined: members(joined), left: members(left) });
    return { senderMetadata: metadata, last, since, confirm, presence: presence && told };
  }

  subscribe({ channel, ...request }) {
    return this.client.subscribe(channel, (m) => this.#tell("message", message(m)), this.#options(request));
  }

  unsubscribe = ({ channel }) => this.client.unsubscribe(channel);
  publish = ({ channel, data, idempotencyKey, if: newest }) => this.client.publish(channel, data, { idempotencyKey, if: newest });
  send = ({ to, data }) => this.client.send(to, data);
  set_will = ({ channel, data, delayMs }) => this.client.setWill(channel, data, { delayMs });
  clear_will = () => this.client.clearWill();
  release = () => this.#release();
  handle_commands = ({ channel, mode, ...request }) => this.client.handleCommands(channel, (command) => this.#obey(command, mode), this.#options(request));

  /** Does a command in the way that the mode says. */
  async #obey({ id, channel, from, data, attempt, signal, progress }, mode) {
    this.#tell("command", { id, channel, from, data, attempt });
    if (mode === "progress") await progress({ percent: 50 });
    if (mode === "fail") throw new Error("it is broken");
    if (mode === "reject") throw new Rejected("not now");
    if (mode === "hold") {
      await Promise.race([this.#released, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
      if (signal.aborted) {
        this.#tell("cancelled", { id });
        throw signal.reason;
      }
    }
    return { did: data };
  }

  /** Takes part in a group until leave_group, close or a refusal. */
  group({ group, mode }) {
    const leave = new AbortController();
    const handle = (events) => {
      for (const { channel, from, data, attempt } of events) this.#tell("event", { group, channel, from, data, attempt });
      if (mode === "fail_first" && events.some(({ attempt }) => attempt === 1)) throw AGAIN;
    };
    const ended = this.client.group(group, handle, { signal: leave.signal }).catch((error) => {
      this.#tell("group_ended", { group, error: leave.signal.aborted ? undefined : codeOf(error) });
    });
    this.#groups.set(group, { leave, ended });
  }

  leave_group = ({ group }) => this.#groups.get(group).leave.abort();
}

async function fetchToken(url, signal) {
  return (await (await fetch(url, { signal })).json()).token;
}

const message = ({ channel = "", from, data, fromMetadata, position, replayed }) => ({ channel, from, data, metadata: fromMetadata, position, replayed });
const members = (all) => all.map(({ peerId, metadata }) => ({ peer: peerId, metadata }));
const command = ({ id, status, answers }) => ({ command: id, status, answers });

async function all(list) {
  const entries = [];
  for await (const entry of list) entries.push(entry);
  return entries;
}

const requests = {
  rest_token: (backend, { peer, channels, permissions, ttlSec }) => backend.mintToken({ peer, channels, permissions, ttlSec }),
  rest_publish: (backend, { channel, data, ...options }) => backend.publish(channel, data, options),
  rest_command: async (backend, { channel, data, ...options }) => command(await backend.command(channel, data, options)),
  rest_start_command: async (backend, { channel, data, ...options }) => command(await backend.startCommand(channel, data, options)),
  rest_read_command: async (backend, request) => command(await backend.readCommand(request.command)),
  rest_cancel_command: async (backend, request) => command(await backend.cancelCommand(request.command)),
  rest_history: (backend, { channel, last, since }) => backend.history(channel, { last, since }),
  rest_pull: async (backend, { group, max, waitMs }) => ({ messages: await backend.pull(group, { max, waitMs }) }),
  rest_ack: async (backend, { group, ackIds }) => ({ results: await backend.ack(group, ackIds) }),
  rest_peers: async (backend, { prefix, online }) => ({ peers: (await all(backend.peers({ prefix, online }))).map(({ peerId, online }) => ({ peer: peerId, online })) }),
  rest_members: async (backend, { channel }) => ({ members: members(await all(backend.members(channel))) }),
  rest_disconnect: async (backend, { peer, revoke }) => ({ closed: await backend.disconnect(peer, { revoke }) }),
};

/** Does what a request asks, and resolves to its answer. */
async function act({ id, do: what, client, ...request }) {
  if (requests[what]) {
    const { url, key, ...rest } = request;
    return requests[what](new Backend({ url, secretKey: key }), rest);
  }
  if (what === "connect") {
    peers.set(client, new Peer({ client, ...request }));
    return {};
  }
  const peer = peers.get(client);
  if (!peer) throw new Error(`there is no client ${client}`);
  if (!peer[what]) throw new Error(`${what} is nothing that this driver does`);
  return peer[what](request);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  act(request).then(
    (answer) => write({ ...answer, id: request.id, ok: true }),
    (error) => write({ id: request.id, error: codeOf(error), message: error.message, position: error.position }),
  );
}
await Promise.all([...peers.values()].map((peer) => peer.close()));
process.exit(0);
