// Numbers, times and sizes for people.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export const count = (n) => (n === undefined || n === null ? "–" : whole.format(n));

/** rate is a number a second, such as 0.4, 12 or 3.4K. */
export const rate = (n) => (n === undefined || n === null || Number.isNaN(n) ? "–" : n < 10 ? String(Math.round(n * 10) / 10) : short.format(Math.round(n)));

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) (n /= 1024), unit++;
  return `${unit === 0 ? n : n.toFixed(n < 10 ? 1 : 0)} ${units[unit]}`;
}

/** duration is a time span in its two largest units at most. */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = Math.round(ms / 1000);
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = parts.findIndex(([, size]) => s >= size);
  const [unit, size] = parts[first];
  const whole = `${Math.floor(s / size)} ${unit}`;
  const next = parts[first + 1];
  const rest = next ? Math.floor((s % size) / next[1]) : 0;
  return rest > 0 ? `${whole} ${rest} ${next[0]}` : whole;
}

/** Ago shows how long ago a time was; its title has the time itself. */
export function Ago({ at, suffix = " ago" }) {
  if (!at) return <span class="quiet">–</span>;
  const ms = Date.now() - at;
  const text = ms < 1500 ? (suffix === " ago" ? "just now" : "0 s") : `${duration(ms)}${suffix}`;
  return <time dateTime={new Date(at).toISOString()} title={new Date(at).toLocaleString("en")}>{text}</time>;
}

/** Clock shows the time of day, with milliseconds, and the date if that is not today's. */
export function Clock({ at }) {
  const date = new Date(at);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} `;
  const text = `${day}${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  return <time class="clock" dateTime={date.toISOString()} title={date.toLocaleString("en")}>{text}</time>;
}

export const date = (ms) => new Date(ms).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
