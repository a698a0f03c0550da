// Filters of the screen People: which people are shown, and where they come from if they are not here.

import { button, el } from "./dom.js";
import { redraw } from "./redraw.js";
import { get } from "./api.js";
import { bansOf } from "./ban-api.js";
import { online } from "./live-users.js";
import { personOfRecord, personOfThen } from "./persons.js";

/** Whoever came for the first time in these milliseconds is new. */
const NEW_FOR = 24 * 3600 * 1000;
/** Pages of 100 bans that are read at most. */
const BAN_PAGES = 20;

/** People who came in the last day, for the first time ever: {persons, more}. */
async function newPeople() {
  const { people, more } = await get("people", { since: new Date(Date.now() - NEW_FOR).toISOString() });
  return { persons: people.map((record) => personOfRecord(record, online.users)), more };
}

/** The people of bans in force: {persons, more}. Bans of address ranges alone are of nobody in particular. */
async function bannedPeople() {
  const persons = [];
  let [read, total] = [0, 1];
  for (let page = 0; read < total && page < BAN_PAGES; page += 1) {
    const answer = await bansOf({ state: "in-force", page });
    [read, total] = [read + answer.bans.length, answer.bans.length ? answer.total : 0];
    for (const ban of answer.bans) {
      const subject = (kind) => ban.targets.find((target) => target.kind === kind)?.subject ?? "";
      const [device, account] = [subject("device"), subject("account")];
      if (!device && !account) continue;
      const person = personOfThen({ name: ban.name || ban.names[0] || "Somebody", ip: "", device, account }, online.users);
      persons.push({ ...person, names: [...new Set([person.name, ...ban.names])], banned: { expires: ban.expires } });
    }
  }
  return { persons: [...new Map(persons.map((person) => [person.key, person])).values()], more: read < total };
}

const isSame = (a, b) => a.key === b.key || a.devices.some((device) => b.devices.includes(device));
const any = (key) => (person) => person.connections.some((c) => c[key]);

/**
 * Filters: name, title, whether a person who is here is meant, and `read`, which finds who is meant among those the
 * server remembers; its `more` says that there are too many to look at all of them.
 */
const FILTERS = [
  { name: "new", title: "New in 24 hours", read: newPeople },
  { name: "guests", title: "Guests", isMeant: (person) => person.connections.length > 0 && !any("auth")(person) },
  { name: "muted", title: "Muted", isMeant: any("muted") },
  { name: "banned", title: "Kept out", read: bannedPeople },
  { name: "same-device", title: "Same device", isMeant: (person) => person.connections.length > 1 },
];

/**
 * The filters as buttons, one of which can be on. `changed` is called when another one is, and when what it shows has
 * been read. {element, reload(), isOn(), shows(person), remembered(), hasMore()}.
 */
export function peopleFilters(changed) {
  const element = el("div", { class: "chips", role: "group", "aria-label": "Show only" });
  let on = null;
  let [persons, more] = [[], false];
  let turn = 0;

  const reload = async () => {
    if (!on?.read) return;
    const mine = (turn += 1);
    const found = await on.read();
    if (mine !== turn) return;
    ({ persons, more } = found);
    changed();
  };
  const toggle = async (filter) => {
    on = on === filter ? null : filter;
    turn += 1;
    [persons, more] = [[], false];
    draw();
    changed();
    await reload();
  };
  function draw() {
    redraw(element, FILTERS.map((filter) => {
      const chip = button(filter.title, () => toggle(filter), `chip${on === filter ? "" : " plain"}`);
      chip.dataset.key = filter.name;
      chip.setAttribute("aria-pressed", String(on === filter));
      return chip;
    }));
  }
  draw();
  return {
    element,
    reload,
    isOn: () => on !== null,
    shows: (person) => !on || (on.isMeant ? on.isMeant(person) : persons.some((other) => isSame(other, person))),
    /** Who is meant and may not be here. */
    remembered: () => persons,
    hasMore: () => more,
  };
}
