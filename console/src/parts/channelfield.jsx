// A field for a channel's name, which suggests those that are known.

import { useRef } from "preact/hooks";
import { useData } from "../live.js";
import { Field } from "./form.jsx";

let lists = 0;

/** ChannelField suggests names, or without them the busiest channels of the month. */
export function ChannelField({ names, ...rest }) {
  const id = useRef(null);
  id.current ??= `channels-${++lists}`;
  const { data } = useData(names ? null : "usage/channels?limit=100");
  const known = names ?? data?.channels.map(({ channel }) => channel) ?? [];
  return (
    <>
      <Field list={id.current} maxLength={256} placeholder="devices/camera-001/commands" {...rest} />
      <datalist id={id.current}>{known.map((name) => <option value={name} key={name} />)}</datalist>
    </>
  );
}
