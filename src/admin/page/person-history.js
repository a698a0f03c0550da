// What is known of a person from before: what they wrote, where they were, and what the team did about them.

import { el, instant, time } from "./dom.js";
import { redraw } from "./redraw.js";
import { getIfThere } from "./api.js";
import { titleOf } from "./live-users.js";
import { sentencesOf } from "./sentences.js";

/** Lines that are read. */
const MOST_LINES = 100;

/** What the person with this id wrote lately, newest first, as far as it is kept. */
async function written(id) {
  const answer = await getIfThere("timeline", { personId: id, topic: "Chat", newest: MOST_LINES });
  return (answer?.events ?? []).reverse();
}

/** A closed part with what the person with this id wrote; it is read when it is opened. */
export function whatTheyWrote(id) {
  const list = el("ul", { class: "plain spaced" });
  const load = async () => {
    const lines = await written(id);
    redraw(list, lines.length ? lines.map((line) => el("li", {}, el("time", { class: "soft", datetime: line.timestamp }, new Date(line.at).toLocaleString()),
      ` ${titleOf(line.session)}: ${line.text}`)) : el("li", { class: "soft" }, "Nothing that is kept."));
  };
  const part = el("details", { "data-key": "wrote", ontoggle: () => { if (part.open) load().catch((error) => redraw(list, el("li", { class: "bad" }, error.message))); } }, el("summary", {}, "What they wrote"), list);
  return part;
}

/** What the team did about a person, as a sentence. */
function sentenceOf({ timestamp, session, topic, text }, name) {
  const line = { timestamp, level: "Info", topic, user: `;;${name}`, session, message: text };
  return sentencesOf([line], { titleOf, userIn: () => undefined })[0]?.text ?? text;
}

/** What happened, newest first, as sentences: visits, bans, and what else the team did. */
export function whatHappened(record) {
  const events = [
    ...record.visits.map((v) => [v.last, `${v.name} in ${v.title || "a session that has ended"}${v.visits > 1 ? `, ${v.visits} visits` : ""}`]),
    ...record.bans.map((b) => [b.created, `kept out by ${b.author || "an administrator"}${b.reason ? `: ${b.reason}` : ""}${b.endedBy ? `; let back in by ${b.endedBy}` : ""}`]),
    ...record.actions.map((action) => [action.timestamp, sentenceOf(action, record.names[0])]),
  ].sort(([a], [b]) => instant(b) - instant(a));
  return el("details", { "data-key": "timeline" }, el("summary", {}, `What happened (${events.length})`),
    el("ul", { class: "plain spaced" }, events.map(([at, text]) => el("li", {}, time(at), ` ${text}`))));
}
