// What waits, what fails, what is kept and what has happened: the lists of the page.

import { attr, byId, el, list, name, show, spark, style, text } from "./dom.js";
import { ago, bytes, clock, count, isKnown, percent, perSecond, plural, time } from "./words.js";

// Rows of the first screen before the rest is behind a button.
const POOLS = 5;
// ms of waiting that stand out, and of no free worker that are told, and that stand out.
const LONG = 1_000;
const FULL = 10_000;

let all = false;
let latest = null;

// --- waiting ------------------------------------------------------------------------------------

const fillPools = list(byId("pools"), makePool, byId("pools").tHead);

byId("waiting-more").addEventListener("click", () => {
  all = !all;
  fillWaiting(latest);
});

export function fillWaiting(snapshot) {
  latest = snapshot;
  const wait = pool => (pool.error && !pool.ready ? Infinity : pool.oldest_wait ?? -1);
  const pools = [...(snapshot.pools ?? [])].sort((a, b) => wait(b) - wait(a) || (a.name < b.name ? -1 : 1));
  const hidden = all ? 0 : Math.max(pools.length - POOLS, 0);
  fillPools(pools.slice(0, pools.length - hidden), pool => pool.name);
  show(byId("pools"), pools.length);
  show(byId("waiting-none"), !pools.length);
  show(byId("waiting-more"), hidden || all);
  text(byId("waiting-more"), all ? "Show fewer" : `Show ${plural(hidden, "more pool", "more pools")}`);
  const queued = pools.reduce((sum, pool) => sum + (pool.queue ?? 0), 0);
  text(byId("waiting-words"), pools.length ? (queued ? `${plural(queued, "call")} for a worker` : "no call for a worker") : "");
}

function makePool() {
  const title = el("strong");
  const note = el("td.note", { colspan: "4" });
  const noted = el("tr", {}, note);
  const oldest = el("td.number");
  const queue = el("span");
  const bar = el("i.waiting");
  const busy = el("span");
  const share = el("i.running");
  const cells = [el("th", { scope: "row" }, title), oldest, gauge(queue, bar), gauge(busy, share)];
  const root = el("tbody", {}, el("tr", {}, ...cells), noted);
  return {
    root,
    fill(pool) {
      name(title, pool.name);
      const [words, tone] = poolNote(pool);
      name(note, words);
      show(noted, words);
      attr(note, "data-tone", tone);
      text(oldest, isKnown(pool.oldest_wait) ? time(pool.oldest_wait) : "none");
      attr(oldest, "data-tone", isKnown(pool.oldest_wait) ? (pool.oldest_wait > LONG ? "warn" : null) : "quiet");
      const bounded = isKnown(pool.max_queue);
      text(queue, bounded ? `${count(pool.queue)} of ${count(pool.max_queue)}` : count(pool.queue));
      style(bar, "width", width(bounded ? pool.queue / pool.max_queue : 0));
      attr(bar.parentNode, "data-unbound", bounded ? null : "");
      text(busy, `${count(pool.busy)} of ${count(pool.size)}`);
      style(share, "width", width(pool.busy_share ?? pool.busy / pool.size));
      attr(share.parentNode.parentNode, "title", `${percent(pool.busy_share)} of the last seconds`);
    },
  };
}

const gauge = (words, bar) => el("td", {}, words, el("span.bar", { "aria-hidden": "true" }, bar));
const width = share => `${(100 * Math.min(Math.max(share || 0, 0), 1)).toFixed(1)}%`;

function poolNote(pool) {
  if (pool.error) return [`${pool.ready ? "some cannot start" : "cannot start"}: ${reason(pool.error)}`, "bad"];
  if (pool.ready === 0 && pool.size > 0) {
    const starts = (pool.workers ?? []).some(worker => worker.status === "starting");
    return starts ? ["its workers start", null] : ["no worker is ready", "warn"];
  }
  if (pool.since_free > LONG && pool.queue > 0)
    return [`no free worker for ${time(pool.since_free)}`, pool.since_free > FULL ? "warn" : null];
  if (pool.ready < pool.size) return [`${count(pool.ready)} of ${count(pool.size)} ready`, null];
  const [least, most] = pool.range ?? [];
  if (least < most) return [`${count(pool.size)} workers, of ${count(least)} to ${count(most)}`, null];
  return ["", null];
}

const reason = error => (typeof error === "string" ? error : error.message ?? error.reason ?? JSON.stringify(error));

// --- failing ------------------------------------------------------------------------------------

const fillGroups = list(byId("failures"), makeGroup);

export function fillFailing(snapshot) {
  const groups = snapshot.failures ?? [];
  fillGroups(groups, group => [group.place, group.reason, group.exception, group.frame].join(" | "));
  show(byId("failing-none"), !groups.length);
  show(byId("failing-count"), groups.length);
  text(byId("failing-count"), count(groups.length));
}

function makeGroup() {
  const title = el("strong");
  const place = el("span");
  const times = el("span.quiet");
  const line = spark();
  const message = el("p.message");
  const frame = el("p.code");
  const trace = el("pre", { tabindex: "0", "aria-label": "Traceback" });
  const details = el("details", {}, el("summary", {}, "Traceback"), trace);
  const command = el("code");
  const replay = el("p.replay", {}, el("span", {}, "Run it again"), command, copyButton(command));
  const root = el("li.group", {}, el("header", {}, title, place, line.root, times), message, frame, details, replay);
  let fresh = true;
  return {
    root,
    fill(group, index) {
      // The first traceback is there to read; the others open.
      if (fresh) details.open = index === 0;
      fresh = false;
      text(title, group.exception ?? plain(group.reason));
      text(place, groupPlace(group));
      line.fill(group.spark);
      text(times, groupTimes(group));
      text(message, group.message);
      show(message, group.message);
      text(frame, group.frame ? `at ${group.frame}` : "");
      show(frame, group.frame);
      text(trace, group.traceback);
      show(details, group.traceback);
      text(command, group.replay);
      show(replay, group.replay);
    },
  };
}

const plain = reason => String(reason ?? "failed").replaceAll("_", " ");

function groupPlace(group) {
  const where = group.stage ? `stage ${group.stage}${group.pipe ? ` of ${group.pipe}` : ""}` : group.place;
  return group.exception && group.reason ? `${where}, ${plain(group.reason)}` : where;
}

function groupTimes(group) {
  const share = isKnown(group.share) ? `, ${percent(group.share)} of its items` : "";
  const first = isKnown(group.first) && group.count > 1 ? `, first ${ago(group.first)}` : "";
  return `${plural(group.count, "time")}${share}, last ${ago(group.last)}${first}`;
}

function copyButton(source) {
  const button = el("button.plain", { type: "button", "aria-label": "Copy the command" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      text(button, "Copied");
    } catch {
      // Without a clipboard, as over plain HTTP: it is marked, for Ctrl-C.
      getSelection().selectAllChildren(source);
      text(button, "Marked");
    }
    setTimeout(() => text(button, "Copy"), 2_000);
  });
  return button;
}

// --- state --------------------------------------------------------------------------------------

const row = (...filled) => () => {
  const cells = filled.map((_, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }));
  return { root: el("tr", {}, ...cells), fill: item => filled.forEach((words, i) => name(cells[i], words(item))) };
};

const fillStores = list(byId("stores"), row(it => it.store, it => it.name, it => count(it.rows), it => bytes(it.memory)));
const fillSessions = list(byId("sessions"), row(it => it.id, it => it.pool, it => it.worker ?? "none", it => it.status));
const fillCheckpoints = list(byId("checkpoints"), row(it => it.path, it => it.pipe, it => it.finished));

export function fillState(snapshot) {
  const stores = snapshot.stores ?? [];
  const tables = stores.flatMap(store => (store.tables ?? []).map(table => ({ ...table, store: storeName(store) })));
  const sessions = snapshot.sessions ?? [];
  const checkpoints = snapshot.checkpoints ?? [];
  fillStores(tables, it => `${it.store} ${it.name}`);
  fillSessions(sessions.slice(0, 50), it => `${it.pool} ${it.id}`);
  fillCheckpoints(checkpoints.map(it => ({ ...it, finished: finished(it.finished) })), it => it.path);
  show(byId("stores-table"), tables.length);
  show(byId("sessions-table"), sessions.length);
  show(byId("checkpoints-table"), checkpoints.length);
  show(byId("state-none"), !tables.length && !sessions.length && !checkpoints.length);
  const words = [];
  if (stores.length) words.push(plural(stores.length, "store"));
  if (sessions.length) words.push(plural(sessions.length, "session"));
  const writes = stores.reduce((sum, store) => sum + (store.writes_rate ?? 0), 0);
  if (stores.length) words.push(`${perSecond(writes)} written`);
  text(byId("state-words"), words.join(", "));
}

const storeName = store => `${store.store}${store.durable ? ", on disk" : ""}`;
const finished = value => (typeof value === "number" ? plural(value, "item") : value === true ? "yes" : value === false ? "no" : value);

// --- events -------------------------------------------------------------------------------------

const fillHappenings = list(byId("happenings"), makeHappening);

export function fillEvents(snapshot) {
  const events = snapshot.events ?? [];
  fillHappenings(events, event => [event.at, event.kind, event.text].join(" "));
  show(byId("events-none"), !events.length);
}

function makeHappening() {
  const at = el("time");
  const kind = el("b");
  const words = el("span");
  return {
    root: el("li", {}, at, kind, words),
    fill(event) {
      text(at, clock(event.at));
      text(kind, event.kind);
      attr(kind, "data-tone", event.kind === "death" ? "bad" : null);
      text(words, event.text);
    },
  };
}
