// The workers: a card each while there are few, else a square each and cards of those that have run
// longest. A worker opens as a dialog, with its log and its Python stack.

import { attr, byId, clean, el, list, name, show, style, text } from "./dom.js";
import { bytes, count, isKnown, plural, time } from "./words.js";

// Workers that get a card each, and cards above the squares.
const CARDS = 12;
const LONGEST = 4;
// ms for which a call without a deadline may run before it stands out.
const LONG = 30_000;
// The part of its time after which a call is about to be late.
const LATE = 0.9;

const WORDS = {
  over: "over its deadline",
  late: "close to its deadline",
  long: "long at one call",
  busy: "busy",
  free: "free",
  starting: "starting",
  spare: "spare",
  leaving: "leaving",
  gone: "not running",
};
const TONES = { over: "bad", late: "warn", long: "warn", gone: "bad" };

const fillSums = list(byId("workers-words"), makeSum);
const fillCards = list(byId("cards"), makeCard);
const fillCrowds = list(byId("crowds"), makeCrowd);

export function fillWorkers(snapshot) {
  const alarming = pool => (pool.workers ?? []).some(worker => what(worker) in TONES);
  const pools = [...(snapshot.pools ?? [])].sort((a, b) => alarming(b) - alarming(a) || (a.name < b.name ? -1 : 1));
  const all = pools.flatMap(pool => (pool.workers ?? []).map(worker => ({ ...worker, pool: pool.name, what: what(worker) })));
  const crowded = all.length > CARDS;
  const longest = all.filter(one => one.runs).sort((a, b) => b.runs.since - a.runs.since);

  fillCards(crowded ? longest.slice(0, LONGEST) : all, key);
  fillCrowds(crowded ? pools.filter(pool => pool.workers?.length) : [], pool => pool.name);
  show(byId("cards"), crowded ? longest.length : all.length);
  show(byId("workers-none"), !all.length);
  const sums = Object.keys(WORDS).map(word => [word, all.filter(one => one.what === word).length, crowded]);
  fillSums(sums.filter(([, many]) => many), ([word]) => word);
  fillDialog(all);
}

const key = worker => `${worker.pool} ${worker.worker}`;

// What a worker is, as a word: the sharpest that is true.
function what(worker) {
  const runs = worker.runs;
  if (runs) {
    if (isKnown(runs.deadline)) {
      if (runs.deadline <= 0) return "over";
      return runs.since / (runs.since + runs.deadline) > LATE ? "late" : "busy";
    }
    return runs.since > LONG ? "long" : "busy";
  }
  if (worker.status === "ready") return worker.calls > 0 ? "busy" : "free";
  if (["draining", "stopping"].includes(worker.status)) return "leaving";
  return ["starting", "spare"].includes(worker.status) ? worker.status : "gone";
}

// How many are what, each beside the mark that the cards and squares have for it.
function makeSum() {
  const mark = el("i", { "aria-hidden": "true" });
  const words = el("span");
  return {
    root: el("span.sum", {}, mark, words),
    fill([word, many, crowded]) {
      attr(mark, "class", crowded ? "square" : "sign");
      attr(mark, "data-what", word);
      text(words, `${count(many)} ${WORDS[word]}`);
    },
  };
}

// --- a card -------------------------------------------------------------------------------------

function makeCard(worker) {
  const title = el("strong");
  const sign = makeSign();
  const button = el("button.plain", { type: "button" }, "Stack");
  const call = el("p.code");
  const bar = el("i");
  const track = el("span.bar", { "aria-hidden": "true" }, bar);
  const since = el("p.since");
  const memory = el("span");
  const last = el("span");
  const root = el("li.card", {}, el("header", {}, sign.root, title, button), call, track, since, el("p.quiet", {}, memory, " ", last));

  button.addEventListener("click", () => openWorker(worker, true));

  return {
    root,
    fill(now) {
      worker = now;
      name(title, `${now.pool} ${now.worker}`);
      sign.fill(now.what);
      attr(root, "data-tone", TONES[now.what]);
      attr(root, "data-what", now.what);
      attr(button, "aria-label", `Stack of ${now.pool} ${now.worker}`);
      name(call, now.runs ? now.runs.call : WORDS[now.what]);
      attr(call, "data-none", now.runs ? null : "");
      attr(track, "data-unbound", isKnown(now.runs?.deadline) ? null : "");
      style(bar, "width", `${(100 * progress(now.runs)).toFixed(1)}%`);
      name(since, now.runs ? sinceWords(now.runs) + behind(now) : idleWords(now));
      text(memory, isKnown(now.rss) ? bytes(now.rss) : "");
      const line = now.said?.at(-1);
      name(last, line ? line.text : "");
      attr(last, "data-tone", line ? tone(line.level) : null);
    },
  };
}

function progress(runs) {
  if (!runs || !isKnown(runs.deadline)) return 0;
  return Math.min(1, runs.since / Math.max(runs.since + runs.deadline, 1));
}

function sinceWords(runs) {
  if (!isKnown(runs.deadline)) return `${time(runs.since)}, no deadline`;
  if (runs.deadline <= 0) return `${time(runs.since)}, ${time(-runs.deadline)} over its deadline`;
  return `${time(runs.since)} of ${time(runs.since + runs.deadline)}`;
}

// Calls that it has been given, too, and that no other worker takes from it.
const behind = worker => (worker.calls > 1 ? `, ${count(worker.calls - 1)} behind` : "");

function idleWords(worker) {
  return worker.what === "free" ? `${count(worker.served)} calls served` : worker.status;
}

function tone(level) {
  if (["error", "critical", "alert", "emergency"].includes(level)) return "bad";
  return ["warning", "warn"].includes(level) ? "warn" : null;
}

// A mark that can be told apart without colour.
function makeSign() {
  const root = el("i.sign", { "aria-hidden": "true" });
  return { root, fill: word => attr(root, "data-what", word) };
}

// --- squares ------------------------------------------------------------------------------------

function makeCrowd() {
  const title = el("strong");
  const words = el("small");
  const grid = el("div.squares", { role: "group" });
  const root = el("div.crowd", {}, el("h3", {}, title, " ", words), grid);
  const fillSquares = list(grid, makeSquare);

  // One stop for the tabulator; the arrows go on from there.
  grid.addEventListener("keydown", event => {
    const squares = [...grid.children];
    const at = squares.indexOf(document.activeElement);
    const wide = squares.filter(one => one.offsetTop === squares[0].offsetTop).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide, Home: -at, End: squares.length - 1 - at }[event.key];
    if (at < 0 || step === undefined) return;
    event.preventDefault();
    rove(grid, squares[Math.min(Math.max(at + step, 0), squares.length - 1)]);
  });

  return {
    root,
    fill(pool) {
      name(title, pool.name);
      text(words, `${count(pool.busy)} of ${plural(pool.workers.length, "worker")} busy`);
      attr(grid, "aria-label", clean(`Workers of ${pool.name}`));
      fillSquares(pool.workers.map(worker => ({ ...worker, pool: pool.name, what: what(worker) })), key);
      if (!grid.querySelector("[tabindex='0']")) grid.firstElementChild?.setAttribute("tabindex", "0");
    },
  };
}

function rove(grid, square) {
  for (const other of grid.querySelectorAll("[tabindex='0']")) other.setAttribute("tabindex", "-1");
  square.setAttribute("tabindex", "0");
  square.focus();
}

function makeSquare(worker) {
  const root = el("button.square", { type: "button", tabindex: "-1" });
  root.addEventListener("click", () => openWorker(worker, false));
  return {
    root,
    fill(now) {
      worker = now;
      const runs = now.runs ? `, ${now.runs.call}, ${sinceWords(now.runs)}` : "";
      const words = `${now.pool} ${now.worker}: ${WORDS[now.what]}${runs}`;
      attr(root, "data-what", now.what);
      attr(root, "aria-label", words);
      attr(root, "title", words);
      style(root, "--done", `${(100 * progress(now.runs)).toFixed(0)}%`);
    },
  };
}

// --- the dialog ---------------------------------------------------------------------------------

const dialog = byId("worker");
const fillFacts = list(byId("worker-facts"), makeFact);
const fillSaid = list(byId("worker-said"), makeLine);
let shown = null;
let asked = 0;

byId("stack-ask").addEventListener("click", () => askStack());
byId("worker-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  shown = null;
  asked += 1;
});
// A click beside it closes it.
dialog.addEventListener("click", event => {
  if (event.target === dialog) dialog.close();
});

function openWorker(worker, ask) {
  shown = worker;
  show(byId("stack"), false);
  text(byId("stack"), "");
  text(byId("stack-words"), "");
  text(byId("stack-ask"), "Show the stack");
  fillWorker(worker);
  dialog.showModal();
  if (ask) askStack();
}

function fillDialog(all) {
  if (!shown) return;
  const now = all.find(one => key(one) === key(shown));
  if (now) fillWorker((shown = now));
  else text(byId("worker-title"), `${shown.pool} ${shown.worker}, which is gone`);
}

function fillWorker(worker) {
  text(byId("worker-title"), `${worker.pool} ${worker.worker}: ${WORDS[worker.what]}`);
  fillFacts(facts(worker), fact => fact[0]);
  const said = worker.said ?? [];
  fillSaid(said.map((line, i) => ({ ...line, i })), line => line.i);
  show(byId("worker-silent"), !said.length);
}

function facts(worker) {
  const runs = worker.runs;
  const found = [["runs", runs?.call ?? "nothing"]];
  if (runs) {
    found.push(["for", sinceWords(runs)]);
    if (runs.pipe || runs.stage) found.push(["stage", [runs.pipe, runs.stage].filter(Boolean).join(" / ")]);
    if (isKnown(runs.items)) found.push(["batch", `${plural(runs.items, "item")}${runs.attempt > 1 ? `, attempt ${runs.attempt}` : ""}`]);
  }
  found.push(["process", worker.os_pid ?? "none"], ["memory", bytes(worker.rss)], ["age", time(worker.age)], ["served", plural(worker.served ?? 0, "call")]);
  if (worker.sessions > 0) found.push(["sessions", count(worker.sessions)]);
  return found;
}

function makeFact() {
  const term = el("dt");
  const value = el("dd");
  return {
    root: el("div", {}, term, value),
    fill([word, known]) {
      text(term, word);
      text(value, known);
    },
  };
}

function makeLine() {
  const level = el("b");
  const words = el("span.code");
  const root = el("li", {}, level, words);
  return {
    root,
    fill(line) {
      text(level, line.level);
      text(words, line.text);
      attr(root, "data-tone", tone(line.level));
    },
  };
}

// What the worker answers comes as a worker's map of `Pool.stacks/1`, or as `{error: …}`.
async function askStack() {
  const worker = shown;
  const turn = (asked += 1);
  const words = byId("stack-words");
  text(words, "asked; it may take two seconds");
  let told;
  try {
    const query = new URLSearchParams({ pool: worker.pool, worker: worker.worker });
    const response = await fetch(`stack?${query}`, { headers: { accept: "application/json" } });
    told = response.ok ? stackWords(await response.json(), worker) : { words: await response.text(), stack: null };
  } catch {
    told = { words: "the dashboard did not answer", stack: null };
  }
  if (turn !== asked) return;
  text(words, told.words);
  text(byId("stack"), told.stack ?? "");
  show(byId("stack"), told.stack);
  text(byId("stack-ask"), "Show it again");
}

function stackWords(answer, worker) {
  const one = Array.isArray(answer) ? answer.find(it => it.worker === worker.worker) : answer;
  if (!one) return { words: "the worker is gone", stack: null };
  if (one.error) return { words: typeof one.error === "string" ? one.error : one.error.message, stack: null };
  const at = new Date().toLocaleTimeString("en-GB", { hour12: false });
  if (one.stack) return { words: `innermost first, as of ${at}`, stack: one.stack };
  return { words: one.stack === "" ? `no code of yours ran at ${at}` : "it can't be told", stack: null };
}
