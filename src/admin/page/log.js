// The log, with filters, updated live.

import { el, fill, button, field, form, values, table, time } from "./dom.js";
import { get } from "./api.js";
import { follow } from "./live.js";
import { link } from "./sessions.js";

const LEVELS = ["Error", "Warn", "Info", "Debug"];

export async function log(content, signal) {
  const list = el("div", { class: "log", id: "log" });
  let filters = {};
  let page = 0;
  let rows = [];
  let arrived = [];

  const fits = (line) => {
    const has = (text, part) => !part || String(text ?? "").toLowerCase().includes(part.toLowerCase());
    return (!filters.session || line.session === filters.session) && has(line.user, filters.user) && has(line.message, filters.contains);
  };
  const draw = () => {
    const shown = rows.filter((l) => !filters.level || LEVELS.indexOf(l.level) <= LEVELS.indexOf(filters.level));
    fill(list, table("Log", [
      { title: "Time", cell: (l) => time(l.timestamp) },
      { title: "Level", cell: (l) => el("span", { class: `level-${l.level}` }, l.level) },
      { title: "Topic", cell: (l) => l.topic },
      { title: "User", mono: true, cell: (l) => l.user },
      { title: "Session", mono: true, cell: (l) => (l.session ? link(l.session, l.session.slice(0, 8)) : "") },
      { title: "Message", cell: (l) => l.message },
    ], shown, "No matching log entries."),
    el("div", { class: "row" },
      page > 0 ? button("Newer", () => load(page - 1), "plain") : null,
      rows.length >= 100 ? button("Older", () => load(page + 1), "plain") : null,
      el("p", { class: "soft" }, page > 0 ? `Page ${page + 1}` : "New entries appear at the top.")));
  };
  async function load(wanted) {
    page = wanted;
    arrived = [];
    const read = await get("log", { page, session: filters.session ?? "", user: filters.user ?? "", contains: filters.contains ?? "" });
    if (page !== wanted) return;
    // What has come meanwhile may have been too late to be read.
    const known = new Set(read.map((line) => JSON.stringify(line)));
    rows = [...arrived.filter((line) => fits(line) && !known.has(JSON.stringify(line))), ...read];
    draw();
  }
  const filter = form([el("div", { class: "row" },
    field("contains", "Text"), field("user", "User (name, address)"), field("session", "Session id"),
    field("level", "Level", { kind: "select", choices: [["", "All"], ...LEVELS.slice(0, 3).map((l) => [l, `${l} and above`])] }))],
  "Filter", async (element) => {
    filters = values(element);
    await load(0);
  });
  fill(content, el("h1", {}, "Log"), el("div", { class: "card" }, filter), list);
  await load(0);
  follow(signal, ["log"], {
    open: () => { if (page === 0) load(0).catch(() => {}); },
    log: (line) => {
      if (page === 0 && fits(line)) {
        arrived = [line, ...arrived].slice(0, 100);
        rows = [line, ...rows].slice(0, 100);
        draw();
      }
    },
  });
}
