// Dead letters of a group: look at them, have them delivered again, delete them.

import { useState } from "preact/hooks";
import { path, write } from "../api.js";
import { href } from "../router.js";
import { useMay } from "../session.js";
import { announce } from "./announce.jsx";
import { Confirm } from "./dialog.jsx";
import { Check, useAction } from "./form.jsx";
import { Ago, count, plural } from "./format.jsx";
import { Unfold } from "./log.jsx";
import { ErrorNote, Pending } from "./note.jsx";
import { Pager, Table, usePages } from "./table.jsx";
import { Id, Line, Payload } from "./text.jsx";

const reasons = { timeout: "not acknowledged in time", nack: "refused" };

export function DeadLetters({ group, total, onChange }) {
  const may = useMay();
  const writes = may.write && may.subscribe;
  const pages = usePages(["groups", group, "dead"], { limit: 50 }, "messages", { every: 5000 });
  const [chosen, setChosen] = useState([]);
  const [asking, setAsking] = useState("");
  const [done, setDone] = useState("");
  const changed = (said) => {
    setDone(said);
    announce(said);
    setChosen([]);
    setAsking("");
    pages.reload();
    onChange();
  };
  const redrive = useAction(async (ids) => {
    const { redriven } = await write("POST", path(["groups", group, "redrive"]), ids ? { ids } : {});
    changed(`${plural(redriven, "message waits", "messages wait")} for the group again.`);
  });
  const remove = async () => {
    let deleted = 0;
    const gone = asking === "all" ? [{}] : chosen.map((id) => ({ id }));
    for (const query of gone) deleted += (await write("DELETE", path(["groups", group, "dead"], query))).deleted;
    changed(`${plural(deleted, "dead letter was", "dead letters were")} deleted.`);
  };

  if (!pages.rows) return <Pending {...pages} />;
  const there = pages.rows.map(({ id }) => id);
  const here = chosen.filter((id) => there.includes(id));
  const choose = (id, on) => setChosen((chosen) => (on ? [...chosen, id] : chosen.filter((other) => other !== id)));
  return (
    <>
      {done && <p class="note good">{done}</p>}
      <ErrorNote error={redrive.error ?? pages.error} />
      {pages.rows.length === 0 ? <p class="quiet">There is no dead letter.</p> : <>
        {writes && (
          <div class="toolbar">
            <Check label="All on this page" checked={here.length === there.length} onChange={(on) => setChosen(on ? there : [])} />
            <button type="button" class="small" disabled={here.length === 0} onClick={() => redrive.run(here)}>Deliver {count(here.length)} again</button>
            <button type="button" class="small danger" disabled={here.length === 0} onClick={() => setAsking("some")}>Delete {count(here.length)}…</button>
            <button type="button" class="small" onClick={() => redrive.run()}>Deliver all {count(total)} again</button>
            <button type="button" class="small danger" onClick={() => setAsking("all")}>Delete all {count(total)}…</button>
          </div>
        )}
        {asking && (
          <Confirm title="Delete dead letters?" yes="Delete" onYes={remove} onClose={() => setAsking("")}>
            <p>{asking === "all" ? "All dead letters of the group are" : `${plural(here.length, "dead letter is", "dead letters are")}`} deleted, and delivered to no ingester any more. This cannot be undone.</p>
          </Confirm>
        )}
        <Table label="Dead letters" rows={pages.rows} keyOf={(letter) => letter.id} busy={pages.busy} columns={[
          ...(writes ? [{ name: "Choose", show: (letter) => <Check label={<span class="unseen">Choose the message of {letter.channel}</span>} checked={here.includes(letter.id)} onChange={(on) => choose(letter.id, on)} /> }] : []),
          { name: "Channel", main: true, show: (letter) => <a href={href(["channels", letter.channel])}><Id>{letter.channel}</Id></a> },
          { name: "From", show: (letter) => <Id>{letter.from}</Id> },
          { name: "Dead for", show: (letter) => <Ago at={letter.deadAt} suffix="" /> },
          { name: "Why", show: (letter) => `${reasons[letter.reason] ?? letter.reason}, ${plural(letter.attempts, "delivery", "deliveries")}` },
          { name: "Message", show: (letter) => <Unfold summary={<Line value={letter.data} most={60} />}>{() => <Payload value={letter.data} label="Message" />}</Unfold> },
        ]} />
      </>}
      <Pager pages={pages} label="Pages of dead letters" />
    </>
  );
}
