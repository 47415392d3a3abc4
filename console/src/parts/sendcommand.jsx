// A form that sends a command, and shows its answers as they come.

import { useRef, useState } from "preact/hooks";
import { ApiError, path, write } from "../api.js";
import { href } from "../router.js";
import { announce } from "./announce.jsx";
import { ChannelField } from "./channelfield.jsx";
import { Answer, CommandState, useCommand } from "./commandstate.jsx";
import { Field, Form, bodyWith, notJSON, useAction } from "./form.jsx";
import { stateName } from "./meaning.js";
import { ErrorNote } from "./note.jsx";
import { Id } from "./text.jsx";

const ttls = [["0", "no: only devices that are there now"], ["600000", "for 10 minutes"], ["3600000", "for 1 hour"], ["86400000", "for 1 day"], ["604800000", "for 7 days"]];
const timeouts = [["5000", "5 seconds"], ["30000", "30 seconds"], ["300000", "5 minutes"], ["3600000", "1 hour"], ["86400000", "1 day"]];
const Options = ({ of }) => of.map(([value, label]) => <option value={value} key={value}>{label}</option>);

/**
 * SendCommand sends to one of channels, or to another that is typed. expect is how many devices
 * have to answer, if the form is not to ask. onSent gets the command's id; without it the answers
 * show below the form, and onEnd is told when the command has ended.
 */
export function SendCommand({ channels, channel: chosen, expect, onSent, onEnd }) {
  const [typed, setTyped] = useState(null);
  const channel = typed ?? chosen ?? channels?.[0] ?? "";
  const [data, setData] = useState('{"cmd":"reboot"}');
  const [ttlMs, setTTL] = useState("0");
  const [timeoutMs, setTimeoutMs] = useState("30000");
  const [devices, setDevices] = useState("");
  const [perMinute, setPerMinute] = useState("");
  const [failedPct, setFailedPct] = useState("");
  const [wrong, setWrong] = useState({});
  const [sent, setSent] = useState(null);
  const attempt = useAttempt();

  const action = useAction(async () => {
    const body = bodyWith(data, {
      waitMs: 0, ttlMs: Number(ttlMs), timeoutMs: Number(timeoutMs),
      expect: expect ?? (devices === "" ? undefined : Number(devices)),
      rollout: perMinute === "" ? undefined : { perMinute: Number(perMinute), ...(failedPct !== "" && { abort: { failedPct: Number(failedPct), minAnswered: 10 } }) },
    });
    const command = await write("POST", path(["channels", channel, "commands"]), attempt.withKey(channel + body, body)).catch((error) => {
      if (error.code !== "nobody_subscribed") throw error;
      throw new ApiError(error.status, error.code, "No device is subscribed to the channel by name, so nothing was sent. To have the command wait for devices that are away, choose a time under “Options”.");
    });
    attempt.done();
    announce("The command is sent");
    if (onSent) onSent(command.id);
    setSent(command.id);
  });
  const submit = () => {
    const wrong = { channel: channel === "" ? "Enter a channel." : "", data: notJSON(data) };
    setWrong(wrong);
    return wrong.channel || wrong.data ? undefined : action.run();
  };
  return (
    <div>
      <Form action={action} onSubmit={submit} button="Send command" busyText="Sending…">
        <ChannelField label="Channel" value={channel} onInput={setTyped} error={wrong.channel} names={channels}
          hint={channels?.length === 0 ? "The device is subscribed to no channel by name now. With a time to wait, it is handed the command when it subscribes." : undefined} />
        <Field label="Command (JSON)" as="textarea" class="code" rows={3} value={data} onInput={setData} error={wrong.data} />
        <details class="options">
          <summary>Options</summary>
          <div class="fields">
            <Field label="Wait for devices that are away" as="select" value={ttlMs} onInput={setTTL}><Options of={ttls} /></Field>
            <Field label="Time to answer" as="select" value={timeoutMs} onInput={setTimeoutMs}><Options of={timeouts} /></Field>
            {expect === undefined && <>
              <Field label="Devices that have to answer" inputmode="numeric" value={devices} onInput={setDevices} hint="Empty: those that are subscribed now." />
              <Field label="Devices per minute" inputmode="numeric" value={perMinute} onInput={setPerMinute} hint="A rollout, step by step. It needs a time to wait." />
              <Field label="Stop when so many % failed" inputmode="numeric" value={failedPct} onInput={setFailedPct} hint="With a rollout, once 10 have answered." />
            </>}
          </div>
        </details>
      </Form>
      {sent && !onSent && <Outcome key={sent} id={sent} onEnd={onEnd} />}
    </div>
  );
}

/**
 * useAttempt gives an attempt a key, and the same key to the next one if it says the same and
 * the first did not succeed: a command whose answer was lost is not sent twice.
 */
function useAttempt() {
  const last = useRef({ what: null, key: "" });
  return {
    withKey(what, body) {
      if (last.current.what !== what) last.current = { what, key: randomKey() };
      return `${body.slice(0, -1)},"idempotencyKey":"${last.current.key}"}`;
    },
    done: () => (last.current = { what: null, key: "" }),
  };
}

// crypto.randomUUID is missing on pages that came by plain http.
const randomKey = () => `console-${[...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;

function Outcome({ id, onEnd }) {
  const { command, error, reload } = useCommand(id, (command) => {
    announce(`The command ended: ${stateName(command.status)}`);
    onEnd?.();
  }, true);
  return (
    <div class="outcome">
      {error && <ErrorNote error={error} retry={reload} />}
      {command && <>
        <CommandState command={command} />
        {command.answers.map((answer) => <Answer answer={answer} key={answer.peer} />)}
        <p><a href={href(["commands", id])}>Open command <Id>{id}</Id></a></p>
      </>}
    </div>
  );
}
