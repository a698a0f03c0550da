// The first screen: where trouble may be, who has just come, and what colleagues did.

import { el, fill, age, tag } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, getIfThere, part } from "./api.js";
import { follow, every } from "./live.js";
import { online, titleOf, watchOnline } from "./live-users.js";
import { personsOf } from "./persons.js";
import { openPerson } from "./person.js";
import { counted, countedPeople } from "./actions.js";
import { sentencesOf, userOf } from "./sentences.js";
import { pictureOf } from "./picture.js";

/** Whoever came in these minutes is new; reports and failures of the last hours count. */
const NEW_FOR = 10 * 60000;
const SIGNS_FOR = 12 * 3600000;
const EVERY = 15000;
const MOST_DONE = 5;

function reportRow(report) {
  return el("li", { "data-key": String(report.id) }, el("a", { class: "row-link", href: "#/reports" },
    el("span", { class: "row-title" }, `${report.reporter.name} about ${report.about?.name ?? "the session"}`),
    el("span", { class: "row-place" }, `${report.title}, ${age(report.at)} ago: ${report.reason}`),
    el("span", { class: "row-signs" }, report.state === "taken" ? tag(`taken by ${report.by.split("@")[0]}`) : null)));
}

/** What a session should be looked at for, in words. */
function signsOf(session, lines, reports) {
  const here = online.users.filter((user) => user.session === session.id);
  const about = lines.filter((line) => line.session === session.id);
  const reported = reports.filter((report) => report.session === session.id).length;
  return [
    reported > 0 && counted(reported, "report"),
    here.length > 0 && !here.some((user) => user.op || user.mod) && "nobody can moderate",
    about.some((line) => line.message.startsWith("Autoreset failed")) && "reset failed",
    session.userCount >= session.maxUserCount && "full",
    session.closed && "closed",
  ].filter(Boolean);
}

function sessionRow(session, signs, picture) {
  return el("li", { "data-key": session.id },
    el("a", { class: `row-link${picture ? " has-picture" : ""}`, href: `#/sessions/${part(session.id)}` },
      picture ? el("img", { class: "small-thumb", alt: "", src: picture }) : null,
      el("span", { class: "row-title" }, titleOf(session.id)),
      el("span", { class: "row-place" }, countedPeople(session.userCount)),
      el("span", { class: "row-signs" }, signs.map((sign) => el("span", { class: "tag sign" }, sign)), session.nsfm ? tag("18+") : null)));
}

/** Who came lately and is still there, newest first. */
function newcomers(lines) {
  const since = Date.now() - NEW_FOR;
  const persons = personsOf(online.users);
  const seen = new Set();
  return lines.filter((line) => line.topic === "Join" && new Date(line.timestamp).getTime() >= since).flatMap((line) => {
    const { name } = userOf(line);
    const person = persons.find((p) => p.connections.some((c) => c.name === name && c.session === line.session));
    if (!person || seen.has(person.key)) return [];
    seen.add(person.key);
    return [{ person, line }];
  });
}

export async function now(content, signal) {
  const reported = el("ul", { class: "rows", id: "now-reports" });
  const reportSection = el("section", { hidden: true }, el("h2", {}, "Open reports"), reported);
  let open = [];
  const sessions = el("ul", { class: "rows", id: "now-sessions" });
  const came = el("ul", { class: "rows", id: "newcomers" });
  const done = el("ul", { class: "plain spaced", id: "team-did" });
  const pictures = new Map();
  let lines = [];
  let team = [];

  const draw = () => {
    reportSection.hidden = open.length === 0;
    redraw(reported, open.map(reportRow));
    const rows = [...online.sessions.values()].map((session) => [session, signsOf(session, lines, open)]);
    rows.sort(([a, signsA], [b, signsB]) => signsB.length - signsA.length || b.userCount - a.userCount || a.id.localeCompare(b.id));
    redraw(sessions, rows.length ? rows.map(([session, signs]) => sessionRow(session, signs, pictures.get(session.id)))
      : el("li", { class: "soft" }, "There are no sessions."));
    const fresh = newcomers(lines);
    redraw(came, fresh.length ? fresh.map(({ person, line }) => el("li", { "data-key": person.key },
      el("button", { type: "button", class: "row-link", "aria-haspopup": "dialog", onclick: () => openPerson(person) },
        el("span", { class: "row-title" }, userOf(line).name),
        el("span", { class: "row-place" }, `${titleOf(line.session)}, ${age(line.timestamp)} ago`))))
      : el("li", { class: "soft" }, "Nobody came in the last ten minutes."));
    const names = { titleOf, userIn: () => undefined };
    const sentences = sentencesOf([...team], names).filter(({ kind }) => kind === "team").slice(0, MOST_DONE);
    redraw(done, sentences.length ? sentences.map(({ at, text }) => el("li", { "data-key": `${at} ${text}` }, `${text}, ${age(at)} ago`))
      : el("li", { class: "soft" }, "Nothing yet."));
  };
  const look = async () => {
    const after = new Date(Date.now() - SIGNS_FOR).toISOString();
    const of = (contains) => get("log", { after, contains });
    const joinsAfter = new Date(Date.now() - NEW_FOR).toISOString();
    const [joins, failures, { reports }, ...requests] = await Promise.all([get("log", { after: joinsAfter, contains: "joined session" }),
      of("Autoreset failed"), get("reports", { state: "open" }), of(" by "), of(" banned "), of(" back in")]);
    lines = [...joins, ...failures];
    open = reports;
    const all = new Map(requests.flat().map((line) => [JSON.stringify(line), line]));
    team = [...all.values()].sort((a, b) => b.timestamp.localeCompare(a.timestamp));
    if (!signal.aborted) draw();
  };
  const lookAtPictures = async () => {
    for (const { id } of online.sessions.values()) {
      if (signal.aborted) return;
      const made = await getIfThere(`sessions/${part(id)}/thumbnail`);
      if (made) pictures.set(id, pictureOf(made));
    }
    if (pictures.size) draw();
  };
  fill(content, el("h1", {}, "Now"), reportSection,
    el("section", {}, el("h2", {}, "Sessions"), sessions),
    el("section", {}, el("h2", {}, "Came in the last ten minutes"), came),
    el("section", {}, el("h2", {}, "What the team did"), done, el("a", { class: "button", href: "#/history" }, "All of it")));
  await watchOnline(signal, draw);
  await look();
  lookAtPictures().catch(() => {});
  let due = null;
  const soon = () => {
    due ??= setTimeout(() => { due = null; look().catch(() => {}); }, 1000);
  };
  follow(signal, ["log", "reports"], { log: soon, report: soon });
  every(signal, EVERY, look);
}
