#!/usr/bin/env node
// An ingester: hears every device's events through one wildcard subscription and
// appends them to a file, one JSON object a line, with the device's id.
//
//   FLEETWIRE_SECRET_KEY=... node ingester.mjs --out events.ndjson
//
// Needs ws (npm ci in this directory). Prints what it writes.
import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { askToken, baseURL, say, stayConnected } from "./connection.mjs";

const { values: args } = parseArgs({
  options: {
    out: { type: "string", default: "events.ndjson" },
    peer: { type: "string", default: "ingester" },
  },
});
const secretKey = process.env.FLEETWIRE_SECRET_KEY;
if (!secretKey) {
  console.error("FLEETWIRE_SECRET_KEY is not set: `make run` prints one");
  process.exit(2);
}

const PATTERN = "devices/*/events";

async function token() {
  const answer = await askToken(`${baseURL}/v1/tokens`, {
    method: "POST",
    headers: { Authorization: `Bearer ${secretKey}`, "Content-Type": "application/json" },
    body: JSON.stringify({ peerId: args.peer, channels: [PATTERN], permissions: ["subscribe"] }),
  });
  return answer.token;
}

function take(frame, send) {
  if (frame.type === "welcome") send({ type: "subscribe", channel: PATTERN, requestId: "sub" });
  else if (frame.type === "ack") say("subscribed", { channel: PATTERN });
  else if (frame.type === "message") persist(frame);
}

// The device's id comes from the channel, which the service has checked against
// the device's token, and not from the data, where a device may write anything.
function persist({ channel, data }) {
  const device = channel.split("/")[1];
  const record = { device, channel, receivedAt: new Date().toISOString(), data };
  appendFileSync(args.out, JSON.stringify(record) + "\n");
  say("persisted", record);
}

await stayConnected({ token, take });
