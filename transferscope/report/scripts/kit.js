// Small tools: making elements, writing numbers. Text is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return node;
}

/** An HTML element with attributes and children; a string child becomes text. */
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same in SVG. */
const s = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

const known = (value) => value !== null && value !== undefined;
const minus = (text) => text.replace("-", "−");

/** `+0.12`, `−0.30`, `0.00`; a dash where it is not known. */
function signed(value, digits) {
  if (!known(value)) return "–";
  const text = value.toFixed(digits);
  if (Number(text) === 0) return text.replace("-", "");
  return value > 0 ? "+" + text : minus(text);
}

/** A p- or q-value. */
function chance(value) {
  if (value < 0.001) return "< 0.001";
  return value.toFixed(value < 0.01 ? 3 : 2);
}

const percent = (value) => (known(value) ? Math.round(100 * value) + "%" : "–");

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// A group of many buttons is one stop of the Tab key; the arrow keys move within it.

/** Makes one of them the stop: what has the focus, else what is chosen, else the first. */
function rove(box, selector) {
  const all = Array.from(box.querySelectorAll(selector));
  const stop = all.find((node) => node === document.activeElement) ||
    all.find((node) => node.getAttribute("aria-pressed") === "true") || all[0];
  for (const node of all) node.setAttribute("tabindex", node === stop ? 0 : -1);
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };

/** Moves the focus within a group, for one of its keys; whether it was one. */
function roved(event, box, selector) {
  const all = Array.from(box.querySelectorAll(selector));
  const from = all.indexOf(event.target.closest(selector));
  if (from < 0 || !(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return false;
  event.preventDefault();
  all[clamp(from + STEPS[event.key], 0, all.length - 1)].focus();
  rove(box, selector);
  return true;
}
