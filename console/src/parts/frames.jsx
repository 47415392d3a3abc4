// A device's frames in both directions, and when it connects, as it happens.

import { useEffect, useState } from "preact/hooks";
import { parseJSON } from "../api.js";
import { Clock } from "./format.jsx";
import { describe, Happening } from "./happenings.jsx";
import { Log, Unfold, useLog } from "./log.jsx";
import { Line, Payload } from "./text.jsx";

const directions = { in: ["from device", "→"], out: ["to device", "←"] };

export function Frames({ peer }) {
  const [refused, setRefused] = useState(null); // why the key may not see frames; it may see the rest
  const log = useLog(refused ? { peer, types: "connect,refusal,close,error" } : { peer });
  useEffect(() => {
    if (!refused && log.error?.status === 403) setRefused(log.error);
  }, [log.error]);
  return (
    <>
      {refused && <p class="hint">This key is not shown frames, for it may not subscribe to <code>**</code>. It is shown when the device connects, and why it is closed.</p>}
      <Log log={log} label="Frames" show={(event) => event.type === "frame" ? <Frame event={event} /> : <Happening event={event} alone />}
        text={(event) => event.type === "frame" ? event.frame : describe(event)}
        empty="No frame yet. What the device sends, and is sent, shows here from now on." />
    </>
  );
}

function Frame({ event }) {
  const [words, arrow] = directions[event.direction] ?? [event.direction, ""];
  const summary = (
    <><Clock at={event.at} /> <span class={`way ${event.direction}`}><span aria-hidden="true">{arrow}</span> {words}</span> <Line value={event.frame} most={160} /></>
  );
  return (
    <Unfold summary={summary}>{() => <>
      <Payload value={readable(event.frame)} label="Frame" />
      {event.truncated && <p class="hint">The service cut the frame: it shows the first 4 KiB.</p>}
    </>}</Unfold>
  );
}

/** readable is a frame as a value, if it is JSON as a whole; else it is a text. */
function readable(frame) {
  try {
    return parseJSON(frame);
  } catch {
    return frame;
  }
}
