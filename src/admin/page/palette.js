// The command palette: finds people, sessions and screens, and offers actions: "kick pix".

import { el } from "./dom.js";
import { redraw } from "./redraw.js";
import { openSheet } from "./sheets.js";
import { online, titleOf, watchOnline } from "./live-users.js";
import { isMeant, listed, personsOf, skeleton, whereIs } from "./persons.js";
import { openPerson } from "./person.js";
import { kickPeople, messagePeople } from "./actions.js";
import { keepOut } from "./keep-out.js";
import { allScreens } from "./screens.js";
import { isReader } from "./rights.js";

const MOST = 8;
const ACTIONS = [["kick", "Kick", kickPeople], ["message", "Write to", messagePeople], ["keep out", "Keep out", keepOut]];

const goTo = (hash) => () => { location.hash = hash; };

/** What fits: [title, remark, what choosing it does]. */
function found(text) {
  const wanted = text.trim();
  const persons = personsOf(online.users);
  const action = isReader() ? undefined : ACTIONS.find(([word]) => wanted.toLowerCase().startsWith(`${word} `));
  if (action) {
    const [word, title, act] = action;
    return persons.filter((person) => isMeant(person, wanted.slice(word.length + 1)))
      .map((person) => [`${title} ${listed(person.names)}`, whereIs(person), () => act([person])]);
  }
  const look = skeleton(wanted);
  const screens = allScreens().filter(({ title, path }) => path !== "more" && skeleton(title).includes(look));
  return [
    ...persons.filter((person) => wanted && isMeant(person, wanted)).map((person) => [listed(person.names), whereIs(person), () => openPerson(person)]),
    ...[...online.sessions.keys()].filter((id) => wanted && skeleton(titleOf(id)).includes(look))
      .map((id) => [titleOf(id), "session", goTo(`#/sessions/${id}`)]),
    ...screens.map(({ title, path }) => [title, "screen", goTo(`#/${path}`)]),
  ];
}

export async function openPalette() {
  const ending = new AbortController();
  const list = el("ul", { class: "rows", id: "found" });
  let chosen = null;
  let first = null;
  const input = el("input", { id: "palette", type: "search", autocomplete: "off", autofocus: true, oninput: () => draw() });
  const sheet = openSheet("Find", (close) => el("form", { onsubmit: (event) => {
    event.preventDefault();
    choose(first);
  } },
  el("label", { for: "palette" }, "People, sessions, screens, or an action such as kick pix"), input, list,
  el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Close"))), { kind: "sheet" });
  const choose = (act) => {
    chosen = act;
    sheet.close();
  };
  const draw = () => {
    const all = found(input.value).slice(0, MOST);
    first = all[0]?.[2] ?? null;
    redraw(list, all.length ? all.map(([title, remark, act]) => el("li", {},
      el("button", { type: "button", class: "row-link", onclick: () => choose(act) },
        el("span", { class: "row-title" }, title), el("span", { class: "row-place" }, remark))))
      : el("li", { class: "soft" }, "Nothing fits."));
  };
  draw();
  watchOnline(ending.signal, draw).catch(() => {});
  await sheet.closed;
  ending.abort();
  if (chosen) await chosen();
}
