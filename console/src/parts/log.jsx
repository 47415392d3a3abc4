// A live list of events, with pause, filter and clear.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useStream } from "../live.js";
import { count, plural } from "./format.jsx";
import { ErrorNote } from "./note.jsx";

const most = 300; // events that are kept, the newest
const drawMs = 150; // events that come within this time are drawn at once

/**
 * useLog follows the events of a query, newest first. While it is paused the list
 * stays as it is, and the newest events wait.
 */
export function useLog(query) {
  const [rows, setRows] = useState([]);
  const [waiting, setWaiting] = useState(0);
  const [left, setLeft] = useState(0); // events that the service left out, as too many came
  const [paused, setPaused] = useState(false);
  const fresh = useRef([]);
  const timer = useRef(null);
  const serial = useRef(0);
  const isPaused = useRef(false);
  isPaused.current = paused;

  const draw = () => {
    timer.current = null;
    if (isPaused.current) return setWaiting(fresh.current.length);
    const come = fresh.current.reverse();
    fresh.current = [];
    setWaiting(0);
    setRows((rows) => [...come, ...rows].slice(0, most));
  };

  const stream = useStream(query, (event) => {
    if (event.type === "sampled") return setLeft((left) => left + event.dropped);
    if (event.type === "end") return;
    fresh.current.push({ ...event, serial: ++serial.current });
    if (fresh.current.length > most) fresh.current.shift();
    timer.current ??= setTimeout(draw, drawMs);
  });

  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (!paused && fresh.current.length > 0) draw();
  }, [paused]);

  const clear = () => {
    fresh.current = [];
    setRows([]);
    setWaiting(0);
    setLeft(0);
  };
  return { rows, waiting, left, paused, setPaused, clear, ...stream };
}

const statusText = { connecting: "Connecting…", live: "Live", failed: "Stopped" };

/** Log shows what useLog follows. show draws a row; text is what the filter looks at. */
export function Log({ log, label, show, text, empty }) {
  const [filter, setFilter] = useState("");
  const wanted = filter.toLowerCase();
  const rows = wanted === "" ? log.rows : log.rows.filter((row) => text(row).toLowerCase().includes(wanted));
  const status = log.paused ? "Paused" : statusText[log.status];
  return (
    <div class="log-box">
      <div class="toolbar">
        <span class={`status ${log.paused ? "" : log.status}`}>{status}</span>
        <label class="inline"><span class="unseen">Filter: {label}</span><input type="search" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} /></label>
        <button type="button" class="small" aria-pressed={log.paused ? "true" : "false"} onClick={() => log.setPaused(!log.paused)}>
          {log.paused && log.waiting > 0 ? `Go on (${count(log.waiting)} new)` : log.paused ? "Go on" : "Pause"}
        </button>
        <button type="button" class="small" onClick={log.clear}>Clear</button>
      </div>
      <ErrorNote error={log.error} />
      {log.left > 0 && <p class="hint">{plural(log.left, "event was", "events were")} left out: more than 100 a second came.</p>}
      <div class="log" role="log" aria-live="off" aria-label={label} tabIndex={0}>
        {rows.length === 0
          ? <div class="quiet">{log.rows.length > 0 ? "Nothing matches the filter." : empty}</div>
          : rows.map((row) => <Row row={row} show={show} key={row.serial} />)}
      </div>
    </div>
  );
}

// A row never changes, so it is drawn once: many events with long payloads come in a second.
const Row = ({ row, show }) => useMemo(() => <div class="row">{show(row)}</div>, [row]);

/** Unfold is a row whose body is drawn when it is opened. */
export function Unfold({ summary, children }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{summary}</summary>
      {open && children()}
    </details>
  );
}
