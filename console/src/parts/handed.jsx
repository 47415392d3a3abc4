// The commands that a device was handed, newest first.

import { useEffect } from "preact/hooks";
import { href } from "../router.js";
import { Badge } from "./badge.jsx";
import { Ago, duration } from "./format.jsx";
import { ErrorNote, Pending } from "./note.jsx";
import { Pager, Table, usePages } from "./table.jsx";
import { Id, Line } from "./text.jsx";

/** HandedCommands reads them again at once when ended changes. */
export function HandedCommands({ peer, ended }) {
  const pages = usePages(["peers", peer, "commands"], { limit: 20 }, "commands", { every: 3000 });
  useEffect(() => {
    if (ended > 0) pages.reload();
  }, [ended]);
  if (!pages.rows) return <Pending {...pages} />;
  return (
    <>
      {pages.error && <ErrorNote error={pages.error} retry={pages.reload} />}
      {pages.rows.length === 0 ? <p class="quiet">The device has not been handed a command that is still kept. Commands are kept for 24 hours after they end.</p> : (
        <Table label="Commands of the device" rows={pages.rows} keyOf={(command) => command.id} busy={pages.busy} columns={[
          { name: "Command", main: true, show: (command) => <a href={href(["commands", command.id])}><Id>{command.id}</Id></a> },
          { name: "State here", show: (command) => <Badge state={command.answer.status} /> },
          { name: "Channel", show: (command) => <a href={href(["channels", command.channel])}><Id>{command.channel}</Id></a> },
          { name: "Data", show: (command) => <Line value={command.data} most={60} /> },
          { name: "Handed over", show: (command) => <Ago at={command.answer.sentAt} /> },
          { name: "Took", show: (command) => command.answer.answeredAt ? duration(command.answer.answeredAt - command.answer.sentAt) : null },
          { name: "Answer", show: (command) => command.answer.data === undefined ? null : <Line value={command.answer.data} most={60} /> },
        ]} />
      )}
      <Pager pages={pages} label="Pages of commands" />
    </>
  );
}
