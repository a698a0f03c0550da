// A person, over any screen: who it is, where, what happened, and what can be done.

import { el, button, field, form, say, tag, activity, age, time } from "./dom.js";
import { redraw } from "./redraw.js";
import { download, getIfThere, part, post, remove } from "./api.js";
import { openSheet } from "./sheets.js";
import { online, titleOf, watchOnline } from "./live-users.js";
import { listed, personOfRecord, personsOf, signsOf } from "./persons.js";
import { kickPeople, leaving, messagePeople } from "./actions.js";
import { restrictPeople, warnPeople } from "./restrictions.js";
import { isReader } from "./rights.js";
import { keepOut } from "./keep-out.js";
import { whatHappened, whatTheyWrote } from "./person-history.js";

function connection(c) {
  return el("li", { "data-key": c.uid },
    el("b", {}, c.name || "nobody yet"), " ",
    c.session ? ["in ", leaving(titleOf(c.session), `#/sessions/${c.session}`)] : "in no session",
    el("span", { class: "soft" }, `, active: ${activity(c.lastActive)}`));
}

function notes(record, reload) {
  const path = `people/${part(record.id)}/notes`;
  const adding = form([field("note", "New note for the team", { required: true })], "Add note", async (element) => {
    await post(path, { note: element.elements.note.value });
    element.reset();
    say("The note is added.");
    await reload();
  }, { kind: "plain" });
  return el("details", { "data-key": "notes", open: record.notes.length > 0 }, el("summary", {}, `Notes (${record.notes.length})`),
    el("ul", { class: "plain spaced" }, record.notes.map((note) => el("li", { "data-key": String(note.id) },
      note.note, el("span", { class: "soft" }, ` ${note.author}, ${age(note.at)} ago `),
      isReader() ? null : button("Remove", async () => {
        await remove(`${path}/${note.id}`);
        say("The note is removed.");
        await reload();
      }, "plain", `the note of ${note.author}, ${note.id}`)))),
    isReader() ? null : adding);
}

/**
 * Opens the sheet of a person; it follows what changes. `more()` makes further buttons; `isHere` is false of somebody who
 * has left. Resolves when it is closed, with what was done: "kicked", "kept out
 * for a week", or null.
 */
export async function openPerson(person, { more = () => [] } = {}) {
  const body = el("div");
  const ending = new AbortController();
  const sheet = openSheet(person.name, (close) => [body,
    el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Close"))], { kind: "sheet" });
  let shown = person;
  let record = null;
  let away = null;
  const wrote = whatTheyWrote(person.id);

  const leave = (done) => {
    if (!done) return;
    away = done;
    sheet.close();
  };
  const reload = async () => {
    record = await getIfThere(`people/${part(person.id)}`);
    if (!ending.signal.aborted) draw();
  };
  function draw() {
    const here = personsOf(online.users).find((other) => other.key === person.key || other.devices.some((d) => record?.devices.includes(d)));
    const known = record ? personOfRecord(record, online.users) : null;
    const isHere = here !== undefined;
    shown = { ...shown, connections: [], sessions: [], ...known, ...here, ...(known && { devices: known.devices, accounts: known.accounts }) };
    const who = { ...shown, id: person.id, name: person.name, names: [...new Set([person.name, ...shown.names, ...(record?.names ?? [])])] };
    const others = [...new Set([...(here?.neighbours ?? []), ...(record?.sharedAddresses ?? []).map((other) => other.name)])];
    redraw(body,
      el("p", { "data-key": "who" }, who.names.length > 1 ? `Also called ${listed(who.names.slice(1), 9)}. ` : "", signsOf(who).map(tag),
        isHere ? null : el("b", {}, `Has left${record ? `, seen ${age(record.lastSeen)} ago` : ""}.`)),
      record?.banned ? el("p", { "data-key": "banned", class: "warning" }, "Kept out until ", time(record.banned.expires), ". ", leaving("Bans", "#/bans")) : null,
      others.length ? el("p", { "data-key": "shared", class: "soft" }, `Shares an address with ${listed(others, 6)}.`) : null,
      isHere ? el("ul", { "data-key": "where", class: "plain spaced" }, who.connections.map(connection)) : null,
      isReader() ? null : online.locked ? el("p", { "data-key": "locked", class: "warning" }, "People are locked against changes.") : el("div", { "data-key": "acts", class: "acts" },
        isHere ? button("Message", () => messagePeople([who]), "plain", who.name) : null,
        isHere ? button("Warn", () => warnPeople([who]), "plain", who.name) : null,
        isHere ? button("Mute or slow", () => restrictPeople([who]), "plain", who.name) : null,
        isHere ? more(who) : null,
        isHere ? button("Kick", () => kickPeople([who]).then((done) => leave(done && "kicked")), "plain", who.name) : null,
        button("Keep out", () => keepOut([who]).then(leave), "danger last", who.name)),
      wrote,
      record ? [notes(record, reload), whatHappened(record)] : null,
      el("details", { "data-key": "addresses" }, el("summary", {}, "Addresses and device"),
        el("dl", {}, el("dt", {}, "Addresses"), el("dd", { class: "mono" }, (record?.addresses ?? who.addresses).join(", ") || "unknown"),
          el("dt", {}, "Device"), el("dd", { class: "mono" }, who.devices.join(", ") || "unknown")),
        record ? button("Download all that is stored about them (JSON)", () => download(`people/${part(record.id)}/export`, "person.json"), "plain") : null));
  }
  draw();
  watchOnline(ending.signal, draw).catch(() => {});
  reload().catch(() => {});
  await sheet.closed;
  ending.abort();
  return away;
}
