#!/usr/bin/env node
// A receiver of a webhook: checks that the service has signed what comes, and appends the
// messages to a file, one JSON object a line, each once. The service sends messages again
// until the receiver has answered with 2xx, so none is lost while it does not run.
//
//   WEBHOOK_SECRET=whsec_... node webhook.mjs --listen 127.0.0.1:8090 --out events.ndjson
//
// Needs standardwebhooks (npm ci in this directory). Prints what it writes.
import { existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Webhook } from "standardwebhooks";

const { values: args } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:8090" },
    out: { type: "string", default: "events.ndjson" },
  },
});
if (!process.env.WEBHOOK_SECRET) {
  console.error("WEBHOOK_SECRET is not set: give one of the sink's secrets, whsec_…");
  process.exit(2);
}
const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const MAX_BODY = 4 << 20; // a batch has some 100 KiB

// A message that comes again has the same id.
const seen = new Set();
if (existsSync(args.out)) {
  for (const line of readFileSync(args.out, "utf8").split("\n")) if (line) seen.add(JSON.parse(line).id);
}
const file = openSync(args.out, "a");

async function read(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY) throw new Error("the body is too long");
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

// Writes the messages that are new, and returns when the disk has them.
function store(messages) {
  const fresh = messages.filter(({ id }) => !seen.has(id));
  writeSync(file, fresh.map((m) => JSON.stringify(m) + "\n").join(""));
  fsyncSync(file);
  for (const { id } of fresh) seen.add(id);
  console.log(JSON.stringify({ event: "stored", messages: fresh.length, again: messages.length - fresh.length }));
}

async function answer(request) {
  let messages;
  try {
    // Signed is the body as it came, so it is parsed after that. Old ones are refused, too.
    messages = webhook.verify(await read(request), request.headers);
  } catch {
    return 401;
  }
  try {
    store(messages);
    return 204;
  } catch (err) {
    console.error(String(err));
    return 503; // not now: the service tries again later. Another 4xx or 5xx would count against each message
  }
}

const server = createServer(async (request, response) => response.writeHead(await answer(request)).end());
const [host, port] = args.listen.split(":");
server.listen(Number(port), host, () => console.log(JSON.stringify({ event: "listening", port: server.address().port })));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
process.on("SIGINT", () => process.exit(0));
