// The screens' addresses lie behind the #, so that the server knows nothing of them:
// #/devices/camera-001?prefix=cam

import { useEffect, useState } from "preact/hooks";

/** href is the address of a screen. Segments are encoded, so that an id may hold anything. */
export function href(segments, query = {}) {
  const fields = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const address = `#/${segments.map(encodeURIComponent).join("/")}`;
  return fields.length > 0 ? `${address}?${new URLSearchParams(fields)}` : address;
}

export const go = (segments, query) => {
  location.hash = href(segments, query);
};

/** replace changes the address without another step in the browser's history, for filters. */
export function replace(segments, query) {
  history.replaceState(null, "", href(segments, query));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** useRoute is the screen's address: its segments, decoded, and the fields of its query. */
export function useRoute() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const look = () => setHash(location.hash);
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  return parse(hash);
}

function parse(hash) {
  const [address, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  try {
    const segments = address.split("/").filter((segment) => segment !== "").map(decodeURIComponent);
    return { segments, query: Object.fromEntries(new URLSearchParams(query)) };
  } catch {
    return { segments: ["?"], query: {} }; // a percent sign that encodes nothing: no such screen
  }
}
