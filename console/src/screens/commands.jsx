// Commands: send one to a channel, and find those that were sent.

import { useState } from "preact/hooks";
import { go, href } from "../router.js";
import { useMay } from "../session.js";
import { ChannelField } from "../parts/channelfield.jsx";
import { CommandList } from "../parts/commandlist.jsx";
import { Field, Form } from "../parts/form.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { Empty } from "../parts/note.jsx";
import { Id } from "../parts/text.jsx";
import { SendCommand } from "../parts/sendcommand.jsx";

export function Commands({ query }) {
  const may = useMay();
  const [channel, setChannel] = useState(query.channel ?? "");
  const [id, setID] = useState("");
  return (
    <>
      <Heading title="Commands" />
      <div class="columns">
        <Panel title="Find">
          <Form class="line" onSubmit={() => channel && go(["commands"], { channel })} button="Show">
            <ChannelField label="Commands of a channel" value={channel} onInput={setChannel} />
          </Form>
          <Form class="line" onSubmit={() => id.trim() && go(["commands", id.trim()])} button="Open">
            <Field label="Command with the id" value={id} onInput={setID} placeholder="cmd_…" />
          </Form>
        </Panel>
        {may.publish && (
          <Panel title="Send a command">
            <p class="hint">To a channel of a whole fleet, such as <code>fleets/fleet-northeast/commands</code>, or of one device. You see the answers as they come.</p>
            <SendCommand channel={query.channel} key={query.channel} onSent={(id) => go(["commands", id])} />
          </Panel>
        )}
      </div>
      {query.channel
        ? <Panel title={<>Commands of <Id>{query.channel}</Id></>} aside={<a href={href(["channels", query.channel])}>Open the channel</a>}><CommandList channel={query.channel} key={query.channel} /></Panel>
        : <Empty title="No channel is chosen."><p>Choose a channel above to see its commands, newest first. The commands of one device are on the <a href={href(["devices"])}>device’s</a> own screen.</p></Empty>}
    </>
  );
}
