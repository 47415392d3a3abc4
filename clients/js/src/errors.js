// What can go wrong.

/**
 * An error of the service, with one of its codes (protocol §4.4, §5), or of the client: `closed`, `stopped`,
 * `connection_lost`, `disconnected`, `no_token`, `too_large`, `not_service`. No error holds a token or a secret key.
 */
export class FleetwireError extends Error {
  constructor(code, message, more) {
    super(message);
    this.name = "FleetwireError";
    this.code = code;
    Object.assign(this, more);
  }
}

/** Thrown by a token function, it stops the client: there will be no other token. */
export class StopError extends Error {
  name = "StopError";
}

/** Thrown by a handler of commands, it answers `rejected` instead of `failed`. */
export class Rejected extends Error {
  name = "Rejected";
}

/** The error of an error frame, or of the body of a REST answer. */
export function refusal({ code, error, message, outcome, epoch, offset, newest }, more) {
  const position = epoch ? { epoch, offset } : undefined;
  const described = { outcome, position, newest, ...more };
  for (const name in described) if (described[name] === undefined) delete described[name];
  return new FleetwireError(code ?? error, message, described);
}

/** The service's store failed, or the service: the same frame may succeed later. */
export const mayPass = (error) => error.code === "backend_error" || error.code === "internal_error";
