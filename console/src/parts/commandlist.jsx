// The commands of a channel, newest first.

import { useState } from "preact/hooks";
import { href } from "../router.js";
import { Badge } from "./badge.jsx";
import { Field } from "./form.jsx";
import { Ago, count } from "./format.jsx";
import { ErrorNote, Pending } from "./note.jsx";
import { stateName } from "./meaning.js";
import { Pager, Table, usePages } from "./table.jsx";
import { Id, Line } from "./text.jsx";

const statuses = ["waiting", "active", "succeeded", "failed", "rejected", "timed_out", "mixed", "expired", "cancelled", "superseded", "aborted"];

export function CommandList({ channel }) {
  const [status, setStatus] = useState("");
  const pages = usePages(["channels", channel, "commands"], { status, limit: 50 }, "commands", { every: 3000 });
  return (
    <>
      <div class="toolbar">
        <Field label="State" as="select" value={status} onInput={setStatus}>
          <option value="">All</option>
          {statuses.map((status) => <option value={status} key={status}>{stateName(status)}</option>)}
        </Field>
      </div>
      {pages.error && pages.rows && <ErrorNote error={pages.error} retry={pages.reload} />}
      {!pages.rows ? <Pending {...pages} /> : pages.rows.length === 0 ? <p class="quiet">{status ? "No command of the channel is in this state." : "No command of the channel is kept. Commands are kept for 24 hours after they end."}</p> : (
        <Table label="Commands" rows={pages.rows} keyOf={(command) => command.id} busy={pages.busy} columns={[
          { name: "Command", main: true, show: (command) => <a href={href(["commands", command.id])}><Id>{command.id}</Id></a> },
          { name: "State", show: (command) => <Badge state={command.status} /> },
          { name: "Data", show: (command) => <Line value={command.data} most={60} /> },
          { name: "Sent", show: (command) => <Ago at={command.createdAt} /> },
          { name: "Answered", number: true, show: (command) => `${count(ended(command.counts))} of ${count(command.expect)}` },
        ]} />
      )}
      <Pager pages={pages} label="Pages of commands" />
    </>
  );
}

const ended = ({ succeeded, failed, rejected, timedOut }) => succeeded + failed + rejected + timedOut;
