// The team: accounts and what they may do.

import { el, fill, button, field, form, values, table, tag, say, ask, search, has } from "./dom.js";
import { redraw } from "./redraw.js";
import { follow } from "./live.js";
import { invitations } from "./invitations.js";
import { get, getIfThere, post, put, remove } from "./api.js";

const FLAGS = [
  ["ADMINMOD", "Moderator of this server: people, sessions, reports, bans up to 30 days"],
  ["ADMINREAD", "Reader: sees this page and changes nothing"],
  ["MOD", "Moderator in every session, in Drawpile"], ["HOST", "May host when guests may not"],
  ["ADMIN", "Administrator: everything, also settings and the team"], ["GHOST", "May join invisibly (setting enableGhosts)"],
  ["BANEXEMPT", "Not subject to bans of addresses"], ["WEB", "May connect from a browser"],
  ["WEBSESSION", "May open sessions to browsers"], ["WEBHOST", "May host from a browser"],
  ["PERSIST", "May make sessions persistent"],
];

const flagFields = (has = []) => el("fieldset", { class: "card" }, el("legend", {}, "Flags"),
  FLAGS.map(([flag, help]) => field(`flag-${flag}`, `${flag}: ${help}`, { kind: "check", value: has.includes(flag) })));

/** What an account may do on this page, in a word. */
function roleOf(flags) {
  const has = (flag) => flags.includes(flag);
  return has("ADMIN") ? "Administrator" : has("ADMINMOD") ? "Moderator" : has("ADMINREAD") ? "Reader" : "not on this page";
}

/** The values of an account form, flags in the form of the API; flags that this page does not know are kept. */
function account(given, before = []) {
  const result = { flags: before.filter((flag) => !FLAGS.some(([known]) => known === flag)) };
  for (const [key, value] of Object.entries(given)) {
    if (!key.startsWith("flag-")) result[key] = value;
    else if (value) result.flags.push(key.slice(5));
  }
  return { ...result, flags: result.flags.join(",") };
}

export async function accounts(content, signal) {
  const first = await getIfThere("accounts", { v: 2 });
  if (!first) {
    fill(content, el("h1", {}, "Team"), el("p", {}, "Accounts need a configuration database: start the server with --database or --data."));
    return;
  }
  const locked = first._locked;
  let rows = first.accounts;
  let wanted = "";
  const invited = invitations();
  const list = el("div", { id: "accounts" });
  const load = async () => {
    rows = await get("accounts");
    draw();
  };
  const draw = () => redraw(list, table("Accounts", [
    { title: "Name", cell: (a) => a.username },
    { title: "Role", cell: (a) => roleOf(a.flags.split(",")) },
    { title: "Flags", cell: (a) => el("span", {}, a.flags.split(",").filter(Boolean).map(tag)) },
    { title: "Locked", cell: (a) => (a.locked ? "yes" : "no") },
    { title: "Actions", cell: (a) => (locked ? "" : el("div", { class: "row" },
      button("Change", async () => {
        const flags = a.flags.split(",").filter(Boolean);
        const answer = await ask(`Change ${a.username}`, "Leave the password empty to keep it.", { action: "Save", fields: [
          field("username", "Name", { value: a.username, required: true }), field("password", "New password", { kind: "password" }),
          field("locked", "Locked: nobody can log in", { kind: "check", value: a.locked }), flagFields(flags)] });
        if (!answer) return;
        await put(`accounts/${a.id}`, account(answer, flags));
        say("Saved.");
        await load();
      }, "plain", a.username),
      button("Remove", async () => {
        if (!(await ask(`Remove ${a.username}?`, "Anybody can use the name then. Lock the account instead to keep the name reserved.", { action: "Remove", danger: true }))) return;
        await remove(`accounts/${a.id}`);
        say(`The account ${a.username} is removed.`);
        await load();
      }, "danger", a.username))) },
  ], rows.filter((a) => has(a, wanted, ["username", "flags"])), wanted ? "No matching accounts." : "No accounts.", (a) => String(a.id)));
  fill(content, el("h1", {}, "Team"), locked ? el("p", { class: "warning" }, "Accounts are locked against changes.") : null,
    el("div", { class: "row top" }, search("Search name, flags", (text) => { wanted = text; draw(); })), list,
    locked ? null : invited.section,
    locked ? null : el("details", { class: "card" }, el("summary", {}, "Add an account"), form([
      field("username", "Name", { required: true }), field("password", "Password", { kind: "password", required: true }),
      field("locked", "Locked: nobody can log in", { kind: "check" }), flagFields(),
    ], "Add", async (element) => {
      await post("accounts", account(values(element)));
      element.reset();
      say("Added.");
      await load();
    })));
  draw();
  if (!locked) await invited.load();
  const again = () => Promise.all([load(), invited.load()]).catch(() => {});
  follow(signal, ["bans"], { account: again });
}
