// The people of a session: rows, and what a sheet can do about somebody there.

import { el, button, say, tag, activity } from "./dom.js";
import { put } from "./api.js";
import { personsOf, signsOf } from "./persons.js";
import { online } from "./live-users.js";
import { openPerson } from "./person.js";
import { offerUndo } from "./undo.js";

/** Gives or takes a role, and says so. */
async function setRole(path, user, change, done, taken, reload) {
  await put(`${path}/${user.id}`, change);
  const [key, value] = Object.entries(change)[0];
  say(done, false, async () => {
    await put(`${path}/${user.id}`, { [key]: !value });
    say(taken);
    await reload();
  });
  await reload();
}

/** Buttons about somebody's roles in the session. */
function roleButtons(path, user, where, reload) {
  const { name } = user;
  const becomes = `${name} is operator of ${where}.`;
  const became = `${name} is no operator of ${where} any more.`;
  const trusted = `${name} is trusted in ${where}.`;
  const untrusted = `${name} is not trusted in ${where} any more.`;
  return [
    user.op ? button("Take back operator", () => setRole(path, user, { op: false }, became, becomes, reload), "plain", `of ${name}`)
      : button("Make operator", () => setRole(path, user, { op: true }, becomes, became, reload), "plain", `of ${name}`),
    user.trusted ? button("Untrust", () => setRole(path, user, { trusted: false }, untrusted, trusted, reload), "plain", name)
      : button("Trust", () => setRole(path, user, { trusted: true }, trusted, untrusted, reload), "plain", name),
  ];
}

/** Returns a function that draws the people of the session as it is now. */
export function membersOf(path, reload) {
  let shown = null;
  const open = async (user) => {
    const persons = personsOf(online.users);
    const person = persons.find((p) => p.connections.some((c) => c.uid === user.uid)) ?? personsOf([{ ...user, session: "" }])[0];
    const roles = () => {
      const current = shown.users.find((u) => u.online && u.uid === user.uid);
      return current ? roleButtons(path, current, shown.title || "the session", reload) : [];
    };
    const away = await openPerson(person, { more: roles });
    if (away) await offerUndo(path, user.id);
    await reload();
  };
  const row = (user) => el("li", { "data-key": `${user.uid ?? ""} ${user.id} ${user.name}`, class: user.online ? "" : "gone" },
    el("button", { type: "button", class: "row-link", "aria-haspopup": "dialog", onclick: () => open(user) },
      el("span", { class: "row-title" }, user.name),
      el("span", { class: "row-place" }, user.online ? activity(user.lastActive) : "has left"),
      el("span", { class: "row-signs" }, user.online ? signsOf({ connections: [user] }).map(tag) : null)));
  return (now) => {
    shown = now;
    const here = now.users.filter((u) => u.online);
    const gone = now.users.filter((u) => !u.online);
    return [
      here.length ? el("ul", { class: "rows", "data-key": "here" }, here.map(row)) : el("p", { class: "soft" }, "Nobody is in the session."),
      gone.length ? el("details", { "data-key": "gone" }, el("summary", {}, `${gone.length} have left`), el("ul", { class: "rows" }, gone.map(row))) : null,
    ];
  };
}
