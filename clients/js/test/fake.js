// A service that the tests play, and a clock that they set.

import assert from "node:assert/strict";
import { Client } from "../src/index.js";

/** The client's end of a connection, in the hands of a test. */
class Socket {
  readyState = 0;
  sent = []; // frames
  constructor(service, url, options) {
    this.url = url;
    this.bearer = options?.headers?.Authorization?.replace(/^Bearer /, "");
    service.sockets.push(this);
  }
  send(text) {
    assert.equal(this.readyState, 1, "sends while the connection is not open");
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    if (this.closed === undefined) this.closed = code;
    if (this.readyState < 2) this.readyState = 2;
  }
  say(frame) {
    this.readyState = 1;
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
    return settled();
  }
  welcome(more) {
    return this.say({ type: "welcome", peerId: "a", expiresAt: null, serverTime: 1000, maxMessageSize: 65536, ...more });
  }
  /** Closes the connection from the service's side, or by a network that breaks. */
  shut(code, reason = "") {
    this.readyState = 3;
    if (code === 1006) this.onerror?.({ message: reason });
    this.onclose?.({ code, reason });
    return settled();
  }
  /** The n-th frame from the end of a type. */
  last(type) {
    return this.sent.findLast((frame) => frame.type === type);
  }
  /** Answers the last frame of a type. */
  ack(type, more) {
    return this.say({ type: "ack", requestId: this.last(type).requestId, ...more });
  }
  refuse(type, code, more) {
    return this.say({ type: "error", requestId: this.last(type).requestId, code, message: "no", ...more });
  }
}

/** Resolves when all that follows from what has happened has happened, but for timers. */
export async function settled() {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A service, with a clock that stands still, and jitter that is the most it can be. */
export class Service {
  sockets = [];
  states = [];
  errors = [];
  gaps = [];
  tokens = 0;

  constructor(t) {
    this.t = t;
    t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
    t.mock.method(performance, "now", () => Date.now());
    t.mock.method(Math, "random", () => 1);
  }

  client(options) {
    const service = this;
    const client = new Client({
      url: "http://service.test",
      token: () => `token-${++this.tokens}`,
      WebSocket: class extends Socket {
        constructor(url, options) {
          super(service, url, options);
        }
      },
      onState: (change) => this.states.push(change.retryInMs === undefined ? change.state : `${change.state} ${change.retryInMs}`),
      onError: (error) => this.errors.push(error),
      onGap: (gap) => this.gaps.push(gap),
      ...options,
    });
    this.t.after(async () => {
      const closed = client.close();
      await this.pass(1000);
      await closed;
    });
    return client;
  }

  /** The newest connection. */
  get socket() {
    return this.sockets.at(-1);
  }

  /** Waits for the connection with this number, from 1. */
  async accept(n = 1) {
    await settled();
    assert.equal(this.sockets.length, n, `connections; states: ${this.states}`);
    return this.socket;
  }

  /** A client that is connected. */
  async connected(options) {
    const client = this.client(options);
    await (await this.accept()).welcome();
    return client;
  }

  /** The connection breaks, and the client is back. */
  async reconnect() {
    await this.socket.shut(1006, "broken");
    await this.pass(60_000);
    await this.socket.welcome();
    return this.socket;
  }

  /** Lets time pass in which the service is heard. */
  async live(ms) {
    for (; ms > 0; ms -= 20_000) {
      await this.socket.say({ type: "pong" });
      await this.pass(Math.min(ms, 20_000));
    }
  }

  /** Lets time pass. */
  async pass(ms) {
    this.t.mock.timers.tick(ms);
    await settled();
  }
}

/** How a promise stands: {value}, {error} or {pending}. */
export async function standing(promise) {
  const pending = {};
  const result = await Promise.race([promise.then((value) => ({ value }), (error) => ({ error })), settled().then(() => pending)]);
  return result === pending ? { pending: true } : result;
}

/** Rejects unless the promise rejects with the code. */
export const fails = (promise, code) => assert.rejects(promise, (error) => (assert.equal(error.code, code, error.stack), true));
