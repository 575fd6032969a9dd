// Numbers as a person reads them. Times come in milliseconds; nothing known is a dash.

const NONE = "–";
const SPACE = "\u00a0";

const known = value => typeof value === "number" && Number.isFinite(value);

// Three digits at most that say something: 0.31, 3.1, 31.4, 312.
function short(value) {
  if (value >= 99.95) return String(Math.round(value));
  return value.toFixed(value >= 0.995 ? 1 : 2).replace(/\.?0+$/, "");
}

function scaled(value, base, units) {
  let unit = 0;
  while (value >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return [short(value), units[unit]];
}

export function rate(value) {
  if (!known(value)) return NONE;
  if (value > 0 && value < 0.01) return "<0.01";
  const [number, unit] = scaled(value, 1000, ["", "k", "M", "G"]);
  return unit ? number + SPACE + unit : number;
}

export const perSecond = value => (known(value) ? rate(value) + "/s" : NONE);

export function count(value) {
  return known(value) ? String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",") : NONE;
}

export function plural(value, one, many = one + "s") {
  return count(value) + " " + (value === 1 ? one : many);
}

export function bytes(value) {
  if (!known(value)) return NONE;
  const [number, unit] = scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
  return number + SPACE + unit;
}

export function time(ms) {
  if (!known(ms)) return NONE;
  if (ms < 0) return "-" + time(-ms);
  if (ms > 0 && ms < 0.005) return "<0.01" + SPACE + "ms";
  if (ms < 999.5) return short(ms) + SPACE + "ms";
  const seconds = ms / 1000;
  if (seconds < 119.5) return short(seconds < 10 ? seconds : Math.round(seconds)) + SPACE + "s";
  const minutes = seconds / 60;
  if (minutes < 119.5) return Math.round(minutes) + SPACE + "min";
  const hours = minutes / 60;
  if (hours < 47.5) return Math.round(hours) + SPACE + "h";
  return Math.round(hours / 24) + SPACE + "d";
}

export const ago = ms => (known(ms) ? (ms < 1000 ? "just now" : time(ms) + " ago") : NONE);

export function percent(share) {
  if (!known(share)) return NONE;
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1" + SPACE + "%";
  return (value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : String(Math.round(value))) + SPACE + "%";
}

export function clock(at) {
  return known(at) ? new Date(at).toLocaleTimeString("en-GB", { hour12: false }) : "";
}

export const isKnown = known;
