// The published client against two nodes on one Redis.
//
//   node client.mjs --list             the scenarios' names
//   node client.mjs SCENARIO < JSON    runs one; exits 0 when all is as it should be
//
// A scenario that has to show that something does not arrive publishes a marker
// after it: when the marker comes next, nothing was in between.

import assert from "node:assert/strict";
import { SignallingClient, SignallingConnectError, WsCloseCode } from "@metered-ca/realtime";
import WebSocket from "ws";
import { eventually, publishREST, rest, settings, sign, within } from "./harness.mjs";

const clients = [];

/** A client of node 0 or 1, or of the balancer, that keeps what it was told. */
class Peer {
  constructor(credential, { node = 0, url, ...options } = {}) {
    this.sockets = []; // those that the client has opened
    this.events = []; // [name, payload]
    this.taken = {};
    this.client = new SignallingClient({
      url: url ?? settings.nodes[node],
      reconnect: { initialDelayMs: 20, maxDelayMs: 500 },
      ...credential,
      ...options,
      webSocketFactory: (url) => {
        const socket = new WebSocket(url);
        this.sockets.push(socket);
        return socket;
      },
    });
    const names = ["connected", "disconnected", "message", "direct", "presence", "server-error", "going-away", "token-provider-error"];
    for (const name of names) {
      this.client.on(name, (payload) => {
        this.events.push([name, payload]);
        this.wake?.();
      });
    }
    clients.push(this.client);
  }

  async connect() {
    await within(this.client.connect(), "a welcome");
    return this.next("connected");
  }

  all(name) {
    return this.events.filter(([n]) => n === name).map(([, payload]) => payload);
  }

  /** The next event of that name which was not taken yet. */
  async next(name) {
    const n = this.taken[name] ?? 0;
    this.taken[name] = n + 1;
    await within(
      (async () => {
        while (this.all(name).length <= n) await new Promise((wake) => (this.wake = wake));
      })(),
      `${name} #${n + 1}; so far: ${JSON.stringify(this.events)}`,
    );
    return this.all(name)[n];
  }

  async expect(name, payload) {
    assert.deepEqual(await this.next(name), payload);
  }
}

const token = (key, sub, claims) => ({ tokenProvider: async () => sign(settings.keys[key], sub, claims) });

async function joined(credential, options, ...channels) {
  const peer = new Peer(credential, options);
  await peer.connect();
  for (const channel of channels) await peer.client.subscribe(channel);
  return peer;
}

/** Waits until so many connections are subscribed by name, over all nodes, and has told each of them data. */
const untilHeard = (channel, subscribers, data, key = "all") =>
  eventually(`${subscribers} subscribers of ${channel}`, async () => (await publishREST(settings.keys[key], channel, data)).subscribers === subscribers);

const refusal = async (promise, name) => {
  const err = await within(promise.then(() => null, (err) => err), name);
  assert.equal(err?.name, name, `${err}`);
  assert.ok(err.message.length > name.length, `the message says no more than the code: ${err.message}`);
};

const refusedConnect = async (credential, code) => {
  const peer = new Peer(credential);
  const err = await within(peer.client.connect().then(() => null, (err) => err), `close code ${code}`);
  assert.ok(err instanceof SignallingConnectError, `${err}`);
  assert.equal(err.closeCode, code, err.closeReason);
  assert.equal(peer.client.state, "closed");
};

/** Has the test do what its operator does. */
async function order(what) {
  const { status } = await fetch(`${settings.operator}/${what}`, { method: "POST" });
  assert.equal(status, 200);
}

const scenarios = {
  async "a token's peer is welcomed"() {
    const iceServers = [{ urls: ["turn:turn.example.com:3478"], username: "u", credential: "c" }];
    const exp = Math.floor(Date.now() / 1000) + 600;
    const welcome = await new Peer(token("all", "camera-1", { exp, metadata: { iceServers } })).connect();
    assert.equal(welcome.peerId, "camera-1");
    assert.equal(welcome.expiresAt, exp);
    assert.equal(welcome.maxMessageSize, 65536);
    assert.ok(Math.abs(welcome.serverTime - Date.now() / 1000) < 60);
    assert.equal(welcome.isReconnect, false);
    assert.deepEqual(welcome.iceServers, iceServers);
  },

  async "a minted token's peer is welcomed"() {
    const minted = await rest("POST", "/v1/tokens", settings.keys.all, { peerId: "camera-2", channels: ["devices/camera-2/*"] });
    const welcome = await new Peer({ tokenProvider: async () => minted.token }).connect();
    assert.equal(welcome.peerId, "camera-2");
    assert.equal(welcome.expiresAt, minted.expiresAt);
  },

  async "a publishable key's peer is anonymous"() {
    const a = new Peer({ apiKey: settings.keys.public });
    const welcome = await a.connect();
    assert.match(welcome.peerId, /^anon_[0-9A-Za-z]{22}$/);
    assert.equal(welcome.expiresAt, null);
    const b = await joined({ apiKey: settings.keys.public }, { node: 1 }, "public/hall");
    await a.client.publish("public/hall", "hello");
    await b.expect("message", { channel: "public/hall", from: welcome.peerId, data: "hello" });
    await refusal(a.client.publish("devices/d/events", 1), "channel_not_authorized");
  },

  // ws ends a connection for which it offered subprotocols and none was chosen.
  async "an offered subprotocol is chosen"() {
    for (const offered of [["fleetwire.v1"], ["json", "mqtt"], []]) {
      const socket = new WebSocket(`${settings.nodes[0]}/v1?key=${settings.keys.public}`, offered);
      await within(new Promise((open, fail) => socket.on("open", open).on("error", fail)), `a connection with ${offered}`);
      assert.equal(socket.protocol, offered[0] ?? "");
      socket.terminate();
    }
  },

  async "publishing reaches the other node and not the publisher"() {
    const a = await joined(token("all", "pub-a"), { node: 0 }, "devices/p/events");
    const b = await joined(token("all", "pub-b"), { node: 1 }, "devices/p/events");
    const values = [null, false, 0, -1.5, "", "ü😀\u0000", [], [[1]], {}, { a: { b: [null] } }];
    for (const value of values) await a.client.publish("devices/p/events", value);
    for (const data of values) await b.expect("message", { channel: "devices/p/events", from: "pub-a", data });
    await b.client.publish("devices/p/events", "marker");
    await a.expect("message", { channel: "devices/p/events", from: "pub-b", data: "marker" });
  },

  async "metadata comes where it was asked for"() {
    const metadata = { name: "Hall", floor: 2 };
    const a = await joined(token("all", "meta-a", { peerMetadata: metadata }), { node: 0 });
    const without = await joined(token("all", "meta-b"), { node: 1 }, "devices/m/events");
    const withIt = await joined(token("all", "meta-c"), { node: 1 });
    await withIt.client.subscribe("devices/m/events", { includeSenderMetadata: true });
    await a.client.publish("devices/m/events", 1);
    await without.expect("message", { channel: "devices/m/events", from: "meta-a", data: 1 });
    await withIt.expect("message", { channel: "devices/m/events", from: "meta-a", fromMetadata: metadata, data: 1 });
    await without.client.publish("devices/m/events", 2); // has none
    await withIt.expect("message", { channel: "devices/m/events", from: "meta-b", data: 2 });
  },

  async "unsubscribing ends it"() {
    const a = await joined(token("all", "unsub"), { node: 0 }, "devices/u/events", "devices/u/marker");
    await publishREST(settings.keys.all, "devices/u/events", 1);
    await a.expect("message", { channel: "devices/u/events", from: "server", data: 1 });
    await a.client.unsubscribe("devices/u/events");
    await a.client.unsubscribe("devices/u/events"); // again is fine
    assert.equal((await publishREST(settings.keys.all, "devices/u/events", 2)).subscribers, 0);
    await publishREST(settings.keys.all, "devices/u/marker", 3);
    await a.expect("message", { channel: "devices/u/marker", from: "server", data: 3 });
  },

  async "a wildcard hears every device, once"() {
    const ingester = await joined(token("all", "ingester"), { node: 1 }, "devices/*/w", "devices/w1/w");
    const cameras = [await joined(token("all", "w1")), await joined(token("all", "w2"), { node: 1 })];
    for (const [i, camera] of cameras.entries()) await camera.client.publish(`devices/w${i + 1}/w`, i);
    for (const i of [0, 1]) await ingester.expect("message", { channel: `devices/w${i + 1}/w`, from: `w${i + 1}`, data: i });
    await publishREST(settings.keys.all, "devices/marker/w", "marker");
    await ingester.expect("message", { channel: "devices/marker/w", from: "server", data: "marker" });
  },

  async "a direct message reaches every connection of its peer"() {
    const metadata = { name: "Hall" };
    const a = await joined(token("all", "direct-a", { peerMetadata: metadata }), { node: 0 });
    const b = [await joined(token("all", "direct-b"), { node: 0 }), await joined(token("all", "direct-b"), { node: 1 })];
    const other = await joined(token("all", "direct-c"), { node: 1 });
    await a.client.send("direct-b", { offer: 1 });
    for (const connection of b) await connection.expect("direct", { from: "direct-a", fromMetadata: metadata, data: { offer: 1 } });
    await b[1].client.send("direct-a", null); // has no metadata
    await a.expect("direct", { from: "direct-b", data: null });
    await a.client.send("direct-c", "marker");
    await other.expect("direct", { from: "direct-a", fromMetadata: metadata, data: "marker" });

    await refusal(a.client.send("direct-nobody", 1), "peer_not_found");
    await refusal(a.client.send("ü", 1), "invalid_peer_id");
    await refusal((await joined(token("few", "direct-d"))).client.send("direct-a", 1), "action_not_permitted");
    await other.client.close();
    await eventually("who has left cannot be sent to", () => a.client.send("direct-c", 1).then(() => false, (err) => err.name === "peer_not_found"));
  },

  async "presence is a snapshot, then changes"() {
    const channel = "fleets/presence/commands";
    const listing = () => rest("GET", `/v1/channels/${encodeURIComponent(channel)}/peers`, settings.keys.all);
    const [hall, yard] = [{ peerId: "presence-a", metadata: { name: "Hall" } }, { peerId: "presence-b", metadata: { name: "Yard" } }];
    const a = await joined(token("all", "presence-a", { peerMetadata: hall.metadata }), { node: 0 }, channel);
    await a.expect("presence", { channel, joined: [hall], left: [] });
    const listener = await joined(token("all", "listener"), { node: 1 }, "fleets/*/commands"); // not listed, no snapshot

    const b = await joined(token("all", "presence-b", { peerMetadata: yard.metadata }), { node: 1 }, channel);
    await b.expect("presence", { channel, joined: [hall, yard], left: [] });
    for (const peer of [a, listener]) await peer.expect("presence", { channel, joined: [yard], left: [] });
    assert.deepEqual(await listing(), { channel, peers: [hall, yard], cursor: null });

    // Who may not see presence is seen, and sees nothing.
    const blind = await joined(token("all", "presence-c", { permissions: ["subscribe"] }), { node: 0 }, channel);
    for (const peer of [a, b, listener]) await peer.expect("presence", { channel, joined: [{ peerId: "presence-c" }], left: [] });

    // A peer is there from its first connection to its last.
    const second = await joined(token("all", "presence-b", { peerMetadata: yard.metadata }), { node: 0 }, channel);
    await second.next("presence");
    await b.client.close();
    await blind.client.unsubscribe(channel); // the marker
    for (const peer of [a, second, listener]) await peer.expect("presence", { channel, joined: [], left: [{ peerId: "presence-c" }] });
    second.sockets[0].terminate(); // without a word
    await second.client.close();
    for (const peer of [a, listener]) {
      const { joined, left } = await peer.next("presence");
      assert.deepEqual([joined, left.map(({ peerId }) => peerId)], [[], ["presence-b"]]);
    }
    assert.deepEqual(await listing(), { channel, peers: [hall], cursor: null });
    assert.deepEqual(blind.all("presence"), []);
  },

  async "whoever hears of a peer can call it"() {
    // As WebRTC does: everyone makes an offer to whom they hear of, and drops those from whom they have not heard of.
    const channel = "fleets/calls/commands";
    const there = [];
    for (let i = 0; i < 24; i++) {
      const peer = new Peer(token("all", `call-${i}`), { node: i % 2 });
      const known = new Set([`call-${i}`]);
      peer.strangers = [];
      peer.offers = [];
      peer.client.on("presence", ({ joined }) => {
        for (const { peerId } of joined) {
          if (!known.has(peerId)) peer.offers.push(peer.client.send(peerId, "offer"));
          known.add(peerId);
        }
      });
      peer.client.on("direct", ({ from }) => known.has(from) || peer.strangers.push(from));
      await peer.connect();
      await peer.client.subscribe(channel);
      there.push(peer);
      for (const [n, p] of there.entries()) {
        await eventually(`call-${n} is called by the ${i} others`, () => p.all("direct").length === i);
        assert.deepEqual(p.strangers, [], `call-${n} had offers from those that it had not heard of, when call-${i} came`);
      }
    }
    for (const peer of there) await Promise.all(peer.offers);
  },

  async "errors have their names, and the connection stays"() {
    const a = await joined(token("all", "errors", { channels: ["devices/**"] }));
    const few = await joined(token("few", "few"));
    await refusal(a.client.subscribe("fleets/f1/commands"), "channel_not_authorized");
    await refusal(a.client.publish("fleets/f1/commands", 1), "channel_not_authorized");
    await refusal(a.client.subscribe("fleets/**"), "channel_not_authorized");
    await refusal(a.client.subscribe("devices/../x"), "invalid_channel");
    await refusal(a.client.publish("devices/*/events", 1), "invalid_channel");
    await refusal(a.client.subscribe("ü".repeat(129)), "invalid_channel"); // 258 bytes, which the client counts as 129
    await refusal(a.client.subscribe("_system/x"), "channel_reserved");
    await refusal(few.client.publish("devices/x", 1), "action_not_permitted");
    for (let i = 0; i < 100; i++) await a.client.subscribe(`devices/limit/${i}`);
    await refusal(a.client.subscribe("devices/limit/100"), "channel_limit_exceeded");
    for (const peer of [a, few]) {
      assert.deepEqual(peer.all("disconnected"), []);
      assert.deepEqual(peer.all("server-error"), []); // each went to the call that it is about
    }
    // An error without a requestId is nobody's call; the client tells it as an event.
    a.sockets[0].send('{"type":"subscribe"}');
    const error = await a.next("server-error");
    assert.equal(error.code, "invalid_channel");
    assert.equal(error.requestId, undefined);
    a.sockets[0].send("[]");
    assert.equal((await a.next("server-error")).code, "malformed_message");
  },

  async "over the message quota messages are dropped softly"() {
    const peer = await joined(token("tight", "quota"), {}, "q/marker");
    await publishREST(settings.keys.tight, "q/marker", 1);
    await peer.client.publish("q/a", 2);
    await peer.client.publish("q/a", 3); // the third of three
    await refusal(peer.client.publish("q/a", 4), "over_message_quota");
    await peer.expect("message", { channel: "q/marker", from: "server", data: 1 });
    assert.deepEqual(peer.all("disconnected"), []);
    await peer.client.subscribe("q/b"); // goes on
    await peer.client.close();
  },

  async "refusals have their close codes, and are final"() {
    const unknown = settings.keys.all.replace(":", "x:");
    await refusedConnect({ tokenProvider: async () => sign(unknown, "p") }, WsCloseCode.InvalidToken);
    await refusedConnect({ tokenProvider: async () => sign(settings.keys.all + "x", "p") }, WsCloseCode.InvalidToken);
    await refusedConnect({ tokenProvider: async () => "nonsense" }, WsCloseCode.InvalidToken);
    await refusedConnect({ apiKey: "pk_live_nobody" }, WsCloseCode.InvalidToken);
    await refusedConnect(token("all", "p", { exp: 1 }), WsCloseCode.TokenExpired);
    await refusedConnect(token("all", "p", { channels: ["elsewhere/**"] }), WsCloseCode.ChannelNotAuthorized);
    await refusedConnect(token("suspended", "p"), WsCloseCode.AccountSuspended);
    const only = await joined(token("tight", "one"));
    await refusedConnect(token("tight", "two"), WsCloseCode.OverConcurrentLimit);
    await only.client.close();
  },

  async "too many frames close the connection, and it comes back"() {
    const peer = await joined(token("slow", "fast"), {}, "r/a");
    const results = Promise.allSettled(Array.from({ length: 30 }, (_, i) => peer.client.publish("r/b", i)));
    const { code, willReconnect } = await peer.next("disconnected");
    assert.deepEqual([code, willReconnect], [WsCloseCode.OverMessageRate, true]);
    const names = (await within(results, "every call settles")).map((r) => r.reason?.name ?? "published");
    assert.equal(names.at(-1), "DisconnectedError", names.join());
    assert.equal((await peer.next("connected")).isReconnect, true);
    await untilHeard("r/a", 1, "back", "slow");
    await peer.expect("message", { channel: "r/a", from: "server", data: "back" });
  },

  async "a frame that is too large"() {
    const peer = await joined(token("all", "large"), {}, "devices/large");
    // The client measures data alone, and refuses what no frame can hold.
    await refusal(peer.client.publish("devices/large/a", "x".repeat(65536)), "OversizedPayloadError");
    assert.deepEqual(peer.all("disconnected"), []);
    await peer.client.publish("devices/large/a", "x".repeat(65000));
    // What fits but for the rest of its frame is the server's to refuse. The client comes back, with its subscription.
    await refusal(peer.client.publish("devices/large/a", "x".repeat(65530)), "DisconnectedError");
    const { code, willReconnect } = await peer.next("disconnected");
    assert.deepEqual([code, willReconnect], [WsCloseCode.MessageTooBig, true]);
    assert.equal((await peer.next("connected")).isReconnect, true);
    await untilHeard("devices/large", 1, "back");
    await peer.expect("message", { channel: "devices/large", from: "server", data: "back" });
  },

  async "a kick is final"() {
    const iat = Math.floor(Date.now() / 1000) - 5;
    const kicked = [await joined(token("all", "kicked", { iat }), { node: 0 }), await joined(token("all", "kicked", { iat }), { node: 1 })];
    const other = await joined(token("all", "not-kicked"), { node: 1 });
    assert.deepEqual(await rest("DELETE", "/v1/peers/kicked", settings.keys.all), { peerId: "kicked", closed: 2 });
    for (const connection of kicked) {
      const { code, willReconnect } = await connection.next("disconnected");
      assert.deepEqual([code, willReconnect], [WsCloseCode.AdminDisconnect, false]);
      assert.equal(connection.client.state, "closed");
      assert.equal(connection.sockets.length, 1);
    }
    assert.deepEqual(await rest("DELETE", "/v1/peers/kicked", settings.keys.all), { peerId: "kicked", closed: 0 });

    // Its token is good for another connection, until that is revoked as well.
    const again = await joined(token("all", "kicked", { iat }));
    assert.deepEqual(await rest("DELETE", "/v1/peers/kicked?revoke=true", settings.keys.all), { peerId: "kicked", closed: 1 });
    assert.equal((await again.next("disconnected")).code, WsCloseCode.AdminDisconnect);
    await refusedConnect(token("all", "kicked", { iat }), WsCloseCode.InvalidToken);
    // A token of a later second is a new one.
    await joined(token("all", "kicked", { iat: Math.floor(Date.now() / 1000) + 2 }));
    assert.deepEqual(other.all("disconnected"), []);
  },

  async "a key is rotated, and all devices come back by themselves"() {
    // Both keys are known by now; the token server goes over to the next one, and the leaked one is taken out.
    let signs = "leaked";
    const size = 12;
    const provider = (sub) => ({ tokenProvider: async () => sign(settings.keys[signs], sub) });
    const fleet = await Promise.all(
      Array.from({ length: size }, (_, i) => joined(provider(`rotated-${i}`), { url: settings.balancer }, "rotated/commands")),
    );
    const kept = await joined(token("kept", "bystander"), { node: 1 }, "rotated/events");
    const page = await joined({ apiKey: settings.keys.changingPublic }, { node: 0 });
    const back = async (code) => {
      for (const peer of fleet) {
        const end = await peer.next("disconnected");
        assert.deepEqual([end.code, end.willReconnect], [code, true]);
        assert.equal((await peer.next("connected")).isReconnect, true);
        assert.equal(peer.sockets.length, 2); // it was let in at once
      }
    };
    signs = "kept";
    await order("rotate");
    await back(WsCloseCode.TokenExpired);
    await untilHeard("rotated/commands", size, "all back", "kept");
    for (const peer of fleet) await peer.expect("message", { channel: "rotated/commands", from: "server", data: "all back" });
    await refusedConnect(token("leaked", "thief"), WsCloseCode.InvalidToken);
    assert.deepEqual([kept.all("disconnected"), page.all("disconnected")], [[], []]);

    // No token helps a page whose publishable key is gone, nor anybody in a suspended app.
    await order("hide");
    const hidden = await page.next("disconnected");
    assert.deepEqual([hidden.code, hidden.willReconnect], [WsCloseCode.InvalidToken, false]);
    assert.deepEqual(kept.all("disconnected"), []);
    await order("suspend");
    for (const peer of [kept, ...fleet]) {
      const end = await peer.next("disconnected");
      assert.deepEqual([end.code, end.willReconnect], [WsCloseCode.AccountSuspended, false]);
    }
  },

  async "a key's secret is changed in place"() {
    let signs = "formerSecret";
    const device = await joined({ tokenProvider: async () => sign(settings.keys[signs], "device") }, { node: 1 }, "secret/commands");
    signs = "nextSecret";
    await order("change-secret");
    const { code, willReconnect } = await device.next("disconnected");
    assert.deepEqual([code, willReconnect], [WsCloseCode.TokenExpired, true]);
    assert.equal((await device.next("connected")).isReconnect, true);
    assert.equal(device.sockets.length, 2);
  },

  async "the client's keepalive is answered"() {
    // The client pings after a third of this time without a frame (at least a second), and closes after all of it.
    const peer = new Peer(token("all", "idle"), { inactivityTimeoutMs: 2500 });
    await peer.connect();
    const pongs = [];
    const four = new Promise((resolve) => {
      peer.sockets[0].on("message", (frame) => pongs.push(String(frame)) === 4 && resolve());
    });
    await within(four, "four pongs");
    assert.deepEqual(pongs, Array(4).fill('{"type":"pong"}'));
    assert.deepEqual(peer.all("disconnected"), []);
  },

  async "an expired token leads to a reconnect and a resubscribe"() {
    let minted = 0;
    const tokenProvider = async () => {
      minted++;
      const body = { peerId: "expiring", channels: ["devices/e/*"], expiresInSec: minted === 1 ? 2 : 600 };
      return (await rest("POST", "/v1/tokens", settings.keys.all, body)).token;
    };
    const peer = await joined({ tokenProvider }, {}, "devices/e/commands");
    const { code, willReconnect } = await peer.next("disconnected");
    assert.deepEqual([code, willReconnect], [WsCloseCode.TokenExpired, true]);
    const welcome = await peer.next("connected");
    assert.equal(welcome.isReconnect, true);
    assert.equal(minted, 2);
    await untilHeard("devices/e/commands", 1, "again");
    await peer.expect("message", { channel: "devices/e/commands", from: "server", data: "again" });
    assert.equal(peer.client.state, "connected");
  },

  async "a rolling restart loses no subscription"() {
    const size = 30;
    const fleet = await Promise.all(
      Array.from({ length: size }, (_, i) =>
        joined(token("all", `roll-${i}`), { url: settings.balancer }, `devices/roll-${i}/commands`, "fleets/roll/commands"),
      ),
    );
    const ingester = await joined(token("all", "roll-ingester"), { url: settings.balancer }, "devices/*/roll");
    const everyone = [...fleet, ingester];

    await order("restart");
    for (const peer of everyone) {
      assert.ok((await peer.next("going-away")).retryAfterMs > 0);
      const { code, willReconnect } = await peer.next("disconnected");
      assert.deepEqual([code, willReconnect], [WsCloseCode.GoingAway, true]);
    }
    await eventually("all are connected", () => everyone.every((peer) => peer.client.state === "connected"));

    // Every subscription is back: those by name, as REST counts them and as they hear it …
    await untilHeard("fleets/roll/commands", size, "all back");
    for (const [i, peer] of fleet.entries()) {
      await untilHeard(`devices/roll-${i}/commands`, 1, i);
      await eventually(`roll-${i} hears its channel`, () => peer.all("message").some((m) => m.channel === `devices/roll-${i}/commands` && m.data === i));
      await eventually(`roll-${i} hears the fleet's`, () => peer.all("message").some((m) => m.channel === "fleets/roll/commands"));
    }
    // … and the wildcard.
    await eventually("the ingester hears", async () => {
      await fleet[0].client.publish("devices/roll-0/roll", "event");
      return ingester.all("message").some((m) => m.from === "roll-0" && m.data === "event");
    });
    // Each command comes once: nobody is subscribed twice.
    const before = fleet.map((peer) => peer.all("message").length);
    assert.equal((await publishREST(settings.keys.all, "fleets/roll/commands", "once")).subscribers, size);
    assert.equal((await publishREST(settings.keys.all, "fleets/roll/commands", "marker")).subscribers, size);
    for (const [i, peer] of fleet.entries()) {
      await eventually(`roll-${i} hears the marker`, () => peer.all("message").some((m) => m.data === "marker"));
      assert.deepEqual(peer.all("message").slice(before[i]).map((m) => m.data), ["once", "marker"]);
    }
  },
};

const [name] = process.argv.slice(2);
if (name === "--list") {
  for (const scenario of Object.keys(scenarios)) console.log(scenario);
} else {
  if (!Object.hasOwn(scenarios, name)) throw new Error(`there is no scenario ${name}; --list lists them`);
  await scenarios[name]();
  await Promise.all(clients.map((client) => client.close()));
  process.exit(); // the client's timers would hold it for another second
}
