// What is seldom changed of a session: settings, passwords, invites, list servers.

import { el, button, field, form, values, table, tag, say, time } from "./dom.js";
import { redraw } from "./redraw.js";
import { post, put, remove, part } from "./api.js";

const DEFAULT_ARCHIVE = "default";

/** What can be changed, as `sessionconf` names it. */
const CHECKS = [
  ["persistent", "Persistent: stays when everybody has left"], ["closed", "Closed: nobody else may join"], ["authOnly", "Only accounts may join"],
  ["nsfm", "18+"], ["unlisted", "Unlisted"], ["invites", "Operators may make invites"],
  ["deputies", "Trusted users may kick"], ["idleOverride", "No idle limit"], ["allowWeb", "Browsers may join"],
];

/** The forms for settings and passwords; `changed(now)` is told the session as it is then. */
export function settingsForms(path, now, changed) {
  const archive = now.archive === null ? DEFAULT_ARCHIVE : String(now.archive);
  const conf = form([
    el("div", { class: "columns" },
      el("div", {},
        field("title", "Title", { value: now.title }),
        field("founder", "Founder", { value: now.founder }),
        field("maxUserCount", "Maximum users", { kind: "number", min: 2, max: 254, value: now.maxUserCount }),
        field("resetThreshold", "Autoreset threshold (bytes, 0 for never)", { kind: "number", min: 0, value: now.resetThreshold }),
        field("overrideSize", "Size limit of this session (bytes)", { kind: "number", min: 0, value: now.overrideSize, help: "0 for the limit of the server" }),
        field("archive", "Session files when it ends", { kind: "select", value: archive,
          choices: [[DEFAULT_ARCHIVE, "As the settings say"], ["true", "Kept"], ["false", "Deleted"]] })),
      el("div", {}, CHECKS.map(([key, label]) => (now[key] === undefined ? null : field(key, label, { kind: "check", value: now[key] })))),
    ),
  ], "Save", async (element) => {
    const given = values(element, ["title", "founder"]);
    given.archive = given.archive === DEFAULT_ARCHIVE ? null : given.archive === "true";
    const different = Object.entries(given).filter(([key, value]) => value !== now[key]);
    const fresh = await put(path, Object.fromEntries(different));
    say(different.length ? "Saved." : "Nothing was changed.");
    now = fresh;
    changed(fresh);
  });
  const secrets = form([
    el("div", { class: "columns" },
      field("password", `New password (${now.hasPassword ? "there is one" : "there is none"})`, { kind: "password", help: "Empty for none" }),
      field("opword", `New operator password (${now.hasOpword ? "there is one" : "there is none"})`, { kind: "password", help: "Empty for none" })),
    el("div", { class: "row" },
      field("setPassword", "Set the password", { kind: "check" }), field("setOpword", "Set the operator password", { kind: "check" })),
  ], "Change", async (element) => {
    const given = values(element, ["password", "opword"]);
    const change = {};
    if (given.setPassword) change.password = given.password;
    if (given.setOpword) change.opword = given.opword;
    if (!Object.keys(change).length) throw new Error("choose which one to set");
    const fresh = await put(path, change);
    element.reset();
    say("The passwords are changed.");
    changed(fresh);
  });
  return { conf, secrets };
}

/** Invites and announcements: `draw(now)` shows them, the elements are where. */
export function invitesAndListings(path, locked, reload) {
  const [invites, listings] = [el("div"), el("div")];
  const act = (text, what, kind, about) => button(text, async () => { await what(); await reload(); }, kind, about);
  function drawInvites(now) {
    redraw(invites, table("Invites", [
      { title: "Secret", mono: true, cell: (i) => i.secret },
      { title: "Created", cell: (i) => time(i.at) },
      { title: "By", cell: (i) => i.creator || "administrator" },
      { title: "Used", num: true, cell: (i) => `${i.uses.length} of ${i.maxUses}` },
      { title: "Grants", cell: (i) => el("span", {}, [i.op && "operator", i.trust && "trusted"].filter(Boolean).map(tag)) },
      { title: "Actions", cell: (i) => (locked ? "" : act("Remove", () => remove(`${path}/invites/${part(i.secret)}`), "danger", `the invite of ${i.creator || "administrator"}, ${i.secret.slice(0, 4)}`)) },
    ], now.invitelist, "There are no invites."));
  }

  function drawListings(now) {
    redraw(listings, table("List servers", [
      { title: "List server", mono: true, cell: (l) => l.url },
      { title: "Actions", cell: (l) => (locked ? "" : act("Unlist", () => remove(`${path}/listing/${l.id}`), "danger", `from ${l.url}`)) },
    ], now.listings, "It is announced nowhere."));
  }

  const inviting = form([el("div", { class: "row" },
    field("maxUses", "Uses", { kind: "number", min: 1, value: 1, required: true }),
    field("trust", "Trusted", { kind: "check" }), field("op", "Operator", { kind: "check" }))], "Create invite", async (element) => {
    await post(`${path}/invites`, values(element));
    await reload();
  });
  const announcing = form([field("url", "URL of a list server's API", { kind: "url", required: true })], "Announce", async (element) => {
    await post(`${path}/listing`, values(element));
    element.reset();
    say("Announcement sent.");
    setTimeout(() => reload().catch(() => {}), 1500);
  });
  const draw = (now) => {
    drawInvites(now);
    drawListings(now);
  };
  return { draw, invites: [invites, locked ? null : inviting], listings: [listings, locked ? null : announcing] };
}
