// States in a word, coloured; the word says it all without the colour.

import { stateName, tone } from "./meaning.js";

export const Badge = ({ state, children }) => <span class={`badge ${tone(state)}`}>{children ?? stateName(state)}</span>;

/** Bar shows how much of a whole is used; the figures stand beside it in words. */
export function Bar({ value, most, label }) {
  const share = most > 0 ? Math.min(1, value / most) : 0;
  return <meter class={share > 0.9 ? "full" : ""} min={0} max={1} value={share} aria-label={label}>{Math.round(share * 100)} %</meter>;
}

/** Facts is a list of names and values; those without a value are left out. */
export const Facts = ({ facts }) => (
  <dl class="facts">
    {facts.filter(([, value]) => value !== undefined && value !== null && value !== false).map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
  </dl>
);

/** Figure is a number that is read at a glance. */
export const Figure = ({ name, value, children }) => (
  <div class="figure"><p class="name">{name}</p><p class="value">{value}</p>{children && <div class="more">{children}</div>}</div>
);
