// What happened, in sentences, newest first: at a time, in a session, of a person.

import { el, fill, button, field, form, values } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, part } from "./api.js";
import { follow } from "./live.js";
import { isRequest, sentencesOf, userOf } from "./sentences.js";

/** Lines are read by the hundred; of a time that was asked for, at most so many pages. */
const PAGE = 100;
const MOST_PAGES = 30;
const HOUR = 3600 * 1000;
/** An evening begins at 18 o'clock and ends at 6. */
const [EVENING, MORNING] = [18, 6];

const KINDS = [["", "Everything"], ["people", "What people did"], ["team", "What the team did"], ["server", "The server"]];

/** The evening that began some evenings ago: 0 for the present or last one. */
function evening(ago) {
  const from = new Date();
  if (from.getHours() < MORNING) from.setDate(from.getDate() - 1);
  from.setDate(from.getDate() - ago);
  from.setHours(EVENING, 0, 0, 0);
  const to = new Date(from);
  to.setDate(to.getDate() + 1);
  to.setHours(MORNING);
  return { from, to };
}

const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = (date) => date.toLocaleDateString([], { month: "short", day: "numeric" });
const isToday = (date) => date.toDateString() === new Date().toDateString();
/** A time as inputs of the browser have it, in local time. */
const local = (date) => (date ? new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16) : "");
const iso = (date) => (date ? date.toISOString().replace(/\.\d+Z$/, "Z") : "");

/** What sessions and their people are called, as far as it is known. */
async function readNames() {
  const [sessions, { sessions: ended }] = await Promise.all([get("sessions"), get("ended").catch(() => ({ sessions: [] }))]);
  const titles = new Map([...ended, ...sessions].filter((s) => s.id).map((s) => [s.id, s.title || s.alias || "Untitled"]));
  const users = new Map();
  return {
    sessions: [...sessions, ...ended].filter((s) => s.id),
    titles,
    learn(lines) {
      for (const line of [...lines].reverse()) {
        const title = /^Changed title to '(.*)'$/s.exec(line.message);
        if (title && line.session && !titles.has(line.session)) titles.set(line.session, title[1]);
        const { id, name } = userOf(line);
        if (name && line.session) users.set(`${line.session} ${id}`, name);
      }
    },
    titleOf: (id) => titles.get(id) ?? "a session that has ended",
    userIn: (session, id) => users.get(`${session} ${id}`),
  };
}

/** Sessions by title; those called the same with the time at which they began. */
function sessionChoices(sessions) {
  const name = (s) => s.title || s.alias || "Untitled";
  return sessions.map((s) => [s.id, sessions.some((other) => other.id !== s.id && name(other) === name(s))
    ? `${name(s)} (begun ${new Date(s.startTime ?? s.ended).toLocaleString()})` : name(s)]);
}

export async function history(content, signal, only = "") {
  const names = await readNames();
  if (only && !names.titles.has(only)) names.sessions.push({ id: only, title: "This session" });
  const list = el("ol", { class: "sentences", id: "history" });
  const news = el("div");
  const hours = el("div", { class: "chips" });
  const more = el("div", { class: "row" });
  let asked = { session: only, from: null, to: null };
  let lines = [];
  let arrived = [];
  let page = 0;
  let mayHaveMore = false;

  const entry = ({ at, text, line }) => {
    const when = new Date(at);
    return el("li", { "data-key": `${at} ${line.topic} ${line.user ?? ""} ${line.message}`, class: `level-${line.level}` },
      el("details", {}, el("summary", {},
        el("time", { datetime: at }, isToday(when) || asked.from ? clock(when) : `${day(when)} ${clock(when)}`), " ",
        el("span", { class: "sentence" }, text)),
      el("p", { class: "mono" }, `${at} ${line.level} ${line.topic} ${line.user ?? ""} ${line.session ?? ""} ${line.message}`),
      line.session && names.titles.has(line.session) ? el("a", { href: `#/sessions/${part(line.session)}` }, names.titleOf(line.session)) : null));
  };
  const draw = () => {
    names.learn(lines);
    const sentences = sentencesOf(lines, names).filter(({ kind }) => !asked.kind || kind === asked.kind);
    if (asked.from) sentences.reverse();
    redraw(list, sentences.length ? sentences.map(entry) : el("li", { class: "soft" }, "Nothing happened then."));
    redraw(news, arrived.length ? button(`${arrived.length} new, show`, () => load(), "plain") : null);
    redraw(more, mayHaveMore ? button("Older", () => older(), "plain") : null);
  };
  const readPage = (more) => get("log", { session: asked.session, user: asked.user ?? "", contains: asked.words ?? "",
    after: asked.from ? iso(new Date(asked.from.getTime() - 1000)) : "", before: asked.to ? iso(asked.to) : "", ...more });
  /** A page of lines. Who of the team did something is in lines without a session, which are read beside those of one. */
  const read = async (wanted) => {
    const page = await readPage({ page: wanted });
    if (!asked.session || page.length === 0) return { page, lines: page };
    const [newest, oldest] = [page[0].timestamp, page.at(-1).timestamp];
    const requests = await readPage({ session: "", user: "", contains: "Admin API: ", after: iso(new Date(new Date(oldest).getTime() - 1000)),
      before: wanted > 0 ? newest : asked.to ? iso(asked.to) : "" });
    const team = requests.map((line) => ({ ...line, isHelper: !isRequest(line, asked.session) }));
    // Of the same second, requests are the newer ones: they are logged when all is done.
    return { page, lines: [...team, ...page].sort((a, b) => b.timestamp.localeCompare(a.timestamp)) };
  };
  /** How often it was asked for; answers to what was asked before are left out, in whatever order they come. */
  let turn = 0;
  async function older() {
    const mine = turn;
    const next = await read(page += 1);
    if (mine !== turn) return;
    lines = [...lines, ...next.lines];
    mayHaveMore = next.page.length === PAGE;
    draw();
  }
  async function load() {
    const mine = (turn += 1);
    page = 0;
    arrived = [];
    const first = await read(0);
    if (signal.aborted || mine !== turn) return;
    lines = first.lines;
    mayHaveMore = first.page.length === PAGE;
    // A time is shown whole, because it is read from its beginning.
    while (asked.from && mayHaveMore && page < MOST_PAGES) {
      const next = await read(page += 1);
      if (mine !== turn) return;
      lines = [...lines, ...next.lines];
      mayHaveMore = next.page.length === PAGE;
    }
    draw();
  }

  const filter = form([el("div", { class: "row" },
    field("session", "Session", { kind: "select", value: only, choices: [["", "All sessions"], ...sessionChoices(names.sessions)] }),
    field("user", "Person"), field("words", "Words"),
    field("kind", "About", { kind: "select", choices: KINDS }),
    field("from", "From", { kind: "datetime-local" }), field("to", "To", { kind: "datetime-local" }))],
  "Show", async (element) => {
    const { session = "", from, to, ...rest } = values(element);
    asked = { ...rest, session, from: from ? new Date(from) : null, to: to ? new Date(to) : null };
    await load();
  });
  const between = async (from, to) => {
    filter.elements.from.value = local(from);
    filter.elements.to.value = local(to);
    filter.requestSubmit();
  };
  /** A night, and a chip for each of its hours. */
  const night = async (ago) => {
    const { from, to } = evening(ago);
    await between(from, to);
    const count = Math.round((to - from) / HOUR);
    fill(hours, Array.from({ length: count }, (_, hour) => {
      const [begin, end] = [new Date(from.getTime() + hour * HOUR), new Date(from.getTime() + (hour + 1) * HOUR)];
      return button(`${clock(begin)}-${clock(end)}`, () => between(begin, end), "plain chip");
    }));
  };
  fill(content, el("h1", {}, only ? `History of ${names.titleOf(only)}` : "History"),
    only ? el("p", {}, el("a", { class: "button", href: `#/sessions/${part(only)}` }, "Back to the session")) : null,
    el("div", { class: "chips" }, button("Tonight", () => night(0), "plain chip"), button("Last night", () => night(1), "plain chip"),
      button("Now", async () => { fill(hours); await between(null, null); }, "plain chip")), hours,
    el("details", { class: "card" }, el("summary", {}, "Session, person, time"), filter),
    news, list, more);
  await load();
  follow(signal, ["log"], {
    open: () => { if (!asked.from && lines.length === 0) load().catch(() => {}); },
    log: (line) => {
      const has = (text, part) => !part || String(text ?? "").toLowerCase().includes(part.toLowerCase());
      const isWanted = (!asked.session || line.session === asked.session) && (!asked.to || new Date(line.timestamp) <= asked.to)
        && has(line.user, asked.user) && has(line.message, asked.words);
      if (!isWanted || sentencesOf([line], names).length === 0) return;
      arrived = [line, ...arrived].slice(0, 999);
      draw();
    },
  });
}
