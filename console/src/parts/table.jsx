// Tables that become cards on a narrow screen, and pages of an API with cursors.

import { useState } from "preact/hooks";
import { path, get } from "../api.js";
import { useData } from "../live.js";

/**
 * Table shows rows. Columns are {name, show(row), number?, main?}: number aligns to
 * the right, main heads the card on a narrow screen, where cells with nothing are left out.
 * A compact table has so little in a row that it stays a table. The roles are spelled out, since
 * browsers forget them for tables that are laid out otherwise.
 */
export function Table({ label, columns, rows, keyOf, busy, compact }) {
  return (
    <table role="table" aria-label={label} aria-busy={busy ? "true" : undefined} class={`${busy ? "stale" : ""} ${compact ? "" : "cards-when-narrow"}`}>
      <thead role="rowgroup">
        <tr role="row">{columns.map(({ name, number }) => <th role="columnheader" scope="col" class={number ? "number" : ""} key={name}>{name}</th>)}</tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, i) => (
          <tr role="row" key={keyOf ? keyOf(row) : i}>
            {columns.map((column) => <Cell key={column.name} {...column} content={column.show(row)} />)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Cell({ name, number, main, content }) {
  const none = content === null || content === undefined;
  return <td role="cell" data-label={name} class={`${number ? "number" : ""} ${main ? "main-cell" : ""} ${none ? "none" : ""}`}>{none ? "–" : content}</td>;
}

/**
 * usePages reads a list page by page. segments and query make its address, field is the
 * list's name in the answer. A filter can leave a page empty that is not the last: then
 * the next ones are read, too, until there is something to show.
 */
export function usePages(segments, query, field, { every = 0 } = {}) {
  const address = path(segments, query);
  const [place, setPlace] = useState({ address, cursors: [""] }); // the cursors of the pages up to this one
  const cursors = place.address === address ? place.cursors : [""];
  const cursor = cursors.at(-1);
  const { data, error, stale, reload } = useData(path(segments, { ...query, cursor }), { every, read: (path, options) => readOn(path, field, segments, query, options) });
  const to = (cursors) => setPlace({ address, cursors });
  return {
    rows: data?.[field],
    data,
    error,
    busy: stale,
    reload,
    page: cursors.length,
    next: data?.cursor && !stale ? () => to([...cursors, data.cursor]) : null,
    previous: cursors.length > 1 ? () => to(cursors.slice(0, -1)) : null,
  };
}

// More than this many empty pages are left to the reader, who can ask for the next.
const emptyPages = 20;

async function readOn(first, field, segments, query, options) {
  let data = await get(first, options);
  for (let i = 0; i < emptyPages && data.cursor && data[field].length === 0; i++) {
    data = await get(path(segments, { ...query, cursor: data.cursor }), options);
  }
  return data;
}

/** Pager leads through the pages of usePages. */
export function Pager({ pages, label }) {
  if (!pages.next && !pages.previous) return null;
  return (
    <nav class="pager" aria-label={label}>
      <button type="button" disabled={!pages.previous} onClick={pages.previous}>Previous page</button>
      <span class="quiet">Page {pages.page}</span>
      <button type="button" disabled={!pages.next} onClick={pages.next}>Next page</button>
    </nav>
  );
}
