// Sheets over the screen, and questions. The browser's Back closes the one on top and leaves the screen as it is.

import { el, values } from "./dom.js";

/** Sheets that are open, the top one last. */
const open = [];
let count = 0;

const depth = () => history.state?.sheet ?? 0;

addEventListener("popstate", () => {
  for (const sheet of [...open].reverse()) if (sheet.number > depth()) sheet.dialog.close();
});

/** Messages are shown over the sheet on top: all below it can neither be seen well nor pressed. */
function placeMessages() {
  const said = document.getElementById("said");
  if (said) (open.at(-1)?.dialog ?? document.body).append(said);
}

function goBack() {
  return new Promise((resolve) => {
    addEventListener("popstate", resolve, { once: true });
    history.back();
  });
}

/**
 * Opens a sheet with a title. `content(close)` makes what is in it. `closed` resolves when it is closed and the browser's
 * history is as before.
 */
export function openSheet(title, content, { kind = "" } = {}) {
  const id = `sheet-${(count += 1)}`;
  const heading = el("h2", { id }, title);
  const dialog = el("dialog", { class: kind, "aria-labelledby": id });
  const close = () => dialog.close();
  dialog.append(heading, ...[content(close)].flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false));
  const sheet = { dialog, number: depth() + 1 };
  history.pushState({ sheet: sheet.number }, "");
  open.push(sheet);
  document.body.append(dialog);
  dialog.showModal();
  placeMessages();
  const closed = new Promise((resolve) => {
    dialog.addEventListener("close", async () => {
      open.splice(open.indexOf(sheet), 1);
      placeMessages();
      dialog.remove();
      if (depth() === sheet.number) await goBack();
      resolve();
    });
  });
  return { dialog, heading, close, closed };
}

/** Closes all sheets, and resolves when that is done. */
export async function closeSheets() {
  while (open.length) {
    const { dialog } = open.at(-1);
    const gone = new Promise((resolve) => { dialog.addEventListener("close", resolve); });
    dialog.close();
    await gone;
    while (depth() > open.length) await goBack();
  }
}

/** Asks whether something is meant, saying what will happen; with fields, answers with what they hold. */
export async function ask(title, text, { action = "OK", danger = false, fields: inner = [], keep = [] } = {}) {
  let answer = null;
  const sheet = openSheet(title, (close) => {
    const form = el("form", { onsubmit: (event) => {
      event.preventDefault();
      answer = values(form, keep);
      close();
    } },
    [text].flat().filter(Boolean).map((line) => (typeof line === "string" ? el("p", {}, line) : line)),
    inner,
    el("div", { class: "row" },
      el("button", { type: "button", class: "plain", onclick: close }, "Cancel"),
      el("button", { type: "submit", class: danger ? "danger" : "" }, action)));
    return form;
  });
  await sheet.closed;
  return answer;
}
