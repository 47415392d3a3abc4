// Nodes count from their start. Samples of those counters, a few seconds apart, give
// what happens per second, and what happened in the last minute.

import { useEffect, useState } from "preact/hooks";

export const everyMs = 2000;
const keptMs = 300_000;
const gapMs = 4 * everyMs; // a longer time between samples is a gap in the chart

// What is counted of a node; drops are counted by why.
const counters = {
  messages: (node) => node.messages,
  deliveries: (node) => node.deliveries,
  dropped: (node) => sum(node.dropped),
};

/** sum adds up a map of counters. */
export const sum = (map) => Object.values(map ?? {}).reduce((all, n) => all + n, 0);

let samples = []; // kept while other screens are shown: {at, nodes}

/** forgetSamples is for another session, which may be of another app. */
export const forgetSamples = () => (samples = []);

/** useSamples adds what was read of the nodes, and has all samples. */
export function useSamples(nodes) {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (!nodes) return;
    const at = Date.now();
    samples = [...samples.filter((sample) => sample.at > at - keptMs), { at, nodes }];
    redraw((n) => n + 1);
  }, [nodes]);
  return samples;
}

/** grown is by how much a counter of all nodes grew between two samples. */
function grown(before, after, read) {
  let all = 0;
  for (const node of after.nodes) {
    const then = before.nodes.find((other) => other.node === node.node && other.startedAt === node.startedAt);
    // A node that was not there before counts from the next sample on.
    if (then) all += Math.max(0, read(node) - read(then));
  }
  return all;
}

/** perSecond has, for each sample but the first, the time in seconds and the rate of each counter; null is a gap. */
export function perSecond(samples) {
  const rates = { times: [], messages: [], deliveries: [], dropped: [] };
  for (let i = 1; i < samples.length; i++) {
    const [before, after] = [samples[i - 1], samples[i]];
    const ms = after.at - before.at;
    rates.times.push(after.at / 1000);
    for (const name in counters) rates[name].push(ms > gapMs ? null : (1000 * grown(before, after, counters[name])) / ms);
  }
  return rates;
}

/** nodeRate is the rate of one node's counter, by the last two samples. */
export function nodeRate(samples, id, name) {
  const [before, after] = samples.slice(-2);
  if (!after) return undefined;
  const only = (sample) => ({ nodes: sample.nodes.filter((node) => node.node === id) });
  if (only(before).nodes.length === 0) return undefined;
  return (1000 * grown(only(before), only(after), counters[name])) / (after.at - before.at);
}

/** tally sums a map of counters, such as closes, over all nodes: [{code, total, lastMinute}], most first. */
export function tally(samples, field) {
  const last = samples.at(-1);
  if (!last) return [];
  const first = samples.find((sample) => sample.at >= last.at - 60_000);
  const codes = new Set(last.nodes.flatMap((node) => Object.keys(node[field] ?? {})));
  return [...codes]
    .map((code) => ({
      code,
      total: last.nodes.reduce((all, node) => all + (node[field]?.[code] ?? 0), 0),
      lastMinute: grown(first, last, (node) => node[field]?.[code] ?? 0),
    }))
    .filter(({ total }) => total > 0)
    .sort((a, b) => b.total - a.total);
}
