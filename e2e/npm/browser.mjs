// The published client's build for browsers, on two pages in Chromium, with
// Fleetwire as the server that they find each other through.
//
//   node browser.mjs < JSON    exits 0 when all is as it should be

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { eventually, patience, settings } from "./harness.mjs";

const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: [
    ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), // Chromium's own does not work for root
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // it asks nobody else, whatever it is curious about
  ],
});

/** Opens a page. With leave to use a camera, which it has no need of, Chromium tells the page's true addresses. */
async function open(url) {
  const context = await browser.newContext({ permissions: ["camera", "microphone"] });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("console", (message) => console.error(`${url}: ${message.text()}`));
  page.on("pageerror", (err) => console.error(`${url}: ${err}`));
  await page.goto(url);
  return page;
}

const until = (page, what, test, arg) => page.waitForFunction(test, arg).catch((err) => fail(page, `${what}: ${err.message}`));

async function fail(page, what) {
  const state = await page.evaluate(() => JSON.stringify({ ...seen, peers: Object.keys(seen.peers), state: peer?.state }));
  throw new Error(`${what}\nthe page: ${state}`);
}

try {
  const channel = "calls/hall";
  const [a, b] = [await open(settings.page), await open(settings.page)];
  const [red, blue] = ["#d00000", "#0000d0"];
  const join = (page, node, options) =>
    page.evaluate((options) => join(options), { url: settings.nodes[node], apiKey: settings.key, channel, ...options });

  // A page of another origin, where the key is not for, does not get in.
  const stranger = await open(settings.strangerPage);
  const refusal = await stranger.evaluate(
    (options) => join(options).then(() => "joined", ({ name, closeCode }) => `${name} ${closeCode}`),
    { url: settings.nodes[0], apiKey: settings.key, channel },
  );
  assert.equal(refusal, "SignallingConnectError 4001");

  // They find each other, on two nodes.
  const idA = await join(a, 0, { color: red, caller: true });
  const idB = await join(b, 1, {});
  assert.match(idA, /^anon_[0-9A-Za-z]{22}$/);
  await until(a, "A sees B", (id) => seen.peers[id], idB);
  await until(b, "B sees A", (id) => seen.peers[id], idA);

  // A data channel opens between them, and carries messages both ways.
  for (const [page, name] of [[a, "A"], [b, "B"]]) {
    await until(page, `${name}'s data channel is open`, () => seen.dataChannel?.readyState === "open");
  }
  for (const [from, to, text] of [[a, b, "from A"], [b, a, "from B"], [a, b, "again"]]) {
    await from.evaluate((text) => seen.dataChannel.send(text), text);
    await until(to, `"${text}" arrives`, (text) => seen.channelData.includes(text), text);
  }
  assert.deepEqual(await b.evaluate(() => seen.channelData), ["from A", "again"]);

  // Each sees the other's video, and it is the one that the other shows. B shows its own only now: when both begin at
  // once, the package itself loses its way in one of some twenty calls.
  await b.evaluate((color) => show(color), blue);
  for (const [page, name, color, of] of [[a, "A", blue, [2, 0]], [b, "B", red, [0, 2]]]) {
    await until(page, `${name} gets the stream`, () => seen.streams.length > 0);
    // The package finds a stream's metadata by its track's id, which is not the sender's where a way back was there before.
    const roles = await page.evaluate(() => seen.streams.map((metadata) => metadata?.role));
    assert.ok(roles.length === 1 && [undefined, color].includes(roles[0]), `${name} has streams with ${roles}`);
    const video = await eventually(`${name} decodes ten frames`, async () => {
      const video = await page.evaluate(() => watched());
      return video.framesDecoded >= 10 && video.width > 0 && Math.max(...video.color.slice(0, 3)) > 0 && video;
    });
    assert.equal(video.width / video.height, 320 / 240, JSON.stringify(video));
    const [strong, weak] = of.map((i) => video.color[i]);
    assert.ok(strong > 150 && weak < 60 && video.color[1] < 60, `${name} sees ${video.color} for ${color}`);
  }

  // What the server carries itself: a message to the channel, and one to a peer.
  await a.evaluate(() => peer.send({ to: "all" }));
  await b.evaluate((id) => peer.sendTo(id, { to: "you" }), idA);
  await until(b, "the broadcast arrives", () => seen.data.length === 1);
  await until(a, "the direct message arrives", () => seen.data.length === 1);
  assert.deepEqual(await b.evaluate(() => seen.data), [{ senderPeerId: idA, data: { to: "all" }, kind: "broadcast" }]);
  assert.deepEqual(await a.evaluate(() => seen.data), [{ senderPeerId: idB, data: { to: "you" }, kind: "direct" }]);

  // A page that offers subprotocols connects, and sees the first one chosen.
  const chosen = await a.evaluate(
    (url) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(url, ["fleetwire.v1", "json"]);
        socket.onopen = () => (resolve(socket.protocol), socket.close());
        socket.onerror = () => reject(new Error("no connection with subprotocols"));
      }),
    `${settings.nodes[0]}/v1?key=${settings.key}`,
  );
  assert.equal(chosen, "fleetwire.v1");

  // One leaves, by closing its page without a word; the other is told.
  await a.close();
  await until(b, "B sees A leave", (id) => seen.left.includes(id), idA);
  assert.deepEqual(await b.evaluate(() => seen.errors), []);
  assert.equal(await b.evaluate(() => peer.state), "joined");
} finally {
  await browser.close();
}
process.exit();
