// The app's keys, and what each may do. No secret is here: the service tells none.

import { useContext } from "preact/hooks";
import { getOwn } from "../api.js";
import { useData } from "../live.js";
import { href } from "../router.js";
import { Session } from "../session.js";
import { Badge } from "../parts/badge.jsx";
import { Heading, Panel } from "../parts/layout.jsx";
import { ErrorNote, Pending } from "../parts/note.jsx";
import { Id } from "../parts/text.jsx";

export function Keys() {
  const { data, error, reload } = useData("keys", { read: getOwn, every: 30_000 });
  const { key: own } = useContext(Session);
  return (
    <>
      <Heading title="Keys" />
      <p class="hint">Keys stand in the app’s document. <code>fleetwire apps add-key</code>, <code>rotate-key</code> and <code>revoke-key</code> change them; secrets are shown nowhere.</p>
      {error && data && <ErrorNote error={error} retry={reload} />}
      {!data ? <Pending error={error} reload={reload} /> : (
        <div class="cards">{data.keys.map((key, i) => <Key key={i} of={key} own={key.id === own} />)}</div>
      )}
    </>
  );
}

const does = { publish: "publish to channels", subscribe: "subscribe to channels", presence: "see who is there", send: "send to devices directly" };

function Key({ of: key, own }) {
  const secret = key.kind === "secret";
  return (
    <Panel title={<Id>{key.id}</Id>} aside={<>{own && <Badge state="ok">this session</Badge>} <Badge state="">{secret ? (key.role === "viewer" ? "viewer" : "secret") : "publishable"}</Badge></>}>
      <p>{what(key, secret)}</p>
      <dl class="facts wide">
        <div><dt>May</dt><dd>{key.actions.length === 0 ? "nothing" : <ul class="plain">{key.actions.map((action) => <li key={action}><code>{action}</code> <span class="quiet">{does[action]}</span></li>)}</ul>}</dd></div>
        <div><dt>On channels</dt><dd><ul class="plain">{key.channelPatterns.map((pattern) => <li key={pattern}>{pattern.startsWith("_") ? <Id>{pattern}</Id> : <a href={href(["channels", pattern])}><Id>{pattern}</Id></a>}</li>)}</ul></dd></div>
        {key.allowedOrigins?.length > 0 && <div><dt>From pages of</dt><dd><ul class="plain">{key.allowedOrigins.map((origin) => <li key={origin}><Id>{origin}</Id></li>)}</ul></dd></div>}
      </dl>
    </Panel>
  );
}

function what(key, secret) {
  if (!secret) return "Its id alone opens sockets, so it may be shipped in a page or a device. The REST API refuses it.";
  if (key.role === "viewer") return "A program or a person that holds it can look, and changes nothing: it mints no token, publishes nothing and disconnects no device.";
  return "Backends hold it: it mints tokens for devices, and drives the REST API.";
}
