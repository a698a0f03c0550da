// Keeping people out: kick and ban in one, by device, address or neighbourhood.

import { el, fill, ask, choices, field, guard, say, values } from "./dom.js";
import { openSheet } from "./sheets.js";
import { listed } from "./persons.js";
import { ban, previewBan } from "./ban-api.js";
import { isAdministrator } from "./rights.js";
import { called, counted, forEach, named } from "./actions.js";
import { replyChips } from "./replies.js";

/** Seconds, the word on the choice, and the words in a sentence. */
export const LENGTHS = [
  ["3600", "1 hour", "for an hour"], ["86400", "1 day", "for a day"], ["604800", "1 week", "for a week"],
  ["2592000", "30 days", "for 30 days"], ["forever", "for ever", "for ever"],
];
const lengthOf = (value) => LENGTHS.find(([length]) => length === value)[2];

/** Lengths that whoever is logged in may choose, as choices. */
export const lengthChoices = () => LENGTHS.filter(([value]) => value !== "forever" || isAdministrator()).map(([value, text]) => [value, text]);

export const lengthIn = (given) => (given.length === "forever" ? { forever: true } : { seconds: Number(given.length) });

/** The network around an address: 256 addresses of IPv4, the homes of one street of IPv6. */
const around = (address) => (address.includes(":") ? `${address}/48` : `${address}/24`);

/** What is banned by each choice. */
function targets(person) {
  const itself = { devices: person.devices, accounts: person.accounts };
  return {
    device: { ...itself, addresses: [] },
    address: { devices: [], accounts: [], addresses: person.addresses },
    both: { ...itself, addresses: person.addresses },
    neighbourhood: { ...itself, addresses: person.addresses.map(around) },
  };
}

/** Several persons as one: everything of all of them, to see whom a ban of it hits. */
const together = (persons) => ({
  name: called(persons),
  ...Object.fromEntries(["names", "devices", "accounts", "addresses"].map((key) => [key, [...new Set(persons.flatMap((person) => person[key]))]])),
});

/** Devices, accounts and addresses, each, that the server takes in one preview. */
const MOST_TARGETS = 50;

/** Persons in groups of which one preview takes all. */
function groupsOf(persons) {
  const groups = [];
  const isFull = (group) => ["devices", "accounts", "addresses"].some((key) => group.reduce((sum, person) => sum + person[key].length, 0) > MOST_TARGETS);
  for (const person of persons) {
    const last = groups.at(-1);
    if (last && !isFull([...last, person])) last.push(person);
    else groups.push([person]);
  }
  return groups;
}

/** Whom plans would hit: {connected, recent, warnings}, each once. */
async function previewOf(persons, planFor) {
  const hits = [];
  for (const group of groupsOf(persons)) hits.push(await previewBan(planFor(together(group))));
  const once = (list, key) => [...new Map(hits.flatMap((hit) => hit[list]).map((hit) => [key(hit), hit])).values()];
  return { connected: once("connected", (c) => c.uid), recent: once("recent", (r) => JSON.stringify(r)), warnings: once("warnings", (w) => w.text).map((w) => w.text) };
}

/** Names of other people whom a ban would hit, now or lately. */
function othersOf(persons, { connected, recent }) {
  const { devices, names: own } = together(persons);
  const isOther = ({ device }) => !devices.includes(device);
  const names = [...connected.filter(isOther).map((c) => c.name), ...recent.filter(isOther).flatMap((r) => r.names.slice(0, 1))];
  return [...new Set(names.filter((name) => name && !own.includes(name)))];
}

const planOf = (person, given) => ({
  name: person.name,
  ...targets(person)[given.how],
  ...lengthIn(given),
  reason: given.reason ?? "",
  note: given.note ?? "",
  stay: given.stay === true,
});

/** The choices of whom it hits, each with who else would be kept out. */
async function howChoices(persons) {
  const all = together(persons);
  const remark = async (how) => {
    const others = othersOf(persons, await previewOf(persons, (some) => ({ name: some.name, ...targets(some)[how] })));
    return others.length ? `also keeps out ${listed(others)}` : "hits nobody else, now or in the last days";
  };
  const many = persons.length > 1;
  // Each person is banned by what is chosen, so each must have it.
  const haveDevice = persons.every((person) => person.devices.length + person.accounts.length > 0);
  const haveAddress = persons.every((person) => person.addresses.length > 0);
  const device = `${many ? "Their devices" : "This device"}${all.accounts.length ? ` and ${many ? "accounts" : "account"}` : ""} (recommended)`;
  const isWide = all.addresses[0]?.includes(":");
  const kinds = [
    haveDevice && ["device", device],
    haveAddress && ["address", many ? "Their addresses" : all.addresses.length > 1 ? "These addresses" : "This address"],
    haveDevice && haveAddress && ["both", many ? "Devices and addresses" : "Device and address"],
    haveAddress && ["neighbourhood", `${many ? "The neighbourhoods" : "The neighbourhood"} (${isWide ? "network of 48 bits" : "256 addresses"})`],
  ].filter(Boolean);
  return Promise.all(kinds.map(async ([how, text]) => [how, text, await remark(how)]));
}

/** Takes back what was changed by bans, each {person, undo}, and says of each person what is so again. */
async function takeBack(changed) {
  const { done } = await forEach(changed, ({ undo }) => undo.act());
  const personsWith = (letsIn) => done.filter(({ thing }) => thing.undo.letsIn === letsIn).map(({ thing }) => thing.person);
  const [free, stillOut] = [personsWith(true), personsWith(false)];
  say([
    free.length ? `${listed(free.map((person) => person.name))} may come back in${free.length > 1 ? " as before" : ""}.` : null,
    stillOut.length ? `${stillOut.length > 1 ? "The bans" : "The ban"} of ${named(stillOut, "ends", "end")} as before.` : null,
  ].filter(Boolean).join(" "));
}

/**
 * Bans each person, says so with Undo, and returns the words for what was done; null if nothing was. Of whoever is banned
 * already, and stays so for the time of that ban, that is said instead of the new time.
 */
async function banAll(persons, given) {
  const { done: banned } = await forEach(persons.map((person) => ({ person })), ({ person }) => ban(planOf(person, given)));
  const results = banned.filter(({ result }) => result).map(({ thing, result }) => ({ ...thing, ...result }));
  if (results.length === 0) return null;
  const changed = results.filter(({ undo }) => undo);
  const kept = results.filter(({ undo }) => !undo);
  const done = `kept out ${lengthOf(given.length)}`;
  const ended = results.reduce((sum, result) => sum + result.ended, 0);
  say([
    changed.length ? `${named(changed.map(({ person }) => person), "is", "are")} ${done}.` : null,
    ...kept.map(({ person, kept: words }) => `${person.name} is ${words}.`),
    `${counted(ended, "connection")} ended.`,
  ].filter(Boolean).join(" "), false, changed.length ? () => takeBack(changed) : null);
  return [...(changed.length ? [done] : []), ...kept.map((result) => result.kept)].join("; ");
}

/** Opens the sheet for one or several persons. Resolves to the words for what was done, such as "kept out for a week", or null. */
export async function keepOut(persons) {
  const how = await howChoices(persons);
  let done = null;
  const effect = el("p", { role: "status" });
  const warning = el("div");
  const send = el("button", { type: "submit", class: "danger last" }, "Kick and keep out for a week");
  const preview = (given) => previewOf(persons, (some) => planOf(some, given));
  let asked = 0;

  const update = async (form) => {
    const given = values(form);
    const turn = (asked += 1);
    fill(send, `${given.stay ? "Keep" : "Kick and keep"} out ${lengthOf(given.length)}`);
    const hit = await preview(given);
    // Answers may come in another order than they were asked for.
    if (turn !== asked) return;
    const others = othersOf(persons, hit).length;
    fill(effect, `${given.stay ? "Hits" : "Ends"} ${counted(hit.connected.length, "connection")}${others ? `, and ${others === 1 ? "one other person" : `${others} other people`}` : ""}.`);
    fill(warning, hit.warnings.length ? el("p", { class: "warning bad" }, hit.warnings.join(" ")) : null);
  };
  const act = async (form, close) => {
    const given = values(form);
    // Of what is sent, not of what was shown last.
    const { warnings } = await preview(given);
    if (warnings.length && !(await ask(`Keep out ${called(persons)} all the same?`, warnings, { action: "Yes, keep out", danger: true }))) return;
    done = await banAll(persons, given);
    if (done) close();
  };
  const names = persons.length === 1 ? persons[0].names.slice(1) : persons.flatMap((person) => person.names);
  const sheet = openSheet(`Keep out ${called(persons)}`, (close) => el("form", {
    oninput: (event) => update(event.currentTarget).catch(() => {}),
    onsubmit: (event) => {
      event.preventDefault();
      const form = event.currentTarget;
      guard(() => act(form, close), send);
    },
  },
  names.length ? el("p", {}, `${persons.length === 1 ? "Also called " : ""}${listed(names, 9)}.`) : null,
  choices("how", "Whom", how, how[0]?.[0]),
  choices("length", "How long", lengthChoices(), "604800"),
  field("reason", "Reason (they read it)"), replyChips("reason"),
  el("details", {}, el("summary", {}, "More"), field("note", "Note for the team"),
    field("stay", "Let them stay until they leave", { kind: "check" })),
  warning, effect,
  el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Cancel"), send)), { kind: "sheet" });
  await update(sheet.dialog.querySelector("form")).catch(() => {});
  await sheet.closed;
  return done;
}
