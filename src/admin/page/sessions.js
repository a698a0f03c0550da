// All sessions, and making one.

import { el, fill, button, field, form, values, table, tag, say, bytes, age, search, has, ask } from "./dom.js";
import { redraw } from "./redraw.js";
import { download, get, post, remove, upload, part } from "./api.js";
import { isReader } from "./rights.js";
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
    `${session.userCount} people are sent away, and the drawing is lost for them unless they save it. ${keeps
      ? "It can be restored for some days, below the list of sessions." : "This cannot be undone."}`,
  ], {
    action: "End session", danger: true,
    fields: [
      field("reason", "Reason (they read it)"),
      field("quiet", "Leave people drawing alone, without saying", { kind: "check" }),
    ],
  });
  if (!answer) return false;
  await remove(`sessions/${part(session.id)}`, answer.quiet ? { quiet: 1 } : { reason: answer.reason ?? "" });
  say("Session ended.");
  return true;
}

export async function sessions(content, signal) {
  const { sessions: first, _locked } = await get("sessions", { v: 2 });
  const locked = _locked || isReader();
  const known = new Map(first.map((s) => [s.id ?? s.alias, s]));
  const list = el("div", { id: "sessions" });
  let wanted = "";

  const draw = () => {
    const rows = [...known.values()].filter((s) => has(s, wanted, ["title", "alias", "id", "founder"]));
    rows.sort((a, b) => (b.userCount ?? -1) - (a.userCount ?? -1) || a.title.localeCompare(b.title));
    redraw(list, table("Sessions", [
      { title: "Title", cell: (s) => (s.id ? link(s.id, s.title || s.alias || s.id) : s.title || s.alias) },
      { title: "Alias", mono: true, cell: (s) => s.alias },
      { title: "Founder", cell: (s) => s.founder },
      { title: "People", num: true, cell: (s) => (s.id ? `${s.userCount} of ${s.maxUserCount}` : "") },
      { title: "Size", num: true, cell: (s) => bytes(s.size) },
      { title: "Age", num: true, cell: (s) => (s.startTime ? age(s.startTime) : "") },
      { title: "Flags", cell: (s) => el("span", {}, flagsOf(s).map(tag)) },
      { title: "Actions", cell: (s) => (locked ? "" : s.id
        ? button("End", async () => { if (await end(s)) known.delete(s.id); draw(); }, "danger", `session ${s.title || s.alias || s.id}`)
        : button("Start", async () => {
          const made = await post("sessions", { template: s.alias });
          location.hash = `#/sessions/${part(made.id)}`;
        }, "plain", s.title || s.alias)) },
    ], rows, wanted ? "No matching sessions." : "There are no sessions.", (s) => s.id ?? s.alias));
  };

  const ended = el("div");
  const drawEnded = async () => {
    const { kept, sessions: gone } = await get("ended");
    redraw(ended, !kept && gone.length === 0 ? null : el("details", { class: "card" },
      el("summary", {}, `Ended sessions (${gone.length})`),
      table("Ended sessions", [
        { title: "Title", cell: (s) => s.title || s.alias || s.id },
        { title: "Founder", cell: (s) => s.founder },
        { title: "Size", num: true, cell: (s) => bytes(s.size) },
        { title: "Ended", num: true, cell: (s) => `${age(s.ended)} ago` },
        { title: "Actions", cell: (s) => el("div", { class: "row" },
          isReader() ? null : button("Picture", () => download(`ended/${part(s.id)}/picture`, `${s.id}.png`), "plain", s.title || s.alias || s.id),
          locked ? null : button("Restore", async () => {
            await post(`ended/${part(s.id)}/restore`);
            say("Session restored.");
            await drawEnded();
          }, "plain", s.title || s.alias || s.id)) },
      ], gone, "No session has ended lately.", (s) => s.id)));
  };

  const recorded = el("div");
  const drawRecordings = async () => {
    const { recorded: isOn, recordings, more } = await get("recordings");
    const save = (r, title, what, extension) => button(title,
      () => download(`recordings/${part(r.name)}/${what}`, `${r.name.replace(/\.[^.]*$/, "")}.${extension}`), "plain", r.name);
    redraw(recorded, !isOn ? null : el("details", { class: "card" },
      el("summary", {}, `Recordings (${recordings.length}${more ? " newest" : ""})`),
      table("Recordings", [
        { title: "Name", mono: true, cell: (r) => r.name },
        { title: "Session", mono: true, cell: (r) => (known.has(r.session) ? link(r.session, r.session) : r.session) },
        { title: "Size", num: true, cell: (r) => bytes(r.size) },
        { title: "Written", num: true, cell: (r) => (r.open ? "is being written" : `${age(r.changed)} ago`) },
        { title: "Actions", cell: (r) => (isReader() ? "" : el("div", { class: "row" },
          save(r, "Picture (.png)", "picture", "png"), save(r, "Picture (.ora)", "picture?format=ora", "ora"),
          save(r, "Time-lapse (.apng)", "timelapse", "apng"))) },
      ], recordings, "There are no recordings.", (r) => r.name)));
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
        field("picture", "Picture to begin with", { kind: "file", accept: ".png,.ora", help: "PNG, or OpenRaster with its layers; choose one or drop it here. Width, height and layers are then those of the picture" }),
        field("width", "Width in pixels", { kind: "number", min: 1, value: 2000 }),
        field("height", "Height in pixels", { kind: "number", min: 1, value: 2000 }),
        field("background", "Background", { kind: "color", value: "#ffffff" }),
        field("layers", "Layers", { kind: "number", min: 1, max: 100, value: 1 }),
        field("persistent", "Persistent: stays when everybody has left", { kind: "check", value: true }),
        field("authOnly", "Only accounts may join", { kind: "check" }),
        field("nsfm", "18+", { kind: "check" }),
        field("unlisted", "Unlisted", { kind: "check" }),
        field("deputies", "Trusted users may kick", { kind: "check" }),
        field("preserveChat", "Keep chat in the history", { kind: "check" }))),
  ], "Create session", async (element) => {
    const wanted = values(element);
    delete wanted.picture;
    const [picture] = element.elements.picture.files;
    if (picture) ["width", "height", "layers"].forEach((key) => delete wanted[key]);
    const made = picture ? await upload("sessions", wanted, picture) : await post("sessions", wanted);
    say("Session created.");
    location.hash = `#/sessions/${part(made.id)}`;
  });

  fill(content,
    el("h1", {}, "Sessions"),
    _locked ? el("p", { class: "warning" }, "Sessions are locked against changes.") : null,
    el("div", { class: "row top" }, search("Search title, alias, id, founder", (text) => { wanted = text; draw(); })),
    list,
    locked ? null : el("details", { class: "card" }, el("summary", {}, "New session"), making),
    ended, recorded);
  draw();
  await Promise.all([drawEnded(), drawRecordings()]);
  follow(signal, ["sessions"], {
    session: (s) => { known.set(s.id ?? s.alias, s); draw(); },
    "session-end": async ({ id }) => { known.delete(id); draw(); await drawEnded(); },
  });
}
