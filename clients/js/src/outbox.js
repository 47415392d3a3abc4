// Messages on their way to the service.

/**
 * Sends messages in the order in which they were given, on the first link that takes them: one whose subscriptions are
 * renewed, so that what a message causes is heard.
 */
export class Outbox {
  #entries = [];
  #link;
  #count = 0;
  #error; // why there will be no link any more

  /** The link to send on; undefined: there is none now. */
  set link(link) {
    this.#link = link;
    this.#flush();
  }

  /** Resolves to the ack. again: a message whose answer is lost may be sent once more. */
  deliver(text, { again = false, signal } = {}) {
    const entry = { text, again, order: this.#count++ };
    const aborted = () => {
      entry.aborted = true;
      this.#entries = this.#entries.filter((other) => other !== entry);
      entry.reject(signal.reason);
    };
    return new Promise((resolve, reject) => {
      Object.assign(entry, { resolve, reject });
      if (signal?.aborted) return aborted();
      signal?.addEventListener("abort", aborted);
      this.#put(entry);
    }).finally(() => signal?.removeEventListener("abort", aborted));
  }

  #put(entry) {
    if (this.#error) return entry.reject(this.#error);
    this.#entries.push(entry);
    this.#flush();
  }

  #flush() {
    if (!this.#link || this.#link.over) return;
    const entries = this.#entries.sort((a, b) => a.order - b.order); // some may have come back
    this.#entries = [];
    for (const entry of entries) {
      this.#link.request(entry.text).then(entry.resolve, (error) => {
        const resend = error.code === "connection_lost" && (error.unsent || entry.again) && !entry.aborted;
        if (resend) this.#put(entry);
        else entry.reject(error);
      });
    }
  }

  end(error) {
    this.#error = error;
    for (const entry of this.#entries.splice(0)) entry.reject(error);
  }
}
