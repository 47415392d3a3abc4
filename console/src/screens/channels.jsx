// Channels: follow one, or all that a pattern matches.

import { useState } from "preact/hooks";
import { useData } from "../live.js";
import { go, href } from "../router.js";
import { ChannelField } from "../parts/channelfield.jsx";
import { Form } from "../parts/form.jsx";
import { bytes, count } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { Empty, Pending } from "../parts/note.jsx";
import { Table } from "../parts/table.jsx";
import { Id } from "../parts/text.jsx";

export function Channels() {
  const [name, setName] = useState("");
  const [wrong, setWrong] = useState("");
  const open = () => {
    setWrong(name === "" ? "Enter a channel or a pattern." : "");
    if (name !== "") go(["channels", name]);
  };
  return (
    <>
      <Heading title="Channels" />
      <Panel title="Open a channel">
        <Form class="line" onSubmit={open} button="Open">
          <ChannelField label="Channel or pattern" value={name} onInput={setName} error={wrong} placeholder="devices/*/events"
            hint={<><code>*</code> stands for anything within one level, <code>**</code> for anything at all.</>} />
        </Form>
      </Panel>
      <Panel title="Channels of this month" aside="busiest first"><Busiest /></Panel>
    </>
  );
}

function Busiest() {
  const top = useData("usage/channels?limit=100", { every: 10_000 });
  if (!top.data) return <Pending {...top} />;
  if (top.data.channels.length === 0) {
    return <Empty title="No message has been published this month."><p>Open a channel above and publish to it, or connect a device. See <a href={href([])}>the overview</a> for how.</p></Empty>;
  }
  return (
    <Table compact label="Channels" rows={top.data.channels} keyOf={(row) => row.channel} columns={[
      { name: "Channel", main: true, show: (row) => <a href={href(["channels", row.channel])}><Id>{row.channel}</Id></a> },
      { name: "Messages", number: true, show: (row) => count(row.published) },
      { name: "Size", number: true, show: (row) => bytes(row.bytes) },
    ]} />
  );
}
