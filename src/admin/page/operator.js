// The page of the link that an operator gets after a kick or ban: who drew in the session, and undoing it. It needs no
// account, and is made for a phone. The link is PAGE#SESSION/TOKEN: browsers keep what is behind the hash to themselves.

import { el, fill, button, bytes, tag } from "./dom.js";
import { get, part, useToken } from "./api.js";
import { actions, presence, since, undo, redo, removeAll, drawGenerations } from "./undo.js";
import { drawTimes } from "./times.js";

const main = document.getElementById("main");
let listing;
const nameOf = (person) => person.name || `user ${person.id}`;

/** Everybody who drew, newest first, with what can be undone of each. */
async function everybody(path) {
  const { people: newest, undoDepth, canvasLocked } = await get(`${path}/people`);
  const list = await get(`${path}/everybody`);
  const reachable = new Map(newest.map((person) => [person.person, person]));
  const drew = list.people.filter((person) => person.bytes).map((person) => {
    const { undoable = 0, redoable = 0 } = reachable.get(person.person) ?? {};
    return { ...person, undoable, redoable };
  });
  return { ...list, people: drew.reverse(), undoDepth, canvasLocked };
}

function card(path, person, reload) {
  const act = (text, what, kind) => button(text, async () => { await what(); await reload(); }, kind);
  const name = nameOf(person);
  const there = presence(person);
  return el("li", { class: "card" },
    el("h3", {}, name, " ", [person.auth && "account", !person.online && "has left"].filter(Boolean).map(tag)),
    el("p", { class: "soft" }, `${actions(person.actions)} (${bytes(person.bytes)}), ${person.undoable} can be undone${there ? `. There ${there}` : ""}`),
    el("div", { class: "row" },
      person.undoable ? act(`Undo of ${name}`, () => undo(path, person), "danger") : null,
      person.redoable ? act(`Redo ${person.redoable} of ${name}`, () => redo(path, person), "plain") : null,
      act(`Remove all of ${name}`, () => removeAll(path, person), "danger")));
}

async function draw(path) {
  const link = await get(path);
  const title = link.title || "Untitled session";
  document.title = `${title} - Drawhall`;
  fill(document.getElementById("who"), link.name);
  const list = await everybody(path);
  const { people, undoDepth, canvasLocked } = list;
  const [times, generations] = [el("div"), el("div")];
  const reload = () => draw(path);
  fill(main, el("h1", {}, title),
    el("p", { class: "soft" }, `This link is for you only, and valid for ${Math.ceil(link.secondsLeft / 60)} more minutes, while you are an operator in the session.`),
    el("section", {}, el("h2", {}, "Who drew"),
      el("p", { class: "soft" }, `Who was here ${since(list)}, also those who have left. Undo reaches the newest ${undoDepth} actions of everybody together; removing reaches all.`,
        list.reason ? ` Earlier drawings cannot be told apart: ${list.reason}.` : "",
        canvasLocked ? " The canvas is locked; it is unlocked for the moment of the undo." : ""),
      people.length ? el("ul", { class: "plain" }, people.map((person) => card(path, person, reload)))
        : el("p", { class: "soft" }, `Nobody has drawn ${since(list)}.`)),
    el("section", {}, el("h2", {}, "Back to a time"), times),
    el("section", {}, el("h2", {}, "Before resets"), generations),
    button("Refresh", reload, "plain"));
  await drawTimes(times, path, false, reload);
  const drawList = () => drawGenerations(generations, path, false, reload);
  await drawList();
  // A history that was replaced just now is in the list when it has been written.
  clearTimeout(listing);
  listing = setTimeout(() => drawList().catch(() => {}), 2000);
}

async function begin() {
  const [session = "", token = ""] = location.hash.slice(1).split("/");
  useToken(token);
  try {
    await draw(`operator/${part(session)}`);
  } catch (error) {
    fill(main, el("h1", {}, [401, 403].includes(error.status) ? "This link has ended" : "Not possible"),
      el("p", { class: "error", role: "alert" }, error.message));
  }
}

addEventListener("hashchange", begin);
begin();
