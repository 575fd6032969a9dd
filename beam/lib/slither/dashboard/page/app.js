// The page: asks for a snapshot each second while somebody looks, and shows it. The verdict is here;
// the other sections have a file each.

import { attr, byId, el, list, show, text } from "./dom.js";
import { fillFlow } from "./flow.js";
import { fillEvents, fillFailing, fillState, fillWaiting } from "./tables.js";
import { clock, count, isKnown, percent, rate, time } from "./words.js";
import { fillWorkers } from "./workers.js";

// ms between two snapshots, and for one.
const EACH = 1_000;
const PATIENCE = 5_000;
// Findings under the verdict.
const FINDINGS = 2;

// A shape for each verdict, so that colour is not what tells them apart.
const SHAPES = {
  flowing: ["ok", "M24 3a21 21 0 1 0 0 42a21 21 0 1 0 0-42z", "M13 25l8 8l14-17"],
  working: ["ok", "M24 3a21 21 0 1 0 0 42a21 21 0 1 0 0-42z", "M19 15l14 9l-14 9z"],
  waiting: ["warn", "M24 4L46 43H2z", "M24 18v12M24 36v1"],
  failing: ["bad", "M15 3h18l12 12v18l-12 12h-18l-12-12v-18z", "M16 16l16 16M32 16l-16 16"],
  idle: ["quiet", "M24 5a19 19 0 1 0 0 38a19 19 0 1 0 0-38z", "M16 24h16"],
  lost: ["lost", "M5 5h38v38h-38z", "M18 18a6 6 0 1 1 8 6q-2 1-2 5M24 35v1"],
};

const NO_VERDICT = { state: "idle", text: "Nothing is told yet", evidence: [] };

// --- the verdict ----------------------------------------------------------------------------------

let state = null;
let wide = false;
const fillEvidence = list(byId("evidence"), makeFinding);

function fillVerdict(verdict, totals) {
  showVerdict(verdict.state, verdict.text);
  const findings = (verdict.evidence ?? []).filter(it => it.text && !verdict.text.includes(it.text));
  const more = findings.length - FINDINGS;
  fillEvidence(findings.slice(0, wide ? findings.length : FINDINGS), it => [it.rule, it.pool, it.stage].join(" "));
  show(byId("evidence-more"), more > 0);
  text(byId("evidence-more"), wide ? "Show fewer" : `and ${count(more)} more`);
  text(byId("figure-busy"), isKnown(totals.workers) ? `${count(totals.busy)} of ${count(totals.workers)}` : "–");
  text(byId("figure-wait"), isKnown(totals.oldest_wait) ? time(totals.oldest_wait) : "nothing");
  text(byId("figure-wait-word"), isKnown(totals.oldest_wait) ? "oldest waits" : "waits");
  text(byId("figure-rate"), rate(totals.rate));
  text(byId("figure-failed"), percent(totals.failed_share ?? 0));
}

function showVerdict(now, sentence) {
  const [tone, shape, mark] = SHAPES[now] ?? SHAPES.idle;
  const [, word, rest] = /^([^:;]{1,40})[:;]\s*(.*)$/s.exec(sentence) ?? [null, sentence, ""];
  attr(byId("verdict"), "data-tone", tone);
  attr(byId("verdict"), "data-state", now);
  byId("shape").setAttribute("d", shape);
  byId("mark").setAttribute("d", mark);
  text(byId("word"), word);
  text(byId("rest"), rest);
  attr(byId("rest").parentNode, "data-long", sentence.length > 110 ? "" : null);
  attr(byId("rest").parentNode, "title", sentence.length > 110 ? sentence : null);
  document.title = `${word} – ${byId("name").textContent}`;
  // It is read out when it turns, not at each second's new numbers.
  if (now !== state) text(byId("told"), sentence);
  state = now;
}

function makeFinding() {
  const root = el("li");
  return { root, fill: finding => text(root, finding.text) };
}

byId("evidence-more").addEventListener("click", event => {
  wide = !wide;
  attr(event.currentTarget, "aria-expanded", String(wide));
  if (latest) fillVerdict(latest.verdict ?? NO_VERDICT, latest.totals ?? {});
});

// --- a snapshot -----------------------------------------------------------------------------------

let latest = null;

function fill(snapshot) {
  const focused = document.activeElement;
  latest = snapshot;
  text(byId("name"), snapshot.name ?? "Slither");
  text(byId("program"), program(snapshot));
  text(byId("clock"), clock(snapshot.at));
  fillVerdict(snapshot.verdict ?? NO_VERDICT, snapshot.totals ?? {});
  fillFlow(snapshot);
  fillWaiting(snapshot);
  fillWorkers(snapshot);
  fillFailing(snapshot);
  fillState(snapshot);
  fillEvents(snapshot);
  // What moved to another place lost the focus by it.
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function program(snapshot) {
  const words = [];
  if (snapshot.os_pid) words.push(`process ${snapshot.os_pid}`);
  if (isKnown(snapshot.uptime)) words.push(`up ${time(snapshot.uptime)}`);
  if (snapshot.version) words.push(`Slither ${snapshot.version}`);
  if (snapshot.otp) words.push(`OTP ${snapshot.otp}`);
  return words.join(", ");
}

// --- asking ---------------------------------------------------------------------------------------

let timer = null;
let asking = false;
let lostSince = null;
let paused = false;

async function ask() {
  if (asking || paused || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  const [snapshot, trouble] = await fetched();
  if (trouble) lose(trouble);
  else shown(snapshot);
  asking = false;
  timer = setTimeout(ask, EACH);
}

// A snapshot, or why there is none.
async function fetched() {
  let response;
  try {
    response = await fetch("snapshot", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) return [await response.json(), null];
  } catch {
    return [null, since => `No connection: the program has not answered for ${since}.`];
  }
  if ([401, 403].includes(response.status)) return [null, () => "Not let in: open the address with its token again."];
  return [null, since => `No answer: the dashboard has said status ${response.status} for ${since}.`];
}

function shown(snapshot) {
  try {
    fill(snapshot);
    lostSince = null;
    attr(document.body, "data-lost", null);
  } catch (error) {
    lose(() => `Not shown: this page cannot read the snapshot (${error.message}).`);
  }
}

// What was seen stays, grey, and the verdict says that it is old.
function lose(words) {
  lostSince ??= Date.now();
  attr(document.body, "data-lost", "");
  const old = latest ? ` What you see is from ${clock(latest.at)}.` : "";
  showVerdict("lost", words(time(Math.max(Date.now() - lostSince, EACH))) + old);
  fillEvidence([], () => "");
  show(byId("evidence-more"), false);
}

byId("pause").addEventListener("click", event => {
  paused = !paused;
  attr(event.currentTarget, "aria-pressed", String(paused));
  text(event.currentTarget, paused ? "Go on" : "Pause");
  attr(document.body, "data-paused", paused ? "" : null);
  ask();
});
document.addEventListener("visibilitychange", ask);
ask();
