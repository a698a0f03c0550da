// One session, with everything in it.

import { el, fill, button, field, form, values, table, tag, say, bytes, time, age, activity, ask } from "./dom.js";
import { get, getIfThere, post, put, remove, part } from "./api.js";
import { follow, every } from "./live.js";
import { end } from "./sessions.js";
import { banAddress } from "./bans.js";
import { drawGenerations, drawUndo, offerUndo } from "./undo.js";
import { drawTimes } from "./times.js";

const DEFAULT_ARCHIVE = "default";

/** What can be changed, as `sessionconf` names it. */
const CHECKS = [
  ["persistent", "Persistent: stays when everybody has left"], ["closed", "Nobody else may join"], ["authOnly", "Only accounts may join"],
  ["nsfm", "Not safe for minors"], ["unlisted", "Unlisted"], ["invites", "Operators may make invites"],
  ["deputies", "Trusted users may kick"], ["idleOverride", "No idle limit"], ["allowWeb", "Browsers may join"],
];

export async function session(content, signal, name) {
  const path = `sessions/${part(name)}`;
  let now = await get(path);
  const locked = now._locked;
  const head = el("div");
  const facts = el("div", { class: "card" });
  const people = el("div");
  const undoing = el("div");
  const [times, earlier] = [el("div"), el("div")];
  const picture = el("div");
  const invites = el("div");
  const listings = el("div");

  const reload = async () => {
    now = await get(path);
    drawAll();
  };

  const act = (text, what, kind = "plain") => button(text, async () => { await what(); await reload(); }, kind);

  function drawHead() {
    fill(head,
      el("p", {}, el("a", { href: "#/sessions" }, "All sessions")),
      el("div", { class: "row top" }, el("h1", {}, now.title || now.alias || now.id),
        locked ? null : button("End session", async () => { if (await end(now)) location.hash = "#/sessions"; }, "danger")),
      locked ? el("p", { class: "warning" }, "Sessions are locked against changes.") : null,
      now.storageError ? el("p", { class: "warning", role: "alert" }, `It cannot be stored: ${now.storageError}`) : null);
    const fact = (title, value) => [el("dt", { class: "soft" }, title), el("dd", {}, value)];
    fill(facts, el("dl", {},
      fact("Id", el("span", { class: "mono" }, now.id)), fact("Alias", now.alias || "none"), fact("Founder", now.founder || "nobody"),
      fact("Begun", el("span", {}, time(now.startTime), ` (${age(now.startTime)} ago)`)),
      fact("Users", `${now.userCount} of ${now.maxUserCount}`), fact("Protocol", now.protocol),
      fact("Size", `${bytes(now.size)} of ${now.maxSize ? bytes(now.maxSize) : "any size"}, autoreset at ${now.effectiveResetThreshold ? bytes(now.effectiveResetThreshold) : "no size"}`),
      fact("Autoreset", `${now.autoreset.requestStatus}, session ${now.autoreset.sessionState}`)));
  }

  function drawPeople() {
    const online = now.users.filter((u) => u.online);
    const gone = now.users.filter((u) => !u.online);
    fill(people,
      table("Users", [
        { title: "Id", num: true, cell: (u) => String(u.id) },
        { title: "Name", cell: (u) => u.name },
        { title: "Address", mono: true, cell: (u) => u.ip },
        { title: "Flags", cell: (u) => el("span", {}, [u.op && "operator", u.trusted && "trusted", u.mod && "moderator", u.auth && "account",
          u.muted && "muted", u.browser && "browser", u.tls && "encrypted"].filter(Boolean).map(tag)) },
        { title: "Active", cell: (u) => activity(u.lastActive) },
        { title: "Actions", cell: (u) => (locked ? "" : el("div", { class: "row" },
          act(u.op ? "Deop" : "Op", () => put(`${path}/${u.id}`, { op: !u.op })),
          act(u.trusted ? "Untrust" : "Trust", () => put(`${path}/${u.id}`, { trusted: !u.trusted })),
          button("Message", async () => {
            const answer = await ask(`Message to ${u.name}`, "Only this user sees it.", {
              action: "Send", fields: [field("message", "Message", { required: true }), field("alert", "Show as alert", { kind: "check" })] });
            if (answer) await put(`${path}/${u.id}`, answer.alert ? { alert: answer.message } : { message: answer.message });
          }, "plain"),
          act("Kick", async () => {
            const answer = await ask(`Kick ${u.name}?`, "The user is disconnected and may come back unless banned.", {
              action: "Kick", danger: true, fields: [field("message", "Message (100 bytes at most)")] });
            if (!answer) return;
            await remove(`${path}/${u.id}`, { message: answer.message ?? "" });
            await offerUndo(path, u.id);
          }, "danger"),
          act("Ban", async () => { if (await banAddress(u.ip, `${u.name} in ${now.title || now.id}`)) await offerUndo(path, u.id); }, "danger"))) },
      ], online, "Nobody is in the session."),
      gone.length ? el("details", {}, el("summary", {}, `${gone.length} have left`), table("Users who have left", [
        { title: "Id", num: true, cell: (u) => String(u.id) }, { title: "Name", cell: (u) => u.name },
        { title: "Address", mono: true, cell: (u) => u.ip }, { title: "System id", mono: true, cell: (u) => u.s },
      ], gone)) : null);
  }

  async function drawPicture() {
    const thumbnail = await getIfThere(`${path}/thumbnail`);
    const able = now.users.filter((u) => u.online && u.capabilities?.thumbnail);
    fill(picture,
      thumbnail
        ? [el("img", { class: "thumb", alt: `The canvas of ${now.title || now.id}`, src: `data:${kindOf(thumbnail.data)};base64,${thumbnail.data}` }),
          el("p", { class: "soft" }, "Made ", time(thumbnail.at))]
        : el("p", { class: "soft" }, "There is no picture yet."),
      now.thumbnail.generatorCorrelator ? el("p", { role: "status" }, "A client is making one.") : null,
      locked ? null : el("div", { class: "row" },
        able.length ? button(`Request thumbnail from ${able[0].name}`, async () => {
          await post(`${path}/${able[0].id}/thumbnail`, { maxWidth: 640, maxHeight: 480, format: "jpeg", quality: 80, reason: "An administrator wants to see the canvas." });
          say("Thumbnail requested.");
          await reload();
        }, "plain") : el("p", { class: "soft" }, "No client in the session can make one."),
        el("a", { href: `api/${path}/recording`, download: `${now.id}.dprec` }, "Download the drawing (.dprec)"),
        thumbnail ? act("Throw it away", () => remove(`${path}/thumbnail`), "danger") : null));
  }

  function drawInvites() {
    fill(invites, table("Invites", [
      { title: "Secret", mono: true, cell: (i) => i.secret },
      { title: "Created", cell: (i) => time(i.at) },
      { title: "By", cell: (i) => i.creator || "administrator" },
      { title: "Used", num: true, cell: (i) => `${i.uses.length} of ${i.maxUses}` },
      { title: "Grants", cell: (i) => el("span", {}, [i.op && "operator", i.trust && "trusted"].filter(Boolean).map(tag)) },
      { title: "Actions", cell: (i) => (locked ? "" : act("Remove", () => remove(`${path}/invites/${part(i.secret)}`), "danger")) },
    ], now.invitelist, "There are no invites."));
  }

  function drawListings() {
    fill(listings, table("List servers", [
      { title: "List server", mono: true, cell: (l) => l.url },
      { title: "Actions", cell: (l) => (locked ? "" : act("Unlist", () => remove(`${path}/listing/${l.id}`), "danger")) },
    ], now.listings, "It is announced nowhere."));
  }

  // One after the other: a session reads one history at a time.
  async function drawHistories() {
    await drawUndo(undoing, path, locked, reload).catch(() => {});
    await drawTimes(times, path, locked, reload).catch(() => {});
    await drawGenerations(earlier, path, locked, reload);
  }

  function drawAll() {
    drawHead();
    drawPeople();
    drawInvites();
    drawListings();
    return Promise.all([drawPicture(), drawHistories()].map((drawn) => drawn.catch(() => {})));
  }

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
    const changed = Object.entries(given).filter(([key, value]) => value !== now[key]);
    now = await put(path, Object.fromEntries(changed));
    say(changed.length ? "Saved." : "Nothing was changed.");
    drawAll();
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
    now = await put(path, change);
    element.reset();
    say("Changed.");
    drawAll();
  });
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
  const telling = form([field("text", "Message to everybody in the session", { required: true }), field("box", "Show as alert", { kind: "check" })], "Send",
    async (element) => {
      const { text, box } = values(element);
      await put(path, box ? { alert: text } : { message: text });
      element.reset();
      say("Sent.");
    });

  const section = (title, ...children) => el("section", { class: "card" }, el("h2", {}, title), ...children);
  fill(content, head,
    el("div", { class: "columns" }, el("div", {}, el("h2", {}, "About"), facts), section("Thumbnail", picture)),
    section("Users", people),
    section("Undo", undoing),
    section("Back to a time", times),
    section("Before resets", earlier),
    section("Chat", chat(path, signal, locked), locked ? null : telling),
    locked ? null : section("Settings of the session", conf),
    locked ? null : section("Passwords", secrets),
    el("div", { class: "columns" },
      section("Invites", invites, locked ? null : inviting),
      section("List servers", listings, locked ? null : announcing)));
  await drawAll();

  // People who come and go, pictures that are made: look when something is logged about the session, and now and then.
  const id = now.id;
  let due = null;
  follow(signal, ["log"], { open: () => reload().catch(() => {}), log: (line) => {
    if (line.session === id && line.topic !== "AdminChat" && due === null) {
      due = setTimeout(() => {
        due = null;
        if (!signal.aborted) reload().catch((error) => { if (error.status === 404) fill(content, el("h1", {}, "The session has ended"), el("p", {}, el("a", { href: "#/sessions" }, "All sessions"))); });
      }, 300);
    }
  } });
  every(signal, 10000, reload);
}

const kindOf = (data) => (data.startsWith("/9j/") ? "image/jpeg" : data.startsWith("UklGR") ? "image/webp" : "image/png");

/** The chat of the session, once the administrator has joined it. */
function chat(path, signal, locked) {
  const lines = el("div", { class: "chat", role: "log", "aria-label": "Chat", tabindex: "0" });
  const box = el("div");
  let offset = 0;
  let joined = false;

  const take = ({ offset: first, messages }) => {
    for (const m of messages) {
      lines.append(el("p", {}, el("b", {}, m.n ?? "Administrator"), `: ${m.m}`));
    }
    offset = first + messages.length;
    if (messages.length) lines.scrollTop = lines.scrollHeight;
  };
  const look = async () => {
    if (!joined) return;
    const answer = await getIfThere(`${path}/chat`, { offset });
    if (answer) take(answer);
    else draw(false);
  };
  function draw(isJoined) {
    joined = isJoined;
    if (locked) {
      fill(box, el("p", { class: "soft" }, "Chat is locked."));
    } else if (!joined) {
      fill(box, el("p", { class: "soft" }, "Join to read and write. What you write is shown in a box, from the administrator."),
        button("Join the chat", async () => {
          const present = await getIfThere(`${path}/chat`, { offset: 0 });
          fill(lines);
          take(present ?? (await post(`${path}/chat`, { timeout: 900000 })));
          draw(true);
        }, "plain"));
    } else {
      const say = form([field("message", "Say", { required: true })], "Send", async (element) => {
        take(await put(`${path}/chat`, { message: element.message.value, offset }));
        element.reset();
      });
      fill(box, lines, say, button("Leave the chat", async () => { await remove(`${path}/chat`); draw(false); }, "plain"));
    }
  }
  draw(false);
  follow(signal, ["log"], { log: (line) => { if (line.topic === "AdminChat") look().catch(() => {}); } });
  every(signal, 15000, look);
  return box;
}
