// What a channel remembers, newest first, and how to have it forget.

import { useState } from "preact/hooks";
import { path, write } from "../api.js";
import { useData } from "../live.js";
import { useMay } from "../session.js";
import { announce } from "./announce.jsx";
import { Confirm } from "./dialog.jsx";
import { Field } from "./form.jsx";
import { Clock, count } from "./format.jsx";
import { Unfold } from "./log.jsx";
import { ErrorNote, Pending } from "./note.jsx";
import { Id, Line, Payload } from "./text.jsx";

const amounts = [20, 100, 300];

export function History({ channel }) {
  const may = useMay();
  const [last, setLast] = useState("20");
  const [asking, setAsking] = useState(false);
  const { data, error, reload } = useData(path(["channels", channel, "messages"], { last }), { every: 5000 });
  const forget = async () => {
    await write("DELETE", path(["channels", channel, "messages"]));
    setAsking(false);
    announce("The channel has forgotten its messages");
    reload();
  };
  // A channel that remembers nothing is no fault: the document does not ask it to.
  if (error?.status === 400) return <p class="quiet">{error.message}</p>;
  if (!data) return <Pending error={error} reload={reload} />;
  return (
    <>
      <div class="toolbar">
        <Field label="Newest" as="select" value={last} onInput={setLast}>{amounts.map((n) => <option value={n} key={n}>{n} messages</option>)}</Field>
        {may.publish && data.messages.length > 0 && <button type="button" class="small danger" onClick={() => setAsking(true)}>Forget all…</button>}
      </div>
      {error && <ErrorNote error={error} retry={reload} />}
      {asking && (
        <Confirm title="Forget the messages?" yes="Forget them" onYes={forget} onClose={() => setAsking(false)}>
          <p>The channel <Id>{channel}</Id> forgets all messages that it remembers. This cannot be undone.</p>
        </Confirm>
      )}
      {data.messages.length === 0 ? <p class="quiet">The channel remembers messages, and has none now.</p> : (
        <div class="log" role="group" aria-label="Remembered messages" tabIndex={0}>
          {data.messages.toReversed().map((message) => (
            <div class="row" key={message.offset}>
              <Unfold summary={<><span class="offset">{count(message.offset)}</span> <Clock at={message.at} /> <span class="quiet">from <Id>{message.from}</Id></span> <Line value={message.data} most={120} /></>}>
                {() => <Payload value={message.data} label="Message" />}
              </Unfold>
            </div>
          ))}
        </div>
      )}
      <p class="hint">Newest position: {count(data.offset)} in epoch <Id>{data.epoch}</Id>.</p>
    </>
  );
}
