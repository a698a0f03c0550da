// Connected users.

import { el, fill, button, field, table, tag, say, activity, ask, search, has } from "./dom.js";
import { get, remove } from "./api.js";
import { follow, every } from "./live.js";
import { link } from "./sessions.js";
import { banAddress } from "./bans.js";

const STATES = { login: "logging in", session: "in a session", graceful_disconnect: "disconnecting", quiet_disconnect: "disconnected silently" };

export async function users(content, signal) {
  const list = el("div", { id: "users" });
  let rows = [];
  let titles = new Map();
  let locked = false;
  let wanted = "";

  const draw = () => {
    const shown = rows.filter((u) => has({ ...u, title: titles.get(u.session) }, wanted, ["name", "ip", "s", "session", "title", "uid"]));
    const count = new Map();
    for (const u of rows) count.set(u.ip, (count.get(u.ip) ?? 0) + 1);
    fill(list, el("p", { class: "soft" }, `${shown.length} of ${rows.length} connections`), table("Users", [
      { title: "Name", cell: (u) => u.name || el("span", { class: "soft" }, "unknown") },
      { title: "Address", mono: true, cell: (u) => (count.get(u.ip) > 1 ? `${u.ip} (${count.get(u.ip)} connections)` : u.ip) },
      { title: "System id", mono: true, cell: (u) => u.s },
      { title: "Session", cell: (u) => (u.session ? link(u.session, titles.get(u.session) || u.session) : STATES[u.state] ?? u.state) },
      { title: "Flags", cell: (u) => el("span", {}, [u.op && "operator", u.mod && "moderator", u.auth && "account", u.trusted && "trusted",
        u.muted && "muted", u.browser && "browser", u.tls && "encrypted"].filter(Boolean).map(tag)) },
      { title: "Active", cell: (u) => activity(u.lastActive) },
      { title: "Actions", cell: (u) => (locked ? "" : el("div", { class: "row" },
        button("Kick", async () => {
          const answer = await ask(`Kick ${u.name || u.ip}?`, "The user is disconnected and may come back unless banned.",
            { action: "Kick", danger: true, fields: [field("message", "Message")] });
          if (!answer) return;
          await remove(`users/${u.uid}`, { message: answer.message ?? "" });
          say("Kicked.");
          await load();
        }, "danger"),
        button("Ban", () => banAddress(u.ip, u.name), "danger"))) },
    ], shown, "Nobody is connected."));
  };
  async function load() {
    const [answer, sessions] = await Promise.all([get("users", { v: 2 }), get("sessions")]);
    rows = answer.users;
    locked = answer._locked;
    titles = new Map(sessions.map((s) => [s.id, s.title || s.alias]));
    if (!signal.aborted) draw();
  }

  fill(content, el("h1", {}, "Users"),
    el("div", { class: "row top" }, search("Search name, address, system id, session", (text) => { wanted = text; draw(); })), list);
  await load();
  let due = null;
  follow(signal, ["log"], { open: () => load().catch(() => {}), log: (line) => {
    if (["Join", "Leave", "Kick", "Ban", "ClientInfo"].includes(line.topic) && due === null) {
      due = setTimeout(() => { due = null; load().catch(() => {}); }, 500);
    }
  } });
  every(signal, 5000, load);
}
