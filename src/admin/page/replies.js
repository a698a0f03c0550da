// Saved replies: texts that moderators write again and again. Own ones are kept in this browser.

import { el } from "./dom.js";

const STORED = "drawhall-replies";
const GIVEN = ["Please do not draw over others.", "The host can undo that.", "Please keep the chat friendly."];

export function replies() {
  try {
    const own = JSON.parse(localStorage.getItem(STORED));
    return Array.isArray(own) ? own.filter((text) => typeof text === "string") : GIVEN;
  } catch {
    return GIVEN;
  }
}

export const setReplies = (texts) => localStorage.setItem(STORED, JSON.stringify(texts));

/** Buttons that put a saved reply into the field of this name, in the form that they are in. */
export function replyChips(name) {
  return el("div", { class: "chips", role: "group", "aria-label": "Saved replies" }, replies().map((text) =>
    el("button", { type: "button", class: "plain chip", onclick: (event) => {
      const input = event.currentTarget.closest("form").elements[name];
      input.value = text;
      input.dispatchEvent(new Event("input", { bubbles: true }));
    } }, text)));
}
