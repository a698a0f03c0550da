// Restrictions of people: warn, mute, look only, slow down, each for a time; and sessions that are closed to newcomers.

import { el, ask, button, choices, field, say, time } from "./dom.js";
import { get, post, put, remove, part } from "./api.js";
import { called, connectionsOf, forEach, named, whose } from "./actions.js";
import { replyChips } from "./replies.js";

const KINDS = [
  ["mute", "Mute", "may draw, not chat", ["is muted", "are muted"]],
  ["nodraw", "Look only", "may look, not draw", ["may look, not draw,", "may look, not draw,"]],
  ["slow", "Slow down", "draws at a limited rate", ["is slowed down", "are slowed down"]],
];
const LENGTHS = [["600", "10 minutes", "for 10 minutes"], ["3600", "1 hour", "for an hour"], ["86400", "1 day", "for a day"]];

/** What is true of one person and of several, in words. */
const wordsOf = (kind) => KINDS.find(([known]) => known === kind)[3];

/** The path of the session that a connection is in. */
const pathOf = (connection) => `sessions/${part(connection.session)}`;

/** "for the first time", "3 times by now". */
const times = (count) => (count === 1 ? "for the first time" : `${count} times by now`);

/** Warns people; what was said before is counted. Returns whether that was done. */
export async function warnPeople(persons) {
  const answer = await ask(`Warn ${called(persons)}`, "They read it as a pop-up. Warnings are counted, and the team sees the number.", {
    action: "Warn", fields: [field("message", "Warning", { required: true }), replyChips("message")] });
  if (!answer) return false;
  const { done } = await forEach(connectionsOf(persons), (c) => post(`${pathOf(c)}/${c.id}/warn`, { message: answer.message }));
  const most = Math.max(0, ...done.map(({ result }) => result.warnings));
  const warned = whose(done.map(({ thing }) => thing));
  say(warned.length ? `${named(warned, "was", "were")} warned${persons.length === 1 ? `, ${times(most)}` : ""}.`
    : named(persons, "is in no session and cannot be warned.", "are in no session and cannot be warned."));
  return true;
}

/** Lifts restrictions: {path, id}. */
const lift = (restrictions) => forEach(restrictions, ({ path, id }) => remove(`${path}/restrictions/${id}`));

/** Mutes people, has them look only, or slows them down, for a time, wherever they are. Returns whether that was done. */
export async function restrictPeople(persons) {
  const answer = await ask(`Mute or slow ${called(persons)}`, "They are told for how long and why, and when it is over.", {
    action: "Restrict", danger: true, fields: [
      choices("kind", "What", KINDS.map(([kind, title, remark]) => [kind, title, remark]), "mute"),
      choices("seconds", "How long", LENGTHS.map(([seconds, text]) => [seconds, text]), "600"),
      field("reason", "Reason (they read it)"), replyChips("reason")] });
  if (!answer) return false;
  const { kind, seconds, reason = "" } = answer;
  const { done } = await forEach(connectionsOf(persons), (c) => post(`${pathOf(c)}/${c.id}/restrict`, { kind, seconds: Number(seconds), reason }));
  const made = done.map(({ thing, result }) => ({ path: pathOf(thing), id: result.id, person: thing.person }));
  const restricted = whose(made);
  const length = LENGTHS.find(([known]) => known === seconds)[2];
  say(made.length ? `${named(restricted, ...wordsOf(kind))} ${length}.` : named(persons, "is in no session.", "are in no session."), false, made.length ? async () => {
    const { failed } = await lift(made);
    const still = whose(failed);
    const free = restricted.filter((person) => !still.includes(person));
    if (free.length) say(`${named(free, "is", "are")} restricted no more.`);
  } : null);
  return true;
}

/** What is in force in a session, with buttons to lift it. */
export async function restrictionsOf(path, locked, reload) {
  const { restrictions, closedUntil } = await get(`${path}/restrictions`);
  const open = async () => {
    await put(`${path}/newcomers`, { seconds: 0 });
    say("The session is open to newcomers.");
    await reload();
  };
  return [
    closedUntil ? el("p", { class: "warning", "data-key": "closed" }, "Closed to newcomers until ", time(closedUntil), " ",
      locked ? null : button("Open to newcomers", open, "plain", "now")) : null,
    restrictions.length ? el("ul", { class: "plain spaced", "data-key": "restrictions" }, restrictions.map((r) => el("li", { "data-key": String(r.id) },
      `${r.name} ${wordsOf(r.kind)[0]} until `, time(r.until), r.reason ? `: ${r.reason} ` : " ",
      locked ? null : button("Lift", async () => {
        await lift([{ path, id: r.id }]);
        say(`${r.name} is restricted no more.`);
        await reload();
      }, "plain", `the restriction of ${r.name} (${r.id})`)))) : null,
  ];
}

/** Closes a session to newcomers for a time. */
export async function closeForATime(path, title) {
  const answer = await ask(`Close ${title} to newcomers?`, "Whoever is in it stays. Moderators can join.", { action: "Close", fields: [
    choices("seconds", "How long", LENGTHS.map(([seconds, text]) => [seconds, text]), "3600")] });
  if (!answer) return;
  await put(`${path}/newcomers`, { seconds: Number(answer.seconds) });
  say(`${title} is closed to newcomers ${LENGTHS.find(([seconds]) => seconds === answer.seconds)[2]}.`, false, async () => {
    await put(`${path}/newcomers`, { seconds: 0 });
    say(`${title} is open to newcomers.`);
  });
}
