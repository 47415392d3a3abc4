// What a program in TypeScript does with the package: `tsc` must accept it, and refuse what is marked.

import { Backend, Client, FleetwireError, Rejected, signToken, StopError, type Command, type Gap, type Position } from "fleetwire";

const backend = new Backend({ url: "https://host", secretKey: "sk_1:secret" });
const client = new Client({
  url: "https://host",
  token: async ({ signal }) => {
    if (signal.aborted) throw new StopError("no");
    return signToken("sk_1:secret", { peer: "a", permissions: ["publish"] });
  },
  onState: (change) => {
    if (change.state === "connected") console.log(change.welcome.peerId);
    if (change.state === "waiting") console.log(change.retryInMs, change.error.closeCode);
    // @ts-expect-error: only some changes have an error
    change.error;
  },
  onGap: ({ channel, after, until }: Gap) => console.log(channel, after?.offset, until?.epoch),
});
new Client({ url: "https://host", token: "one", WebSocket: globalThis.WebSocket, backoff: { firstMs: 1 } });
new Client({ url: "https://host", token: backend.tokens({ peer: "a" }) });
// @ts-expect-error: there is no such action
backend.mintToken({ peer: "a", permissions: ["fly"] });
// @ts-expect-error: a URL is needed
new Client({ token: "one" });

const list: number[] = [];
let newest: Position | undefined;
await client.subscribe("fleets/*/log", async ({ channel, data, position, missed }) => console.log(channel, data.n, position?.offset, missed), { last: 3 });
await client.handleCommands("c", ({ data, progress, signal }) => (signal.aborted ? Promise.reject(new Rejected("no")) : progress({ n: data })), { confirm: true });
({ position: newest } = await client.publish("c", { n: 1 }, { if: { epoch: "e", offset: 1 }, idempotencyKey: "k" }));
await client.group("ingest", (events) => events.forEach(({ channel, attempt }) => console.log(channel, attempt)), { signal: AbortSignal.timeout(1) });
await client.subscribe("c", ({ data }) => list.push(data));
await client.setWill("c", null, { delayMs: 1 });
const reason: FleetwireError = await client.ended;
// @ts-expect-error: a handler is needed
await client.subscribe("c");

const { subscribers, position } = await backend.publish("c", { cmd: "reboot" }, { from: "me", if: newest });
const command: Command = await backend.command("c", 1, { ttlMs: 1, rollout: { perMinute: 1 } });
for (const { peer, status } of command.answers) console.log(peer, status === "succeeded");
for await (const { peerId, online } of backend.peers({ online: true })) console.log(peerId, online);
for (const result of await backend.publishMany([{ channel: "c", data: 1 }])) console.log("error" in result ? result.error.code : result.subscribers);
const { messages } = await backend.history("c", { since: position });
console.log(reason.code, subscribers, messages[0]?.position.offset, (await backend.pull("g", { waitMs: 1 }))[0]?.ackId);
