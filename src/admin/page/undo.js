// Undoing what somebody drew in a session, also of people who have left.

import { el, button, field, table, tag, say, ask, bytes, time, age } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, post } from "./api.js";

export const actions = (count) => `${count} ${count === 1 ? "action" : "actions"}`;

/** Asks how many actions of a person to undo, and does it. Returns whether something was undone. */
export async function undo(path, person) {
  const answer = await ask(`Undo what ${person.name || "somebody"} drew?`,
    `${actions(person.undoable)} can be undone, newest first. Everybody in the session sees it at once. Redo takes it back, as long as they do not draw on.`,
    { action: "Undo", danger: true, fields: [
      field("count", "How many of the newest actions", { kind: "number", min: 1, max: person.undoable, value: person.undoable, required: true })] });
  if (!answer) return false;
  const done = await post(`${path}/undo`, { person: person.person, name: person.name, count: answer.count });
  say(`${actions(done.count)} of ${person.name} undone, ${done.left} more can be.`);
  return true;
}

export async function redo(path, person) {
  const done = await post(`${path}/undo`, { person: person.person, name: person.name, redo: true });
  say(`${actions(done.count)} of ${person.name} redone.`);
}

/** After a kick or ban: offers to undo what that person drew, if anything can be. */
export async function offerUndo(path, id) {
  const { people } = await get(`${path}/people`);
  const person = people.filter((p) => p.id === id && p.undoable > 0).at(-1);
  return person ? undo(path, person) : false;
}

/** Times that are offered at most to begin a removal with. */
const MAX_TIMES = 12;

/** A time of today, or with its day, as text. */
function moment(text) {
  const date = new Date(text);
  return date.toDateString() === new Date().toDateString() ? date.toLocaleTimeString() : date.toLocaleString();
}

/** When somebody was there, as far as it is known. */
export const presence = (person) => {
  const from = person.from ? `from ${moment(person.from)}` : "";
  const until = person.until ? `until ${moment(person.until)}` : "";
  return [from, until].filter(Boolean).join(" ");
};

/** Choices of what to remove: everything, or only since a time at which something came while the person was there. */
function parts(person, times) {
  const came = person.from ? new Date(person.from).getTime() : 0;
  // Who left at an unknown time did so before the first that is known.
  const left = person.online ? Infinity : person.until ? new Date(person.until).getTime() : -Infinity;
  const possible = times.slice(1).filter(({ at }) => new Date(at).getTime() > came && new Date(at).getTime() <= left);
  const step = Math.max(1, Math.ceil(possible.length / MAX_TIMES));
  const shown = possible.filter((_, number) => (possible.length - 1 - number) % step === 0).reverse();
  const second = (at, by) => new Date(new Date(at).getTime() + by * 1000).toISOString();
  // A time means the end of its second, so what came in a second is removed since the one before.
  return [["", "Everything"], ...shown.map(({ at }) => [second(at, -1), `Only since ${moment(at)} (${age(at)} ago)`])];
}

/** Asks which part of what somebody drew is to be removed; null if none is. */
async function choosePart(path, person) {
  const { times } = await get(`${path}/times`);
  const choices = parts(person, times);
  if (choices.length === 1) return {};
  const answer = await ask(`Remove what ${person.name || `user ${person.id}`} drew?`, "A report comes first, nothing is changed before you confirm.",
    { action: "Show report", fields: [field("since", "What of it", { kind: "select", choices })] });
  return answer && (answer.since ? { since: answer.since } : {});
}

/** Says what removing what somebody drew means, and does it after a confirmation. */
export async function removeAll(path, person) {
  const name = person.name || `user ${person.id}`;
  const part = await choosePart(path, person);
  if (!part) return;
  const wish = { person: person.person, name: person.name, ...part };
  const { report: r, acrossReset, reason, stored } = await post(`${path}/remove`, { ...wish, dryRun: true });
  const facts = [
    `Removes ${actions(r.actions)} (${bytes(r.bytes)}) of ${name}, as if they had never been drawn.`,
    acrossReset ? `${r.beforeReset} of them are from before the last reset; the session gets as large as it was then.` : null,
    reason ? `Earlier drawings stay: ${reason}.` : null,
    r.layersBack ? `Brings back ${r.layersBack} deleted layers.` : null,
    r.layersKept ? `Keeps ${r.layersKept} of their layers, on which others have drawn.` : null,
    r.resizesKept ? `Keeps ${r.resizesKept} changes of the canvas size.` : null,
    r.withoutEffect ? `${r.withoutEffect} later commands of others will do nothing.` : null,
    "Colours that others picked or smudged from it stay. Redo of everybody is lost, and everybody reloads the canvas.",
    stored ? "It can be taken back under \"Before resets\"." : "It cannot be taken back, because the session is not stored.",
  ];
  const answer = await ask(`Remove ${part.since ? "this" : "everything"} of ${name}?`, facts.filter(Boolean).join(" "), { action: "Remove", danger: true });
  if (!answer) return;
  const done = await post(`${path}/remove`, wish);
  say(`Removed ${actions(done.report.actions)} of ${name}.`);
}

/** Lists that show everybody, over redrawing. */
const showsEverybody = new WeakSet();

export const since = (list) => (list.acrossReset ? "since the reset before the last" : "since the last reset");

/** Everybody in the history, to remove what somebody drew long ago. */
async function drawEverybody(element, path, reload) {
  const list = await get(`${path}/everybody`);
  const back = button("Back to the newest actions", async () => { showsEverybody.delete(element); await reload(); }, "plain");
  redraw(element, back,
    list.reason ? el("p", { class: "soft" }, `Earlier drawings cannot be told apart: ${list.reason}.`) : null,
    table(`Everybody ${since(list)}`, [
      { title: "Name", cell: (p) => p.name || `user ${p.id}` },
      { title: "Id", num: true, cell: (p) => String(p.id) },
      { title: "Flags", cell: (p) => el("span", {}, [p.auth && "account", !p.online && "has left"].filter(Boolean).map(tag)) },
      { title: "There", cell: presence },
      { title: "Actions", num: true, cell: (p) => String(p.actions) },
      { title: "Drew", num: true, cell: (p) => bytes(p.bytes) },
      { title: "Can be undone", num: true, cell: (p) => String(p.undoable) },
      { title: "Remove", cell: (p) => (p.bytes ? button(`Remove all of ${p.name || p.id}`, async () => { await removeAll(path, p); await reload(); }, "danger") : "") },
    ], list.people, "Nobody was here."),
    list.earlier?.length ? table("Before that, in the last 24 hours", [
      { title: "Name", cell: (p) => p.name || `user ${p.id}` },
      { title: "Id", num: true, cell: (p) => String(p.id) },
      { title: "There", cell: presence },
      { title: "Actions", num: true, cell: (p) => String(p.actions) },
      { title: "Drew", num: true, cell: (p) => bytes(p.bytes) },
    ], list.earlier, "") : null,
    list.since ? el("p", { class: "soft" }, `This reaches back to ${new Date(list.since).toLocaleString()}.`,
      list.earlier?.length ? " What was drawn before can be taken back by going back to before a reset." : "") : null);
}

/** Draws the list of people. */
export async function drawUndo(element, path, locked, reload) {
  if (showsEverybody.has(element)) return drawEverybody(element, path, reload);
  const { people, undoDepth, canvasLocked } = await get(`${path}/people`);
  const act = (text, what, kind) => button(text, async () => { await what(); await reload(); }, kind);
  return redraw(element,
    el("p", { class: "soft" }, `Also of people who have left. The newest ${undoDepth} actions of everybody together can be undone.`,
      canvasLocked ? " The canvas is locked; it is unlocked for the moment of the undo." : ""),
    table("Who drew", [
      { title: "Name", cell: (p) => p.name || `user ${p.id}` },
      { title: "Flags", cell: (p) => el("span", {}, [p.auth && "account", !p.online && "has left"].filter(Boolean).map(tag)) },
      { title: "Actions", num: true, cell: (p) => String(p.actions) },
      { title: "Can be undone", num: true, cell: (p) => String(p.undoable) },
      { title: "Undo", cell: (p) => (locked ? "" : el("div", { class: "row" },
        p.undoable ? act(`Undo of ${p.name || p.id}`, () => undo(path, p), "danger") : el("span", { class: "soft" }, p.actions ? p.reason : ""),
        p.redoable ? act(`Redo ${p.redoable} of ${p.name || p.id}`, () => redo(path, p), "plain") : null)) },
    ], people.filter((p) => p.actions), "Nobody has drawn since the last reset."),
    locked ? null : el("div", { class: "row" }, button("Remove everything of somebody\u2026", () => { showsEverybody.add(element); return drawEverybody(element, path, reload); }, "plain")));
}

/** Draws the list of earlier histories. */
export async function drawGenerations(element, path, locked, reload) {
  const { generations, stored } = await get(`${path}/generations`);
  if (!stored) return redraw(element, el("p", { class: "soft" }, "The session is not stored, so there are none."));
  const goBack = async (g) => {
    const answer = await ask("Go back to before the reset?", `The canvas becomes what it was when a reset replaced it at ${g.until}. What was drawn since then goes, but is kept as the newest earlier history, so that you can return to it. Everybody in the session reloads ${bytes(g.size)}.`,
      { action: "Go back", danger: true });
    if (!answer) return;
    const done = await post(`${path}/restore`, { generation: g.generation });
    say(`Went back, ${bytes(done.size)}.`);
    await reload();
  };
  return redraw(element, table("Earlier histories", [
    { title: "Number", num: true, cell: (g) => String(g.generation) },
    { title: "Replaced by a reset", cell: (g) => time(g.until) },
    { title: "Size", num: true, cell: (g) => bytes(g.size) },
    { title: "Actions", cell: (g) => (locked ? "" : button("Go back", () => goBack(g), "danger")) },
  ], generations, "There was no reset yet."));
}
