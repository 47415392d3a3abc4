// Waiting.

/** Milliseconds of a clock that is never set. */
export const now = () => performance.now();

/** Random in [0, most). */
export const jitter = (most) => Math.random() * most;

/** Waits, and resolves to true; to false at once when the signal aborts. A wait of over 24 days is cut. */
export function pause(ms, signal) {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const done = (elapsed) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      resolve(elapsed);
    };
    const aborted = () => done(false);
    const timer = setTimeout(done, Math.min(ms, 2 ** 31 - 1), true);
    signal?.addEventListener("abort", aborted);
  });
}

/** What the promise becomes, or the signal's reason when that aborts first. */
export function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    if (signal.aborted) return aborted();
    signal.addEventListener("abort", aborted);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", aborted));
  });
}

/** A promise, and the functions that settle it. */
export function deferred() {
  const d = {};
  d.promise = new Promise((resolve, reject) => Object.assign(d, { resolve, reject }));
  d.promise.catch(() => {}); // a waiter may have given up
  return d;
}
