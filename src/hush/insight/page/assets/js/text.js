// Text and elements. Foreign text goes through show() into text nodes and nowhere else.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. Attributes with a null, undefined or false value are left out. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Make one of the marks that page.html draws. */
function mark(name, label = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `mark ${name}`);
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#m-${name}`);
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

// Controls have pictures of their own; what turns the direction of text is spelled out.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;
const TURNS = /[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c\u2028\u2029\ufeff]/g;

/** Make foreign text visible: nothing in it may hide or reorder what stands around it. */
function show(text) {
  return String(text)
    .replace(CONTROLS, (c) => (c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0))))
    .replace(TURNS, (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

/** The same, on one line. */
function line(text) {
  return show(String(text).replace(/[\s\u2028\u2029]+/g, " "));
}

/** Write nanoseconds with three significant digits, as the terminal does. */
function duration(ns) {
  const seconds = ns / 1e9;
  if (!(seconds > 0)) return "0 s";
  for (const [bound, factor, unit] of [[1e-3, 1e6, "µs"], [1, 1e3, "ms"], [60, 1, "s"]]) {
    const value = Number((seconds * factor).toPrecision(3));
    if (value < bound * factor) {
      return `${value.toFixed(value >= 100 || unit === "µs" ? 0 : value >= 10 ? 1 : 2)} ${unit}`;
    }
  }
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, "0")}m`;
}

/** Write an instant after the start so finely that neighbours `step` apart differ. */
function instant(ns, step) {
  if (ns === 0) return "0";
  const [one, unit] =
    step >= 3600e9 ? [3600e9, "h"] : step >= 60e9 ? [60e9, "min"] : Math.abs(ns) >= 1e9 ? [1e9, "s"] : Math.abs(ns) >= 1e6 ? [1e6, "ms"] : [1e3, "µs"];
  const decimals = Math.max(0, Math.min(9, -Math.floor(Math.log10(step / one) + 1e-9)));
  return `${(ns / one).toFixed(decimals)} ${unit}`;
}

const percent = (share) => (share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`);
const count = (n) => n.toLocaleString("en");
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
