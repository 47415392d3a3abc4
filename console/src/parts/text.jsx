// Ids and payloads come from devices. They are shown as text nodes, apart from the
// direction of the text around them, and characters that hide or reorder text are
// shown as escapes.

import { useState } from "preact/hooks";

// Control characters but tab and line feed, those that Unicode wants drawn as nothing (the ones that choose
// how an emoji looks are left out), and those that turn the direction of text or break lines.
const hiding = /(?![\t\n\ufe0e\ufe0f])[\p{Cc}\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Zl}\p{Zp}\ufff9-\ufffb]/u;
const all = new RegExp(`(${hiding.source})`, "gu");

const escape = (character) => Array.from({ length: character.length }, (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`).join("");

/** visible splits a text: characters that hide or reorder text become escapes. */
function visible(text) {
  if (!hiding.test(text)) return text;
  return text.split(all).map((part, i) =>
    i % 2 === 1 ? <span class="escape" key={i}>{escape(part)}</span> : part,
  );
}

/** Id shows a name that somebody else chose: of a peer, a channel, a pattern. */
export const Id = ({ children, class: more = "" }) => <bdi class={`id ${more}`}>{visible(String(children))}</bdi>;

/** oneLine is a JSON value in one line, cut to so many characters. */
export function oneLine(value, most = 200) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === undefined ? "" : text.length > most ? `${text.slice(0, most)}…` : text;
}

/** Line shows a JSON value, or a text, in one line. */
export const Line = ({ value, most }) => <bdi class="payload">{visible(oneLine(value, most))}</bdi>;

const firstPart = 4000;

/** Payload shows a JSON value in full. A long one is cut until the reader asks for the rest. */
export function Payload({ value, label }) {
  const [whole, setWhole] = useState(false);
  const text = (value === null || typeof value !== "object" ? JSON.stringify(value) : JSON.stringify(value, null, 2)) ?? "";
  const cut = !whole && text.length > firstPart + 500;
  return (
    <div class="payload-box">
      <pre class="payload" tabIndex={0} role="region" aria-label={label}><bdi>{visible(cut ? text.slice(0, firstPart) : text)}{cut && "…"}</bdi></pre>
      {cut && <button type="button" class="small" onClick={() => setWhole(true)}>Show all {text.length.toLocaleString("en")} characters</button>}
    </div>
  );
}
