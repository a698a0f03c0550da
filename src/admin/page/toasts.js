// What was done, or went wrong: a line that stays for ten seconds, and the list of the last ones.

import { el, fill, button, time } from "./dom.js";
import { openSheet } from "./sheets.js";

const SHOWN_FOR = 10000;
/** Whoever may want to take something back has longer. */
const SHOWN_WITH_UNDO = 30000;
/** More would hide what they are about. */
const MOST_SHOWN = 2;
const MOST_KEPT = 50;

const kept = [];

/** Tells something that passes. `undo` takes back what was done; the button for it stays for half a minute. */
export function say(text, isError = false, undo = null) {
  const said = isError ? `Not done: ${text}` : text;
  kept.unshift({ said, isError, at: new Date().toISOString() });
  kept.length = Math.min(kept.length, MOST_KEPT);
  // A tap takes it away: it may lie over what one wants to read.
  const line = el("p", { class: isError ? "is-error" : "", onclick: () => line.remove() }, said);
  if (undo) {
    line.append(" ", button("Undo", async () => {
      line.remove();
      await undo();
    }, "plain"));
  }
  const list = document.getElementById("said");
  list.append(line);
  while (list.children.length > MOST_SHOWN) list.firstChild.remove();
  setTimeout(() => line.remove(), undo ? SHOWN_WITH_UNDO : SHOWN_FOR);
}

/** The last messages, newest first. */
export function showMessages() {
  const lines = kept.map(({ said, isError, at }) => el("li", { class: isError ? "bad" : "" }, time(at), " ", said));
  return openSheet("Messages", (close) => [
    lines.length ? el("ul", { class: "plain spaced" }, lines) : el("p", { class: "soft" }, "Nothing was done yet."),
    el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Close")),
  ]).closed;
}

/** Forgets all, when somebody else may log in. */
export function forgetMessages() {
  kept.length = 0;
  const list = document.getElementById("said");
  if (list) fill(list);
}
