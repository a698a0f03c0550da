// What moderators do to people: write, kick. A person may have several connections.

import { ask, el, field, say } from "./dom.js";
import { part, put, remove } from "./api.js";
import { titleOf } from "./live-users.js";
import { listed } from "./persons.js";
import { replyChips } from "./replies.js";

/** "1 session", "3 sessions". */
export const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** "1 person", "3 people". */
export const countedPeople = (count) => (count === 1 ? "1 person" : `${count} people`);

/** "Ann", "Ann and Ben", "4 people": for titles. */
export const called = (persons) => (persons.length > 2 ? `${persons.length} people` : listed(persons.map((person) => person.name)));

/** The names of persons with what is true of them: "Ann was", "Ann and Ben were". */
export const named = (persons, one, many) => `${listed(persons.map((person) => person.name))} ${persons.length === 1 ? one : many}`;

/** A person's connections that are in a session. */
export const inSessions = (person) => person.connections.filter((c) => c.session && c.id);

/** Whose things these are, each person once; things may have no `person`. */
export const whose = (things) => [...new Set(things.map(({ person }) => person).filter(Boolean))];

/**
 * Does something for each of several, one after the other, also when it fails for one: that is said when all is done.
 * What is gone meanwhile (404) is left out. Returns what it was done for, {thing, result}, and what it failed for.
 */
export async function forEach(things, act) {
  const done = [];
  const failed = [];
  let failure = null;
  for (const thing of things) {
    try {
      done.push({ thing, result: await act(thing) });
    } catch (error) {
      if (error.status === 404) continue;
      failure ??= error;
      failed.push(thing);
    }
  }
  if (failure && done.length === 0) throw failure;
  const left = whose(failed);
  if (failure) say(`for ${left.length ? called(left) : "some of them"}: ${failure.message}`, true);
  return { done, failed };
}

/** Connections of people that are in a session, each with its person. */
export const connectionsOf = (persons) => persons.flatMap((person) => inSessions(person).map((c) => ({ ...c, person })));

/** Writes to people in all sessions where they are. Returns whether that was done. */
export async function messagePeople(persons) {
  const answer = await ask(`Write to ${called(persons)}`, `Only ${persons.length === 1 ? "this person sees" : "they see"} it. Nobody can reply to it.`, { action: "Send", fields: [
    field("message", "Message", { required: true }), replyChips("message"), field("alert", "As a pop-up they must close", { kind: "check" })] });
  if (!answer) return false;
  const { done } = await forEach(connectionsOf(persons), (c) =>
    put(`sessions/${part(c.session)}/${c.id}`, answer.alert ? { alert: answer.message } : { message: answer.message }));
  const reached = whose(done.map(({ thing }) => thing));
  say(reached.length ? `Sent to ${listed(reached.map((person) => person.name))}.` : named(persons, "is in no session and cannot be written to.", "are in no session and cannot be written to."));
  return true;
}

/** Ends connections; those that have ended meanwhile are as they should be. Returns what `forEach` does. */
export const disconnect = (connections, message) => forEach(connections, ({ uid }) => remove(`users/${part(uid)}`, { message }));

/** Kicks people from everywhere. Returns whether that was done. */
export async function kickPeople(persons) {
  const where = [...new Set(persons.flatMap((person) => person.sessions))].map(titleOf);
  const answer = await ask(`Kick ${called(persons)}?`, [
    `${listed(persons.flatMap((person) => (person.names.length ? person.names : [person.name])), 9)} will be disconnected${where.length ? ` from ${listed(where)}` : ""} and may come back.`,
  ], { action: "Kick", danger: true, fields: [field("message", "Reason (they read it)"), replyChips("message")] });
  if (!answer) return false;
  const { failed } = await disconnect(persons.flatMap((person) => person.connections.map((c) => ({ ...c, person }))), answer.message ?? "");
  const stayed = whose(failed);
  const kicked = persons.filter((person) => !stayed.includes(person));
  if (kicked.length) say(`${named(kicked, "was", "were")} kicked${where.length ? ` from ${where.length === 1 ? where[0] : counted(where.length, "session")}` : ""}.`);
  return true;
}

/** A link in a sheet to another screen, in place of the sheet. */
export const leaving = (text, hash) => el("a", { href: hash, onclick: (event) => {
  event.preventDefault();
  location.replace(hash);
} }, text);
