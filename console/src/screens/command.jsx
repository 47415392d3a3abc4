// One command: how far a fleet is with it, and each device's answer.

import { useState } from "preact/hooks";
import { path, write } from "../api.js";
import { href } from "../router.js";
import { useMay } from "../session.js";
import { announce } from "../parts/announce.jsx";
import { Badge, Facts } from "../parts/badge.jsx";
import { CommandState, useCommand } from "../parts/commandstate.jsx";
import { Confirm } from "../parts/dialog.jsx";
import { Field } from "../parts/form.jsx";
import { Ago, Clock, duration } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { isFinal, stateName } from "../parts/meaning.js";
import { Empty, ErrorNote, Pending } from "../parts/note.jsx";
import { Pager, Table, usePages } from "../parts/table.jsx";
import { Id, Line, Payload } from "../parts/text.jsx";
import { Unfold } from "../parts/log.jsx";

export function Command({ id }) {
  const may = useMay();
  const [asking, setAsking] = useState(false);
  const { command, error, reload } = useCommand(id, (command) => announce(`The command ended: ${stateName(command.status)}`));
  const cancel = async () => {
    await write("DELETE", path(["commands", id]));
    setAsking(false);
    announce("The command is cancelled");
    reload();
  };
  const open = command && !isFinal(command.status);
  return (
    <>
      <Heading title={<Id>{id}</Id>} up={{ href: href(["commands"], { channel: command?.channel }), label: "Commands" }}>
        {open && may.publish && <button type="button" class="danger" onClick={() => setAsking(true)}>Cancel…</button>}
      </Heading>
      {asking && (
        <Confirm title="Cancel the command?" yes="Cancel the command" onYes={cancel} onClose={() => setAsking(false)}>
          <p>No further device is handed it. Devices that have it may still do it, and their answers are kept.</p>
        </Confirm>
      )}
      {error?.status === 404 && !command
        ? <Empty title="No such command is kept."><p>{error.message}</p><p>A command is kept for 24 hours after it has ended. Look whether the id is right.</p></Empty>
        : !command ? <Pending error={error} reload={reload} /> : <>
          {error && <ErrorNote error={error} retry={reload} />}
          <Panel title="Progress"><CommandState command={command} /></Panel>
          <div class="columns">
            <Panel title="Command"><About command={command} /></Panel>
            <Panel title="Data"><Payload value={command.data} label="Data" /></Panel>
          </div>
          <Panel title="Answers"><Answers id={id} open={open} /></Panel>
        </>}
    </>
  );
}

const About = ({ command }) => (
  <Facts facts={[
    ["Channel", <a href={href(["channels", command.channel])}><Id>{command.channel}</Id></a>],
    ["From", <Id>{command.from}</Id>],
    ["Sent", <Ago at={command.createdAt} />],
    ["Waits until", command.expiresAt ? <Clock at={command.expiresAt} /> : "it goes only to devices that were there"],
  ]} />
);

const statuses = ["sent", "received", "running", "succeeded", "failed", "rejected", "timed_out"];

function Answers({ id, open }) {
  const [status, setStatus] = useState("");
  const pages = usePages(["commands", id, "answers"], { status, limit: 100 }, "answers", { every: open ? 1500 : 0 });
  return (
    <>
      <div class="toolbar">
        <Field label="State" as="select" value={status} onInput={setStatus}>
          <option value="">All</option>
          {statuses.map((status) => <option value={status} key={status}>{stateName(status)}</option>)}
        </Field>
      </div>
      {pages.error && pages.rows && <ErrorNote error={pages.error} retry={pages.reload} />}
      {!pages.rows ? <Pending {...pages} /> : pages.rows.length === 0 ? <p class="quiet">{status ? "No device is in this state." : "No device has been handed the command yet."}</p> : (
        <Table label="Answers" rows={pages.rows} keyOf={(answer) => answer.peer} busy={pages.busy} columns={[
          { name: "Device", main: true, show: (answer) => <a href={href(["devices", answer.peer])}><Id>{answer.peer}</Id></a> },
          { name: "State", show: (answer) => <Badge state={answer.status} /> },
          { name: "Took", show: (answer) => answer.answeredAt ? duration(answer.answeredAt - answer.sentAt) : null },
          { name: "Attempt", number: true, show: (answer) => answer.attempt },
          { name: "Answer", show: (answer) => answer.data === undefined && !answer.late ? null : <Said answer={answer} /> },
        ]} />
      )}
      <Pager pages={pages} label="Pages of answers" />
    </>
  );
}

function Said({ answer }) {
  const value = answer.late?.data ?? answer.data;
  const late = answer.late && <Badge state={answer.late.status}>late: {stateName(answer.late.status)}</Badge>;
  if (value === undefined) return late;
  if (JSON.stringify(value).length <= 60) return <>{late} <Line value={value} /></>;
  return <>{late} <Unfold summary={<Line value={value} most={50} />}>{() => <Payload value={value} label="Answer" />}</Unfold></>;
}
