// What the app has used this month, and what each channel and device cost.

import { useState } from "preact/hooks";
import { useData } from "../live.js";
import { replace } from "../router.js";
import { Bar, Figure } from "../parts/badge.jsx";
import { Choice, Field, Form } from "../parts/form.jsx";
import { bytes, count, date } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { ErrorNote, Pending } from "../parts/note.jsx";
import { Pager, Table, usePages } from "../parts/table.jsx";
import { Spender } from "../parts/spender.jsx";

const kinds = [["channels", "By channel"], ["peers", "By device"]];

export function Usage({ query }) {
  const kind = query.by === "peers" ? "peers" : "channels";
  const usage = useData("usage", { every: 5000 });
  return (
    <>
      <Heading title="Usage" />
      {usage.error && usage.data && <ErrorNote error={usage.error} retry={usage.reload} />}
      {usage.data ? <Plan usage={usage.data} /> : <Pending {...usage} />}
      <Panel title="What each cost" aside={<Choice label="Count" options={kinds} value={kind} onChange={(by) => replace(["usage"], { by })} />}>
        <Costs key={kind} kind={kind} total={usage.data?.messagesUsed} />
      </Panel>
    </>
  );
}

function Plan({ usage }) {
  const { plan } = usage;
  const over = plan.overagesAllowed && plan.overagesEnabled ? "More is let through, and counted." : "More is refused.";
  return (
    <div class="figures">
      <Figure name="Messages" value={count(usage.messagesUsed)}>
        <Bar value={usage.messagesUsed} most={plan.maxMessagesPerPeriod} label="Messages of the plan" />
        <p>of {count(plan.maxMessagesPerPeriod)} from {date(usage.periodStartUnix * 1000)} to {date(usage.periodEndUnix * 1000 - 1)}</p>
      </Figure>
      <Figure name="Most connections at once" value={count(usage.peakConcurrent)}>
        <Bar value={usage.peakConcurrent} most={plan.maxConcurrentConnections} label="Connections of the plan" />
        <p>of {count(plan.maxConcurrentConnections)} · {count(usage.concurrentNow)} now</p>
      </Figure>
      <Figure name="Over the plan" value={count(usage.overageMessages)}><p>messages · {count(usage.overageConnections)} connections</p></Figure>
      <Figure name="Plan" value={plan.name}><p>{over}</p></Figure>
    </div>
  );
}

function Costs({ kind, total }) {
  const [typed, setTyped] = useState("");
  const [pattern, setPattern] = useState("");
  const pages = usePages(["usage", kind], { pattern, limit: 100 }, kind, { every: 10_000 });
  const name = kind === "channels" ? "channel" : "peerId";
  const noun = kind === "channels" ? "Channel" : "Device";
  return (
    <>
      <Form class="line" onSubmit={() => setPattern(typed)} button="Show">
        <Field label={`${noun}s that match`} type="search" value={typed} onInput={setTyped} placeholder={kind === "channels" ? "devices/*/events" : "camera-*"} />
      </Form>
      {pages.error && pages.rows && <ErrorNote error={pages.error} retry={pages.reload} />}
      {!pages.rows ? <Pending {...pages} /> : pages.rows.length === 0 ? <p class="quiet">{pattern ? "Nothing that matches has published this month." : "No message has been published this month."}</p> : (
        <Table label={`Usage by ${noun.toLowerCase()}`} rows={pages.rows} keyOf={(row) => row[name]} busy={pages.busy} columns={[
          { name: noun, main: true, show: (row) => <Spender kind={kind} name={row[name]} /> },
          { name: "Messages", number: true, show: (row) => count(row.published) },
          { name: "Share", number: true, show: (row) => total > 0 ? `${Math.round((1000 * row.published) / total) / 10} %` : "–" },
          { name: "Size", number: true, show: (row) => bytes(row.bytes) },
        ]} />
      )}
      {pages.data?.other && <p class="hint">All others together: {count(pages.data.other.published)} messages, {bytes(pages.data.other.bytes)}. The 10,000 largest are listed each for itself.</p>}
      <Pager pages={pages} label="Pages of usage" />
    </>
  );
}
