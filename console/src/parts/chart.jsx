// Messages in and out per second, over the last minutes. uPlot draws on a canvas, and
// the figures beside it say the same in words.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { rate } from "./format.jsx";

const height = 180;
const leastSec = 60; // that the chart shows, and at most
const mostSec = 300;
// Between the lines of the chart: 0.1, 0.2, 0.5, 1 and so on, which rate shows as they are.
const steps = [-1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((n) => Number(`${n}e${power}`)));

/** Chart draws series {label, color, values} over times, in seconds. color is a variable of the style sheet. */
export function Chart({ times, series, label }) {
  const box = useRef(null);
  const plot = useRef(null);
  const data = [times, ...series.map(({ values }) => values)];

  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const element = box.current;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(element, series), latest.current, element);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", make);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", make);
      plot.current.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => plot.current?.setData(data), [times]);
  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

/** span is the times that the chart shows: it grows with what has been measured. */
function span(first) {
  const now = Date.now() / 1000;
  return [Math.max(now - mostSec, Math.min(first ?? now, now - leastSec)), now];
}

function options(box, series) {
  const style = getComputedStyle(box);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
  return {
    width: box.clientWidth,
    height,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 32, 0, 0], // right: room for half of the last time
    scales: {
      x: { time: true, range: (_, first) => span(first) },
      y: { range: (_, __, most) => [0, Math.max(1, most * 1.15)] },
    },
    axes: [
      { ...axis, size: 26, incrs: [15, 30, 60], space: 70, values: (_, ticks) => ticks.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })) },
      { ...axis, size: 48, incrs: steps, values: (_, ticks) => ticks.map(rate) },
    ],
    series: [
      {},
      ...series.map(({ label, color: name }) => ({ label, stroke: color(name), width: 2, points: { show: false }, fill: `${color(name)}1f`, spanGaps: false })),
    ],
  };
}
