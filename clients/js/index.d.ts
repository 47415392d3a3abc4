/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Metadata of a peer: a JSON object. */
export type Metadata = { [name: string]: Json };

/** A place in what a channel remembers (protocol §9). Offsets count a channel's messages from 1, within an epoch. */
export interface Position {
  epoch: string;
  offset: number;
}

export interface Abortable {
  /** Ends the wait. What was sent may be done all the same. */
  signal?: AbortSignal;
}

/** What went wrong. No error holds a token or a secret key. */
export class FleetwireError extends Error {
  constructor(code: string, message: string, more?: Partial<FleetwireError>);
  /**
   * A code of the service (protocol §4.4, §5), or one of the client:
   * - `closed`: close() was called;
   * - `stopped`: the service will not have this client any more; `closeCode` says why;
   * - `connection_lost`: the connection ended before the answer came. Whether it was done is not known;
   * - `disconnected`: a connection ended, in onState; `closeCode` says how;
   * - `no_token`: the token function failed;
   * - `replaced`: another subscribe or unsubscribe for the same channel came in between;
   * - `too_large`: the frame is over 64 KiB, or the data of a will over 4 KiB. Nothing was sent;
   * - `not_service`: something else than the service has answered.
   */
  code: string;
  /** With which the connection was closed (protocol §4.5); 1006: the network ended it. */
  closeCode?: number;
  /** Of a REST answer. */
  status?: number;
  /** After which pause the service wants the next try. */
  retryAfterMs?: number;
  /** Of a backend_error. `none`: nothing was done, and another try is safe. `unknown`: another try may do it twice. */
  outcome?: "none" | "unknown";
  /** Of an offset_mismatch: the channel's newest position, and the message there if the answer has it. */
  position?: Position;
  newest?: { offset: number; at: number; from: string; data: any };
}

/** Thrown by a token function, it stops the client: there will be no other token. */
export class StopError extends Error {}

/** Thrown by a handler of commands, it answers `rejected` instead of `failed`. */
export class Rejected extends Error {}

export interface ClientOptions {
  /** The service: https://host, or http:// where there is no TLS. wss:// and ws:// mean the same. */
  url: string;
  /**
   * The JWT to connect with (protocol §3): a function that gets one, or one token, with whose end the client stops. The
   * function is called before the first connection, shortly before a token expires, and when the service has refused one.
   * It has 30 s. If it fails, the client tries again after a pause, or the error's retryAfterMs and a pause.
   */
  token?: string | ((options: { signal: AbortSignal }) => string | Promise<string>);
  /** The id of a key (pk_…) to connect with, in a token's place. */
  publishableKey?: string;
  /** Is told what becomes of the connection. */
  onState?: (change: StateChange) => unknown;
  /** Is handed what peers send to this one. */
  onDirect?: (message: Message) => unknown;
  /** Hears where messages of a channel that remembers did not come to a subscription by name, and will not. */
  onGap?: (gap: Gap) => unknown;
  /** Hears of refusals that no call returns, and of what your handlers throw. Left out: console.error. */
  onError?: (error: any) => void;
  /** The class to open sockets with. Needed in Node.js < 22, which has none: `import { WebSocket } from "ws"`. */
  WebSocket?: new (url: string, options?: any) => any;
  /** Bounds what is sent, since the service closes a connection that sends too much (4011). 95. */
  framesPerSecond?: number;
  /** Bounds the messages that wait for a handler, in characters of their frames. 4 MiB. */
  queueBytes?: number;
  /** The bound of pauses doubles from firstMs (1 s) to mostMs (60 s). planFullMs (30 s) comes before one after 4010. */
  backoff?: { firstMs?: number; mostMs?: number; planFullMs?: number };
}

/**
 * - `connecting`: a token is asked for, or a connection opened;
 * - `connected`: the service has said welcome;
 * - `live`: all subscriptions that there were are renewed. What was published meanwhile is lost but in channels that remember;
 * - `going_away`: the service will close the connection. The client is back in retryInMs;
 * - `waiting`: the connection has ended, or none could be had, for the reason in error. The next attempt comes in retryInMs;
 * - `stopped`: the service will not have this client any more.
 */
export type StateChange =
  | { state: "connecting" | "live" }
  | { state: "connected"; welcome: Welcome }
  | { state: "going_away"; retryInMs: number }
  | { state: "waiting"; error: FleetwireError; retryInMs: number }
  | { state: "stopped"; error: FleetwireError };

/** What the service says first on a connection (protocol §4.1). Times are in unix seconds. */
export interface Welcome {
  peerId: string;
  expiresAt: number | null;
  serverTime: number;
  maxMessageSize: number;
  metadata?: Metadata;
}

export interface Message {
  /** The channel, also where the subscription is a pattern; left out of what is sent to this peer. */
  channel?: string;
  /** The sending peer's id, or what a backend gave in its place. */
  from: string;
  data: any;
  /** The sender's peerMetadata, if the subscription has asked for it and there is some. */
  fromMetadata?: Metadata;
  /** In a channel that remembers. The epoch is known to subscriptions by name. */
  position?: { epoch?: string; offset: number };
  /** It was published before the subscription, or while the client was away. */
  replayed?: boolean;
  /** So many messages and presences were dropped right before this one: the handlers are too slow. */
  missed: number;
}

export interface Member {
  peerId: string;
  metadata?: Metadata;
}

/** Who has joined and left. The first one after each subscribe has all who are there in joined. */
export interface Presence {
  channel: string;
  joined: Member[];
  left: Member[];
  missed: number;
}

/** Messages of a channel did not come to a subscription. */
export interface Gap {
  channel: string;
  /** The last message that came, or what `since` began with. */
  after?: Position;
  /** Messages up to there may be missing. Left out: the channel remembers nothing any more. */
  until?: Position;
}

export interface SubscribeOptions extends Abortable {
  /** Begins with so many of the newest messages, 0 to 1000. The first time alone: then the subscription goes on where it was. */
  last?: number;
  /** Begins behind a position that the program has stored. */
  since?: Position;
  /** Asks for the senders' metadata. */
  senderMetadata?: boolean;
  /** Is told who joins and leaves, if the token allows presence. */
  presence?: (presence: Presence) => unknown;
}

/** A command to do (protocol §8.3). */
export interface CommandToDo {
  id: string;
  channel: string;
  from: string;
  data: any;
  /** Over 1: it was handed over before. */
  attempt: number;
  /** Within which the final answer must come; progress starts it anew. */
  timeoutMs: number;
  expiresInMs?: number;
  /** Aborts when the command is cancelled (with `confirm`), or the client is closed. */
  signal: AbortSignal;
  /** Answers `running`; the caller sees data. */
  progress(data?: any): Promise<void>;
}

export interface HandleCommandsOptions extends SubscribeOptions {
  /** Asks for commands one at a time, and for one once more if the connection ends before the service knows that it came. */
  confirm?: boolean;
  /** Takes the channel's messages that are no commands. */
  messages?: (message: Message) => unknown;
}

/** A message that waited for a group (protocol §10). */
export interface GroupEvent {
  channel: string;
  from: string;
  data: any;
  fromMetadata?: Metadata;
  /** In unix milliseconds, by the service's clock. */
  publishedAt: number;
  /** Over 1: it was delivered before, and may have been handled. */
  attempt: number;
}

export interface PublishOptions extends Abortable {
  /** Has the message published once in 10 minutes, however often it is sent. */
  idempotencyKey?: string;
  /** Publishes only if this is the newest position of the channel. */
  if?: Position;
}

/**
 * A connection to the service that is made again when it ends, for a device or an ingester.
 *
 * Handlers run one after the other, each when the promise of the one before has settled. They may call all methods. A slow
 * one delays neither pings nor acks. While there is no connection, methods wait for one, as long as their signal lets them.
 */
export class Client {
  constructor(options: ClientOptions);
  /** Resolves when there is a connection. */
  connected(options?: Abortable): Promise<Welcome>;
  /** Resolves when the client was closed or has stopped, to why. */
  readonly ended: Promise<FleetwireError>;
  /**
   * Joins a channel, or with a pattern such as devices/* every channel that it matches. Resolves when the service
   * has said so: what is published from then on comes to handler, over as many connections as it takes. Subscribing
   * again replaces handler and options.
   */
  subscribe(channelOrPattern: string, handler: (message: Message) => unknown, options?: SubscribeOptions): Promise<void>;
  unsubscribe(channelOrPattern: string, options?: Abortable): Promise<void>;
  /**
   * Sends data to all other subscribers of a channel. Resolves when the service has taken it. With an idempotencyKey the
   * message is sent again on the next connection if its answer is lost.
   */
  publish(channel: string, data: any, options?: PublishOptions): Promise<{ position?: Position }>;
  /** Sends data to all connections of a peer. */
  send(peer: string, data: any, options?: Abortable): Promise<void>;
  /**
   * Subscribes to a channel, and has handler do the commands that come there, one after the other and each once. What it
   * returns is the answer `succeeded`; an error answers `failed`, a Rejected `rejected`.
   */
  handleCommands(channel: string, handler: (command: CommandToDo) => any, options?: HandleCommandsOptions): Promise<void>;
  /**
   * Takes part in a group. Events for which handler returns are acknowledged; if it throws, all that it was given are
   * delivered again, after a pause that grows with each attempt. An event that comes for the third time is handled alone.
   * The promise rejects when it is over: with the signal's reason, an error of the service, or why the client has ended.
   */
  group(name: string, handler: (events: GroupEvent[]) => unknown, options?: Abortable & { maxInFlight?: number }): Promise<never>;
  /**
   * Has the service publish data when this peer is gone, for any reason but close(), and not back within delayMs. The
   * client sets the will on each connection.
   */
  setWill(channel: string, data: any, options?: Abortable & { delayMs?: number }): Promise<void>;
  clearWill(options?: Abortable): Promise<void>;
  /** Ends the connection in order: what was sent before goes out. No handler is called afterwards. */
  close(): Promise<void>;
}

/** What a token allows (protocol §3). A field that is left out is as the key has it: narrow it. */
export interface TokenRequest {
  peer: string;
  /** Patterns. */
  channels?: string[];
  permissions?: ("publish" | "subscribe" | "presence" | "send")[];
  /** An hour if it is left out. A minted token lives for a day at most. */
  ttlSec?: number;
  /** For the peer itself, in its welcome. */
  metadata?: Metadata;
  /** For other peers. */
  peerMetadata?: Metadata;
}

/** Signs a token for a peer, without a request. */
export function signToken(secretKey: string, request: TokenRequest): Promise<string>;

export interface BackendPublishOptions extends PublishOptions {
  /** Who the message says it is from; `server` if it is left out. */
  from?: string;
  /** For subscribers that ask for their senders' metadata. */
  peerMetadata?: Metadata;
}

export interface Published {
  /** Connections subscribed by name. */
  subscribers: number;
  /** In a channel that remembers. */
  position?: Position;
}

/** What a command may be sent with (protocol §8.1). */
export interface CommandOptions extends Abortable {
  from?: string;
  /** For how long it may be handed to peers that subscribe later. */
  ttlMs?: number;
  /** For each peer's answer. */
  timeoutMs?: number;
  /** Peers whose end completes it. */
  expect?: number;
  /** For a program that may send a command again after a crash. */
  idempotencyKey?: string;
  collapseKey?: string;
  notify?: string;
  rollout?: { perMinute: number; abort?: { failedPct: number; minAnswered?: number } };
}

/** A command, and what became of it. Times are in unix milliseconds. */
export interface Command {
  id: string;
  channel: string;
  data: any;
  from: string;
  status: "waiting" | "active" | "succeeded" | "failed" | "rejected" | "timed_out" | "mixed" | "expired" | "cancelled" | "superseded" | "aborted";
  createdAt: number;
  expiresAt: number | null;
  expect: number;
  counts: Record<"sent" | "received" | "running" | "succeeded" | "failed" | "rejected" | "timedOut" | "missing", number>;
  /** Of the first 20 peers. */
  answers: Answer[];
  /** There are others: see answers(). */
  more?: boolean;
}

export interface Answer {
  peer: string;
  status: "sent" | "received" | "running" | "succeeded" | "failed" | "rejected" | "timed_out";
  data?: any;
  attempt: number;
  sentAt: number;
  answeredAt: number | null;
  late?: { status: string; data?: any; answeredAt: number };
}

/** What a channel remembers, the oldest message first. */
export interface History {
  position: Position;
  /** With `since`: messages has all that came after that position. */
  recovered?: boolean;
  messages: { channel: string; position: Position; at: number; from: string; data: any }[];
}

/** What the service knows of a peer (protocol §5). Times are in unix milliseconds. */
export interface Peer {
  peerId: string;
  online: boolean;
  epoch: number;
  connectedAt: number;
  lastSeenAt: number;
  metadata?: Metadata;
  lastDisconnect?: { at: number; code: number; reason: string };
  /** Only of peer(). */
  connections?: { id: string; node?: string; protocol: string; address?: string; connectedAt: number; userAgent?: string; subscriptions: string[] }[];
}

export interface GroupMessage extends GroupEvent {
  ackId: string;
}

/** The requests of a backend that holds a secret key. A publish, a command or an ack whose answer is lost is sent again, and done once. */
export class Backend {
  constructor(options: { url: string; secretKey: string });
  /** expiresAt is in unix seconds. */
  mintToken(request: TokenRequest, options?: Abortable): Promise<{ token: string; expiresAt: number }>;
  /** A Client's token function, which mints. */
  tokens(request: TokenRequest): (options?: Abortable) => Promise<string>;
  signToken(request: TokenRequest): Promise<string>;
  publish(channel: string, data: any, options?: BackendPublishOptions): Promise<Published>;
  /** Publishes 1 to 100 messages in one request. Each is published or refused for itself. */
  publishMany(messages: ({ channel: string; data: any } & Omit<BackendPublishOptions, "signal">)[], options?: Abortable): Promise<(Published | { error: FleetwireError })[]>;
  /** Sends a command, and resolves to it when it has ended. */
  command(channel: string, data: any, options?: CommandOptions): Promise<Command>;
  /** Sends a command, and resolves to it when the service has it. */
  startCommand(channel: string, data: any, options?: CommandOptions): Promise<Command>;
  /** Resolves to a command when it has ended, or after waitMs (10 s). */
  readCommand(id: string, options?: Abortable & { waitMs?: number }): Promise<Command>;
  cancelCommand(id: string, options?: Abortable): Promise<Command>;
  commands(channel: string, options?: Abortable & { status?: Command["status"] }): AsyncIterable<Command>;
  answers(id: string, options?: Abortable & { status?: Answer["status"] }): AsyncIterable<Answer>;
  history(channel: string, options?: Abortable & { last?: number; since?: Position }): Promise<History>;
  forget(channel: string, options?: Abortable): Promise<void>;
  peers(options?: Abortable & { prefix?: string; online?: boolean; seenBefore?: number }): AsyncIterable<Peer>;
  peer(id: string, options?: Abortable): Promise<Peer>;
  members(channel: string, options?: Abortable): AsyncIterable<Member>;
  /** Resolves to how many connections were closed. With revoke the peer's tokens are refused from now on. */
  disconnect(peer: string, options?: Abortable & { revoke?: boolean }): Promise<number>;
  pull(group: string, options?: Abortable & { max?: number; maxBytes?: number; waitMs?: number; consumer?: string }): Promise<GroupMessage[]>;
  ack(group: string, ackIds: string[], options?: Abortable & { nack?: { ackId: string; delayMs?: number }[] }): Promise<{ ackId: string; result: "ok" | "lease_lost" }[]>;
  /** How a group does (protocol §10.1). */
  group(name: string, options?: Abortable): Promise<any>;
  /** Makes a request that has no method of its own here, once. path is what stands behind /v1, such as /usage. */
  request(method: string, path: string, body?: any, options?: Abortable): Promise<any>;
}
