// The first screen: how the app does now.

import { useData } from "../live.js";
import { everyMs, nodeRate, perSecond, sum, tally, useSamples } from "../samples.js";
import { Badge, Bar, Figure } from "../parts/badge.jsx";
import { Chart } from "../parts/chart.jsx";
import { Ago, bytes, count, date, duration, plural, rate } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { meaningOf } from "../parts/meaning.js";
import { ErrorNote, Pending } from "../parts/note.jsx";
import { Spender } from "../parts/spender.jsx";
import { Table } from "../parts/table.jsx";
import { Id } from "../parts/text.jsx";
import { FirstDevice } from "../parts/firstdevice.jsx";
import { Happenings } from "../parts/happenings.jsx";

export function Overview() {
  const usage = useData("usage", { every: 3000 });
  const nodes = useData("nodes", { every: everyMs });
  const samples = useSamples(nodes.data?.nodes);
  const rates = perSecond(samples);
  return (
    <>
      <Heading title="Overview" />
      {usage.error && usage.data && <ErrorNote error={usage.error} />}
      {usage.data ? <Now usage={usage.data} rates={rates} /> : <Pending {...usage} />}
      {usage.data?.peakConcurrent === 0 && <FirstDevice />}
      <Panel title="Messages per second" aside={<Legend rates={rates} />}>
        {nodes.error && <ErrorNote error={nodes.error} />}
        <Traffic rates={rates} />
      </Panel>
      <Panel title="Nodes" aside={nodes.data && `${count(nodes.data.nodes.length)} running`}>
        {nodes.data?.unanswered > 0 && <p class="note bad">{plural(nodes.data.unanswered, "node")} did not answer in time, and {nodes.data.unanswered === 1 ? "is" : "are"} not in the list.</p>}
        {nodes.data ? <Nodes nodes={nodes.data.nodes} samples={samples} /> : <Pending {...nodes} />}
      </Panel>
      {nodes.data && <div class="columns three">
        <Panel title="Messages that were dropped"><Codes rows={tally(samples, "dropped")} none="Every message that was published since the nodes started was taken." label="Dropped messages by reason" /></Panel>
        <Panel title="Closes"><Codes rows={tally(samples, "closes")} none="No connection has been closed since the nodes started." label="Closes by code" /></Panel>
        <Panel title="Refusals"><Codes rows={tally(samples, "refusals")} none="No connection has been refused since the nodes started." label="Refusals by code" /></Panel>
      </div>}
      <Happenings />
      <div class="columns">
        <Top title="Top channels" kind="channels" name="channel" />
        <Top title="Top devices" kind="peers" name="peerId" />
      </div>
    </>
  );
}

function Now({ usage, rates }) {
  const { plan } = usage;
  return (
    <div class="figures">
      <Figure name="Online now" value={count(usage.concurrentNow)}>
        <Bar value={usage.concurrentNow} most={plan.maxConcurrentConnections} label="Connections of the plan" />
        <p>of {count(plan.maxConcurrentConnections)} connections in plan <b>{plan.name}</b> · peak {count(usage.peakConcurrent)}</p>
      </Figure>
      <Figure name="Messages this month" value={count(usage.messagesUsed)}>
        <Bar value={usage.messagesUsed} most={plan.maxMessagesPerPeriod} label="Messages of the plan" />
        <p>of {count(plan.maxMessagesPerPeriod)} until {date(usage.periodEndUnix * 1000)}{usage.overageMessages > 0 && ` · ${count(usage.overageMessages)} over`}</p>
      </Figure>
      <Figure name="Messages in" value={<>{rate(rates.messages.at(-1))}<small> /s</small></>}><p>published by devices and backends</p></Figure>
      <Figure name="Deliveries" value={<>{rate(rates.deliveries.at(-1))}<small> /s</small></>}>
        <p>messages out · {rate(rates.dropped.at(-1))} /s dropped</p>
      </Figure>
    </div>
  );
}

const Legend = ({ rates }) => (
  <p class="legend">
    <span class="in">in {rate(rates.messages.at(-1))}</span> <span class="out">out {rate(rates.deliveries.at(-1))}</span>
  </p>
);

function Traffic({ rates }) {
  const last = rates.times.length - 1;
  const label = last < 0 ? "Messages per second: not measured yet" : `Messages per second: ${rate(rates.messages[last])} in, ${rate(rates.deliveries[last])} out`;
  return (
    <>
      <Chart times={rates.times} label={label} series={[
        { label: "in", color: "--series-in", values: rates.messages },
        { label: "out", color: "--series-out", values: rates.deliveries },
      ]} />
      {last < 0 && <p class="hint">The page measures while it is open. The first point comes in a few seconds.</p>}
    </>
  );
}

function Nodes({ nodes, samples }) {
  return (
    <Table label="Nodes" rows={nodes} keyOf={(node) => node.node} columns={[
      { name: "Node", main: true, show: (node) => <><Id>{node.node}</Id>{node.address && <> <span class="quiet"><Id>{node.address}</Id></span></>}</> },
      { name: "State", show: (node) => <Badge state={node.draining ? "draining" : node.ready ? "ready" : "down"}>{node.draining ? "draining" : node.ready ? "ready" : "not ready"}</Badge> },
      { name: "Redis", show: (node) => node.redis?.up ? <Badge state="up">{duration(node.redis.seconds * 1000) === "0 ms" ? "< 1 ms" : duration(node.redis.seconds * 1000)}</Badge> : <Badge state="down">down</Badge> },
      { name: "Connections", number: true, show: (node) => count(node.connections) },
      { name: "In /s", number: true, show: (node) => rate(nodeRate(samples, node.node, "messages")) },
      { name: "Out /s", number: true, show: (node) => rate(nodeRate(samples, node.node, "deliveries")) },
      { name: "Dropped", number: true, show: (node) => count(sum(node.dropped)) },
      { name: "Running for", show: (node) => <Ago at={node.startedAt} suffix="" /> },
      { name: "Version", show: (node) => <Id>{node.version}</Id> },
    ]} />
  );
}

function Codes({ rows, none, label }) {
  if (rows.length === 0) return <p class="quiet">{none}</p>;
  return (
    <Table compact label={label} rows={rows} keyOf={(row) => row.code} columns={[
      { name: "Why", show: (row) => <>{meaningOf(row.code) || "other codes"} <code class="quiet wrap">{row.code}</code></> },
      { name: "Last minute", number: true, show: (row) => count(row.lastMinute) },
      { name: "Total", number: true, show: (row) => count(row.total) },
    ]} />
  );
}

function Top({ title, kind, name }) {
  const top = useData(`usage/${kind}?limit=8`, { every: 5000 });
  return (
    <Panel title={title} aside="this month">
      {!top.data ? <Pending {...top} /> : top.data[kind].length === 0 ? <p class="quiet">No message has been published this month.</p> : (
        <Table compact label={title} rows={top.data[kind]} keyOf={(row) => row[name]} columns={[
          { name: kind === "channels" ? "Channel" : "Device", main: true, show: (row) => <Spender kind={kind} name={row[name]} /> },
          { name: "Messages", number: true, show: (row) => count(row.published) },
          { name: "Size", number: true, show: (row) => bytes(row.bytes) },
        ]} />
      )}
    </Panel>
  );
}
