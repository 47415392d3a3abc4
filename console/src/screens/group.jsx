// One group: what waits, how its sink does, and its dead letters.

import { useState } from "preact/hooks";
import { path, write } from "../api.js";
import { useData } from "../live.js";
import { href } from "../router.js";
import { useMay } from "../session.js";
import { announce } from "../parts/announce.jsx";
import { Badge, Facts, Figure } from "../parts/badge.jsx";
import { useAction } from "../parts/form.jsx";
import { Ago, bytes, count, duration } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { DeadLetters } from "../parts/deadletters.jsx";
import { Empty, ErrorNote, Pending } from "../parts/note.jsx";
import { Table } from "../parts/table.jsx";
import { Id } from "../parts/text.jsx";

export function Group({ id: name }) {
  const { data: group, error, reload } = useData(path(["groups", name]), { every: 2000 });
  return (
    <>
      <Heading title={<Id>{name}</Id>} up={{ href: href(["groups"]), label: "Groups" }} />
      {error?.status === 404 ? <Empty title="The app’s document has no such group."><p>{error.message}</p></Empty>
        : !group ? <Pending error={error} reload={reload} /> : <>
          {error && <ErrorNote error={error} retry={reload} />}
          <div class="figures">
            <Figure name="Waiting" value={count(group.lag)}><p>{group.oldestAgeMs > 0 ? `the oldest message is ${duration(group.oldestAgeMs)} old` : "nothing waits"}</p></Figure>
            <Figure name="Leased" value={count(group.pending)}><p>delivered, not acknowledged yet</p></Figure>
            <Figure name="Dead letters" value={count(group.dead)}><p>delivered too often</p></Figure>
            <Figure name="Memory" value={bytes(group.bytes)}><p>dropped: {count(group.droppedByAge)} by age, {count(group.droppedByOverflow)} for room</p></Figure>
          </div>
          {group.sink && <Panel title="Sink"><Sink name={name} sink={group.sink} reload={reload} /></Panel>}
          {!group.sink && <Panel title="Ingesters"><Consumers consumers={group.consumers} /></Panel>}
          <Panel title="Dead letters" aside="longest dead first"><DeadLetters group={name} total={group.dead} onChange={reload} /></Panel>
        </>}
    </>
  );
}

const explained = {
  ok: "The nodes deliver.",
  failing: "The target takes nothing. The nodes try again by themselves.",
  stopped: "The target wants nothing any more. Nothing is tried until you resume it, or its entry in the app’s document changes.",
};

function Sink({ name, sink, reload }) {
  const may = useMay();
  const action = useAction(async () => {
    await write("POST", path(["groups", name, "resume"]), {});
    announce("The nodes try the sink again now");
    reload();
  });
  return (
    <>
      <p><Badge state={sink.state} /> {explained[sink.state]}</p>
      <Facts facts={[
        ["Type", sink.type],
        ["Last delivery", sink.lastDeliveredAt && <Ago at={sink.lastDeliveredAt} />],
        ["Failing for", sink.failingSince && sink.state !== "ok" && <Ago at={sink.failingSince} suffix="" />],
        ["Next try", sink.retryAt && sink.state === "failing" && (sink.retryAt > Date.now() ? `in ${duration(sink.retryAt - Date.now())}` : "now")],
        ["Last error", sink.lastError && <><Id>{sink.lastError}</Id> <span class="quiet"><Ago at={sink.lastErrorAt} /></span></>],
      ]} />
      <ErrorNote error={action.error} />
      {may.write && may.subscribe && sink.state !== "ok" && <div class="buttons"><button type="button" class="primary" onClick={action.run}>Try now</button></div>}
    </>
  );
}

function Consumers({ consumers }) {
  if (consumers.length === 0) return <p class="quiet">No ingester has messages now. Ingesters pull over REST, or subscribe to the group on a socket.</p>;
  return (
    <Table compact label="Ingesters" rows={consumers} keyOf={(consumer) => consumer.consumer} columns={[
      { name: "Ingester", main: true, show: (consumer) => <Id>{consumer.consumer}</Id> },
      { name: "Leased messages", number: true, show: (consumer) => count(consumer.pending) },
    ]} />
  );
}
