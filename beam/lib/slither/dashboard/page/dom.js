// Makes elements and keeps them, so that a new snapshot changes only what is new: no flicker, and
// focus, open details and selections stay. Text is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

// What would break a line, or write over its neighbours: control characters and those that turn the
// direction of writing.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export const byId = id => document.getElementById(id);

// A new element: `el("p.none", {title: "…"}, "text", child)`.
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) attr(node, key, value);
  for (const child of children) node.append(child);
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function clean(value) {
  return String(value ?? "").replace(UNSEEN, "\ufffd");
}

// Sets an element's text, and touches nothing where it is the same: a selection in it stays.
export function text(node, value) {
  const string = clean(value);
  if (node.textContent !== string) node.textContent = string;
  return node;
}

// Text that may be too long for its place, and so is there to hover as well.
export function name(node, value) {
  text(node, value);
  attr(node, "title", clean(value));
  return node;
}

export function attr(node, key, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(key)) node.removeAttribute(key);
  } else {
    const string = value === true ? "" : clean(value);
    if (node.getAttribute(key) !== string) node.setAttribute(key, string);
  }
}

export function style(node, property, value) {
  if (node.style.getPropertyValue(property) !== String(value)) node.style.setProperty(property, value);
}

export function show(node, shown) {
  if (node.hidden === Boolean(shown)) node.hidden = !shown;
}

// Children of `parent`, after its child `head` if there is one: one for each item, and the same one for
// the same key. `make` returns `{root, fill}`; `fill` is called with each item and its place.
export function list(parent, make, head = null) {
  const kept = new Map();

  return (items, key) => {
    const now = new Map();
    for (const item of items) {
      let id = String(key(item));
      while (now.has(id)) id += "'";
      now.set(id, item);
    }
    for (const [id, part] of kept) {
      if (!now.has(id)) {
        part.root.remove();
        kept.delete(id);
      }
    }
    let place = head ? head.nextElementSibling : parent.firstElementChild;
    let index = 0;
    for (const [id, item] of now) {
      let part = kept.get(id);
      if (!part) kept.set(id, (part = make(item)));
      if (part.root === place) place = place.nextElementSibling;
      else parent.insertBefore(part.root, place);
      part.fill(item, index++);
    }
  };
}

// A line of the last five minutes, from nothing at the bottom to the most at the top.
export function spark() {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const root = svg("svg", { class: "spark", viewBox: "0 0 59 16", preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
  let last = null;

  return {
    root,
    fill(values) {
      const numbers = (values ?? []).map(value => Number(value) || 0);
      const most = Math.max(...numbers, 0);
      const points = most > 0 ? numbers.map((value, i) => `${place(i, numbers)},${(15.5 - (14.5 * value) / most).toFixed(1)}`) : [];
      const path = points.length > 1 ? `M${points.join("L")}` : "";
      if (path === last) return;
      last = path;
      line.setAttribute("d", path);
      area.setAttribute("d", path && `${path}L59,16L${place(0, numbers)},16Z`);
    },
  };
}

// The newest is at the right, however few there are.
const place = (i, numbers) => 60 - numbers.length + i;
