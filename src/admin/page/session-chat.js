// The chat of a session as the server has kept it, and writing to everybody in it.

import { el, field, fill, form, say, values } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, put } from "./api.js";
import { every } from "./live.js";
import { liveChat } from "./live-chat.js";
import { replyChips } from "./replies.js";

const EVERY = 5000;
/** Lines that are shown. */
const MOST_LINES = 200;

/** The form that writes to everybody in a session. */
export function writeTo(path, title) {
  return form([field("text", `Write to ${title}`, { required: true }), replyChips("text"),
    field("box", "As a pop-up they must close", { kind: "check" })], "Send", async (element) => {
    const { text, box } = values(element);
    await put(path, box ? { alert: text } : { message: text });
    element.reset();
    say(`Sent to ${title}.`);
  }, { about: `to ${title}` });
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

/** The newest lines of chat in a session before a time (ISO 8601), oldest first. */
export async function chatBefore(session, from, to, newest) {
  const { events } = await get("timeline", { session, topic: "Chat", from, to, newest });
  return events;
}

/** A line of chat, with its time; `number` tells it from others of the same time. */
export const chatLine = (event, number) => el("p", { "data-key": `${event.at} ${event.number ?? number}` }, el("time", { class: "soft", datetime: event.timestamp }, clock(event.at)), " ",
  el("b", {}, event.name ?? "Administrator"), `: ${event.text}`);

/**
 * Reads the chat of a session: the newest lines first, later only those that were written since. `read()` resolves to
 * {kept, full, lines}, or to null when there is nothing new; one that is called while another runs waits for that one.
 */
function chatReader(session) {
  let after = "";
  let lines = [];
  let count = 0;
  let wasFull = null;
  let running = null;
  const same = (a, b) => a.at === b.at && a.sid === b.sid && a.name === b.name && a.text === b.text;
  async function next() {
    const { keepSeconds, events, next: end, full } = await get("timeline", { session, topic: "Chat", ...(after ? { after } : { newest: MOST_LINES }) });
    // Lines with the time of the last one may come twice.
    const last = lines.at(-1)?.at;
    const known = lines.filter((line) => line.at === last);
    const fresh = events.filter((event) => event.at !== last || !known.some((line) => same(line, event)))
      .map((event) => ({ ...event, number: (count += 1) }));
    const isNew = fresh.length > 0 || after === "" || full !== wasFull;
    [after, wasFull] = [end || after, full];
    lines = [...lines, ...fresh].slice(-MOST_LINES);
    return isNew ? { kept: keepSeconds > 0, full: full === true, lines } : null;
  }
  return () => {
    running ??= next().finally(() => { running = null; });
    return running;
  };
}

/** The chat that is kept, and what is said as it comes. Where chat is not kept, or not all of it, one can join it. */
export function chat(session, path, signal, locked) {
  const lines = el("div", { class: "chat", role: "log", "aria-label": "Chat", tabindex: "0" });
  const live = el("div");
  const missing = el("div");
  const box = el("div", {}, missing, lines, live);
  const read = chatReader(session);
  let isKept = true;
  const offerLive = () => {
    if (!live.firstChild) fill(live, liveChat(path, signal, locked));
  };
  const look = async () => {
    if (!isKept) return;
    const answer = await read();
    if (signal.aborted || !answer) return;
    isKept = answer.kept;
    if (!isKept) {
      lines.remove();
      offerLive();
      return;
    }
    if (answer.full) offerLive();
    redraw(missing, answer.full ? el("p", { class: "warning" }, "Too much was written here in this hour: some of the chat is not kept. Join the chat to see all of it.") : null);
    const wasAtEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
    redraw(lines, answer.lines.length ? answer.lines.map(chatLine) : el("p", { class: "soft" }, "Nothing was said that is kept."));
    if (wasAtEnd) lines.scrollTop = lines.scrollHeight;
  };
  look().catch(() => {});
  every(signal, EVERY, look);
  return box;
}
