// People: the connections of one device are one person.

import { titleOf } from "./live-users.js";

/** Letters that look like others, besides those that Unicode decomposes; the rule of the server is rules/lookalike.rs. */
const LOOKS_LIKE = new Map("li 1i |i ıi 0o аa еe оo рp сc хx уy іi кk мm нh тt αa οo νv ιi κk ρp τt".split(" ").map((pair) => [...pair]));

/** A name as it looks: small and large letters, I l 1, O 0, blanks and underscores make no difference. */
export function skeleton(text) {
  const plain = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return [...plain].map((letter) => LOOKS_LIKE.get(letter) ?? letter).join("").replace(/[\s_.\-'`]/g, "");
}

/** Joins connections to persons, in the order in which they came. */
export function personsOf(users) {
  const persons = new Map();
  for (const user of users) {
    const key = user.s ? `device ${user.s}` : `connection ${user.uid}`;
    const person = persons.get(key) ?? { key, devices: user.s ? [user.s] : [], accounts: [], connections: [] };
    person.connections.push(user);
    persons.set(key, person);
  }
  const all = [...persons.values()];
  for (const person of all) describe(person, all);
  return all;
}

function describe(person, all) {
  const { connections } = person;
  person.names = [...new Set(connections.map((c) => c.name).filter(Boolean))];
  person.id = person.devices.length ? `device:${person.devices[0]}` : `guest:${connections[0].ip};${connections[0].name}`;
  person.name = person.names[0] ?? "Somebody who is logging in";
  person.addresses = [...new Set(connections.map((c) => c.ip).filter(Boolean))];
  person.sessions = [...new Set(connections.map((c) => c.session).filter(Boolean))];
  const others = all.filter((other) => other !== person && other.connections.some((c) => person.addresses.includes(c.ip)));
  person.neighbours = others.flatMap((other) => [...new Set(other.connections.map((c) => c.name))]).filter(Boolean);
}

/** A person of whom the server tells more than who is connected: `record` as the API has it. */
export function personOfRecord(record, users) {
  const uids = new Set(record.connected.map((c) => c.uid));
  const connections = users.filter((user) => uids.has(user.uid) || record.devices.includes(user.s));
  return {
    key: record.devices.length ? `device ${record.devices[0]}` : record.id,
    id: record.id,
    devices: record.devices,
    accounts: record.accounts,
    names: record.names,
    name: record.names[0] ?? "Somebody",
    connections,
    addresses: connections.length ? [...new Set(connections.map((c) => c.ip))] : record.addresses.slice(0, 1),
    sessions: [...new Set(connections.map((c) => c.session).filter(Boolean))],
    neighbours: [],
    lastSeen: record.lastSeen,
    banned: record.banned,
    noteCount: record.noteCount,
  };
}

/** Somebody as a report or another list has them: name, address, device and account of then. */
export function personOfThen({ name, ip, device, account }, users) {
  const here = personsOf(users).find((person) => device && person.devices.includes(device));
  const known = { devices: device ? [device] : [], accounts: account ? [account] : [], names: [name], name, addresses: ip ? [ip] : [] };
  return here ? { ...here, accounts: known.accounts, name, names: [...new Set([name, ...here.names])] } : {
    key: device ? `device ${device}` : `guest ${ip} ${name}`,
    id: device ? `device:${device}` : account ? `account:${account}` : `guest:${ip};${name}`,
    ...known, connections: [], sessions: [], neighbours: [],
  };
}

/** What is worth knowing about a person, in words. */
export function signsOf(person) {
  const any = (key) => person.connections.some((c) => c[key]);
  const warnings = Math.max(0, ...person.connections.map((c) => c.warnings ?? 0));
  return [any("slowed") && "slowed down", warnings > 0 && (warnings === 1 ? "warned" : `warned ${warnings} times`), any("mod") && "moderator", any("op") && "operator", any("auth") && "account", any("trusted") && "trusted", any("muted") && "muted",
    any("browser") && "browser"].filter(Boolean);
}

/** Where a person is, in words. */
export function whereIs(person) {
  if (person.sessions.length === 0) return "not in a session";
  if (person.sessions.length > 2) return `${person.sessions.length} sessions`;
  return person.sessions.map(titleOf).join(" and ");
}

/** "A", "A and B", "A, B and 3 others". */
export function listed(names, most = 3) {
  const shown = names.slice(0, names.length > most ? most : names.length);
  const rest = names.length - shown.length;
  if (rest > 0) return `${shown.join(", ")} and ${rest} ${rest === 1 ? "other" : "others"}`;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}

/** Whether a person is meant by what somebody searches for: a name as it looks, or an address or device as it begins. */
export function isMeant(person, wanted) {
  if (!wanted) return true;
  const look = skeleton(wanted);
  const exact = wanted.trim().toLowerCase();
  return (look && person.names.some((name) => skeleton(name).includes(look)))
    || person.addresses.some((address) => address.startsWith(exact)) || (exact.length >= 8 && person.devices.some((device) => device.startsWith(exact)));
}
