// Talks to the service. All paths are relative to the page (/console/), and the
// browser adds the session's cookie: the page holds no key.

/** ApiError is a refusal of the service, with what it said; status 0 means that no answer came. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let sessionEnded = () => {};

/** onSessionEnd has listener called when the service takes the session no more. */
export function onSessionEnd(listener) {
  sessionEnded = listener;
}

/** get reads one path below /v1/. */
export const get = (path, options) => send("GET", `api/v1/${path}`, options);

/** write changes something by a path below /v1/; body is JSON text, or a value to be sent as JSON. */
export const write = (method, path, body, options) => send(method, `api/v1/${path}`, { ...options, body });

export const readSession = () => send("GET", "session", { quiet: true });
export const signOut = () => send("DELETE", "session", { quiet: true });

/** signIn exchanges a secret key for a session's cookie. */
export async function signIn(key) {
  if (!/^[!-~]+$/.test(key)) throw new ApiError(0, "", "This is no secret key: it has characters that no key has. Paste one whole, as in sk_live_…_secret_….");
  return send("POST", "session", { authorization: `Bearer ${key}`, quiet: true });
}

/** getOwn reads what the console itself serves, such as keys. */
export const getOwn = (path, options) => send("GET", path, options);

async function send(method, url, { body, signal, authorization, quiet } = {}) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-fleetwire-console"] = "1";
  if (authorization) headers.authorization = authorization;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
  const response = await reach(url, { method, headers, body: text, signal });
  if (!response.ok) throw await refusal(response, quiet);
  return response.status === 204 ? null : parseJSON(await response.text());
}

/** reach fetches; a connection that fails becomes an error that a reader understands. */
export async function reach(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", cache: "no-store", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The service cannot be reached. Check that it runs, and your network.");
  }
}

/** refusal is the error that an answer stands for. */
export async function refusal(response, quiet) {
  const text = await response.text().catch(() => "");
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // Something else answered, such as a proxy: its status is all that is known.
  }
  const error = new ApiError(response.status, said.error ?? "", said.message ?? `The answer was ${response.status} ${response.statusText}.`);
  if (response.status === 401 && !quiet) sessionEnded(error);
  return error;
}

/**
 * parseJSON keeps numbers that JavaScript would write otherwise, such as 2^63 or 1.0, as they
 * were written: a payload is shown as the device sent it. The service's own numbers are written
 * as JavaScript does.
 */
export function parseJSON(text) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && String(value) !== context.source ? JSON.rawJSON(context.source) : value,
  );
}

/** path builds a path below /v1/ from its segments and the query's fields; those that are empty are left out. */
export function path(segments, query = {}) {
  const fields = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const joined = segments.map(encodeURIComponent).join("/");
  return fields.length > 0 ? `${joined}?${new URLSearchParams(fields)}` : joined;
}
