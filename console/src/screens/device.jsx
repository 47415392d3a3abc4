// One device: its connections, what it says and is told, and its commands.

import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { path, write } from "../api.js";
import { useData } from "../live.js";
import { href } from "../router.js";
import { Session, useMay } from "../session.js";
import { announce } from "../parts/announce.jsx";
import { Badge, Facts } from "../parts/badge.jsx";
import { Confirm } from "../parts/dialog.jsx";
import { Ago, plural } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { isPattern, meaningOfReason } from "../parts/meaning.js";
import { Empty, ErrorNote, Pending } from "../parts/note.jsx";
import { Table } from "../parts/table.jsx";
import { Id, Payload } from "../parts/text.jsx";
import { Frames } from "../parts/frames.jsx";
import { HandedCommands } from "../parts/handed.jsx";
import { SendCommand } from "../parts/sendcommand.jsx";

export function Device({ id }) {
  return id === "." || id === ".." ? <Unaskable id={id} /> : <Askable id={id} />;
}

function Askable({ id }) {
  const may = useMay();
  const { data: peer, error, reload } = useData(path(["peers", id]), { every: 2000 });
  const [asked, setAsked] = useState(null); // what the dialog asks
  const [done, setDone] = useState("");
  const [ended, setEnded] = useState(0); // commands of the form that have ended

  const last = useRef(undefined);
  useEffect(() => {
    if (last.current !== undefined && peer && peer.online !== last.current) announce(`The device is ${peer.online ? "online" : "offline"} now`);
    if (peer) last.current = peer.online;
  }, [peer?.online]);

  // A device that goes offline while somebody writes a command keeps the channel in the form.
  const channels = peer ? channelsOf(peer, id) : [];
  const lastChannel = useRef(undefined);
  if (channels.length > 0) lastChannel.current = channels[0];

  if (error?.status === 404 && !peer) return <Unknown id={id} error={error} reload={reload} />;
  const disconnect = async (revoke) => {
    const { closed } = await write("DELETE", path(["peers", id], revoke ? { revoke: true } : {}));
    const said = `${plural(closed, "connection")} closed${revoke ? ", and the tokens that the device had are refused" : ""}.`;
    setDone(said);
    announce(said);
    setAsked(null);
    reload();
  };
  return (
    <>
      <Heading title={<><Id>{id}</Id>{peer && <> <Badge state={peer.online ? "online" : "offline"} /></>}</>} up={{ href: href(["devices"]), label: "Devices" }}>
        {may.write && <>
          <button type="button" onClick={() => setAsked("disconnect")}>Disconnect…</button>
          <button type="button" class="danger" onClick={() => setAsked("revoke")}>Revoke…</button>
        </>}
      </Heading>
      {done && <p class="note good">{done}</p>}
      {error && peer && <ErrorNote error={error} retry={reload} />}
      {asked && <Ask asked={asked} id={id} onYes={() => disconnect(asked === "revoke")} onClose={() => setAsked(null)} />}
      {!peer ? <Pending error={error} reload={reload} /> : <>
        <Panel title="State"><State peer={peer} /></Panel>
        <Panel title="Connections" aside={plural(peer.connections.length, "connection")}><Connections connections={peer.connections} /></Panel>
      </>}
      <div class={may.publish ? "columns" : ""}>
        {may.publish && peer && <Panel title="Send a command"><SendCommand channels={channels} channel={channels[0] ?? lastChannel.current} expect={1} onEnd={() => setEnded((n) => n + 1)} /></Panel>}
        <Panel title="Frames, as they pass" aside="both ways"><Frames peer={id} /></Panel>
      </div>
      <Panel title="Commands" aside="newest first"><HandedCommands peer={id} ended={ended} /></Panel>
      {peer?.metadata && <Panel title="Metadata"><Payload value={peer.metadata} label="Metadata" /></Panel>}
    </>
  );
}

/** channelsOf are the channels of which the device takes commands: those it is subscribed to by name, first the likeliest. */
function channelsOf(peer, id) {
  const names = [...new Set(peer.connections.flatMap(({ subscriptions }) => subscriptions))].filter((name) => !isPattern(name) && !name.startsWith("_"));
  const worth = (name) => (name.includes(id) ? 2 : 0) + (/command/i.test(name) ? 1 : 0);
  return names.sort((a, b) => worth(b) - worth(a) || (a < b ? -1 : 1));
}

const State = ({ peer }) => (
  <Facts facts={[
    ["Last seen", <Ago at={peer.lastSeenAt} />],
    [peer.online ? "Online since" : "Came online", <Ago at={peer.connectedAt} />],
    ["Times connected", String(peer.epoch)],
    ["Last disconnect", peer.lastDisconnect && <>{meaningOfReason(peer.lastDisconnect.reason)} (<code>{peer.lastDisconnect.code}</code>) <Ago at={peer.lastDisconnect.at} /></>],
  ]} />
);

function Connections({ connections }) {
  if (connections.length === 0) return <p class="quiet">The device has no connection now. It shows here as soon as it connects.</p>;
  return (
    <Table label="Connections" rows={connections} keyOf={(connection) => connection.id} columns={[
      { name: "Connection", main: true, show: (connection) => <Id>{connection.id}</Id> },
      { name: "Since", show: (connection) => <Ago at={connection.connectedAt} /> },
      { name: "Protocol", show: (connection) => <Id>{connection.protocol}</Id> },
      { name: "Address", show: (connection) => connection.address ? <Id>{connection.address}</Id> : <Hidden /> },
      { name: "Program", show: (connection) => connection.userAgent ? <Id>{connection.userAgent}</Id> : null },
      { name: "Subscriptions", show: (connection) => connection.subscriptions.length === 0 ? "none" : (
        <ul class="plain">{connection.subscriptions.map((name) => <li key={name}><a href={href(["channels", name])}><Id>{name}</Id></a></li>)}</ul>
      ) },
    ]} />
  );
}

const Hidden = () => <span class="quiet" title="Only keys with the pattern _system/connectivity/** are shown addresses.">not for this key</span>;

const questions = {
  disconnect: ["Disconnect the device?", "Disconnect", "closes all of its connections, on every node. The device may connect again at once."],
  revoke: ["Revoke the device’s tokens?", "Revoke and disconnect", "closes all of its connections, and refuses every token that it was given up to now. It stays out until your backend gives it a new one. This cannot be undone."],
};

function Ask({ asked, id, onYes, onClose }) {
  const { key } = useContext(Session);
  const [title, yes, does] = questions[asked];
  return (
    <Confirm title={title} yes={yes} onYes={onYes} onClose={onClose}>
      <p>This {does}</p>
      <p>Device <Id>{id}</Id>, with key <Id>{key}</Id>.</p>
    </Confirm>
  );
}

// Browsers take these two out of every address, however they are encoded.
const Unaskable = ({ id }) => (
  <>
    <Heading title={<Id>{id}</Id>} up={{ href: href(["devices"]), label: "Devices" }} />
    <Empty title="A browser cannot ask for a device of this name."><p>Give the device another id in its token.</p></Empty>
  </>
);

function Unknown({ id, error, reload }) {
  return (
    <>
      <Heading title={<Id>{id}</Id>} up={{ href: href(["devices"]), label: "Devices" }} />
      <ErrorNote error={error} retry={reload} />
      <Empty title="No device is known under this id.">
        <p>It shows here as soon as it connects. Look whether its token names this id (<code>sub</code>), and what the overview says of refusals.</p>
      </Empty>
      <Panel title="Frames, as they pass"><Frames peer={id} /></Panel>
    </>
  );
}
