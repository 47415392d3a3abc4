#!/usr/bin/env node
// An ingester: appends the events of all devices to a file, one JSON object a line, with the
// device's id. The service keeps each event for the group until the ingester acknowledges
// it. So none is lost while no ingester runs, or when this one crashes; and several can
// share the work. An event that comes again, after a crash, has an attempt over 1.
//
//   FLEETWIRE_SECRET_KEY=... node ingester.mjs --out events.ndjson
//
// Needs ws (npm ci in this directory). Prints what it writes.
import { fsyncSync, openSync, writeSync } from "node:fs";
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

// The group in the app's document: {"groups":[{"name":"ingest","patterns":["devices/*/events"]}]}
const GROUP = "ingest";
const PATTERN = "devices/*/events";
// Errors that end the subscription to the group: without it there is nothing to do.
const REFUSED = new Set(["group_not_found", "channel_not_authorized"]);

async function token() {
  const answer = await askToken(`${baseURL}/v1/tokens`, {
    method: "POST",
    headers: { Authorization: `Bearer ${secretKey}`, "Content-Type": "application/json" },
    body: JSON.stringify({ peerId: args.peer, channels: [PATTERN], permissions: ["subscribe"] }),
  });
  return answer.token;
}

const file = openSync(args.out, "a");
let waiting = []; // events that are not on the disk yet

function take(frame, send) {
  if (frame.type === "welcome") send({ type: "subscribe", group: GROUP, requestId: "sub" });
  else if (frame.type === "ack") say("subscribed", { group: GROUP });
  else if (frame.type === "error" && REFUSED.has(frame.code)) process.exit(1); // the error is printed
  else if (frame.type === "message") {
    if (waiting.push({ ackId: frame.ackId, line: JSON.stringify(record(frame)) }) === 1) setImmediate(persist, send);
  }
}

// The device's id comes from the channel, which the service has checked against
// the device's token, and not from the data, where a device may write anything.
function record({ channel, publishedAt, attempt, data }) {
  return { device: channel.split("/")[1], channel, publishedAt: new Date(publishedAt).toISOString(), attempt, data };
}

// Writes what has come in one go, and acknowledges it when the disk has it.
function persist(send) {
  const events = waiting;
  waiting = [];
  writeSync(file, events.map(({ line }) => line + "\n").join(""));
  fsyncSync(file);
  send({ type: "group_ack", ackIds: events.map(({ ackId }) => ackId) });
  for (const { line } of events) console.log('{"event":"persisted",' + line.slice(1));
}

await stayConnected({ token, take });
