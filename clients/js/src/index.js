// The client of Fleetwire for JavaScript. The types, with what each thing does, are in ../index.d.ts.

export { Backend } from "./backend.js";
export { Client } from "./client.js";
export { FleetwireError, Rejected, StopError } from "./errors.js";
export { signToken } from "./token.js";
