// Fleetwire's own client for JavaScript, on pages in Chromium: it connects, subscribes, publishes, and comes back when the
// nodes are replaced.
//
//   node jsclient.mjs < JSON    exits 0 when all is as it should be

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { chromium } from "playwright-core";
import { Backend } from "../../clients/js/src/index.js";
import { patience, settings, within } from "./harness.mjs";

const backend = new Backend({ url: settings.rest, secretKey: settings.secretKey });
const channel = "log/hall";

const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: [
    ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []), // Chromium's own does not work for root
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", // it asks nobody else, whatever it is curious about
  ],
});

/** Opens a page, which gets its tokens from here. */
async function open(url, peer) {
  const page = await browser.newPage();
  page.setDefaultTimeout(patience);
  page.on("pageerror", (error) => console.error(`${peer}: ${error}`));
  await page.exposeFunction("fetchToken", () => backend.signToken({ peer, channels: ["log/*"], permissions: ["publish", "subscribe", "presence", "send"], ttlSec: 600 }));
  await page.goto(url);
  await page.waitForFunction(() => globalThis.fleetwire);
  return page;
}

const until = (page, what, test, arg) =>
  page.waitForFunction(test, arg).catch(async (error) => {
    throw new Error(`${what}: ${error.message}\nthe page: ${await page.evaluate(() => JSON.stringify(seen))}`);
  });

/** Connects a page through the balancer, and subscribes. */
const join = (page) =>
  page.evaluate(
    async ({ url, channel }) => {
      globalThis.client = new fleetwire.Client({
        url, token: () => fetchToken(), backoff: { firstMs: 50, mostMs: 500 },
        onState: ({ state, error }) => seen.states.push(error ? `${state} ${error.closeCode}` : state),
        onDirect: ({ data }) => seen.directs.push(data), onGap: (gap) => seen.gaps.push(gap), onError: (error) => seen.errors.push(String(error)),
      });
      const presence = ({ joined, left }) => (joined.forEach(({ peerId }) => seen.peers.add(peerId)), left.forEach(({ peerId }) => seen.peers.delete(peerId)));
      await client.subscribe(channel, ({ data }) => seen.messages.push(data), { presence });
    },
    { url: settings.balancer, channel },
  );

try {
  const [a, b] = [await open(settings.page, "page-a"), await open(settings.page, "page-b")];
  await join(a);
  await join(b);
  for (const page of [a, b]) await until(page, "presence", () => seen.peers.size === 2);
  const [first, reply] = [{ n: 1, text: "ü" }, [null, 1.5]];
  const { position } = await a.evaluate(({ channel, data }) => client.publish(channel, data), { channel, data: first });
  assert.equal(position.offset, 1);
  await until(b, "the message arrives", () => seen.messages.length === 1);
  await b.evaluate((data) => client.send("page-a", data), reply);
  await until(a, "the direct message arrives", () => seen.directs.length === 1);
  assert.deepEqual(await a.evaluate(() => seen.directs), [reply]);
  const refusal = await a.evaluate(() => client.publish("other/hall", 1).catch(({ code }) => code));
  assert.equal(refusal, "channel_not_authorized");

  // Both nodes are replaced while a backend publishes: the pages come back by themselves, and miss nothing.
  let restarted = false;
  const restart = fetch(`${settings.operator}/restart`, { method: "POST" }).then(() => (restarted = true));
  let n = 1;
  while (!restarted || n < 20) await Promise.all([backend.publish(channel, { n: ++n }), delay(10)]);
  await within(restart, "the nodes are replaced");
  for (const page of [a, b]) {
    await until(page, "it is back, and has all messages", (n) => seen.messages.at(-1)?.n === n && seen.states.at(-1) === "live", n);
  }
  const messages = await b.evaluate(() => seen.messages);
  assert.deepEqual(messages, [first, ...Array.from({ length: n - 1 }, (_, i) => ({ n: i + 2 }))]);
  for (const page of [a, b]) {
    const { states, gaps, errors } = await page.evaluate(() => seen);
    assert.ok(states.includes("going_away") && states.includes("waiting 1001"), `states: ${states}`);
    assert.deepEqual([gaps, errors], [[], []]);
  }

  // A publishable key is good on pages of its origin alone.
  const connectByKey = async ({ url, publishableKey }) => {
    const client = new fleetwire.Client({ url, publishableKey });
    const welcomed = client.connected().then(({ peerId }) => peerId.slice(0, 5), () => client.ended);
    const said = await Promise.race([welcomed, client.ended.then(({ closeCode }) => closeCode)]);
    await client.close();
    return said;
  };
  const byKey = (page) => within(page.evaluate(connectByKey, { url: settings.balancer, publishableKey: settings.publishableKey }), "an answer to a key");
  assert.equal(await byKey(a), "anon_");
  const stranger = await open(settings.strangerPage, "stranger");
  assert.equal(await byKey(stranger), 4001);

  // One closes in order; the other sees it leave.
  await a.evaluate(() => client.close());
  await until(b, "B sees A leave", () => !seen.peers.has("page-a"));
} finally {
  await browser.close();
}
process.exit();
