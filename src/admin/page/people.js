// Everybody who is connected, a row for each person; who was here lately is found by searching and by filters.

import { el, fill, age, search, tag } from "./dom.js";
import { redraw } from "./redraw.js";
import { get } from "./api.js";
import { every, follow } from "./live.js";
import { online, watchOnline } from "./live-users.js";
import { isMeant, listed, personOfRecord, personsOf, signsOf, whereIs } from "./persons.js";
import { openPerson } from "./person.js";
import { isReader } from "./rights.js";
import { peopleFilters } from "./people-filters.js";
import { selection } from "./selection.js";

/** How often what the server remembers of people is read again while a filter shows it. */
const EVERY = 300000;

/** What a row tells about a person. */
function rowParts(person, isGone) {
  const remarks = [
    person.connections.length > 1 && `same device, ${person.connections.length} connections`,
    person.neighbours.length > 0 && `shares an address with ${listed(person.neighbours, 2)}`,
    person.banned && "kept out",
    person.noteCount > 0 && (person.noteCount === 1 ? "one note" : `${person.noteCount} notes`),
  ].filter(Boolean);
  const left = person.lastSeen ? `has left, seen ${age(person.lastSeen)} ago` : "has left";
  return [
    el("span", { class: "row-title" }, listed(person.names, 4) || person.name),
    el("span", { class: "row-place" }, isGone ? left : whereIs(person)),
    el("span", { class: "row-signs" }, signsOf(person).map(tag)),
    remarks.length ? el("span", { class: "row-remark" }, remarks.join(" - ")) : null,
  ];
}

/** A row of a person: it opens their sheet, or selects them while people are selected; a long press begins that. */
function personRow(person, isGone, selected) {
  const parts = rowParts(person, isGone);
  const onContextMenu = (event) => {
    if (isReader() || online.locked) return;
    event.preventDefault();
    selected.set(person, true);
  };
  return el("li", { "data-key": person.key, class: isGone ? "gone" : "" }, selected.isOn()
    ? el("label", { class: "row-link has-check" },
      el("input", { type: "checkbox", checked: selected.has(person), onchange: (event) => selected.set(person, event.target.checked) }), parts)
    : el("button", { type: "button", class: "row-link", "aria-haspopup": "dialog", onclick: () => openPerson(person), oncontextmenu: onContextMenu }, parts));
}

/**
 * Keeps rows where they are while one looks: whoever comes is added at the end, whoever has left stays and is marked.
 * Returns [person, has left].
 */
function steadyRows() {
  const known = new Map();
  return (persons) => {
    const here = new Set(persons.map((person) => person.key));
    for (const person of persons) known.set(person.key, person);
    // Whoever had not logged in yet when first seen is known by their device now.
    const connected = new Set(persons.flatMap((person) => person.connections.map((c) => c.uid)));
    for (const [key, person] of known) {
      if (!here.has(key) && person.connections.some((c) => connected.has(c.uid))) known.delete(key);
    }
    return [...known.values()].map((person) => (here.has(person.key) ? [person, false] : [{ ...person, connections: [], sessions: [] }, true]));
  };
}

/** With what the server remembers of a person, where it was asked. */
function remembered(person, records) {
  const { banned, lastSeen, noteCount } = records.find((record) => record.devices.some((device) => person.devices.includes(device))) ?? {};
  return { ...person, banned, lastSeen, noteCount };
}

export async function people(content, signal) {
  const count = el("p", { class: "soft", role: "status" });
  const list = el("ul", { class: "rows", id: "people" });
  const steady = steadyRows();
  let wanted = "";
  /** Who was here in the last days and is meant by the search. */
  let records = [];
  let asked = 0;
  let due = null;
  let isReady = false;
  const filters = peopleFilters(() => draw());
  const selected = selection(() => draw());

  const lookUp = async () => {
    const turn = (asked += 1);
    const answer = wanted.trim() ? await get("people", { search: wanted.trim() }) : { people: [] };
    if (turn !== asked || signal.aborted) return;
    records = answer.people;
    draw();
  };
  function draw() {
    if (!isReady) return;
    const persons = personsOf(online.users);
    const rows = steady(persons);
    // The server has found what is searched for by more names and addresses than are shown.
    const found = records.map((record) => personOfRecord(record, online.users));
    const known = [...found, ...filters.remembered().filter((person) => isMeant(person, wanted))];
    const met = new Set(rows.flatMap(([person]) => person.devices));
    const left = known.filter((person) => person.connections.length === 0 && !person.devices.some((device) => met.has(device)));
    const all = [...rows.filter(([person]) => isMeant(person, wanted)).map(([person, isGone]) => [remembered(person, known), isGone]),
      ...new Map(left.map((person) => [person.key, [person, true]])).values()];
    const shown = all.filter(([person]) => filters.shows(person));
    const here = shown.filter(([, isGone]) => !isGone).length;
    const gone = filters.isOn() && shown.length > here ? `, and ${shown.length - here} who ${shown.length - here === 1 ? "has" : "have"} left` : "";
    fill(count, wanted || filters.isOn() ? `${here} of ${persons.length} people match${gone}.${filters.hasMore() ? " Only the newest were looked at." : ""}` : `${persons.length} people on ${online.users.length} connections.`);
    redraw(list, shown.length ? shown.map(([person, isGone]) => personRow(person, isGone, selected)) : el("li", { class: "soft" }, "Nobody fits."));
    selected.draw(shown.map(([person]) => person));
  }
  fill(content, el("h1", {}, "People"),
    el("div", { class: "finder" }, search("Search names and addresses, also of people who have left", (text) => {
      wanted = text;
      records = [];
      draw();
      clearTimeout(due);
      due = setTimeout(() => lookUp().catch(() => {}), 200);
    })), filters.element, el("div", { class: "row top" }, count, selected.begin), list, selected.bar);
  await watchOnline(signal, () => {
    isReady = true;
    draw();
  });
  const again = () => filters.reload().catch(() => {});
  follow(signal, ["bans"], { ban: again });
  every(signal, EVERY, filters.reload);
}
