// The requests of a backend that holds a secret key (protocol §5, §8.1, §9.2, §10.1).

import { FleetwireError, refusal } from "./errors.js";
import { Http, passing, pauseAfter, query, segment } from "./http.js";
import { checkChannel, checkPeer } from "./names.js";
import { signToken } from "./token.js";

const WAIT_MS = 10_000; // how long one request waits for the end of a command

/** See index.d.ts. */
export class Backend {
  #http;
  #secretKey;

  constructor({ url, secretKey }) {
    this.#http = new Http(url, secretKey);
    this.#secretKey = secretKey;
  }

  /** Has the service mint a token. */
  async mintToken({ peer, ttlSec, ...more }, options) {
    return this.#http.request("POST", "/tokens", { peerId: peer, expiresInSec: ttlSec, ...more }, options);
  }

  /** A token function for a Client, which mints. */
  tokens(request) {
    return async ({ signal } = {}) => (await this.mintToken(request, { signal })).token;
  }

  /** Signs a token without a request. */
  signToken(request) {
    return signToken(this.#secretKey, request);
  }

  async publish(channel, data, { signal, ...options } = {}) {
    const answer = await this.#http.untilAnswered("POST", `${channelPath(channel)}/publish`, message(data, options), { signal });
    return published(answer);
  }

  /** Publishes 1 to 100 messages {channel, data, …} in one request. Each result is one's own: published, or an error. */
  async publishMany(messages, { signal } = {}) {
    const body = { messages: messages.map(({ channel, data, ...options }) => (checkChannel(channel), { channel, ...message(data, options) })) };
    const { results } = await this.#http.untilAnswered("POST", "/publish", body, { signal });
    return results.map((result) => (result.error ? { error: refusal(result) } : published(result)));
  }

  /** Sends a command, and resolves to it when it has ended. */
  async command(channel, data, { signal, ...options } = {}) {
    let command = await this.#create(channel, data, options, WAIT_MS, signal);
    while (!ended(command)) {
      const begun = Date.now();
      try {
        command = await this.readCommand(command.id, { signal });
        if (!ended(command) && Date.now() - begun < 1000) await pauseAfter(undefined, signal); // too many wait
      } catch (error) {
        if (!(passing(error) || error.code === "rate_limited")) throw error;
        await pauseAfter(error, signal);
      }
      signal?.throwIfAborted();
    }
    return command;
  }

  /** Sends a command, and resolves to it when the service has it. */
  async startCommand(channel, data, { signal, ...options } = {}) {
    return this.#create(channel, data, options, 0, signal);
  }

  #create(channel, data, { idempotencyKey = crypto.randomUUID(), ...options }, waitMs, signal) {
    const body = { data, waitMs, idempotencyKey, ...options };
    return this.#http.untilAnswered("POST", `${channelPath(channel)}/commands`, body, { signal, waitMs });
  }

  /** Resolves to a command when it has ended, or after waitMs. */
  async readCommand(id, { waitMs = WAIT_MS, signal } = {}) {
    return this.#http.request("GET", `/commands/${segment(id)}${query({ waitMs })}`, undefined, { signal, waitMs });
  }

  async cancelCommand(id, options) {
    return this.#http.request("DELETE", `/commands/${segment(id)}`, undefined, options);
  }

  /** The commands of a channel, newest first. */
  commands(channel, { status, signal } = {}) {
    return this.#pages(`${channelPath(channel)}/commands`, "commands", { status }, signal);
  }

  /** What the peers have said of a command, ordered by peer id. */
  answers(id, { status, signal } = {}) {
    return this.#pages(`/commands/${segment(id)}/answers`, "answers", { status }, signal);
  }

  /** What a channel remembers: the newest `last` messages, or those after the position `since`. */
  async history(channel, { last, since, signal } = {}) {
    const path = `${channelPath(channel)}/messages`;
    const history = { position: undefined, recovered: undefined, messages: [] };
    const behind = ({ epoch, offset }) => ({ since: `${epoch}:${offset}` });
    for (let from = since ? behind(since) : { last }; ; ) {
      const { epoch, offset, recovered, messages } = await this.#http.request("GET", path + query(from), undefined, { signal });
      // Pages after the first one go up to what was the newest then. A new epoch begins anew.
      if (history.position?.epoch !== epoch) history.position = { epoch, offset };
      history.recovered = history.recovered === false ? false : (recovered ?? history.recovered);
      for (const { offset, ...more } of messages) history.messages.push({ channel, ...more, position: { epoch, offset } });
      const read = messages.length > 0 ? { epoch, offset: messages.at(-1).offset } : undefined;
      if (read && read.offset >= history.position.offset) history.position = read;
      if (!read || read === history.position) return since ? history : { ...history, recovered: undefined };
      from = behind(read);
    }
  }

  /** Has a channel forget its messages. */
  async forget(channel, options) {
    await this.#http.request("DELETE", `${channelPath(channel)}/messages`, undefined, options);
  }

  /** The peers that the app knows, ordered by id. seenBefore is in unix milliseconds. */
  peers({ prefix, online, seenBefore, signal } = {}) {
    return this.#pages("/peers", "peers", { prefix, online, seenBefore }, signal);
  }

  /** A peer, and its connections. */
  async peer(id, options) {
    return this.#http.request("GET", peerPath(id), undefined, options);
  }

  /** Who is subscribed to a channel by name, ordered by peer id. */
  members(channel, { signal } = {}) {
    return this.#pages(`${channelPath(channel)}/peers`, "peers", {}, signal);
  }

  /** Closes all connections of a peer, and resolves to how many those were. With revoke its tokens are refused from now on. */
  async disconnect(peer, { revoke = false, signal } = {}) {
    const path = peerPath(peer) + query({ revoke: revoke || undefined });
    return (await this.#http.request("DELETE", path, undefined, { signal })).closed;
  }

  /** Takes messages that wait for a group: {max, maxBytes, waitMs, consumer}. */
  async pull(group, { signal, ...options } = {}) {
    const { waitMs } = options;
    return (await this.#http.request("POST", `${groupPath(group)}/pull`, options, { signal, waitMs })).messages;
  }

  /** Acknowledges messages of a group; those in nack, [{ackId, delayMs}], are delivered again. */
  async ack(group, ackIds, { nack, signal } = {}) {
    return (await this.#http.untilAnswered("POST", `${groupPath(group)}/ack`, { ackIds: ackIds?.length ? ackIds : undefined, nack }, { signal })).results;
  }

  /** How a group does. */
  async group(name, options) {
    return this.#http.request("GET", groupPath(name), undefined, options);
  }

  /** Makes a request that has no method of its own here, once. path is what stands behind /v1, such as /usage. */
  async request(method, path, body, options) {
    return this.#http.request(method, path, body, options);
  }

  async *#pages(path, list, values, signal) {
    for (let cursor; cursor !== null; ) {
      const page = await this.#http.request("GET", path + query({ ...values, cursor }), undefined, { signal });
      if (!Array.isArray(page[list])) throw new FleetwireError("not_service", `GET /v1${path}: an answer without ${list}; is the URL right?`);
      yield* page[list];
      cursor = page.cursor ?? null;
    }
  }
}

const ended = ({ status }) => status !== "waiting" && status !== "active";

function channelPath(channel) {
  checkChannel(channel);
  return `/channels/${segment(channel)}`;
}

function peerPath(peer) {
  checkPeer(peer);
  return `/peers/${segment(peer)}`;
}

const groupPath = (group) => `/groups/${segment(group)}`;

/** A message as REST takes it. Without a key of the program's it has one of its own, so it may be sent again. */
function message(data, { idempotencyKey = crypto.randomUUID(), if: newest, ...more }) {
  return { data, idempotencyKey, ifOffset: newest?.offset, ifEpoch: newest?.epoch, ...more };
}

const published = ({ subscribers, epoch, offset }) => ({ subscribers, position: epoch ? { epoch, offset } : undefined });
