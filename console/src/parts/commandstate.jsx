// How a command does: its state, how many devices are in which, and what they answered.

import { useEffect, useRef, useState } from "preact/hooks";
import { path } from "../api.js";
import { useData } from "../live.js";
import { href } from "../router.js";
import { Badge } from "./badge.jsx";
import { count, duration, plural } from "./format.jsx";
import { isFinal, stateName, tone } from "./meaning.js";
import { Id, Payload } from "./text.jsx";

const pollMs = 700;

/**
 * useCommand reads a command until it has ended. onEnd is told when that happens while it is
 * watched; a command that was sent just now may have ended before it is first read.
 */
export function useCommand(id, onEnd, sentNow = false) {
  const [every, setEvery] = useState(pollMs);
  const { data: command, error, reload } = useData(path(["commands", id]), { every });
  const wasOpen = useRef(sentNow);
  const final = command && isFinal(command.status);
  useEffect(() => {
    if (!command) return;
    setEvery(final ? 0 : pollMs);
    if (final && wasOpen.current) onEnd?.(command);
    wasOpen.current = !final;
  }, [command?.status]);
  return { command, error, reload };
}

const order = ["succeeded", "failed", "rejected", "timedOut", "running", "received", "sent", "missing"];
const names = { timedOut: "timed out" };

/** CommandState shows a command's status, and a bar with a part for each state. */
export function CommandState({ command }) {
  const { counts, expect } = command;
  const parts = order.map((state) => [state, counts[state] ?? 0]).filter(([, n]) => n > 0);
  const known = parts.reduce((sum, [, n]) => sum + n, 0);
  const whole = Math.max(expect, known);
  const words = parts.map(([state, n]) => `${count(n)} ${names[state] ?? state}`);
  if (whole > known) words.push(`${count(whole - known)} not handed over yet`);
  return (
    <div class="command-state">
      <p><Badge state={command.status} /> {plural(expect, "device")} expected: {words.join(", ")}.</p>
      <svg class="progress" viewBox={`0 0 ${whole} 1`} preserveAspectRatio="none" role="img" aria-label={words.join(", ")}>
        {parts.reduce(({ x, bars }, [state, n]) => ({
          x: x + n,
          bars: [...bars, <rect key={state} x={x} y={0} width={n} height={1} class={`part ${tone(state === "timedOut" ? "timed_out" : state)} ${state}`} />],
        }), { x: 0, bars: [] }).bars}
      </svg>
    </div>
  );
}

/** Answer shows what one device answered. */
export function Answer({ answer }) {
  const took = answer.answeredAt ? `after ${duration(answer.answeredAt - answer.sentAt)}` : "";
  return (
    <div class="answer">
      <p><a href={href(["devices", answer.peer])}><Id>{answer.peer}</Id></a> <Badge state={answer.status} /> <span class="quiet">{took}{answer.attempt > 1 && ` · attempt ${answer.attempt}`}</span></p>
      {answer.data !== undefined && <Payload value={answer.data} label="Answer" />}
      {answer.late && <p class="quiet">Later it answered {stateName(answer.late.status)}:</p>}
      {answer.late?.data !== undefined && <Payload value={answer.late.data} label="Late answer" />}
    </div>
  );
}
