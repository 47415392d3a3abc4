// One live region tells screen readers what changed.

import { useEffect, useState } from "preact/hooks";

let listener = () => {};

/** announce has screen readers say a sentence. */
export const announce = (sentence) => listener(sentence);

export function Announcer() {
  const [said, setSaid] = useState("");
  useEffect(() => {
    // The same sentence again is a change only with something that differs.
    listener = (sentence) => setSaid((last) => (last === sentence ? `${sentence}\u00a0` : sentence));
    return () => (listener = () => {});
  }, []);
  return <div class="unseen" role="status" aria-live="polite">{said}</div>;
}
