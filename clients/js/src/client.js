// A client stays connected and subscribed.

import { asked, Backoff } from "./backoff.js";
import { Commands } from "./commands.js";
import { openSocket, socketClass, tokenSource } from "./connect.js";
import { FleetwireError, mayPass, refusal, StopError } from "./errors.js";
import { Ingester } from "./group.js";
import { Link } from "./link.js";
import { byteLength, checkChannel, checkPeer, isPattern, serviceURL } from "./names.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { keepFresh } from "./refresh.js";
import { Subscription } from "./subscription.js";
import { deferred, jitter, pause, unlessAborted } from "./time.js";

const RETRY_MS = 2000; // before a subscription is sent again that the service's store did not take; up to twice as long
const WILL_BYTES = 4096; // what the data of a will may have
const NO_WILL = JSON.stringify({ type: "will", channel: null });

/** A connection to the service that is made again when it ends, for a device or an ingester. See index.d.ts. */
export class Client {
  #options;
  #url;
  #askToken;
  #token;
  #backoff;
  #queue;
  #outbox = new Outbox();
  #commands;
  #subscriptions = new Map(); // by channel or pattern, the oldest first
  #groups = new Map(); // Ingesters, by name
  #will;
  #link; // undefined: not connected
  #opened; // the link, from before its welcome
  #connected = deferred(); // settles with the next link, or when the client stops
  #ending = new AbortController(); // the client is closed or stops: the reason is why
  #ended = deferred();

  constructor({ framesPerSecond = 95, queueBytes = 4 << 20, onError = (error) => console.error(error), ...options }) {
    const safely = (error) => {
      try {
        onError(error);
      } catch (thrown) {
        console.error(thrown); // the program's own: no client may end for it
      }
    };
    if ((options.token === undefined) === (options.publishableKey === undefined)) {
      throw new TypeError("give one of token and publishableKey, to connect with");
    }
    socketClass(options);
    this.#options = { framesPerSecond, onError: safely, ...options };
    this.#url = serviceURL(options.url, "ws");
    this.#askToken = tokenSource(options);
    this.#backoff = new Backoff(options.backoff);
    this.#queue = new Queue(queueBytes, safely);
    this.#commands = new Commands((frame) => this.#outbox.deliver(frame, { again: true }), (error) => this.#report(error), this.#ending.signal);
    this.#run();
  }

  /** Resolves to the welcome of the connection, when there is one. */
  async connected({ signal } = {}) {
    return (await this.#awaitLink(signal)).welcome;
  }

  /** Resolves to the error with which the client was closed or has stopped. */
  get ended() {
    return this.#ended.promise;
  }

  async subscribe(channelOrPattern, handler, { signal, ...options } = {}) {
    if (typeof handler !== "function") throw new TypeError("subscribe needs a handler");
    await this.#subscribe(new Subscription(channelOrPattern, (message) => handler(message), options), signal);
  }

  async unsubscribe(channelOrPattern, { signal } = {}) {
    this.#throwIfEnded();
    const former = this.#subscriptions.get(channelOrPattern);
    this.#subscriptions.delete(channelOrPattern);
    former?.first.reject(REPLACED());
    if (!former || !this.#link) return; // the next connection will not have it
    await unlessAborted(this.#link.request(unsubscribe(channelOrPattern)), signal).catch((error) => {
      if (error.code !== "connection_lost") throw error;
    });
  }

  /** Publishes, and resolves when the service has taken the message. */
  async publish(channel, data, { idempotencyKey, if: newest, signal } = {}) {
    checkChannel(channel);
    if (newest && !newest.epoch) throw new TypeError("if should be a whole position {epoch, offset}, such as that of a message");
    const conditions = { idempotencyKey, ifOffset: newest?.offset, ifEpoch: newest?.epoch };
    const frame = JSON.stringify({ type: "publish", channel, ...conditions, data });
    const { epoch, offset } = await this.#outbox.deliver(frame, { again: idempotencyKey !== undefined, signal });
    return { position: epoch ? { epoch, offset } : undefined };
  }

  /** Sends to all connections of a peer. */
  async send(peer, data, { signal } = {}) {
    checkPeer(peer);
    await this.#outbox.deliver(JSON.stringify({ type: "send", to: peer, data }), { signal });
  }

  async handleCommands(channel, handler, { signal, messages, ...options } = {}) {
    if (typeof handler !== "function") throw new TypeError("handleCommands needs a handler");
    checkChannel(channel);
    if (isPattern(channel)) throw new FleetwireError("invalid_channel", "commands go to subscribers by name, not by a pattern");
    const take = this.#commands.taker(handler);
    const subscription = new Subscription(channel, (message, command) => (command ? take(message, command) : messages?.(message)), options);
    await this.#subscribe(subscription, signal);
  }

  /** Takes part in a group until the signal aborts, the client ends or the service refuses it. */
  async group(name, handler, { maxInFlight = 100, signal } = {}) {
    if (typeof handler !== "function") throw new TypeError("group needs a handler");
    this.#throwIfEnded();
    if (this.#groups.has(name)) throw new TypeError(`the client takes part in the group ${JSON.stringify(name)} already`);
    const ingester = new Ingester(name, maxInFlight);
    this.#groups.set(name, ingester);
    if (this.#link) ingester.join(this.#link);
    try {
      const either = signal ? AbortSignal.any([signal, this.#ending.signal]) : this.#ending.signal;
      await ingester.work(handler, this.#options.onError, either);
    } finally {
      await ingester.leave(this.#link);
      this.#groups.delete(name);
    }
  }

  /** Has the service publish data when this peer is gone for any reason but close(), and not back within delayMs. */
  async setWill(channel, data, { delayMs = 0, signal } = {}) {
    checkChannel(channel);
    const length = byteLength(JSON.stringify(data) ?? "");
    if (length > WILL_BYTES) throw new FleetwireError("too_large", `the data of the will is ${length} bytes long; the service takes ${WILL_BYTES}`);
    await this.#putWill(JSON.stringify({ type: "will", channel, delayMs, data }), signal);
  }

  async clearWill({ signal } = {}) {
    await this.#putWill(NO_WILL, signal);
  }

  /** Ends the connection in order. No handler is called afterwards. */
  async close() {
    this.#queue.stop();
    this.#stop(new FleetwireError("closed", "the client is closed"));
    await this.#opened?.close();
  }

  // The connection.

  async #run() {
    for (let latest; ; ) {
      this.#tell({ state: "connecting" });
      const ending = await this.#session().catch((error) => ({ error }));
      this.#opened = this.#link = this.#outbox.link = undefined;
      if (this.#ending.signal.aborted) return;
      if (this.#connected.settled) this.#connected = deferred();
      const { stop, newToken, pauseMs } = this.#backoff.after(ending);
      if (newToken) this.#token = undefined;
      if (stop || (newToken && !this.#askToken)) {
        const before = ending.error instanceof StopError ? latest : undefined; // why another token was needed
        const why = before ? `${ending.error.message}; after: ${before.message}` : ending.error.message;
        const error = new FleetwireError("stopped", `stopped: ${why}`, { closeCode: (before ?? ending.error).closeCode, cause: ending.error });
        this.#tell({ state: "stopped", error });
        return this.#stop(error);
      }
      latest = ending.error;
      this.#tell({ state: "waiting", error: latest, retryInMs: pauseMs });
      if (!(await pause(pauseMs, this.#ending.signal))) return;
    }
  }

  /** One connection, from the token to its end. */
  async #session() {
    if (this.#askToken) this.#token ??= await this.#askToken(this.#ending.signal);
    if (this.#ending.signal.aborted) throw this.#ending.signal.reason;
    const socket = openSocket(this.#url, this.#token, this.#options);
    const link = new Link(socket, this.#options.framesPerSecond, (frame, length) => this.#take(link, frame, length));
    this.#opened = link;
    return link.ended;
  }

  #welcomed(link) {
    this.#link = link;
    this.#tell({ state: "connected", welcome: link.welcome });
    this.#connected.resolve(link);
    this.#connected.settled = true;
    if (this.#will) this.#renewWill(link);
    for (const ingester of this.#groups.values()) ingester.join(link);
    const renewals = [...this.#subscriptions.values()].map((subscription) => this.#send(link, subscription));
    Promise.all(renewals).then(() => {
      if (link.over) return;
      this.#tell({ state: "live" });
      this.#outbox.link = link;
    });
    if (this.#askToken) {
      const accepted = (token) => (this.#token = token);
      keepFresh(link, () => this.#askToken(link.signal), accepted, (error) => this.#report(error));
    }
  }

  /** Does what a frame says (protocol §4.3). It ignores unknown ones, for a newer service may send more. */
  #take(link, frame, length) {
    switch (frame.type) {
      case "welcome":
        return this.#welcomed(link);
      case "message":
        if (frame.group !== undefined) return this.#groups.get(frame.group)?.take(link, frame);
        return this.#message(link, frame, length);
      case "direct": {
        const { from, data, fromMetadata } = frame;
        const message = { from, data, fromMetadata };
        return this.#queue.putMessage(message, length, (message) => this.#options.onDirect?.(message));
      }
      case "presence": {
        const { channel, joined, left } = frame;
        const tell = (presence) => this.#each(channel, (s) => s.presence?.(presence));
        return this.#queue.putMessage({ channel, joined, left }, length, tell);
      }
      case "command_cancelled":
        return this.#commands.cancel(frame.command);
      case "gap":
        return this.#gap(this.#subscriptions.get(frame.channel)?.gap(link, { epoch: frame.epoch, offset: frame.offset }));
      case "error": {
        const ingester = this.#groups.get(frame.group);
        return ingester ? ingester.end(refusal(frame)) : this.#report(refusal(frame));
      }
      case "going_away":
        return this.#tell({ state: "going_away", retryInMs: asked(frame.retryAfterMs) });
    }
  }

  #message(link, frame, length) {
    const { channel, from, data, fromMetadata, offset, replayed = false, command } = frame;
    const message = { channel, from, data, fromMetadata, replayed };
    if (offset !== undefined) message.position = this.#subscriptions.get(channel)?.came(link, offset) ?? { offset };
    this.#queue.putMessage(message, length, (message) => this.#each(channel, (s) => s.take(message, command)));
  }

  /** Calls f with all subscriptions that match a channel, one after the other: its own, then those of patterns. */
  async #each(channel, f) {
    const own = this.#subscriptions.get(channel);
    const patterns = [...this.#subscriptions.values()].filter((s) => s.matches?.(channel));
    for (const subscription of own && !own.matches ? [own, ...patterns] : patterns) {
      try {
        await f(subscription);
      } catch (error) {
        this.#options.onError(error); // the others are called all the same
      }
    }
  }

  #gap(gap) {
    if (gap) this.#queue.put(() => this.#options.onGap?.(gap));
  }

  #tell(change) {
    this.#queue.put(() => this.#options.onState?.(change));
  }

  /** For errors that no call returns. */
  #report(error) {
    this.#queue.put(() => this.#options.onError(error));
  }

  /** It is over. The first reason counts. */
  #stop(error) {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort(error);
    this.#outbox.end(error);
    this.#connected.reject(error);
    for (const { first } of this.#subscriptions.values()) first.reject(error);
    this.#ended.resolve(error);
  }

  #throwIfEnded() {
    this.#ending.signal.throwIfAborted();
  }

  async #awaitLink(signal) {
    this.#throwIfEnded();
    return this.#link ?? unlessAborted(this.#connected.promise, signal);
  }

  // Subscriptions and the will.

  async #subscribe(subscription, signal) {
    this.#throwIfEnded();
    signal?.throwIfAborted();
    const { channel, first } = subscription;
    const former = this.#subscriptions.get(channel);
    this.#subscriptions.delete(channel); // the newest comes last
    this.#subscriptions.set(channel, subscription);
    former?.first.reject(REPLACED());
    if (this.#link) this.#send(this.#link, subscription);
    try {
      await unlessAborted(first.promise, signal);
    } catch (error) {
      if (this.#subscriptions.get(channel) === subscription) {
        this.#subscriptions.delete(channel);
        // The service may have it still: the former one, or this one if its answer was not awaited.
        if (this.#link && (former || signal?.aborted)) this.#correct(this.#link, channel);
      }
      throw error;
    }
  }

  /** Sends a subscribe on a link. Resolves when the service has granted it, or refused it for good. */
  async #send(link, subscription) {
    const { channel, first } = subscription;
    const current = () => this.#subscriptions.get(channel) === subscription;
    for (;;) {
      try {
        const { text, goesOn } = subscription.frame();
        const gap = subscription.placed(link, await link.request(text), goesOn);
        if (current()) this.#gap(gap);
        subscription.answered = true;
        first.resolve();
      } catch (error) {
        if (error.code === "connection_lost") return; // the next one renews it
        if (subscription.answered) this.#report(new FleetwireError(error.code, `renewing the subscription to ${JSON.stringify(channel)}: ${error.message}`, { cause: error }));
        else first.reject(error);
        if (subscription.answered && current() && mayPass(error)) {
          if (await pause(RETRY_MS + jitter(RETRY_MS), link.signal)) continue;
          return;
        }
        subscription.answered = true;
      }
      if (!current()) this.#correct(link, channel);
      return;
    }
  }

  /** Makes the service's mind up about a channel: two frames about it were under way at the same time. */
  #correct(link, channel) {
    const subscription = this.#subscriptions.get(channel);
    if (subscription) this.#send(link, subscription);
    else link.request(unsubscribe(channel)).catch(() => {}); // if it fails, so has the connection
  }

  async #putWill(frame, signal) {
    this.#throwIfEnded();
    const former = this.#will;
    this.#will = frame;
    if (frame === NO_WILL && !this.#link) return; // the next connection will not have one
    for (;;) {
      const link = await this.#awaitLink(signal);
      try {
        await unlessAborted(link.request(this.#will ?? NO_WILL), signal); // another one may have come since: it is the will then
        return;
      } catch (error) {
        if (error.code === "connection_lost") continue; // to have it on the next one twice does no harm
        if (error instanceof FleetwireError && error.outcome !== "unknown" && this.#will === frame) this.#will = former;
        throw error;
      }
    }
  }

  /** Sets the will on a new connection. */
  async #renewWill(link) {
    if (this.#will === NO_WILL) return;
    try {
      await link.request(this.#will);
    } catch (error) {
      if (error.code === "connection_lost") return;
      this.#report(new FleetwireError(error.code, `renewing the will: ${error.message}`, { cause: error }));
      const undone = mayPass(error) && error.outcome !== "unknown";
      if (undone && (await pause(RETRY_MS + jitter(RETRY_MS), link.signal))) await this.#renewWill(link);
    }
  }
}

const REPLACED = () => new FleetwireError("replaced", "another call for the same channel came in between");

const unsubscribe = (channel) => JSON.stringify({ type: "unsubscribe", channel });
