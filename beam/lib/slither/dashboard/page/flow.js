// The flow: each pipe as its graph, and the calls and dispatches that belong to none.

import { attr, byId, clean, el, list, name, show, spark, style, text } from "./dom.js";
import { parts, plan } from "./graph.js";
import { ago, count, isKnown, percent, perSecond, plural, time } from "./words.js";

// Pixels that the flow may take of the first screen, and what its parts take.
const ROOM = 330;
const HEAD = 33;
const GRAPH = 138;
const LANE = 26;
// Lines of closed pipes, and of calls where pipes have lines as well, before the rest is behind a button.
const LINES = 5;
const CALLS = 2;
// Pipes of which any is open at first.
const FEW = 3;
// ms without an output, with items inside, after which it is told; for which a sink takes nothing.
const STILL = 30_000;
const HELD = 3_000;

const PHASES = ["rate", "queue", "encode", "wire", "decode", "handler", "reorder"];

let all = false;
const opened = new Map();
const narrow = matchMedia("(max-width: 760px)");

const fillPipes = list(byId("pipes"), makePipe);
const fillCalls = list(byId("calls"), makeCall);

byId("flow-more").addEventListener("click", () => {
  all = !all;
  fillFlow(latest);
});

let latest = null;

export function fillFlow(snapshot) {
  latest = snapshot;
  const pipes = [...(snapshot.pipes ?? [])].sort((a, b) => trouble(b) - trouble(a) || (a.name < b.name ? -1 : 1));
  const calls = [...(snapshot.stages ?? [])].sort((a, b) => (b.rate ?? 0) - (a.rate ?? 0) || (a.name < b.name ? -1 : 1));
  const room = open(pipes, Math.min(calls.length, CALLS) * HEAD);
  const lines = all ? pipes.length : room.lines;
  const rows = all ? calls.length : CALLS + room.left;
  const hidden = Math.max(pipes.length - lines, 0) + Math.max(calls.length - rows, 0);
  fillPipes(pipes.slice(0, lines), pipe => pipe.name);
  fillCalls(calls.slice(0, rows), stage => `${stage.name} ${stage.pool}`);
  show(byId("calls"), calls.length);
  show(byId("pipes"), pipes.length);
  show(byId("flow-none"), !pipes.length && !calls.length);
  text(byId("flow-none"), "No pipe and no dispatch has run yet. One shows here as soon as it starts.");
  show(byId("flow-more"), hidden || all);
  text(byId("flow-more"), all ? "Show fewer" : `Show ${count(hidden)} more`);
  text(byId("flow-words"), flowWords(pipes, calls));
}

function flowWords(pipes, calls) {
  const words = [];
  if (pipes.length) words.push(plural(pipes.length, "pipe"));
  if (calls.length) words.push(plural(calls.length, "called function"));
  return words.join(", ");
}

// What needs eyes stands first; all else by name, so that nothing jumps about.
function trouble(pipe) {
  const stages = pipe.stages ?? [];
  if (pipe.error || stages.some(failing)) return 3;
  if (pipe.blocked > 0 || pipe.held > HELD || still(pipe)) return 2;
  return stages.some(inside) ? 1 : 0;
}

function inside(stage) {
  return (stage.waiting ?? 0) + (stage.queued ?? 0) + (stage.running ?? 0) + (stage.retrying ?? 0);
}

// It failed within what is listed as failing, not only ever since the program began.
function failing(stage) {
  return stage.failed > 0 && (stage.last_failed === undefined || isKnown(stage.last_failed));
}

// What is out: that is bounded, what waits to go out is not.
function out(stage) {
  return (stage.running ?? 0) + (stage.retrying ?? 0);
}

function still(pipe) {
  return isKnown(pipe.last_output) && pipe.last_output > STILL && (pipe.stages ?? []).some(inside);
}

// Graphs are open at first if they are few and fit; what somebody opened or closed stays so. Returns
// how many pipes have a line on the first screen, and how many lines are left.
function open(pipes, taken) {
  let room = ROOM - taken;
  let lines = 0;
  pipes.forEach((pipe, i) => {
    const height = HEAD + GRAPH + LANE * plan(pipe).lanes.length;
    const fits = pipes.length === 1 || (pipes.length <= FEW && room - height >= (pipes.length - i - 1) * HEAD);
    if (!opened.has(pipe.name)) opened.set(pipe.name, fits && !narrow.matches);
    room -= opened.get(pipe.name) ? height : HEAD;
    if (lines < FEW || (room >= 0 && lines < LINES)) lines += 1;
  });
  return { lines, left: pipes.length > FEW ? 0 : Math.max(0, Math.floor(room / HEAD)) };
}

// --- a pipe -------------------------------------------------------------------------------------

function makePipe(pipe) {
  const title = el("span.pipe-name");
  const state = el("span.quiet");
  const chips = el("span.chips");
  const line = spark();
  const flow = el("span.in-out");
  const note = el("span.note");
  const summary = el("summary", {}, title, state, chips, note, line.root, flow);
  const graph = el("ol.graph");
  const times = el("tbody");
  const table = el("table.times", {}, head("Stage", "p50", "p95", ...PHASES), times);
  const more = el("details.more-times", {}, el("summary", {}, "Where the time goes"), table);
  const root = el("details.pipe", {}, summary, graph, more);
  const fillChips = list(chips, makeChip);
  const fillGraph = list(graph, makePart);
  const fillTimes = list(times, makeTimes);

  root.addEventListener("toggle", () => opened.set(pipe.name, root.open));
  root.open = opened.get(pipe.name);

  return {
    root,
    fill(now) {
      pipe = now;
      const drawn = plan(now);
      name(title, now.name);
      text(state, pipeState(now));
      text(flow, `${perSecond(now.in_rate)} in, ${perSecond(now.out_rate)} out`);
      const [words, tone] = pipeNote(now);
      name(note, words);
      attr(note, "data-tone", tone);
      line.fill(now.stages?.at(-1)?.spark);
      attr(graph, "aria-label", `Graph of ${now.name}`);
      style(graph, "--stages", drawn.stages.length);
      style(graph, "--lanes", drawn.lanes.length);
      fillChips(drawn.stages, stage => stage.name);
      fillGraph(parts(drawn), part => part.key);
      const timed = drawn.stages.filter(stage => stage.shares && isKnown(stage.p50));
      fillTimes(timed, stage => stage.name);
      show(more, timed.length);
      attr(graph, "tabindex", graph.scrollWidth > graph.clientWidth ? "0" : null);
    },
  };
}

const head = (...words) => el("thead", {}, el("tr", {}, ...words.map(word => el("th", { scope: "col" }, word))));

function pipeState(pipe) {
  const words = [];
  if (pipe.kind === "server") words.push("long-running");
  else if (pipe.runs > 0) words.push(plural(pipe.runs, "run"));
  if (pipe.state && pipe.state !== "running") words.push(pipe.state.replaceAll("_", " "));
  return words.join(", ");
}

function pipeNote(pipe) {
  const failed = (pipe.stages ?? []).filter(failing).reduce((sum, stage) => sum + stage.failed, 0);
  if (pipe.error) return [pipe.error, "bad"];
  if (pipe.held > HELD) return [`its sink has taken nothing for ${time(pipe.held)}`, "warn"];
  if (still(pipe)) return [`no output for ${time(pipe.last_output)}`, "warn"];
  if (pipe.blocked > 0) return [plural(pipe.blocked, "push waits", "pushes wait") + " for room", "warn"];
  if (failed > 0) return [`${count(failed)} failed`, "bad"];
  if (isKnown(pipe.last_output)) return [`last output ${ago(pipe.last_output)}`, null];
  return ["", null];
}

// A closed pipe shows its stages as words with a bar each.
function makeChip() {
  const label = el("span");
  const bar = makeBar();
  const root = el("span.chip", {}, label, bar.root);
  return {
    root,
    fill(stage) {
      name(label, stage.name);
      bar.fill(stage);
      attr(root, "data-narrowest", stage.narrowest ? "" : null);
      attr(root, "data-failed", failing(stage) ? "" : null);
    },
  };
}

function makePart(part) {
  const made = { stage: makeStage, edge: makeEdge, lane: makeLane, end: makeEnd }[part.kind]();
  return {
    root: made.root,
    fill(now) {
      style(made.root, "grid-column", now.columns);
      style(made.root, "grid-row", now.kind === "lane" ? `2 / ${2 + now.depth}` : now.row);
      made.fill(now);
    },
  };
}

function makeEnd() {
  const label = el("span");
  const root = el("li.end", {}, label);
  return {
    root,
    fill(part) {
      name(label, part.label);
      attr(root, "class", part.row === 1 ? "end" : "end side");
    },
  };
}

function makeEdge() {
  const words = el("span.rate");
  const line = spark();
  const root = el("li.edge", {}, words, line.root);
  return {
    root,
    fill({ edge }) {
      text(words, isKnown(edge.rate) ? perSecond(edge.rate) : "");
      line.fill(edge.spark);
      attr(root, "data-still", edge.rate > 0 ? null : "");
      attr(root, "title", clean(`${edge.from} to ${edge.to}, the last 5 minutes`));
    },
  };
}

// A lane is drawn, and told with its stage: as text it would come too late.
function makeLane() {
  const words = el("span.rate");
  const line = spark();
  const root = el("li.lane", { "aria-hidden": "true" }, el("span", {}, words, line.root));
  return {
    root,
    fill({ edge, jump }) {
      text(words, isKnown(edge.rate) ? perSecond(edge.rate) : "");
      line.fill(edge.spark);
      attr(root, "data-jump", jump ? "" : null);
      attr(root, "title", clean(`${edge.from} to ${edge.to}, the last 5 minutes`));
    },
  };
}

// --- a stage ------------------------------------------------------------------------------------

function makeStage() {
  const title = el("strong");
  const failed = el("span.failed");
  const where = el("span.quiet");
  const load = el("span");
  const of = el("span");
  const bar = makeBar();
  const times = el("span.quiet");
  const tag = el("em.tag");
  const exits = el("span.exits");
  const root = el("li.stage", {}, tag, el("p", {}, title, failed), el("p", {}, where, of), el("p", {}, load), bar.root, el("p", {}, times), exits);
  return {
    root,
    fill({ stage, exits: leaving }) {
      name(title, stage.name);
      fillFailed(failed, stage);
      name(where, kind(stage));
      name(load, doing(stage));
      text(of, stage.bound ? `${count(out(stage))} of ${count(stage.bound)}` : "");
      bar.fill(stage);
      name(times, isKnown(stage.p50) ? `p50 ${time(stage.p50)}, p95 ${time(stage.p95)}` : "");
      attr(root, "data-narrowest", stage.narrowest ? "" : null);
      attr(root, "data-failed", failing(stage) ? "" : null);
      text(tag, stage.narrowest ? narrowest(stage) : "");
      text(exits, leaving.map(edge => `to ${edge.to}${isKnown(edge.rate) ? ` ${perSecond(edge.rate)}` : ""}`).join(", "));
    },
  };
}

function kind(stage) {
  if (stage.type === "python") return stage.pool ? `pool ${stage.pool}` : "Python";
  return { beam: "on BEAM", module: "on BEAM", router: "router", batch: "batch", regroup: "batch" }[stage.type] ?? stage.type ?? "";
}

function doing(stage) {
  const words = [];
  const waits = (stage.waiting ?? 0) + (stage.queued ?? 0);
  if (stage.running > 0) words.push(`${count(stage.running)} run`);
  if (waits > 0) words.push(`${count(waits)} wait`);
  if (stage.retrying > 0) words.push(`${count(stage.retrying)} retry`);
  return words.join(", ") || "empty";
}

function narrowest(stage) {
  const [phase, share] = Object.entries(stage.shares ?? {}).sort((a, b) => b[1] - a[1])[0] ?? [];
  return phase && share > 0 ? `narrowest: ${phase} ${percent(share)}` : "narrowest";
}

function fillFailed(node, stage) {
  text(node, stage.failed > 0 ? `${count(stage.failed)} failed` : "");
  attr(node, "data-old", failing(stage) ? null : "");
}

// What is out against its bound, and then what waits, as far as there is room.
function makeBar() {
  const segments = ["running", "retrying", "queued", "waiting"].map(place => el(`i.${place}`));
  const root = el("span.bar", { "aria-hidden": "true" }, ...segments);
  return {
    root,
    fill(stage) {
      const whole = Math.max(stage.bound ?? 0, out(stage), 1);
      for (const segment of segments) style(segment, "width", `${((100 * (stage[segment.className] ?? 0)) / whole).toFixed(1)}%`);
      attr(root, "data-unbound", stage.bound ? null : "");
    },
  };
}

function makeTimes() {
  const cells = Array.from({ length: 3 + PHASES.length }, (_, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }));
  return {
    root: el("tr", {}, ...cells),
    fill(stage) {
      name(cells[0], stage.name);
      text(cells[1], time(stage.p50));
      text(cells[2], time(stage.p95));
      PHASES.forEach((phase, i) => text(cells[3 + i], percent(stage.shares?.[phase])));
    },
  };
}

// --- a function that is called outside pipes ------------------------------------------------------

function makeCall() {
  const title = el("strong.code");
  const where = el("span.quiet");
  const load = el("span.load");
  const bar = makeBar();
  const times = el("span.quiet");
  const failed = el("span.failed");
  const line = spark();
  const words = el("span.rate");
  const tag = el("em.tag");
  const root = el("li.call", {}, title, where, el("span.gauge", {}, load, bar.root), times, tag, failed, line.root, words);
  return {
    root,
    fill(stage) {
      name(title, stage.name);
      text(where, kind(stage));
      text(load, doing(stage));
      bar.fill(stage);
      text(times, isKnown(stage.p50) ? `p50 ${time(stage.p50)}, p95 ${time(stage.p95)}` : "");
      text(tag, stage.narrowest ? narrowest(stage) : "");
      attr(root, "data-narrowest", stage.narrowest ? "" : null);
      fillFailed(failed, stage);
      line.fill(stage.spark);
      text(words, perSecond(stage.rate));
    },
  };
}
