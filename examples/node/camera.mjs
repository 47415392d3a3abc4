#!/usr/bin/env node
// A camera: what ../python/camera.py does, in JavaScript. It publishes motion events, obeys
// commands and answers them, and comes back when it is cut off.
//
//   export FLEETWIRE_PROVISIONING_SECRET=...
//   node camera.mjs http://127.0.0.1:8090 --device camera-003
//
// Needs ws (npm ci in this directory). The token server alone is shown the provisioning
// secret, with which the camera left the factory.
import { parseArgs } from "node:util";
import { askToken, say, stayConnected } from "./connection.mjs";

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "camera-003" },
    interval: { type: "string", default: "5" }, // seconds between motion events
    count: { type: "string", default: "0" }, // publish so many events, then only listen; 0: no end
  },
});
const [tokenServer] = positionals;
const [interval, count] = [Number(args.interval), Number(args.count)];
if (!tokenServer || !(interval > 0) || !(count >= 0)) {
  console.error("usage: camera.mjs <token server> [--device <id>] [--interval <seconds>] [--count <events>]");
  process.exit(2);
}

let fleet;

async function token() {
  const secret = process.env.FLEETWIRE_PROVISIONING_SECRET;
  const answer = await askToken(`${tokenServer}/token?device=${encodeURIComponent(args.device)}`, {
    headers: secret ? { Authorization: `Bearer ${secret}` } : {},
  });
  fleet = answer.fleet;
  return answer.token;
}

let unacked, welcomedAt; // the connection's: subscriptions that are not acked yet; since when

function take(frame, send) {
  const request = frame.requestId ?? "";
  if (frame.type === "welcome") {
    welcomedAt = performance.now();
    say("welcome", { peerId: frame.peerId });
    unacked = new Map([["sub-device", `devices/${args.device}/commands`], ["sub-fleet", `fleets/${fleet}/commands`]]);
    for (const [requestId, channel] of unacked) send({ type: "subscribe", channel, commands: "confirm", requestId });
    for (const id of unheard) answer(id, send); // their acks may have been lost
  } else if (frame.type === "ack" && unacked.has(request)) {
    say("subscribed", { channel: unacked.get(request) });
    unacked.delete(request);
    // Events wait for the acks of both subscriptions: from then on no command is missed.
    if (unacked.size === 0) publish(send);
  } else if (frame.type === "ack" && request.startsWith("answer-")) {
    unheard.delete(request.slice("answer-".length));
  } else if (frame.type === "ack") {
    say("published", { seq: Number(request.slice("event-".length)) });
  } else if (frame.type === "message" && typeof frame.command?.id === "string") {
    command(frame.command.id, frame, send);
  } else if (frame.type === "message") {
    obey(frame, () => {}); // nobody waits for what becomes of it
  } else if (frame.type === "error" && frame.code !== "backend_error") {
    unheard.delete(request.slice("answer-".length)); // after backend_error it is answered again on the next connection
  } else if (frame.type === "going_away") {
    say("going_away", { retryAfterMs: frame.retryAfterMs }); // the close follows; until then commands still come
  }
}

let published = 0, timer;

function publish(send) {
  if (count && published >= count) return;
  published++;
  const data = { event: "motion", seq: published, at: Math.floor(Date.now() / 1000) };
  send({ type: "publish", channel: `devices/${args.device}/events`, requestId: `event-${published}`, data });
  timer = setTimeout(publish, interval * 1000, send);
}

const REMEMBERED = 1000; // commands: one that comes again is answered, and not done again
const answers = new Map(); // to the last commands, by their ids
const unheard = new Set(); // those of them that the service has not acked

// Does a command, unless it was done before, and answers it.
function command(id, message, send) {
  if (!answers.has(id)) {
    send({ type: "answer", command: id, status: "received" }); // else it comes again, if the connection ends
    answers.set(id, obey(message, (data) => send({ type: "answer", command: id, status: "running", data })));
    if (answers.size > REMEMBERED) {
      const [forgotten] = answers.keys();
      answers.delete(forgotten);
      unheard.delete(forgotten);
    }
  }
  answer(id, send);
}

function answer(id, send) {
  unheard.add(id);
  send({ type: "answer", command: id, requestId: `answer-${id}`, ...answers.get(id) });
}

// Does what a command says, and returns how that went.
function obey({ channel, data }, progress) {
  const { cmd, fps, version } = data ?? {};
  if (cmd === "reboot") {
    say("reboot", { channel });
    return { status: "succeeded", data: { uptime: Math.round((performance.now() - welcomedAt) / 1000) } };
  }
  if (cmd === "set-frame-rate" && typeof fps === "number" && fps > 0 && fps <= 120) {
    say("set-frame-rate", { channel, fps });
    return { status: "succeeded", data: { fps } };
  }
  if (cmd === "update" && typeof version === "string" && version) {
    progress({ percent: 50 });
    say("update", { channel, version });
    return { status: "succeeded", data: { version } };
  }
  say("unknown-command", { channel });
  return { status: "rejected", data: "unknown command" };
}

await stayConnected({ token, take, ended: () => clearTimeout(timer) });
