// Calls to the program's functions, one after the other.

const OVERHEAD = 256; // what an entry counts beside its text

/**
 * Has functions called in order, each when the one before has returned, or its promise has settled. Messages wait up to
 * a bound; further ones are dropped, and `missed` of the next one says how many. Others always wait.
 */
export class Queue {
  #bound;
  #onError;
  #entries = [];
  #size = 0;
  #missed = 0;
  #running = false;
  #stopped = false;

  constructor(bound, onError) {
    this.#bound = bound;
    this.#onError = onError;
  }

  /** Adds a message for call(message), if there is room: one always fits, however large. */
  putMessage(message, length, call) {
    const size = length + OVERHEAD;
    if (this.#size > 0 && this.#size + size > this.#bound) {
      this.#missed++;
      return;
    }
    message.missed = this.#missed;
    this.#missed = 0;
    this.#size += size;
    this.put(() => call(message), size);
  }

  put(call, size = 0) {
    if (this.#stopped) return;
    this.#entries.push({ call, size });
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => this.#run()); // never before the constructor of a client has returned
  }

  async #run() {
    while (this.#entries.length > 0) {
      const entries = this.#entries; // taken together: shifting a long array is slow
      this.#entries = [];
      for (const { call, size } of entries) {
        if (this.#stopped) return;
        try {
          const result = call();
          if (typeof result?.then === "function") await result;
        } catch (error) {
          this.#onError(error);
        }
        this.#size -= size;
      }
    }
    this.#running = false;
  }

  /** Nothing is called from now on. */
  stop() {
    this.#stopped = true;
    this.#entries = [];
  }
}
