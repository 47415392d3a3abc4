// One channel, or all that a pattern matches: live messages; of a channel also what it
// remembers, the devices in it, and a form to publish.

import { useState } from "preact/hooks";
import { path, write } from "../api.js";
import { href } from "../router.js";
import { useMay } from "../session.js";
import { announce } from "../parts/announce.jsx";
import { Field, Form, bodyWith, notJSON, useAction } from "../parts/form.jsx";
import { Clock, plural } from "../parts/format.jsx";
import { History } from "../parts/history.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { Log, Unfold, useLog } from "../parts/log.jsx";
import { isPattern } from "../parts/meaning.js";
import { Pending } from "../parts/note.jsx";
import { Pager, usePages } from "../parts/table.jsx";
import { Id, Line, Payload, oneLine } from "../parts/text.jsx";

export function Channel({ id: name }) {
  const may = useMay();
  const pattern = isPattern(name);
  return (
    <>
      <Heading title={<Id>{name}</Id>} up={{ href: href(["channels"]), label: "Channels" }}>
        {!pattern && may.seeCommands && <a class="button" href={href(["commands"], { channel: name })}>Commands</a>}
      </Heading>
      <Panel title="Messages, as they pass" aside={pattern ? "all channels that match" : undefined}><Tail channel={name} pattern={pattern} /></Panel>
      {!pattern && <>
        {may.publish && <Panel title="Publish"><Publish channel={name} /></Panel>}
        <div class="columns">
          <Panel title="Remembered messages"><History channel={name} /></Panel>
          <Panel title="Devices in the channel"><Members channel={name} /></Panel>
        </div>
      </>}
    </>
  );
}

function Tail({ channel, pattern }) {
  const log = useLog({ channel });
  return <Log log={log} label="Messages" show={(message) => <Message message={message} named={pattern} />}
    text={(message) => `${message.channel} ${message.from} ${oneLine(message.data, Infinity)}`}
    empty="No message yet. Messages show here from now on." />;
}

const Message = ({ message, named }) => (
  <Unfold summary={<>
    <Clock at={message.at} /> {named && <><Id>{message.channel}</Id> </>}<span class="quiet">from <Id>{message.from}</Id></span> <Line value={message.data} most={160} />
  </>}>{() => <>
    <Payload value={message.data} label="Message" />
    <p><a href={href(["channels", message.channel])}>Open the channel</a> {message.from !== "server" && <> · <a href={href(["devices", message.from])}>Open <Id>{message.from}</Id></a></>}</p>
  </>}</Unfold>
);

function Publish({ channel }) {
  const [data, setData] = useState('{"hello":"fleet"}');
  const [wrong, setWrong] = useState("");
  const action = useAction(async () => {
    const { subscribers } = await write("POST", path(["channels", channel, "publish"]), bodyWith(data, {}));
    const said = `Published. ${plural(subscribers, "connection was", "connections were")} subscribed by name.`;
    announce(said);
    return said;
  });
  const submit = () => {
    const problem = notJSON(data);
    setWrong(problem);
    return problem ? undefined : action.run();
  };
  return (
    <>
      <Form action={action} onSubmit={submit} button="Publish" busyText="Publishing…">
        <Field label="Message (JSON)" as="textarea" class="code" rows={3} value={data} onInput={setData} error={wrong} />
      </Form>
      {action.result && <p class="note good">{action.result}</p>}
    </>
  );
}

function Members({ channel }) {
  const pages = usePages(["channels", channel, "peers"], { limit: 50 }, "peers", { every: 5000 });
  if (!pages.rows) return <Pending {...pages} />;
  if (pages.rows.length === 0) return <p class="quiet">No device is subscribed to this channel by name.</p>;
  return (
    <>
      <ul class="plain lines">{pages.rows.map((peer) => (
        <li key={peer.peerId}><a href={href(["devices", peer.peerId])}><Id>{peer.peerId}</Id></a> {peer.metadata && <span class="quiet"><Line value={peer.metadata} most={60} /></span>}</li>
      ))}</ul>
      <Pager pages={pages} label="Pages of devices" />
    </>
  );
}
