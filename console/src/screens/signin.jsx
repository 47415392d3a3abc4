// Signing in: the key is exchanged for a session's cookie at once, and forgotten.

import { useEffect, useRef, useState } from "preact/hooks";
import { signIn } from "../api.js";
import { Field, Form, useAction } from "../parts/form.jsx";

export function SignIn({ why, onSignedIn }) {
  const [key, setKey] = useState("");
  const [missing, setMissing] = useState("");
  const input = useRef(null);
  const action = useAction(async () => {
    await signIn(key.trim());
    setKey("");
    await onSignedIn();
  });

  useEffect(() => {
    document.title = "Sign in · Fleetwire";
    input.current.focus();
  }, []);

  const submit = () => {
    const empty = key.trim() === "";
    setMissing(empty ? "Enter a secret key." : "");
    if (empty) return input.current.focus();
    return action.run();
  };

  return (
    <main class="alone">
      <h1>Fleetwire console</h1>
      {why && <p class="note" role="status">{why}</p>}
      <Form action={action} onSubmit={submit} button="Sign in" busyText="Signing in…">
        <Field label="Secret key" type="password" name="key" inputRef={input} value={key} onInput={setKey} error={missing}
          hint={<>A secret key of your app, such as <code>sk_live_…_secret_…</code>. <code>make run</code> prints one when it starts.</>} />
      </Form>
      <p class="hint">The browser keeps a session for 8 hours, and no key. A key with the role <code>viewer</code> sees everything and changes nothing.</p>
    </main>
  );
}
