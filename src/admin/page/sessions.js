// All sessions, and making one.

import { el, fill, button, field, form, values, table, tag, say, bytes, age, search, has, ask } from "./dom.js";
import { get, post, remove, part } from "./api.js";
import { follow } from "./live.js";

const flagsOf = (s) => [
  s.persistent && "persistent", s.hasPassword && "password", s.authOnly && "accounts only", s.nsfm && "18+",
  s.unlisted && "unlisted", s.closed && "closed", s.allowWeb && "browsers", !s.id && "template",
].filter(Boolean);

export const link = (id, text) => el("a", { href: `#/sessions/${part(id)}` }, text);

/** Ends a session after asking how. */
export async function end(session) {
  const { kept: keeps } = await get("ended");
  const answer = await ask(`End "${session.title || session.alias || session.id}"?`, [
    `${session.userCount} users are sent away, and the drawing is lost for them unless they save it. ${keeps
      ? "It can be restored for some days, below the list of sessions." : "This cannot be undone."}`,
  ], {
    action: "End session", danger: true,
    fields: [
      field("reason", "Reason (shown to its users)"),
      field("quiet", "Quietly: users are not told; their connections stay open, but they only draw for themselves", { kind: "check" }),
    ],
  });
  if (!answer) return false;
  await remove(`sessions/${part(session.id)}`, answer.quiet ? { quiet: 1 } : { reason: answer.reason ?? "" });
  say("Session ended.");
  return true;
}

export async function sessions(content, signal) {
  const { sessions: first, _locked: locked } = await get("sessions", { v: 2 });
  const known = new Map(first.map((s) => [s.id ?? s.alias, s]));
  const list = el("div", { id: "sessions" });
  let wanted = "";

  const draw = () => {
    const rows = [...known.values()].filter((s) => has(s, wanted, ["title", "alias", "id", "founder"]));
    rows.sort((a, b) => (b.userCount ?? -1) - (a.userCount ?? -1) || a.title.localeCompare(b.title));
    fill(list, table("Sessions", [
      { title: "Title", cell: (s) => (s.id ? link(s.id, s.title || s.alias || s.id) : s.title || s.alias) },
      { title: "Alias", mono: true, cell: (s) => s.alias },
      { title: "Founder", cell: (s) => s.founder },
      { title: "Users", num: true, cell: (s) => (s.id ? `${s.userCount} of ${s.maxUserCount}` : "") },
      { title: "Size", num: true, cell: (s) => bytes(s.size) },
      { title: "Age", num: true, cell: (s) => (s.startTime ? age(s.startTime) : "") },
      { title: "Flags", cell: (s) => el("span", {}, flagsOf(s).map(tag)) },
      { title: "Actions", cell: (s) => (locked ? "" : s.id
        ? button("End", async () => { if (await end(s)) known.delete(s.id); draw(); }, "danger")
        : button("Start", async () => {
          const made = await post("sessions", { template: s.alias });
          location.hash = `#/sessions/${part(made.id)}`;
        }, "plain")) },
    ], rows, wanted ? "No matching sessions." : "There are no sessions."));
  };

  const ended = el("div");
  const drawEnded = async () => {
    const { kept, sessions: gone } = await get("ended");
    fill(ended, !kept && gone.length === 0 ? null : el("details", { class: "card" },
      el("summary", {}, `Ended sessions (${gone.length})`),
      table("Ended sessions", [
        { title: "Title", cell: (s) => s.title || s.alias || s.id },
        { title: "Founder", cell: (s) => s.founder },
        { title: "Size", num: true, cell: (s) => bytes(s.size) },
        { title: "Ended", num: true, cell: (s) => `${age(s.ended)} ago` },
        { title: "Actions", cell: (s) => (locked ? "" : button("Restore", async () => {
          await post(`ended/${part(s.id)}/restore`);
          say("Session restored.");
          await drawEnded();
        }, "plain")) },
      ], gone, "No session has ended lately.")));
  };

  const making = form([
    el("div", { class: "columns" },
      el("div", {},
        field("title", "Title", { required: true }),
        field("alias", "Alias", { help: "1 to 32 letters, digits and -; part of links to the session" }),
        field("founder", "Founder"),
        field("password", "Password", { kind: "password" }),
        field("opword", "Operator password", { kind: "password", help: "Whoever enters it becomes operator; without one, whoever joins first does" }),
        field("maxUserCount", "Maximum users", { kind: "number", min: 2, max: 254 })),
      el("div", {},
        field("width", "Width in pixels", { kind: "number", min: 1, value: 2000 }),
        field("height", "Height in pixels", { kind: "number", min: 1, value: 2000 }),
        field("background", "Background", { kind: "color", value: "#ffffff" }),
        field("layers", "Layers", { kind: "number", min: 1, max: 100, value: 1 }),
        field("persistent", "Persistent: stays when everybody has left", { kind: "check", value: true }),
        field("authOnly", "Only accounts may join", { kind: "check" }),
        field("nsfm", "Not safe for minors", { kind: "check" }),
        field("unlisted", "Unlisted", { kind: "check" }),
        field("deputies", "Trusted users may kick", { kind: "check" }),
        field("preserveChat", "Keep chat in the history", { kind: "check" }))),
  ], "Create session", async (element) => {
    const made = await post("sessions", values(element));
    say("Session created.");
    location.hash = `#/sessions/${part(made.id)}`;
  });

  fill(content,
    el("h1", {}, "Sessions"),
    locked ? el("p", { class: "warning" }, "Sessions are locked against changes.") : null,
    el("div", { class: "row top" }, search("Search title, alias, id, founder", (text) => { wanted = text; draw(); })),
    list,
    locked ? null : el("details", { class: "card" }, el("summary", {}, "New session"), making),
    ended);
  draw();
  await drawEnded();
  follow(signal, ["sessions"], {
    session: (s) => { known.set(s.id ?? s.alias, s); draw(); },
    "session-end": async ({ id }) => { known.delete(id); draw(); await drawEnded(); },
  });
}
