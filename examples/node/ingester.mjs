#!/usr/bin/env node
// An ingester: hears every device's events through one wildcard subscription and
// appends them to a file, one JSON object a line, with the device's id.
//
//   FLEETWIRE_SECRET_KEY=... node ingester.mjs --out events.ndjson
//
// Needs ws (npm ci in this directory). Prints what it writes.
import { appendFileSync } from "node:fs";
import { parseArgs } from "node:util";
import WebSocket from "ws";

const { values: args } = parseArgs({
  options: {
    out: { type: "string", default: "events.ndjson" },
    peer: { type: "string", default: "ingester" },
  },
});
const baseURL = (process.env.FLEETWIRE_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");
const secretKey = process.env.FLEETWIRE_SECRET_KEY;
if (!secretKey) {
  console.error("FLEETWIRE_SECRET_KEY is not set: `make run` prints one");
  process.exit(2);
}

const PATTERN = "devices/*/events";
const SILENCE_MS = 75_000; // the service pings every 25 s: a connection this quiet is dead
const TERMINAL = new Set([4003, 4012, 4020]); // scope too wide, app suspended, disconnected by an operator

const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

async function mintToken() {
  const response = await fetch(`${baseURL}/v1/tokens`, {
    method: "POST",
    headers: { Authorization: `Bearer ${secretKey}`, "Content-Type": "application/json" },
    body: JSON.stringify({ peerId: args.peer, channels: [PATTERN], permissions: ["subscribe"] }),
  });
  if (!response.ok) throw new Error(`POST /v1/tokens: ${response.status} ${await response.text()}`);
  return (await response.json()).token;
}

// One connection, to its end: resolves to { code, reason, welcomed, retryAfterMs }.
function session(token) {
  return new Promise((resolve) => {
    const end = { code: 1006, reason: "", welcomed: false, retryAfterMs: undefined };
    // The token goes in a header, not in the URL: URLs end up in logs.
    const ws = new WebSocket(`${baseURL.replace(/^http/, "ws")}/v1`, { headers: { Authorization: `Bearer ${token}` } });
    const silence = setTimeout(() => ws.terminate(), SILENCE_MS);
    ws.on("ping", () => silence.refresh());
    ws.on("error", (error) => (end.reason = error.message)); // "close" follows
    ws.on("close", (code, reason) => {
      clearTimeout(silence);
      resolve({ ...end, code, reason: reason.toString() || end.reason });
    });
    ws.on("message", (bytes) => {
      silence.refresh();
      const frame = JSON.parse(bytes);
      if (frame.type === "welcome") {
        end.welcomed = true;
        ws.send(JSON.stringify({ type: "subscribe", channel: PATTERN, requestId: "sub" }));
      } else if (frame.type === "ack") {
        say("subscribed", { channel: PATTERN });
      } else if (frame.type === "message") {
        persist(frame);
      } else if (frame.type === "error") {
        say("error", { code: frame.code, message: frame.message });
      } else if (frame.type === "going_away") {
        end.retryAfterMs = frame.retryAfterMs;
      }
    });
  });
}

// The device's id comes from the channel, which the service has checked against
// the device's token, and not from the data, where a device may write anything.
function persist({ channel, data }) {
  const device = channel.split("/")[1];
  const record = { device, channel, receivedAt: new Date().toISOString(), data };
  appendFileSync(args.out, JSON.stringify(record) + "\n");
  say("persisted", record);
}

for (let failures = 0; ; failures++) {
  let end;
  try {
    end = await session(await mintToken());
  } catch (error) {
    end = { code: 1006, reason: error.message };
  }
  if (TERMINAL.has(end.code)) {
    say("stopped", { code: end.code, reason: end.reason });
    process.exit(1);
  }
  if (end.welcomed) failures = 0;
  // Jitter, so that not everyone who lost a node comes back at once.
  let delay = end.retryAfterMs ?? Math.random() * Math.min(30_000, 500 * 2 ** Math.min(failures, 8));
  if (end.code === 4010) delay += 30_000; // the plan's connections are used up: give others time to end
  say("disconnected", { code: end.code, reason: end.reason, retryInMs: Math.round(delay) });
  await new Promise((resolve) => setTimeout(resolve, delay));
}
