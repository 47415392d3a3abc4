// Notes about errors, and about what is not there yet.

/** ErrorNote shows what the service said. */
export function ErrorNote({ error, retry }) {
  if (!error) return null;
  return (
    <div class="note bad" role="alert">
      <p>
        {error.message}
        {error.code && error.code !== "unreachable" && <> <code class="code">{error.status} {error.code}</code></>}
      </p>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

/** Empty says that something is not there, and what to do next. */
export function Empty({ title, children }) {
  return <div class="empty"><p class="title">{title}</p>{children}</div>;
}

/** Pending stands where data is to come, or shows the error in its place. */
export function Pending({ error, reload }) {
  return error ? <ErrorNote error={error} retry={reload} /> : <p class="quiet" aria-busy="true">Loading…</p>;
}
