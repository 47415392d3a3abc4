// Fields with labels, and what a form's button does.

import { useRef, useState } from "preact/hooks";
import { ErrorNote } from "./note.jsx";

let fields = 0;

/** Field is an input with its label, a hint and an error. as is "input", "textarea" or "select". */
export function Field({ label, hint, error, as: Tag = "input", value, onInput, children, inputRef, ...rest }) {
  const id = useRef(null);
  id.current ??= `field-${++fields}`;
  const notes = [hint && `${id.current}-hint`, error && `${id.current}-error`].filter(Boolean).join(" ") || undefined;
  return (
    <div class="field">
      <label for={id.current}>{label}</label>
      <Tag id={id.current} ref={inputRef} value={value} aria-describedby={notes} aria-invalid={error ? "true" : undefined}
        onInput={(event) => onInput(event.currentTarget.value)} spellcheck={false} autocapitalize="off" autocomplete="off" {...rest}>{children}</Tag>
      {hint && <p class="hint" id={`${id.current}-hint`}>{hint}</p>}
      {error && <p class="hint wrong" id={`${id.current}-error`}>{error}</p>}
    </div>
  );
}

/** Check is a checkbox with its label. */
export const Check = ({ label, checked, onChange }) => (
  <label class="check"><input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />{label}</label>
);

/** Choice is a row of buttons of which one is pressed. options are [value, label]. */
export function Choice({ label, options, value, onChange }) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([option, name]) => (
        <button type="button" key={option} aria-pressed={option === value ? "true" : "false"} onClick={() => onChange(option)}>{name}</button>
      ))}
    </div>
  );
}

/**
 * useAction runs something that changes the service: {run, busy, error, result}. A second
 * press while it runs does nothing.
 */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null, result: undefined });
  const running = useRef(false);
  const run = async (...args) => {
    if (running.current) return undefined;
    running.current = true;
    setState((state) => ({ ...state, busy: true, error: null }));
    try {
      const result = await action(...args);
      setState({ busy: false, error: null, result });
      return result;
    } catch (error) {
      setState({ busy: false, error, result: undefined });
      return undefined;
    } finally {
      running.current = false;
    }
  };
  return { run, ...state };
}

/** Form has a submit button, and shows the action's error. */
export function Form({ action, onSubmit, button, busyText, children, class: more = "" }) {
  const submit = (event) => {
    event.preventDefault();
    onSubmit();
  };
  return (
    <form class={more} onSubmit={submit} noValidate>
      {children}
      <ErrorNote error={action?.error} />
      <div class="buttons">
        <button type="submit" class="primary" aria-disabled={action?.busy ? "true" : undefined}>{action?.busy ? busyText : button}</button>
      </div>
    </form>
  );
}

/** notJSON says why a text is not JSON, or nothing. */
export function notJSON(text) {
  if (text.trim() === "") return "Enter a JSON value, such as {\"cmd\":\"reboot\"}.";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}

/**
 * bodyWith is a request's body in which data stands as it was typed, so that numbers
 * and spaces reach devices unchanged.
 */
export function bodyWith(data, fields) {
  const rest = JSON.stringify(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== "")));
  return rest === "{}" ? `{"data":${data}}` : `{"data":${data},${rest.slice(1)}`;
}
