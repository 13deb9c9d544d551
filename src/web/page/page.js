// The status page. It asks the service every two seconds while somebody looks, and not at all otherwise.
//
// Whatever comes from servers (names, paths, replies) is hostile: it is set as text, never as markup.

import { texts } from "./texts.js";

const STATUS_EVERY = 2000;
const NEWEST_EVERY = 4000;
const HISTORY_EVERY = 10000;
// An answer that takes longer is none.
const ANSWER_LIMIT = 8000;
// So many files wait for their call, and calls fail: somebody should look.
const MANY_PENDING = 20;

const $ = (id) => document.getElementById(id);

// -- small tools ------------------------------------------------------------------------------------------------

// localStorage and sessionStorage may be forbidden; the page does without.
const kept = {
  get(store, key) { try { return window[store].getItem(key); } catch { return null; } },
  set(store, key, value) { try { window[store].setItem(key, value); } catch { /* forgotten with the page */ } },
  remove(store, key) { try { window[store].removeItem(key); } catch { /* was never kept */ } },
};

let language = kept.get("localStorage", "mrosync-language");
if (!(language in texts)) {
  language = navigator.languages?.find((tag) => /^(zh|en)\b/i.test(tag))?.slice(0, 2).toLowerCase() ?? "en";
}

// A text in the reader's language, with its places filled in.
function say(key, ...values) {
  return texts[language][key].replace(/\{(\d)\}/g, (_, place) => values[place]);
}

// Sets an element's text where it changes, so that a selection in it stays.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const count = (number) => new Intl.NumberFormat(language).format(number);

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  const digits = unit > 0 && number < 100 ? 1 : 0;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(number)} ${units[unit]}`;
}

function percent(number) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(number / 100);
}

// A length of time in its two largest units.
function span(seconds) {
  const units = texts[language].units;
  const gap = language === "zh" ? "" : " ";
  if (seconds > 0 && seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))}${gap}${units.ms}`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10}${gap}${units.s}`;
  const parts = [[86400, units.d], [3600, units.h], [60, units.m], [1, units.s]];
  const first = parts.findIndex(([length]) => seconds >= length);
  let rest = Math.round(seconds);
  const shown = [];
  for (const [length, unit] of parts.slice(first, first + 2)) {
    const number = Math.floor(rest / length);
    rest -= number * length;
    if (number > 0) shown.push(`${number}${gap}${unit}`);
  }
  return shown.join(" ");
}

// Two lengths of time side by side; a unit that both have is named once.
function pair(one, other) {
  const unit = /^[\d.]+(\D+)$/;
  const same = unit.exec(one)?.[1] === unit.exec(other)?.[1] && unit.test(one);
  return `${same ? one.replace(/\D+$/, "") : one} · ${other}`;
}

const ago = (seconds) => (seconds < 1 ? say("now") : say("ago", span(seconds)));
const clock = (time) => new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(time);
const moment = (time) => new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" }).format(time);
// 202611230315 as people read it.
const period = (stamp) => stamp.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)$/, "$1-$2-$3 $4:$5");

// -- asking the service -----------------------------------------------------------------------------------------

// the address may bring the token behind the #, which is never sent; it is taken out of the address at once
const brought = new URLSearchParams(location.hash.slice(1)).get("token");
if (brought) {
  kept.set("sessionStorage", "mrosync-token", brought);
  history.replaceState(null, "", location.pathname);
}
let token = brought ?? kept.get("sessionStorage", "mrosync-token");

async function ask(path, method = "GET", own = token) {
  const headers = own ? { Authorization: `Bearer ${own}` } : {};
  const answer = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(ANSWER_LIMIT) });
  if (answer.status === 401) throw new Unauthorized();
  return answer;
}

async function askJson(path) {
  const answer = await ask(path);
  const date = Date.parse(answer.headers.get("Date"));
  // the header tells whole seconds: less than two are none
  if (Math.abs(date - Date.now()) >= 2000) known.ahead = date - Date.now();
  if (!answer.ok) throw new Error(await answer.text());
  return JSON.parse(await answer.text(), (_, value) => (typeof value === "string" ? harmless(value) : value));
}

// Control characters, separators and marks of direction (Unicode Standard Annex 9) as the log shows them: a name from a
// server must not turn round what stands beside it.
function harmless(text) {
  const misleading = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
  return text.replace(misleading, (mark) => `\\u{${mark.charCodeAt(0).toString(16)}}`);
}

class Unauthorized extends Error {}

// -- what is known ----------------------------------------------------------------------------------------------

const known = {
  status: null,
  since: null, // when the status came
  contact: true,
  locked: false, // the service wants a token even to be looked at
  access: { may_control: false, token_configured: false, version: "" },
  history: null,
  newest: null,
  ahead: 0, // of the service's clock, in milliseconds
  failing: [], // [time, failed calls], for the last minute
};

async function poll(what, every) {
  for (;;) {
    if (!document.hidden) await what();
    await new Promise((resolve) => {
      const done = () => { document.removeEventListener("visibilitychange", done); clearTimeout(timer); resolve(); };
      const timer = setTimeout(done, every);
      document.addEventListener("visibilitychange", done);
    });
  }
}

async function askStatus() {
  try {
    if (!known.contact || known.since === null) await askAccess();
    known.status = await askJson("api/status");
    known.since = Date.now();
    Object.assign(known, { contact: true, locked: false });
    known.failing.push([known.since, known.status.notify.failed_attempts]);
    known.failing = known.failing.filter(([at]) => known.since - at < 60000);
  } catch (error) {
    if (error instanceof Unauthorized) forgetToken();
    known.locked = error instanceof Unauthorized;
    known.contact = known.locked;
  }
  showStatus();
}

async function askAccess() {
  known.access = await askJson("api/access");
}

// A token that is not taken any more is worth nothing.
function forgetToken() {
  token = null;
  kept.remove("sessionStorage", "mrosync-token");
  known.access.may_control = false;
  known.access.token_configured = true;
}

async function askHistory() {
  const server = $("chart-server").value;
  try {
    known.history = await askJson(server ? `api/history?server=${encodeURIComponent(server)}` : "api/history");
  } catch { /* askStatus tells of it */ }
  showCharts();
}

async function askNewest() {
  try {
    known.newest = await askJson("api/newest");
  } catch { /* askStatus tells of it */ }
  showNewest();
}

// -- the service as a whole -------------------------------------------------------------------------------------

function showStatus() {
  const { status, contact, locked, access } = known;
  const state = !contact ? ["no_contact", "bad"] : status?.running ? ["running", "good"] : ["stopped", "warn"];
  $("state").className = `state ${state[1]}`;
  write($("state"), locked && !status ? "…" : say(state[0]));
  $("start").disabled = !contact || !status || status.running;
  $("stop").disabled = !contact || !status?.running;
  const readOnly = !access.token_configured && access.version !== "";
  $("read-only").hidden = !readOnly;
  for (const button of [$("start"), $("stop")]) {
    button.hidden = readOnly;
    button.title = access.may_control ? "" : say("need_token");
  }
  $("unlock").hidden = access.may_control || !access.token_configured;
  write($("version"), `MROSync ${access.version}`);
  write($("fresh"), known.since ? say("fresh", clock(known.since)) : "");
  showAlarms(alarms());
  if (!status) return;
  write($("uptime"), say("up", span(status.uptime_seconds)));
  showCards(status);
  showServers(status.servers);
  offerServers(status.servers);
}

// What needs an operator: [how bad, which server, words].
function alarms() {
  const { status, contact, locked, since } = known;
  const found = [];
  if (locked) return [["warn", "", say("alarm_token")]];
  if (!contact) found.push(["bad", "", say("alarm_contact", since ? clock(since) : "–")]);
  if (!status) return found;
  if (!status.running) found.push(["warn", "", say("alarm_stopped")]);
  for (const { server, kind, reason } of status.mirror?.holds ?? []) {
    found.push(["bad", server ?? "", say(`alarm_mirror_${kind}`, reason)]);
  }
  if (status.disk.held) found.push(["bad", "", say("alarm_held")]);
  if (status.disk.fault) found.push(["bad", "", say("alarm_disk", status.disk.fault)]);
  for (const { name, state, last_error, lateness } of status.servers) {
    if (state === "unreachable") found.push(["bad", name, say("alarm_unreachable", last_error ?? "")]);
    else if (last_error) found.push(["warn", name, say("alarm_fault", last_error)]);
    if (lateness.missing_periods > 0) {
      const words = lateness.missing_periods === 1 ? "alarm_missing_one" : "alarm_missing";
      const latest = lateness.gaps[0]?.to ?? "";
      found.push(["warn", name, say(words, count(lateness.missing_periods), period(latest))]);
    }
  }
  const failed = status.notify.failed_attempts - (known.failing[0]?.[1] ?? 0);
  if (status.notify.pending >= MANY_PENDING && failed > 0) {
    found.push(["warn", "", say("alarm_calls", count(status.notify.pending))]);
  }
  const worst = { bad: 0, warn: 1 };
  return found.sort((a, b) => worst[a[0]] - worst[b[0]]);
}

function showAlarms(found) {
  $("attention").className = `attention ${found[0]?.[0] ?? "good"}`;
  const lines = found.length > 0 ? found : known.status ? [["good", "", say("all_well")]] : [];
  const list = $("alarms");
  while (list.children.length > lines.length) list.lastChild.remove();
  lines.forEach(([level, server, words], place) => {
    let line = list.children[place];
    if (!line) {
      line = make("li");
      line.append(make("b"), make("span"));
      list.append(line);
    }
    line.className = level;
    line.firstChild.hidden = server === "";
    write(line.firstChild, server);
    write(line.lastChild, words);
  });
}

function showCards({ disk, notify, servers, process }) {
  const { used_percent: used, max_used_percent: most, mirror_bytes: mirror, max_bytes: limit } = disk;
  write($("disk-used"), used === null ? "?" : percent(used));
  write($("disk-limit"), say("disk_limit", percent(most)));
  gauge($("disk-gauge"), used ?? 0, most, disk.held || used > most ? "bad" : used > most * 0.95 ? "warn" : "");
  write($("mirror-used"), bytes(mirror));
  write($("mirror-limit"), limit === null ? say("mirror_only") : say("mirror_limit", bytes(limit)));
  $("mirror-gauge").toggleAttribute("hidden", limit === null);
  if (limit !== null) gauge($("mirror-gauge"), (mirror / limit) * 100, 100, mirror > limit ? "warn" : "");
  write($("evicted"), say("evicted", count(disk.evicted_files), bytes(disk.evicted_bytes)));

  const sum = (key) => servers.reduce((total, server) => total + server[key], 0);
  write($("today-files"), count(sum("files_today")));
  write($("today-bytes"), say("today_bytes", bytes(sum("bytes_today"))));
  write($("pending"), count(sum("pending_files")));
  write($("downloaded"), `${count(sum("files_downloaded"))} · ${bytes(sum("bytes_downloaded"))}`);
  write($("memory"), bytes(process.memory_bytes));

  write($("calls-pending"), count(notify.pending));
  write($("calls-delivered"), count(notify.delivered));
  write($("calls-failed"), count(notify.failed_attempts));
  write($("calls-cancelled"), count(notify.cancelled));
}

// A bar of percent, with a mark at the limit.
function gauge(svg, used, limit, mood) {
  if (!svg.firstChild) {
    svg.append(draw("rect", { class: "used", x: 0, y: 0, height: 8 }));
    svg.append(draw("rect", { class: "limit", y: 0, width: 0.6, height: 8 }));
  }
  svg.setAttribute("class", `gauge ${mood}`);
  svg.setAttribute("aria-label", `${percent(used)} / ${percent(limit)}`);
  svg.firstChild.setAttribute("width", Math.min(used, 100));
  svg.lastChild.setAttribute("x", Math.min(limit, 99.4));
}

// -- the servers ------------------------------------------------------------------------------------------------

const TONES = { stopped: "off", waiting: "good", scanning: "busy", downloading: "busy", unreachable: "bad" };
const STATES = Object.keys(TONES);
// Seconds until a time of the service, whose clock may differ from the reader's.
const until = (time) => (time ? (Date.parse(time) - Date.now() - known.ahead) / 1000 : null);
const or = (value, shown) => (value === null || value === undefined ? "" : shown(value));
const p99 = (waits) => waits.p99_seconds;
const wait = (waits) => or(waits.p50_seconds, (half) => pair(span(half), span(waits.p99_seconds)));
const waitTitle = (waits) => or(waits.p50_seconds, (half) => say("waits", span(half), span(waits.p99_seconds)));

// The columns: what is sorted by, what is shown, how it looks, and what else there is to say.
const COLUMNS = [
  { key: "server", value: (s) => s.name, head: true },
  { key: "state", value: (s) => STATES.length - STATES.indexOf(s.state), text: (s) => say(`state_${s.state}`), look: (s) => `dot ${TONES[s.state]}` },
  { key: "last", value: (s) => -(until(s.last_scan_started) ?? -Infinity), number: true,
    text: (s) => (s.last_scan_started ? ago(Math.max(0, -until(s.last_scan_started))) : say("never")),
    title: (s) => or(s.last_scan_seconds, (took) => `${moment(Date.parse(s.last_scan_started))}, ${say("took", span(took))}`) },
  { key: "next", value: (s) => until(s.next_scan), number: true,
    text: (s) => or(until(s.next_scan), (left) => (left < 1 ? say("now") : say("in", span(left)))),
    title: (s) => or(s.next_scan, (time) => moment(Date.parse(time))) },
  { key: "newest", value: (s) => s.lateness.newest_seen_age_seconds, number: true,
    text: (s) => or(s.lateness.newest_seen_age_seconds, ago),
    title: (s) => or(s.lateness.period_seconds, (length) => say("every", span(length))) },
  { key: "local", value: (s) => p99(s.lateness.seen_to_local), number: true,
    text: (s) => wait(s.lateness.seen_to_local), title: (s) => waitTitle(s.lateness.seen_to_local) },
  { key: "announce", value: (s) => p99(s.lateness.local_to_announced), number: true,
    text: (s) => wait(s.lateness.local_to_announced), title: (s) => waitTitle(s.lateness.local_to_announced) },
  { key: "missing", value: (s) => s.lateness.missing_periods, number: true,
    text: (s) => (s.lateness.period_seconds === null ? "" : count(s.lateness.missing_periods)),
    look: (s) => (s.lateness.missing_periods > 0 ? "warn" : ""),
    title: (s) => s.lateness.gaps.map((gap) => `${period(gap.from)}${gap.to === gap.from ? "" : ` – ${period(gap.to)}`}  ${gap.series}`).join("\n") },
  { key: "files", value: (s) => s.files_today, number: true, text: (s) => count(s.files_today) },
  { key: "bytes", value: (s) => s.bytes_today, number: true, text: (s) => bytes(s.bytes_today) },
  { key: "pending", value: (s) => s.pending_files, number: true, text: (s) => count(s.pending_files),
    look: (s) => (s.pending_files > 0 ? "warn" : "") },
  { key: "error", value: (s) => s.last_error, text: (s) => s.last_error ?? "", look: () => "words" },
];

const sorting = { key: "server", down: false };
try { Object.assign(sorting, JSON.parse(kept.get("localStorage", "mrosync-sorting") ?? "{}")); } catch { /* as ever */ }
if (!COLUMNS.some((column) => column.key === sorting.key)) sorting.key = "server";

function sortBy(key, down) {
  Object.assign(sorting, { key, down });
  kept.set("localStorage", "mrosync-sorting", JSON.stringify(sorting));
  showHeads();
  if (known.status) showServers(known.status.servers);
}

// By the chosen column; what is not known comes last, equals by name.
function sorted(servers) {
  const { value } = COLUMNS.find((column) => column.key === sorting.key);
  const order = new Intl.Collator(language, { numeric: true }).compare;
  const compare = (a, b) => (typeof a === "string" ? order(a, b) : a - b);
  return [...servers].sort((one, other) => {
    const [a, b] = [value(one) ?? null, value(other) ?? null];
    if (a === null || b === null) return (a === null) - (b === null) || order(one.name, other.name);
    return (sorting.down ? compare(b, a) : compare(a, b)) || order(one.name, other.name);
  });
}

function showHeads() {
  const row = $("server-heads");
  if (!row.firstChild) {
    for (const { key, number } of COLUMNS) {
      const head = make("th", number ? "number" : "");
      const button = make("button");
      head.scope = "col";
      button.type = "button";
      button.addEventListener("click", () => sortBy(key, sorting.key === key && !sorting.down));
      head.append(button);
      row.append(head);
      $("sort-by").append(new Option("", key));
    }
  }
  COLUMNS.forEach(({ key }, place) => {
    const head = row.children[place];
    write(head.firstChild, say(`col_${key}`));
    write($("sort-by").options[place], say(`col_${key}`));
    const own = sorting.down ? "descending" : "ascending";
    head.setAttribute("aria-sort", sorting.key === key ? own : "none");
  });
  $("sort-by").value = sorting.key;
}

const rows = new Map();

function showServers(servers) {
  const unreachable = servers.filter((server) => server.state === "unreachable").length;
  write($("servers-count"), say("servers_count", count(servers.length), count(unreachable)));
  const body = $("server-rows");
  const names = new Set(servers.map((server) => server.name));
  for (const [name, row] of rows) {
    if (!names.has(name)) { row.remove(); rows.delete(name); }
  }
  sorted(servers).forEach((server, place) => {
    let row = rows.get(server.name);
    if (!row) {
      row = make("tr");
      for (const { head } of COLUMNS) {
        const cell = make(head ? "th" : "td");
        if (head) cell.scope = "row";
        row.append(cell);
      }
      rows.set(server.name, row);
    }
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    COLUMNS.forEach(({ key, text, value, look, title, number }, column) => {
      const cell = row.children[column];
      write(cell, (text ?? value)(server));
      const classes = [number ? "number" : "", look?.(server) ?? "", cell.textContent === "" ? "blank" : ""];
      cell.className = classes.filter(Boolean).join(" ");
      cell.title = title?.(server) ?? "";
      cell.dataset.head = say(`col_${key}`);
    });
  });
}

// The choice of the charts follows the configuration.
function offerServers(servers) {
  const choice = $("chart-server");
  const names = ["", ...servers.map((server) => server.name)];
  if (choice.options.length === names.length && names.every((name, place) => choice.options[place].value === name)) {
    write(choice.options[0], say("all_servers"));
    return;
  }
  const chosen = names.includes(choice.value) ? choice.value : "";
  choice.replaceChildren(...names.map((name) => new Option(name || say("all_servers"), name)));
  choice.value = chosen;
}

// -- the charts -------------------------------------------------------------------------------------------------

const HEIGHT = 192;
const EDGE = { left: 52, right: 10, top: 10, bottom: 22 };
// Where the reader points, in buckets; null: nowhere.
let cursor = null;

// The minutes put together to at most 72 buckets, so that each can be seen.
function buckets() {
  const reach = Number($("chart-reach").value);
  const size = reach > 60 ? 5 : 1;
  const last = Math.floor(known.history.now_minute / size);
  const shown = Array.from({ length: reach / size }, (_, place) => ({
    at: (last - reach / size + 1 + place) * size * 60000,
    files: 0, bytes: 0, measured: 0, waited: 0, worst: 0,
  }));
  for (const minute of known.history.minutes) {
    const bucket = shown[Math.floor(minute.minute / size) - last + reach / size - 1];
    if (!bucket) continue;
    bucket.files += minute.files;
    bucket.bytes += minute.bytes;
    bucket.measured += minute.measured;
    bucket.waited += minute.waited_ms / 1000;
    bucket.worst = Math.max(bucket.worst, minute.worst_ms / 1000);
  }
  return shown.map((bucket) => ({ ...bucket, rate: bucket.files / size }));
}

// The next of 1, 2, 5, 10, 20, … from `most` on.
function roundUp(most, least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, least)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= Math.max(most, least)) ?? power * 10;
}

// An empty chart with its scales; answers how to place things in it.
function frame(svg, all, most, shownValue) {
  const width = Math.max(svg.clientWidth, 240);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  const inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const x = (place) => EDGE.left + (place + 0.5) * (inner.width / all.length);
  const y = (value) => EDGE.top + inner.height * (1 - value / most);
  for (const part of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(most * part), y2: y(most * part) }));
    svg.append(draw("text", { x: EDGE.left - 6, y: y(most * part) + 4, "text-anchor": "end" }, shownValue(most * part)));
  }
  const hours = new Intl.DateTimeFormat(language, { timeStyle: "short" });
  // at full quarters of an hour, or full hours
  const apart = all.length * (all[1].at - all[0].at) > 3600000 ? 3600000 : 900000;
  for (let place = 0; place < all.length; place += 1) {
    if (all[place].at % apart !== 0) continue;
    const anchor = x(place) > width - 30 ? "end" : "middle";
    svg.append(draw("text", { x: x(place), y: HEIGHT - 5, "text-anchor": anchor }, hours.format(all[place].at)));
  }
  if (cursor !== null && cursor < all.length) {
    svg.append(draw("line", { class: "cursor", x1: x(cursor), x2: x(cursor), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }));
  }
  return { x, y, step: inner.width / all.length };
}

function showCharts() {
  if (!known.history) return;
  const all = buckets();
  const busy = all.filter((bucket) => bucket.files > 0);
  const pointed = cursor === null ? busy.at(-1) : all[cursor];
  const time = (bucket) => new Intl.DateTimeFormat(language, { timeStyle: "short" }).format(bucket.at);

  const throughput = $("throughput");
  const top = roundUp(Math.max(...all.map((bucket) => bucket.rate)), 4);
  const files = frame(throughput, all, top, (value) => count(value));
  all.forEach((bucket, place) => {
    if (bucket.rate === 0) return;
    const thick = Math.max(1, files.step - 1.5);
    throughput.append(draw("rect", { class: "bar", x: files.x(place) - thick / 2, width: thick,
      y: files.y(bucket.rate), height: files.y(0) - files.y(bucket.rate) }));
  });
  const said = !pointed ? say("chart_empty")
    : pointed.files === 0 ? say("nothing_at", time(pointed))
    : say("throughput_at", time(pointed), count(Math.round(pointed.rate * 10) / 10), bytes(pointed.bytes));
  write($("throughput-said"), said);
  throughput.setAttribute("aria-label", `${say("throughput")}. ${said}`);

  const lateness = $("lateness");
  const longest = roundUp(Math.max(...all.map((bucket) => bucket.worst)), 1);
  const waits = frame(lateness, all, longest, (value) => span(value));
  const mean = (bucket) => bucket.waited / bucket.measured;
  for (const [name, value] of [["worst", (bucket) => bucket.worst], ["mean", mean]]) {
    for (const run of runs(all)) {
      const points = run.map((place) => `${waits.x(place)},${waits.y(value(all[place]))}`);
      if (run.length > 1) lateness.append(draw("polyline", { class: name, points: points.join(" ") }));
      const [cx, cy] = points.at(-1).split(",");
      if (run.length === 1) lateness.append(draw("circle", { class: `point-${name}`, cx, cy, r: 2.5 }));
    }
  }
  const saidLate = !pointed ? say("chart_empty")
    : pointed.measured === 0 ? say("nothing_at", time(pointed))
    : say("lateness_at", time(pointed), span(mean(pointed)), span(pointed.worst));
  write($("lateness-said"), saidLate);
  lateness.setAttribute("aria-label", `${say("lateness")}. ${saidLate}`);
}

// Places in a row of which waits are known: a line is drawn through each run, and none over a gap.
function runs(all) {
  const found = [];
  all.forEach((bucket, place) => {
    if (bucket.measured === 0) return;
    if (found.at(-1)?.at(-1) === place - 1) found.at(-1).push(place);
    else found.push([place]);
  });
  return found;
}

function point(place) {
  const buckets = Number($("chart-reach").value) > 60 ? 72 : 60;
  cursor = place === null ? null : Math.min(Math.max(place, 0), buckets - 1);
  showCharts();
}

for (const svg of [$("throughput"), $("lateness")]) {
  const buckets = () => (Number($("chart-reach").value) > 60 ? 72 : 60);
  svg.addEventListener("pointermove", (event) => {
    const inner = svg.clientWidth - EDGE.left - EDGE.right;
    point(Math.floor(((event.offsetX - EDGE.left) / inner) * buckets()));
  });
  svg.addEventListener("pointerleave", () => point(null));
  svg.addEventListener("blur", () => point(null));
  svg.addEventListener("keydown", (event) => {
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!turn) return;
    event.preventDefault();
    point((cursor ?? buckets()) + turn);
  });
}

// -- the newest files -------------------------------------------------------------------------------------------

function showNewest() {
  if (!known.newest) return;
  const body = $("newest-rows");
  const keys = ["downloaded", "server", "path", "size", "announced", "mirror"];
  if (known.newest.length === 0) {
    const cell = make("td", "quiet", say("none_yet"));
    cell.colSpan = keys.length;
    const row = make("tr");
    row.append(cell);
    return body.replaceChildren(row);
  }
  const lines = known.newest.map((file) => {
    const took = file.notified_at && (Date.parse(file.notified_at) - Date.parse(file.downloaded_at)) / 1000;
    return [
      clock(Date.parse(file.downloaded_at)), file.server, file.path, bytes(file.size),
      file.notified_at ? `${clock(Date.parse(file.notified_at))} (+${span(Math.max(0, took))})` : say("not_yet"),
      file.evicted_at ? say("was_evicted") : say("yes"),
    ];
  });
  if (body.children.length !== lines.length || body.firstChild.children.length !== keys.length) {
    body.replaceChildren(...lines.map(() => {
      const row = make("tr");
      row.append(...keys.map((key) => make("td", { path: "path", size: "number" }[key])));
      return row;
    }));
  }
  lines.forEach((line, place) => line.forEach((text, column) => {
    const cell = body.children[place].children[column];
    write(cell, text);
    cell.dataset.head = say(`col_${keys[column]}`);
    if (keys[column] === "announced") cell.className = known.newest[place].notified_at ? "" : "warn";
  }));
}

// -- start, stop and the token ----------------------------------------------------------------------------------

async function command(name) {
  if (!known.access.may_control && !(await enterToken())) return;
  $(name).disabled = true;
  write($("said"), "…");
  try {
    const answer = await ask(`api/${name}`, "POST");
    write($("said"), (await answer.text()).trim());
  } catch (error) {
    if (error instanceof Unauthorized) forgetToken();
    write($("said"), error instanceof Unauthorized ? say("token_wrong") : say("no_contact"));
  }
  await askStatus();
}

// Asks for the token until it is right; false when the reader gives up.
function enterToken() {
  const dialog = $("token-dialog");
  write($("token-fault"), "");
  $("token").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    $("token-form").onsubmit = async (event) => {
      event.preventDefault();
      const given = $("token").value.trim();
      try {
        known.access = await (await ask("api/access", "GET", given)).json();
        token = given;
        kept.set("sessionStorage", "mrosync-token", token);
        dialog.returnValue = "right";
        dialog.close();
      } catch (error) {
        write($("token-fault"), say(error instanceof Unauthorized ? "token_wrong" : "no_contact"));
      }
    };
    dialog.onclose = () => {
      resolve(known.access.may_control);
      askStatus();
    };
  });
}

$("token-cancel").addEventListener("click", () => $("token-dialog").close());
$("start").addEventListener("click", () => command("start"));
$("stop").addEventListener("click", () => command("stop"));
$("unlock").addEventListener("click", enterToken);

// -- the reader's choices ---------------------------------------------------------------------------------------

function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) write(element, say(element.dataset.text));
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  showHeads();
  showStatus();
  showCharts();
  showNewest();
}

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  kept.set("localStorage", "mrosync-language", language);
  speak();
});
$("sort-by").addEventListener("change", () => sortBy($("sort-by").value, sorting.down));
$("sort-turn").addEventListener("click", () => sortBy(sorting.key, !sorting.down));
$("chart-server").addEventListener("change", askHistory);
$("chart-reach").addEventListener("change", () => { cursor = null; showCharts(); });
new ResizeObserver(showCharts).observe($("throughput"));

speak();
poll(askStatus, STATUS_EVERY);
poll(askHistory, HISTORY_EVERY);
poll(askNewest, NEWEST_EVERY);
