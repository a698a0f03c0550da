// Reports of people about others: open ones as cards, handled ones below.

import { el, fill, button, age, instant, ask, field, say } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, getIfThere, put, part } from "./api.js";
import { follow } from "./live.js";
import { online, watchOnline } from "./live-users.js";
import { personOfThen } from "./persons.js";
import { openPerson } from "./person.js";
import { keepOut } from "./keep-out.js";
import { chatBefore, chatLine } from "./session-chat.js";
import { isReader, ownName } from "./rights.js";
import { pictureOf } from "./picture.js";

const setState = (report, state, outcome) => put(`reports/${report.id}`, { state, ...(outcome === undefined ? {} : { outcome }) });

/** Marks a report as handled, says so, and offers to open it again. */
async function handled(report, outcome) {
  await setState(report, "handled", outcome);
  say(`The report of ${report.reporter.name} is handled: ${outcome}.`, false, async () => {
    await setState(report, "open", "");
    say(`The report of ${report.reporter.name} is open again.`);
  });
}

async function handleOtherwise(report) {
  const answer = await ask(`What was done about the report of ${report.reporter.name}?`, report.reason, { action: "Handled", fields: [
    field("outcome", "In words", { value: "nothing to do", required: true })] });
  if (answer) await handled(report, answer.outcome);
}

/** Minutes of chat before a report that are shown with it, and lines. */
const [CHAT_MINUTES, CHAT_LINES] = [30, 20];

/** What was said in the session before a report. */
function chatOf(report) {
  const to = instant(report.at);
  const from = new Date(to.getTime() - CHAT_MINUTES * 60000);
  return chatBefore(report.session, from.toISOString(), to.toISOString(), CHAT_LINES);
}

function card(report, pictures, chats) {
  const { about, reporter } = report;
  const whom = about ? about.name : report.title;
  const picture = pictures.get(report.session);
  const open = async () => {
    const done = await openPerson(personOfThen(about, online.users));
    if (done) await handled(report, done);
  };
  const act = async () => {
    const done = await keepOut([personOfThen(about, online.users)]);
    if (done) await handled(report, done);
  };
  const isMine = report.state === "taken" && report.by.split("@")[0] === ownName();
  return el("li", { class: "card report", "data-key": String(report.id) },
    el("p", {}, el("b", {}, reporter.name), " about ",
      about ? button(about.name, open, "plain link", `(report ${report.id})`) : el("b", {}, "the session"), " in ",
      el("a", { href: `#/sessions/${part(report.session)}` }, report.title || "a session"), `, ${age(report.at)} ago`),
    el("blockquote", {}, report.reason || "No reason was given."),
    picture ? el("img", { class: "thumb", alt: `The canvas of ${report.title}`, src: picture }) : el("p", { class: "soft" }, "No picture of the session."),
    el("details", {}, el("summary", {}, `Chat before it (${(chats.get(report.id) ?? []).length})`), (chats.get(report.id) ?? []).map(chatLine)),
    report.state === "taken" ? el("p", { class: "soft" }, isMine ? "You have taken it." : `${report.by} has taken it.`) : null,
    isReader() ? null : el("div", { class: "acts" },
      report.state === "open" ? button("Take", () => setState(report, "taken"), "plain", `report ${report.id}`) : null,
      button("Handled", () => handleOtherwise(report), "plain", `report ${report.id}`),
      about ? button("Keep out", act, "danger last", `${whom} (report ${report.id})`) : null));
}

const line = (report) => el("li", { "data-key": String(report.id) },
  el("div", {}, `${report.reporter.name} about ${report.about?.name ?? "the session"} in ${report.title}, ${age(report.at)} ago: ${report.reason}`),
  el("div", { class: "soft" }, `Handled by ${report.by || "somebody"}${report.handledAt ? `, ${age(report.handledAt)} ago` : ""}: ${report.outcome || "without a word"}`),
  isReader() ? null : button("Open again", () => setState(report, "open"), "plain", `report ${report.id}`));

export async function reports(content, signal) {
  const list = el("ul", { class: "plain", id: "reports" });
  const old = el("ul", { class: "plain spaced", id: "handled" });
  const pictures = new Map();
  const chats = new Map();
  let open = [];
  let done = [];

  const draw = () => {
    redraw(list, open.length ? open.map((report) => card(report, pictures, chats)) : el("li", { class: "soft" }, "No report is open."));
    redraw(old, done.length ? done.map(line) : el("li", { class: "soft" }, "None yet."));
  };
  const load = async () => {
    const [first, second] = await Promise.all([get("reports", { state: "open" }), get("reports", { state: "handled" })]);
    if (signal.aborted) return;
    [open, done] = [first.reports, second.reports];
    draw();
    for (const session of new Set(open.map((report) => report.session))) {
      const made = pictures.has(session) ? null : await getIfThere(`sessions/${part(session)}/thumbnail`);
      if (made) pictures.set(session, pictureOf(made));
    }
    for (const report of open) if (!chats.has(report.id)) chats.set(report.id, await chatOf(report).catch(() => []));
    if (!signal.aborted) draw();
  };
  fill(content, el("h1", {}, "Reports"), list, el("details", { class: "card" }, el("summary", {}, "Handled"), old));
  await watchOnline(signal, () => {});
  await load();
  const again = () => load().catch(() => {});
  follow(signal, ["reports"], { open: again, report: again });
}
