// A dialog that asks before something is done that cannot be undone.

import { useEffect, useRef } from "preact/hooks";
import { useAction } from "./form.jsx";
import { ErrorNote } from "./note.jsx";

/**
 * Confirm asks, and runs onYes if the answer is yes; it stays open while that fails, and
 * shows why. The browser's own dialog keeps the focus inside, and Escape closes it.
 */
export function Confirm({ title, yes, onYes, onClose, children }) {
  const dialog = useRef(null);
  const action = useAction(onYes);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby="confirm-title" onClose={onClose}>
      <h2 id="confirm-title">{title}</h2>
      {children}
      <ErrorNote error={action.error} />
      <div class="buttons">
        <button type="button" autofocus onClick={() => dialog.current.close()}>Keep it as it is</button>
        <button type="button" class="danger" aria-disabled={action.busy ? "true" : undefined} onClick={action.run}>{action.busy ? "Working…" : yes}</button>
      </div>
    </dialog>
  );
}
