// A subscription, and where it stands in a channel that remembers (protocol §9).

import { checkChannel, isPattern, matcher } from "./names.js";
import { deferred } from "./time.js";

const MOST = 1000; // messages that `last` may ask for

export class Subscription {
  first = deferred(); // takes the first answer
  answered = false;
  #at; // the last message that came; undefined: it is not known
  #link; // the connection whose messages move it
  #owed = 0; // how many messages before #at were asked for, and may not have come

  constructor(channel, take, { since, last, senderMetadata, presence, confirm }) {
    checkChannel(channel);
    this.channel = channel;
    this.take = take;
    this.presence = presence;
    this.matches = isPattern(channel) ? matcher(channel) : undefined;
    if (this.matches && (since || last !== undefined)) {
      throw new TypeError("since and last need a channel's name; a pattern replays nothing");
    }
    if (since && last !== undefined) throw new TypeError("since and last are given; give one");
    if (since && !(typeof since.epoch === "string" && Number.isSafeInteger(since.offset))) {
      throw new TypeError("since should be a position {epoch, offset}, such as a message's");
    }
    if (last !== undefined && !(Number.isInteger(last) && last >= 0 && last <= MOST)) {
      throw new RangeError(`last is ${last}; it should be 0 to ${MOST} messages`);
    }
    this.last = last ?? 0; // also 0 is sent: the service tells of gaps those alone that ask where they begin
    this.#at = since;
    this.options = { includeSenderMetadata: senderMetadata || undefined, commands: confirm ? "confirm" : undefined };
  }

  /** The frame that subscribes on a connection, and whether it goes on where the subscription was. */
  frame() {
    this.#link = undefined;
    const goesOn = !this.matches && this.#at !== undefined;
    const begin = this.matches ? {} : goesOn ? { since: this.#after() } : { last: this.last };
    return { text: JSON.stringify({ type: "subscribe", channel: this.channel, ...this.options, ...begin }), goesOn };
  }

  /** The position after which messages are missing. */
  #after() {
    return { epoch: this.#at.epoch, offset: this.#at.offset - this.#owed };
  }

  /**
   * Takes the ack of a subscribe on a link. goesOn is what frame() said of that subscribe: another ack may have come
   * since. Returns the gap that can't be recovered, if there is one.
   */
  placed(link, { epoch, offset, recovered }, goesOn) {
    if (this.matches) return undefined;
    this.#link = link;
    const newest = epoch ? { epoch, offset } : undefined;
    if (!this.#at || !goesOn) {
      this.#at = newest;
      this.#owed = newest ? Math.min(this.last, newest.offset) : 0;
      return undefined;
    }
    const [after, owed] = [this.#after(), this.#owed];
    const unchanged = newest && newest.epoch === this.#at.epoch && newest.offset === this.#at.offset;
    this.#owed = 0;
    // Without recovery the messages that are still remembered follow. If the connection ends before they come, they are
    // in the gap, too.
    this.#at = recovered ? after : newest;
    if (recovered || (owed > 0 && unchanged)) return undefined; // fewer were there than were asked for
    return { channel: this.channel, after, until: newest };
  }

  /** Notes a message that came on a link, and returns its position. */
  came(link, offset) {
    if (!this.#at || this.#link !== link) return { offset };
    this.#owed = 0;
    this.#at = { epoch: this.#at.epoch, offset };
    return this.#at;
  }

  /** Takes the service's word that messages up to a position can't be delivered. */
  gap(link, until) {
    if (this.#link !== link) return undefined;
    const gap = { channel: this.channel, after: this.#at && this.#after(), until };
    [this.#at, this.#owed] = [until, 0];
    return gap;
  }
}
