// What the session's key may do. The service refuses the rest in any case; the page
// leaves out the buttons that would only be refused.

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export const Session = createContext(null);

/** useMay says whether the session's key may write, and whether it has each action. */
export function useMay() {
  const { role, actions } = useContext(Session);
  const write = role !== "viewer";
  const has = (action) => actions.includes(action);
  return { write, publish: write && has("publish"), subscribe: has("subscribe"), seeCommands: has("publish") };
}
