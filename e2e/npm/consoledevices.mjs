// The devices that the console's test connects: one that obeys, and some whose ids,
// metadata and messages try to get into the page.

import { once } from "node:events";
import WebSocket from "ws";
import { settings, sign, within } from "./harness.mjs";

/** hostile are ids that are HTML, addresses, or long. */
export const hostile = [
  `<img src=x onerror="hit=1">`,
  `"><script>hit=1</script>`,
  `'-(hit=1)-' {{hit}} \${hit}`,
  `../../v1/usage?x=1#/keys&%2F%00`,
  `javascript:hit=1//`,
  "L".repeat(128),
];

/** payload is a message that tries the same; \u202e turns the direction of text. */
export const payload = { html: hostile[0], script: hostile[1], turned: "abc\u202egnp.exe", zero: "a\u200bb", big: "@@" };

/** connect opens a device's socket, subscribes, and has obey answer its commands. */
export async function connect(id, channels, { obey, peerMetadata } = {}) {
  const token = sign(settings.key, id, { ...(peerMetadata && { peerMetadata }) });
  const socket = new WebSocket(`${settings.nodes[0]}/v1`, { headers: { authorization: `Bearer ${token}`, "user-agent": `<b>${id.slice(0, 20)}</b>` } });
  const closed = once(socket, "close").then(([code]) => code);
  const acks = new Map();
  const welcomed = new Promise((resolve, reject) => {
    closed.then((code) => reject(new Error(`${id}: closed with ${code}`)));
    socket.on("error", reject);
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.type === "welcome") resolve();
      if (frame.requestId) acks.get(frame.requestId)?.(frame);
      if (frame.command) for (const [status, said] of obey?.(frame.data) ?? []) send({ type: "answer", command: frame.command.id, status, data: said });
    });
  });
  welcomed.catch(() => {});
  const send = (frame) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  let requests = 0;
  const ask = (frame) => {
    const requestId = `r${++requests}`;
    const answer = new Promise((resolve) => acks.set(requestId, resolve));
    send({ ...frame, requestId });
    return within(answer, `${id}: an answer to ${frame.type}`);
  };
  await within(welcomed, `${id} is welcome`);
  for (const channel of channels) await ask({ type: "subscribe", channel });
  return { id, send, ask, closed, end: () => socket.terminate() };
}

/** refused connects with what is no good, and returns the close code. */
export async function refused(id, token) {
  const socket = new WebSocket(`${settings.nodes[0]}/v1`, { headers: { authorization: `Bearer ${token}` } });
  socket.on("error", () => {});
  const [code] = await within(once(socket, "close"), `${id} is refused`);
  return code;
}
