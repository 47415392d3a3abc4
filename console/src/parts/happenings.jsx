// What happens to connections, as it happens: refusals, closes and errors, with why.

import { useState } from "preact/hooks";
import { href } from "../router.js";
import { Choice } from "./form.jsx";
import { Clock } from "./format.jsx";
import { Panel } from "./layout.jsx";
import { Log, useLog } from "./log.jsx";
import { meaningOf, meaningOfReason } from "./meaning.js";
import { Id } from "./text.jsx";

const kinds = [["refusal", "Refusals"], ["refusal,close,error", "Problems"], ["refusal,close,error,connect", "All events"]];

export function Happenings() {
  const [types, setTypes] = useState(kinds[0][0]);
  return (
    <Panel title="Refusals and closes, as they happen" aside={<Choice label="Kinds of events" options={kinds} value={types} onChange={setTypes} />}>
      <Stream key={types} types={types} />
    </Panel>
  );
}

function Stream({ types }) {
  const log = useLog({ types });
  return <Log log={log} label="Events" show={(event) => <Happening event={event} />} text={describe} empty="Nothing yet. Events show here from now on." />;
}

/** describe is an event in a line, without its time. */
export const describe = (event) => [event.peerId, name(event), event.code, why(event), event.key, event.address, event.userAgent].filter(Boolean).join(" ");

const names = { connect: "connected", refusal: "refused", close: "closed", error: "error" };
const name = (event) => names[event.type] ?? event.type;
const tones = { connect: "good", refusal: "bad", error: "warn", close: "" };

function why(event) {
  if (event.type === "error") return event.message;
  if (event.type === "close") return [meaningOfReason(event.reason) || meaningOf(event.code), event.by && `by ${event.by}`].filter(Boolean).join(", ");
  return event.reason ?? "";
}

/** Happening shows an event of a connection; alone leaves out the peer, on its own screen. */
export const Happening = ({ event, alone }) => (
  <p class="event">
    <Clock at={event.at} /> <span class={`badge ${tones[event.type]}`}>{name(event)}{event.code ? ` ${event.code}` : ""}</span>
    {event.peerId && !alone && <> <a href={href(["devices", event.peerId])}><Id>{event.peerId}</Id></a></>}
    {why(event) && <> <Id>{why(event)}</Id></>}
    {event.key && <span class="quiet"> key <Id>{event.key}</Id></span>}
    {event.address && <span class="quiet"> from <Id>{event.address}</Id></span>}
    {event.userAgent && <span class="quiet"> with <Id>{event.userAgent}</Id></span>}
  </p>
);
