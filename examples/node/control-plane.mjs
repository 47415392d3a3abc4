#!/usr/bin/env node
// A control plane: sends a command to one device, or to a whole fleet, with one
// HTTPS request and no socket. Needs Node.js alone.
//
//   export FLEETWIRE_SECRET_KEY=...
//   node control-plane.mjs reboot camera-001
//   node control-plane.mjs set-frame-rate fleet-northeast 12
//
// A name that begins with "fleet-" is a fleet's; any other is a device's.
// Prints the response. `subscribers` is how many connections heard the command:
// 0 means that nobody was there, and that it is lost.
const COMMANDS = {
  reboot: () => ({ cmd: "reboot" }),
  "set-frame-rate": (fps) => {
    const n = Number(fps);
    if (!(n > 0)) usage(`set-frame-rate needs frames per second, a number over 0, not ${fps}`);
    return { cmd: "set-frame-rate", fps: n };
  },
};

function usage(problem) {
  console.error(`${problem}
usage: control-plane.mjs reboot <device|fleet>
       control-plane.mjs set-frame-rate <device|fleet> <fps>`);
  process.exit(2);
}

const [command, target, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command ?? "")) usage(`no command ${command ?? "given"}`);
if (!target) usage(`${command} needs the device or the fleet it is for`);
const data = COMMANDS[command](...rest);

const secretKey = process.env.FLEETWIRE_SECRET_KEY;
if (!secretKey) usage("FLEETWIRE_SECRET_KEY is not set: `make run` prints one");
const baseURL = (process.env.FLEETWIRE_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");

const channel = `${target.startsWith("fleet-") ? "fleets" : "devices"}/${target}/commands`;
// encodeURIComponent: the channel is one segment of the path, its slashes are %2F.
const response = await fetch(`${baseURL}/v1/channels/${encodeURIComponent(channel)}/publish`, {
  method: "POST",
  headers: { Authorization: `Bearer ${secretKey}`, "Content-Type": "application/json" },
  body: JSON.stringify({ from: "control-plane", data }),
});
const body = await response.text();
if (!response.ok) {
  console.error(`${response.status} ${body}`);
  process.exit(1);
}
console.log(body.trim());
