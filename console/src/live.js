// Keeps screens up to date: by asking again, and by the service's stream of events.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get, path, reach, refusal } from "./api.js";

/**
 * useData reads a path below /v1/, again when it changes, and every so many
 * milliseconds while the page is visible. What was read stays while more is read, and
 * after an error. A path of null reads nothing. read reads it, if not get.
 */
export function useData(path, { every = 0, read = get } = {}) {
  const [state, setState] = useState({ path, data: undefined, error: null });
  const reader = useRef(read);
  reader.current = read;
  const [round, setRound] = useState(0);
  const reload = useCallback(() => setRound((round) => round + 1), []);

  useEffect(() => {
    if (path === null) return;
    const abort = new AbortController();
    (async () => {
      while (!abort.signal.aborted) {
        try {
          const data = await reader.current(path, { signal: abort.signal });
          if (!abort.signal.aborted) setState({ path, data, error: null });
        } catch (error) {
          if (abort.signal.aborted) return;
          setState((state) => ({ ...state, path, error }));
          if (error.status === 401) return;
        }
        if (every === 0) return;
        await delay(every, abort.signal);
        await untilVisible(abort.signal);
      }
    })();
    return () => abort.abort();
  }, [path, every, round]);

  return { data: state.data, error: state.error, stale: state.path !== path, reload };
}

/** useStream follows events of the service while the screen is there; a query of null follows none. */
export function useStream(query, onEvent) {
  const [state, setState] = useState({ status: "connecting", error: null });
  const handler = useRef(onEvent);
  handler.current = onEvent;
  const address = query === null ? null : path(["events"], query);

  useEffect(() => {
    if (address === null) return;
    setState({ status: "connecting", error: null });
    const abort = new AbortController();
    follow(address, abort.signal, (event) => handler.current(event), (status, error = null) => setState({ status, error }));
    return () => abort.abort();
  }, [address]);

  return state;
}

// How long a hidden page keeps its stream. After that it costs the service nothing,
// and leaves the browser its few connections for other pages.
const hiddenMs = 60_000;

/** follow reads the stream at address until the signal aborts, and comes back when it ends. */
async function follow(address, signal, onEvent, onStatus) {
  let wait = 500;
  while (!signal.aborted) {
    await untilVisible(signal);
    const once = new AbortController();
    const unwatch = abortWhenHidden(once);
    try {
      const response = await reach(`api/v1/${address}`, {
        headers: { accept: "text/event-stream" },
        signal: AbortSignal.any([signal, once.signal]),
      });
      if (!response.ok) throw await refusal(response);
      onStatus("live");
      wait = 500;
      for await (const event of events(response.body)) onEvent(event);
      onStatus("connecting");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429) {
        return onStatus("failed", error);
      }
      onStatus("connecting", once.signal.aborted ? null : error instanceof ApiError ? error : null);
    } finally {
      unwatch();
      once.abort();
    }
    await delay(wait, signal);
    wait = Math.min(2 * wait, 15_000);
  }
}

/** events are those of a text/event-stream: {type, ...the fields of its data}. */
export async function* events(body) {
  let rest = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parseBlock(block);
      if (event) yield event;
    }
  }
}

// Not every browser's streams can be iterated over by themselves.
async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function parseBlock(block) {
  let type = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) type = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5));
  }
  return data.length > 0 ? { ...JSON.parse(data.join("\n")), type } : null; // a comment has no data
}

const delay = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

const untilVisible = (signal) =>
  new Promise((resolve) => {
    if (!document.hidden || signal.aborted) return resolve();
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
  });

function abortWhenHidden(controller) {
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => controller.abort(), hiddenMs);
  };
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}
