// The status page. It asks the service every two seconds while somebody looks, and not at all otherwise.
//
// Whatever comes from servers (names, paths, replies) is hostile: it is set as text, never as markup.

import { texts } from "./texts.js";

const STATUS_EVERY = 2000;
// A large fleet is asked less often: its answer is longer. Milliseconds for each server.
const STATUS_PER_SERVER = 5;
const NEWEST_EVERY = 4000;
const HISTORY_EVERY = 10000;
// An answer that takes longer is none.
const ANSWER_LIMIT = 8000;

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

// Formats are costly to make: each once for each language.
const formats = new Map();
function format(kind, options) {
  const key = `${kind} ${language} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new Intl[kind](language, options));
  return formats.get(key);
}

const count = (number) => format("NumberFormat", {}).format(number);

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  const digits = unit > 0 && number < 100 ? 1 : 0;
  return `${format("NumberFormat", { maximumFractionDigits: digits }).format(number)} ${units[unit]}`;
}

function percent(number) {
  return format("NumberFormat", { style: "percent", maximumFractionDigits: 1 }).format(number / 100);
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
const clock = (time) => format("DateTimeFormat", { timeStyle: "medium" }).format(time);
const moment = (time) => format("DateTimeFormat", { dateStyle: "medium", timeStyle: "medium" }).format(time);
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
};

async function poll(what, every) {
  for (;;) {
    if (!document.hidden) await what();
    await new Promise((resolve) => {
      const done = () => { document.removeEventListener("visibilitychange", done); clearTimeout(timer); resolve(); };
      const timer = setTimeout(done, typeof every === "function" ? every() : every);
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
  if (view.name !== "home") return;
  const server = $("chart-server").value;
  try {
    known.history = await askJson(server ? `api/history?server=${encodeURIComponent(server)}` : "api/history");
  } catch { /* askStatus tells of it */ }
  showCharts();
}

async function askNewest() {
  if (view.name !== "home") return;
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
  showAlarms(needs());
  if (!status) return;
  write($("uptime"), say("up", span(status.uptime_seconds)));
  showCards(status);
  showServers(status.servers);
  offerServers(status.servers);
}

// What needs an operator: the service's own list, and what only this page can see.
function needs() {
  const { status, contact, locked, since } = known;
  const own = (level, title) => ({ level, title, items: [] });
  if (locked) return [own("warn", say("alarm_token"))];
  const lost = contact ? [] : [own("bad", say("alarm_contact", since ? clock(since) : "–"))];
  return [...lost, ...(status?.attention ?? [])];
}

const LEVELS = { critical: "bad", warning: "warn", info: "warn" };
const levelOf = (need) => LEVELS[need.level] ?? need.level;
const held = (time) => say("for", span(Math.max(0, -until(time))));

// The words of a cause, in the reader's language where there are some; those of the service else.
function titleOf({ cause, reason, title }) {
  const { causes, reasons } = texts[language].needs;
  if (!causes[cause]) return title;
  return reason ? `${causes[cause]}${say("colon")}${reasons[reason] ?? reason}` : causes[cause];
}

function stepOf({ cause, reason, next_step: step }) {
  const { steps } = texts[language].needs;
  return steps[reason] ?? steps[cause] ?? step ?? "";
}

// One line says who and what; several servers open below it.
function needLine(need, place) {
  const line = make("li", levelOf(need));
  const body = make("div", "need");
  const head = make("p");
  const { items } = need;
  if (items.length > 1) {
    const open = make("button", "fold", `${say("servers_with", count(items.length))} `);
    open.type = "button";
    open.setAttribute("aria-expanded", String(unfolded.has(keyOf(need))));
    open.setAttribute("aria-controls", `need-${place}`);
    open.addEventListener("click", () => {
      if (!unfolded.delete(keyOf(need))) unfolded.add(keyOf(need));
      showAlarms(needs());
      $("alarms").children[place]?.querySelector("button")?.focus();
    });
    head.append(open, make("span", "", titleOf(need)));
  } else {
    const [item] = items;
    if (item?.server) head.append(serverLink(item.server), " ");
    const same = !item || item.detail === need.title || item.detail.startsWith(need.title);
    head.append(make("span", "", same ? (need.cause ? titleOf(need) : need.title) : `${titleOf(need)}${say("colon")}${item.detail}`));
  }
  body.append(head);
  if (need.cause) body.append(make("p", "quiet", `${held(need.since)} · ${stepOf(need)}`));
  if (items.length > 1) {
    const list = make("ul", "those");
    list.id = `need-${place}`;
    list.hidden = !unfolded.has(keyOf(need));
    if (!list.hidden) list.append(...items.slice(0, LISTED).map(itemLine));
    if (!list.hidden && items.length > LISTED) list.append(make("li", "quiet", say("more", count(items.length - LISTED))));
    body.append(list);
  }
  line.append(body);
  return line;
}

function itemLine({ server, since, detail }) {
  const line = make("li");
  if (server) line.append(serverLink(server), " ");
  line.append(make("span", "", detail), make("span", "quiet", ` · ${held(since)}`));
  return line;
}

function serverLink(name) {
  const link = make("a", "", name);
  link.href = `#/server/${encodeURIComponent(name)}`;
  return link;
}

// Needs that are shown before the rest is asked for, and servers of one need.
const SHOWN_NEEDS = 5;
const LISTED = 200;
const unfolded = new Set();
const keyOf = ({ cause, reason, title }) => `${cause} ${reason ?? title}`;
let allNeeds = false;
let drawnNeeds = "";

function showAlarms(found) {
  $("attention").className = `attention ${found[0] ? levelOf(found[0]) : "good"}`;
  document.title = found.length > 0 && known.status ? `(${count(found.length)}) MROSync` : "MROSync";
  const shown = allNeeds ? found : found.slice(0, SHOWN_NEEDS);
  const more = found.length - SHOWN_NEEDS;
  $("more-needs").hidden = more <= 0;
  $("more-needs").setAttribute("aria-expanded", String(allNeeds));
  write($("more-needs"), allNeeds ? say("fewer") : say("more_causes", count(Math.max(more, 0))));
  // the same list is not drawn again, so that a selection and the focus stay
  const drawn = JSON.stringify([language, shown.map((need) => [need, need.since && held(need.since)]), [...unfolded]]);
  if (drawn === drawnNeeds) return;
  drawnNeeds = drawn;
  const focused = $("alarms").contains(document.activeElement) ? [...$("alarms").querySelectorAll("a, button")].indexOf(document.activeElement) : -1;
  const lines = shown.map(needLine);
  if (lines.length === 0 && known.status) {
    lines.push(make("li", "good"));
    lines[0].append(make("span", "", say("all_well")));
  }
  $("alarms").replaceChildren(...lines);
  if (focused >= 0) $("alarms").querySelectorAll("a, button")[focused]?.focus();
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
  { key: "state", value: (s) => STATES.length - STATES.indexOf(s.state), text: (s) => say(`state_${s.state}`), look: (s) => `dot ${toneOf(s)}` },
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
  { key: "error", value: (s) => s.last_error, text: (s) => s.last_error ?? "", look: () => "words", title: (s) => s.last_error ?? "" },
];

// How bad it is with each server that is on the list of needs.
const troubled = new Map();
const toneOf = (server) => (TONES[server.state] === "off" ? "off" : troubled.get(server.name) ?? TONES[server.state]);

function noteTroubled(list) {
  troubled.clear();
  for (const need of [...(list ?? [])].reverse()) {
    for (const { server } of need.items) if (server) troubled.set(server, levelOf(need));
  }
}

// What the reader looks for.
const wanted = { words: "", state: "" };
// Rows that a telephone shows at once.
const CARDS = 15;
const MORE_CARDS = 100;
const narrow = matchMedia("(max-width: 599px)");
let cards = CARDS;

function matches(server) {
  const words = wanted.words.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${server.name} ${server.last_error ?? ""}`.toLowerCase();
  const fits = wanted.state === "" || (wanted.state === "needs" ? troubled.has(server.name) : server.state === wanted.state);
  return fits && words.every((word) => text.includes(word));
}

function showStates(servers) {
  const choice = $("server-state");
  const sums = new Map(["", "needs", ...STATES].map((state) => [state, 0]));
  for (const server of servers) {
    sums.set("", sums.get("") + 1);
    sums.set(server.state, (sums.get(server.state) ?? 0) + 1);
    if (troubled.has(server.name)) sums.set("needs", sums.get("needs") + 1);
  }
  const text = (state) => say(state === "" ? "all_states" : state === "needs" ? "needs_state" : `state_${state}`);
  [...sums].forEach(([state, sum], place) => {
    if (!choice.options[place]) choice.append(new Option("", state));
    write(choice.options[place], `${text(state)} (${count(sum)})`);
  });
}

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
  const order = format("Collator", { numeric: true }).compare;
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
      const head = make("th", number ? `number col-${key}` : `col-${key}`);
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

// A long table has rows where they can be seen and room for the others: a thousand servers cost what a screenful does.
const WHOLE = 120;
const AROUND = 12;
const drawn = { found: [], shown: [], height: 28 };

function makeRow(server) {
  const row = make("tr");
  for (const { head } of COLUMNS) {
    const cell = make(head ? "th" : "td");
    if (head) { cell.scope = "row"; cell.append(serverLink(server.name)); }
    row.append(cell);
  }
  return row;
}

function fillRow(row) {
  COLUMNS.forEach(({ key, head, text, value, look, title, number }, column) => {
    const cell = row.children[column];
    if (!head) write(cell, (text ?? value)(row.server));
    const classes = [number ? "number" : "", look?.(row.server) ?? "", cell.textContent === "" ? "blank" : "", `col-${key}`];
    const own = classes.filter(Boolean).join(" ");
    const said = title?.(row.server) ?? "";
    if (cell.className !== own) cell.className = own;
    if (cell.title !== said) cell.title = said;
    if (cell.dataset.head !== say(`col_${key}`)) cell.dataset.head = say(`col_${key}`);
  });
}

function showServers(servers) {
  const unreachable = servers.filter((server) => server.state === "unreachable").length;
  write($("servers-count"), say("servers_count", count(servers.length), count(unreachable)));
  noteTroubled(known.status?.attention);
  showStates(servers);
  drawn.found = sorted(servers.filter(matches));
  drawn.shown = narrow.matches ? drawn.found.slice(0, cards) : drawn.found;
  $("no-servers").hidden = drawn.found.length > 0;
  $("more-servers").hidden = drawn.shown.length === drawn.found.length;
  write($("more-servers"), say("more_of_them", count(drawn.shown.length), count(drawn.found.length)));
  drawRows();
}

// The places of the rows that are drawn: all, or those in sight.
function inSight() {
  const all = drawn.shown.length;
  if (narrow.matches || all <= WHOLE) return [0, all];
  const box = $("server-box");
  const row = $("server-rows").querySelector("tr:not(.room)");
  if (row?.offsetHeight) drawn.height = row.getBoundingClientRect().height;
  const first = Math.max(0, Math.min(Math.floor(box.scrollTop / drawn.height) - AROUND, all - WHOLE / 2));
  return [first, Math.min(all, first + Math.ceil(box.clientHeight / drawn.height) + 2 * AROUND)];
}

function drawRows() {
  const [from, to] = inSight();
  const shown = drawn.shown.slice(from, to);
  const body = $("server-rows");
  const names = new Set(shown.map((server) => server.name));
  for (const [name, row] of rows) {
    if (!names.has(name)) { row.remove(); rows.delete(name); }
  }
  room("above", from);
  room("below", drawn.shown.length - to);
  $("server-table").setAttribute("aria-rowcount", drawn.shown.length + 1);
  const above = body.querySelector(".above");
  let at = above ? above.nextElementSibling : body.firstElementChild;
  shown.forEach((server, place) => {
    let row = rows.get(server.name);
    if (!row) rows.set(server.name, row = makeRow(server));
    row.server = server;
    row.setAttribute("aria-rowindex", from + place + 2);
    if (at === row) at = at.nextElementSibling;
    else body.insertBefore(row, at);
    fillRow(row);
  });
}

// Room for so many rows that are not drawn.
function room(where, count) {
  const body = $("server-rows");
  let row = body.querySelector(`.${where}`);
  if (count === 0) { row?.remove(); return; }
  if (!row) {
    row = make("tr", `room ${where}`);
    row.setAttribute("aria-hidden", "true");
    row.append(make("td"));
    row.firstChild.colSpan = COLUMNS.length;
    if (where === "above") body.prepend(row); else body.append(row);
  }
  row.style.height = `${count * drawn.height}px`;
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
  $("server-names").replaceChildren(...names.slice(1).map((name) => new Option("", name)));
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
  const hours = format("DateTimeFormat", { timeStyle: "short" });
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
  const time = (bucket) => format("DateTimeFormat", { timeStyle: "short" }).format(bucket.at);

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

// -- the views: home, one server, the records, the log -------------------------------------------------------------------

const DETAILS_EVERY = 3000;
const LOG_KEPT = 500;
const view = { name: "home", server: "" };
const detail = { one: null, found: [], next: null, lines: [], last: 0, asked: 0, failed: "" };

function route() {
  const [, name, own] = /^#\/(server|records|log)(?:\/(.*))?$/.exec(location.hash) ?? [null, "home", ""];
  let server = "";
  try { server = decodeURIComponent(own ?? ""); } catch { /* no name of ours */ }
  const changed = view.name !== name || view.server !== server;
  Object.assign(view, { name, server });
  $("home-view").hidden = name !== "home";
  $("server-view").hidden = name !== "server";
  $("records-view").hidden = name === "home" || name === "log";
  $("log-view").hidden = name === "home" || name === "records";
  for (const own of document.querySelectorAll(".own-server")) own.hidden = name === "server";
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!changed) return;
  Object.assign(detail, { one: null, found: [], next: null, lines: [], last: 0, failed: "" });
  $("log-lines").replaceChildren();
  showFound();
  showOne();
  askDetails();
  if (!$("records-view").hidden) find(false);
  if (name === "home") showCharts();
  scrollTo(0, 0);
  if (name !== "home") $({ server: "one-title", records: "records-title", log: "log-title" }[name]).focus();
}

async function askDetails() {
  const asked = ++detail.asked;
  const { name, server } = view;
  if (name === "server") {
    try {
      const one = await askJson(`api/server?name=${encodeURIComponent(server)}`);
      if (asked !== detail.asked) return;
      Object.assign(detail, { one, failed: "" });
    } catch (error) { detail.failed = String(error.message ?? ""); }
    showOne();
  }
  if (name === "server" || name === "log") await askLog(asked);
}

async function askLog(asked) {
  const query = new URLSearchParams();
  const server = view.name === "server" ? view.server : $("log-server").value.trim();
  if (server) query.set("server", server);
  if ($("log-level").value) query.set("level", $("log-level").value);
  query.set("after", detail.last);
  try {
    const { last, lines } = await askJson(`api/log?${query}`);
    if (asked !== detail.asked) return;
    // a service that was started again counts anew
    if (last < detail.last) Object.assign(detail, { last: 0, lines: [] });
    else Object.assign(detail, { last, lines: [...detail.lines, ...lines].slice(-LOG_KEPT) });
    if (lines.length > 0 || detail.lines.length === 0) showLog();
  } catch { /* askStatus tells of it */ }
}

function askLogAnew() {
  Object.assign(detail, { lines: [], last: 0 });
  $("log-lines").replaceChildren();
  askDetails();
}

// The newest line on top, where it is seen without scrolling.
function showLog() {
  const list = $("log-lines");
  $("no-lines").hidden = detail.lines.length > 0;
  const shown = new Set([...list.children].map((line) => Number(line.dataset.number)));
  for (const { number, time, level, target, message } of detail.lines) {
    if (shown.has(number)) continue;
    const line = make("li", { ERROR: "bad", WARN: "warn" }[level] ?? "");
    line.dataset.number = number;
    const when = make("time", "", moment(Date.parse(time)));
    when.dateTime = time;
    when.title = time;
    line.append(when, make("b", "", level), make("span", "quiet", target), make("span", "", message));
    list.prepend(line);
  }
  while (list.children.length > LOG_KEPT) list.lastElementChild.remove();
}

function showOne() {
  if (view.name !== "server") return;
  const { one, failed } = detail;
  write($("one-name"), view.server);
  write($("one-state"), one?.server ? say(`state_${one.server.state}`) : failed.trim());
  $("one-state").className = one?.server ? `dot ${one.attention.length > 0 ? levelOf(one.attention[0]) : TONES[one.server.state]}` : "quiet";
  if (!one?.server) return;
  const server = one.server;
  $("one-needs").replaceChildren(...one.attention.map((need) => {
    const line = make("li", levelOf(need));
    const body = make("div", "need");
    body.append(make("p", "", `${titleOf(need)}${say("colon")}${need.items[0].detail}`),
      make("p", "quiet", `${held(need.items[0].since)} · ${stepOf(need)}`));
    line.append(body);
    return line;
  }));
  const cell = (key) => {
    const { text, value } = COLUMNS.find((column) => column.key === key);
    return [say(`col_${key}`), (text ?? value)(server)];
  };
  const { lateness, connections } = server;
  facts($("one-facts"), [
    cell("last"), cell("next"), cell("newest"), cell("local"), cell("announce"),
    [say("period"), or(lateness.period_seconds, (length) => say("every", span(length)))],
    cell("files"), cell("bytes"), cell("pending"),
  ]);
  facts($("one-more"), [
    [say("scans"), count(server.scans)],
    [say("directories"), count(server.directories_seen)],
    [say("files_seen"), count(server.files_seen)],
    [say("since_start"), `${count(server.files_downloaded)} · ${bytes(server.bytes_downloaded)}`],
    [say("listing"), server.listing ?? ""],
    [say("connections"), `${count(connections.in_use)} / ${count(connections.granted)}`],
    [say("changed_files"), count(server.changed_files)],
    [say("odd_lines"), count(server.lines_not_understood)],
    [say("cut_lists"), count(server.cut_listings)],
  ]);
  $("one-refused").hidden = server.incomplete_files === 0;
  listLines($("one-incomplete"), [
    ...server.incomplete.map((file) => `${file.path}${say("colon")}${file.reason} · ${say("tries", count(file.tries))} · ${held(file.since)} · ${say("next_try", clock(Date.parse(file.next_try)))}`),
    ...(server.incomplete_files > server.incomplete.length ? [say("more_files", count(server.incomplete_files - server.incomplete.length))] : []),
  ]);
  $("one-gaps-part").hidden = lateness.missing_periods === 0;
  listLines($("one-gaps"), lateness.gaps.map((gap) => `${period(gap.from)}${gap.to === gap.from ? "" : ` – ${period(gap.to)}`}  ${gap.series}`));
  fillTable($("one-scans"), one.scans.map((scan) => [
    ["", or(scan.started, (time) => moment(Date.parse(time))), say("scan_began")],
    ["number", or(scan.took_seconds, span), say("scan_took")],
    ["number", count(scan.files_seen), say("scan_seen")],
    ["number", count(scan.files_downloaded), say("scan_fetched")],
    ["words", scan.fault ?? "", say("col_error")],
  ]), 5);
}

function facts(list, pairs) {
  if (list.children.length !== pairs.length) {
    list.replaceChildren(...pairs.map(() => {
      const pair = make("div");
      pair.append(make("dt"), make("dd"));
      return pair;
    }));
  }
  pairs.forEach(([name, value], place) => {
    write(list.children[place].firstChild, name);
    write(list.children[place].lastChild, value === "" ? "–" : value);
  });
}

function listLines(list, lines) {
  while (list.children.length > lines.length) list.lastChild.remove();
  lines.forEach((text, place) => {
    if (!list.children[place]) list.append(make("li"));
    write(list.children[place], text);
  });
}

// Lines of [class, text, head] become rows.
function fillTable(body, lines, columns) {
  while (body.children.length > lines.length) body.lastChild.remove();
  if (body.firstChild && body.firstChild.children.length !== columns) body.replaceChildren();
  lines.forEach((line, place) => {
    if (!body.children[place]) {
      const row = make("tr");
      row.append(...line.map(() => make("td")));
      body.append(row);
    }
    line.forEach(([classes, text, head], column) => {
      const cell = body.children[place].children[column];
      cell.className = classes;
      cell.dataset.head = head;
      write(cell, text);
    });
  });
}

// -- the search of the records ----------------------------------------------------------------------------------

async function find(older) {
  const query = new URLSearchParams();
  const put = (key, value) => { if (value) query.set(key, value); };
  const { name, server } = view;
  put("server", name === "server" ? server : $("find-server").value.trim());
  const words = $("find-path").value.trim();
  put("path", words && !/[*?[{]/.test(words) && !words.startsWith("/") ? `*${words}*` : words);
  put("since", $("find-since").value && new Date($("find-since").value).toISOString());
  put("until", $("find-until").value && new Date($("find-until").value).toISOString());
  const [state, value] = $("find-state").value.split("=");
  put(state, value);
  if (name === "server") put("limit", "10");
  if (older) put("before", String(detail.next));
  write($("found-said"), "…");
  try {
    const { records, next } = await askJson(`api/records?${query}`);
    if (view.name !== name || view.server !== server) return;
    detail.found = older ? [...detail.found, ...records] : records;
    detail.next = next;
    write($("found-said"), say(next === null ? "found_all" : "found_some", count(detail.found.length)));
  } catch (error) {
    write($("found-said"), error instanceof Unauthorized ? say("alarm_token") : String(error.message ?? error).trim());
  }
  showFound();
}

function showFound() {
  $("found-more").hidden = detail.next === null;
  fillTable($("found-rows"), detail.found.map((file) => [
    ["", moment(Date.parse(file.downloaded_at)), say("col_downloaded")],
    ["", file.server, say("col_server")],
    ["path", file.path, say("col_path")],
    ["number", bytes(file.size), say("col_size")],
    [file.notified_at ? "" : "warn", file.notified_at ? moment(Date.parse(file.notified_at)) : say("not_yet"), say("col_announced")],
    ["", file.evicted_at ? say("was_evicted") : say("yes"), say("col_mirror")],
  ]), 6);
}

$("records-form").addEventListener("submit", (event) => { event.preventDefault(); find(false); });
$("found-more").addEventListener("click", () => find(true));
$("log-level").addEventListener("change", askLogAnew);
$("log-server").addEventListener("change", askLogAnew);
addEventListener("hashchange", route);

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
  showOne();
  showFound();
}

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  kept.set("localStorage", "mrosync-language", language);
  speak();
});
const again = () => { $("server-box").scrollTop = 0; if (known.status) showServers(known.status.servers); };
$("server-words").addEventListener("input", () => { wanted.words = $("server-words").value; again(); });
$("server-state").addEventListener("change", () => { wanted.state = $("server-state").value; again(); });
$("more-servers").addEventListener("click", () => { cards += MORE_CARDS; again(); });
$("more-needs").addEventListener("click", () => { allNeeds = !allNeeds; showAlarms(needs()); });
narrow.addEventListener("change", again);
let drawing = 0;
const drawSoon = () => { drawing ||= requestAnimationFrame(() => { drawing = 0; if (drawn.shown.length > WHOLE) drawRows(); }); };
$("server-box").addEventListener("scroll", drawSoon, { passive: true });
new ResizeObserver(drawSoon).observe($("server-box"));
$("sort-by").addEventListener("change", () => sortBy($("sort-by").value, sorting.down));
$("sort-turn").addEventListener("click", () => sortBy(sorting.key, !sorting.down));
$("chart-server").addEventListener("change", askHistory);
$("chart-reach").addEventListener("change", () => { cursor = null; showCharts(); });
new ResizeObserver(showCharts).observe($("throughput"));

speak();
poll(askStatus, () => Math.max(STATUS_EVERY, STATUS_PER_SERVER * (known.status?.servers.length ?? 0)));
poll(askHistory, HISTORY_EVERY);
poll(askNewest, NEWEST_EVERY);
poll(askDetails, DETAILS_EVERY);
route();
