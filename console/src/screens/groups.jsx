// The groups of ingesters that the app's document has.

import { getOwn } from "../api.js";
import { useData } from "../live.js";
import { href } from "../router.js";
import { Badge } from "../parts/badge.jsx";
import { bytes, count, duration } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { Empty, ErrorNote, Pending } from "../parts/note.jsx";
import { Id } from "../parts/text.jsx";

export function Groups() {
  const { data, error, reload } = useData("groups", { read: getOwn, every: 30_000 });
  return (
    <>
      <Heading title="Groups" />
      {error && data && <ErrorNote error={error} retry={reload} />}
      {!data ? <Pending error={error} reload={reload} /> : data.groups.length === 0 ? <None /> : (
        <div class="cards">{data.groups.map((group) => <Card group={group} key={group.name} />)}</div>
      )}
    </>
  );
}

const None = () => (
  <Empty title="There is no group to see.">
    <p>This key sees the groups of which it may subscribe to all patterns.</p>
    <p>A group keeps messages until an ingester has acknowledged them, or delivers them to a sink. Add one to the app’s document:</p>
    <pre class="payload" tabIndex={0} role="region" aria-label="Example of a group">{'"groups":[{"name":"ingest","patterns":["devices/*/events"]}]'}</pre>
  </Empty>
);

function Card({ group }) {
  const { data, error, reload } = useData(`groups/${encodeURIComponent(group.name)}`, { every: 3000 });
  return (
    <Panel title={<a href={href(["groups", group.name])}><Id>{group.name}</Id></a>} aside={data?.sink ? <Badge state={data.sink.state}>{data.sink.type}: {data.sink.state}</Badge> : "no sink"}>
      {!data ? <Pending error={error} reload={reload} /> : (
        <dl class="facts">
          <div><dt>Waiting</dt><dd>{count(data.lag)}</dd></div>
          <div><dt>Leased</dt><dd>{count(data.pending)}</dd></div>
          <div><dt>Dead</dt><dd>{data.dead > 0 ? <Badge state="failed">{count(data.dead)}</Badge> : "0"}</dd></div>
          <div><dt>Oldest</dt><dd>{data.oldestAgeMs > 0 ? duration(data.oldestAgeMs) : "–"}</dd></div>
          <div><dt>Memory</dt><dd>{bytes(data.bytes)}</dd></div>
        </dl>
      )}
      <ul class="plain">{group.patterns.map((pattern) => <li key={pattern}><a href={href(["channels", pattern])}><Id>{pattern}</Id></a></li>)}</ul>
    </Panel>
  );
}
