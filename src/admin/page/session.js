// One session: its picture, its people, its chat; the rest is closed at first.

import { el, fill, button, say, bytes, time, age } from "./dom.js";
import { redraw } from "./redraw.js";
import { download, get, getIfThere, post, put, remove, part } from "./api.js";
import { isReader } from "./rights.js";
import { follow, every } from "./live.js";
import { watchOnline } from "./live-users.js";
import { end } from "./sessions.js";
import { drawGenerations, drawUndo } from "./undo.js";
import { drawTimes } from "./times.js";
import { chat, writeTo } from "./session-chat.js";
import { closeForATime, restrictionsOf } from "./restrictions.js";
import { membersOf } from "./session-people.js";
import { invitesAndListings, settingsForms } from "./session-settings.js";
import { pictureOf } from "./picture.js";

export async function session(content, signal, name) {
  const path = `sessions/${part(name)}`;
  let now = await get(path);
  const locked = now._locked || isReader();
  const title = () => now.title || now.alias || "Untitled";
  const heading = el("h1", {}, title());
  const [alerts, picture, facts, people, restricted, undoing, times, earlier] = Array.from({ length: 8 }, () => el("div"));

  const space = el("div");
  const reload = async () => {
    now = await get(path);
    drawAll();
  };
  const others = invitesAndListings(path, locked, reload);
  const members = membersOf(path, reload);

  function drawHead() {
    if (heading.textContent !== title()) fill(heading, title());
    redraw(alerts,
      now._locked ? el("p", { class: "warning" }, "Sessions are locked against changes.") : null,
      now.storageError ? el("p", { class: "warning", role: "alert" }, `It cannot be stored: ${now.storageError}`) : null);
    const fact = (what, value) => [el("dt", { class: "soft" }, what), el("dd", {}, value)];
    redraw(facts, el("dl", {},
      fact("Id", el("span", { class: "mono" }, now.id)), fact("Alias", now.alias || "none"), fact("Founder", now.founder || "nobody"),
      fact("Begun", el("span", {}, time(now.startTime), ` (${age(now.startTime)} ago)`)),
      fact("People", `${now.userCount} of ${now.maxUserCount}`), fact("Protocol", now.protocol),
      fact("Size", `${bytes(now.size)} of ${now.maxSize ? bytes(now.maxSize) : "any size"}, autoreset at ${now.effectiveResetThreshold ? bytes(now.effectiveResetThreshold) : "no size"}`),
      fact("Autoreset", `${now.autoreset.requestStatus}, session ${now.autoreset.sessionState}`)));
  }

  async function drawPicture() {
    const thumbnail = await getIfThere(`${path}/thumbnail`);
    const able = now.users.find((u) => u.online && u.capabilities?.thumbnail);
    const isAsked = Boolean(now.thumbnail.generatorCorrelator);
    const ask = async () => {
      await post(`${path}/${able.id}/thumbnail`, { maxWidth: 640, maxHeight: 480, format: "jpeg", quality: 80, reason: "An administrator wants to see the canvas." });
      say(`Asked the program of ${able.name} for a picture.`);
      await reload();
    };
    const throwAway = async () => {
      await remove(`${path}/thumbnail`);
      say("The picture is deleted.");
      await reload();
    };
    redraw(picture,
      thumbnail ? el("figure", {}, el("img", { class: "thumb", alt: `The canvas of ${title()}`, src: pictureOf(thumbnail) }),
        el("figcaption", { class: "soft" }, `${age(thumbnail.at)} old`)) : null,
      !thumbnail && !able ? el("p", { class: "soft" }, "No picture: nobody's program there can make one.") : null,
      isAsked ? el("p", { role: "status" }, "A picture is being made.") : null,
      locked ? null : el("div", { class: "row" },
        able ? button(thumbnail ? "New picture" : "Get a picture", ask, "plain") : null,
        thumbnail ? button("Delete the picture", throwAway, "plain") : null));
  }

  async function drawRestrictions() {
    const [{ size, limit, secondsLeft, shares }, drawn] = await Promise.all([get(`${path}/space`), restrictionsOf(path, locked, reload)]);
    redraw(restricted, drawn);
    redraw(space, el("p", {}, `${bytes(size)} of ${limit ? bytes(limit) : "any size"}${secondsLeft === null ? "" : `, full in about ${Math.max(1, Math.round(secondsLeft / 60))} minutes at this rate`}`),
      el("ul", { class: "plain" }, shares.slice(0, 10).map((share) => el("li", {}, `${share.name || `user ${share.id}`}: ${bytes(share.bytes)}`))));
  }

  // One after the other: a session reads one history at a time. What changes meanwhile is drawn afterwards.
  let isReading = false;
  let isOld = false;
  async function drawHistories() {
    isOld = true;
    if (isReading) return;
    isReading = true;
    try {
      while (isOld && !signal.aborted) {
        isOld = false;
        await drawUndo(undoing, path, locked, reload).catch(() => {});
        await drawTimes(times, path, locked, reload).catch(() => {});
        await drawGenerations(earlier, path, locked, reload).catch(() => {});
      }
    } finally {
      isReading = false;
    }
  }

  function drawAll() {
    drawHead();
    redraw(people, members(now, locked));
    others.draw(now);
    return Promise.all([drawPicture(), drawRestrictions(), drawHistories()].map((drawn) => drawn.catch(() => {})));
  }

  const { conf, secrets } = settingsForms(path, now, (fresh) => {
    now = fresh;
    drawAll();
  });
  const close = button("Close to newcomers", async () => {
    await closeForATime(path, title());
    await reload();
  }, "plain");

  const section = (what, ...children) => el("section", { class: "card" }, el("h2", {}, what), ...children);
  const closed = (what, ...children) => el("details", { class: "card" }, el("summary", {}, what), ...children);
  fill(content, heading, alerts, picture,
    section("People", restricted, people),
    section("Chat", chat(now.id, path, signal, locked), locked ? null : writeTo(path, title())),
    el("div", { class: "row" }, el("a", { class: "button", href: `#/history/${part(now.id)}` }, "History of this session"), locked ? null : close),
    section("Undo", undoing),
    section("Back to a time", times),
    section("Before resets", earlier),
    locked ? null : closed("Settings of the session", conf),
    locked ? null : closed("Passwords", secrets),
    closed("Invites", ...others.invites),
    closed("List servers", ...others.listings),
    closed("Space", space),
    closed("Facts", facts, el("p", {}, el("a", { href: `api/${path}/recording`, download: `${now.id}.dprec` }, "Download the drawing (.dprec)")),
      isReader() ? null : el("div", { class: "row" }, ...["png", "ora"].map((form) => button(`Picture of the canvas (.${form})`, () => download(`${path}/picture?format=${form}`, `${now.id}.${form}`), "plain")),
        ...["apng", "webm", "mp4"].map((form) => button(`Time-lapse (.${form})`, () => download(`${path}/timelapse?format=${form}`, `${now.id}.${form}`), "plain")))),
    locked ? null : el("p", { class: "end" }, button("End session", async () => { if (await end(now)) location.hash = "#/sessions"; }, "danger")));
  await watchOnline(signal, () => {});
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
