// The devices that the app knows: search, filter, page by page.

import { useEffect, useState } from "preact/hooks";
import { href, replace } from "../router.js";
import { announce } from "../parts/announce.jsx";
import { Badge } from "../parts/badge.jsx";
import { FirstDevice } from "../parts/firstdevice.jsx";
import { Choice, Field } from "../parts/form.jsx";
import { Ago, plural } from "../parts/format.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { meaningOfReason } from "../parts/meaning.js";
import { Empty, ErrorNote, Pending } from "../parts/note.jsx";
import { Pager, Table, usePages } from "../parts/table.jsx";
import { Id, Line } from "../parts/text.jsx";

const states = [["", "All"], ["true", "Online"], ["false", "Offline"]];
const typingMs = 200; // a search begins when so long nothing was typed

export function Devices({ query }) {
  const [prefix, setPrefix] = useState(query.prefix ?? "");
  const online = query.online ?? "";
  const settled = useSettled(prefix);
  const search = (prefix, online) => replace(["devices"], { prefix, online });
  useEffect(() => {
    if (settled !== (query.prefix ?? "")) search(settled, online);
  }, [settled]);

  const pages = usePages(["peers"], { prefix: query.prefix, online, limit: 100 }, "peers", { every: 5000 });
  const filtered = Boolean(query.prefix) || online !== "";
  useEffect(() => {
    if (pages.rows && !pages.busy) announce(`${plural(pages.rows.length, "device")} shown, page ${pages.page}`);
  }, [pages.rows?.length, pages.page, pages.busy]);

  return (
    <>
      <Heading title="Devices" />
      <form class="toolbar" role="search" aria-label="Devices" onSubmit={(event) => event.preventDefault()}>
        <Field label="Id begins with" type="search" value={prefix} onInput={setPrefix} placeholder="camera-" />
        <Choice label="State" options={states} value={online} onChange={(online) => search(query.prefix, online)} />
      </form>
      {pages.error && pages.rows && <ErrorNote error={pages.error} retry={pages.reload} />}
      {!pages.rows ? <Pending {...pages} /> : pages.rows.length === 0 ? <None filtered={filtered} more={pages.next} /> : (
        <Panel title="Known devices" aside={`${plural(pages.rows.length, "device")} on this page`}><List pages={pages} /></Panel>
      )}
      <Pager pages={pages} label="Pages of devices" />
    </>
  );
}

const List = ({ pages }) => (
  <Table label="Devices" rows={pages.rows} keyOf={(peer) => peer.peerId} busy={pages.busy} columns={[
    { name: "Device", main: true, show: (peer) => <a href={href(["devices", peer.peerId])}><Id>{peer.peerId}</Id></a> },
    { name: "State", show: (peer) => <Badge state={peer.online ? "online" : "offline"} /> },
    { name: "Last seen", show: (peer) => <Ago at={peer.lastSeenAt} /> },
    { name: "Online for", show: (peer) => peer.online ? <Ago at={peer.connectedAt} suffix="" /> : null },
    { name: "Last disconnect", show: (peer) => peer.lastDisconnect ? <>{meaningOfReason(peer.lastDisconnect.reason)} <span class="quiet"><Ago at={peer.lastDisconnect.at} /></span></> : null },
    { name: "Metadata", show: (peer) => peer.metadata ? <Line value={peer.metadata} most={60} /> : null },
  ]} />
);

function None({ filtered, more }) {
  if (more) return <Empty title="No device on these pages matches."><p>There are more pages: go on with “Next page”.</p></Empty>;
  if (filtered) return <Empty title="No device matches."><p>Search for another beginning of the id (upper and lower case differ), or show all states.</p></Empty>;
  return <FirstDevice />;
}

/** useSettled is a text once nothing was typed for a moment. */
function useSettled(text) {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), typingMs);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}
