// Checks: what is wrong with configuration, files and surroundings of the running server.

import { el, fill, button } from "./dom.js";
import { get } from "./api.js";

const TITLES = { error: "Error", warning: "Warning" };

export async function checks(content) {
  const { checks: done, findings } = await get("checks");
  const cards = findings.map(({ id, level, text, remedy }) =>
    el("section", { class: "card" },
      el("h2", {}, TITLES[level] ?? level),
      el("p", { class: level === "error" ? "error" : "warning" }, text),
      el("p", {}, remedy),
      el("p", { class: "soft" }, id)));
  fill(content, el("h1", {}, "Checks"),
    el("p", { role: "status" }, findings.length
      ? `${findings.length} findings in ${done.length} checks.`
      : `No findings in ${done.length} checks.`),
    cards,
    el("p", { class: "soft" }, `Checked: ${done.join(", ")}. At a terminal, drawhall doctor does the same.`),
    button("Check again", () => checks(content)));
}
