// Settings, by group, validated while typing.

import { el, fill, button, say, guard, search, tag } from "./dom.js";
import { get, post, put } from "./api.js";

/** Screens that are reached from here. */
const BELOW = [["extbans", "External bans"], ["lists", "List servers"], ["locks", "Locks"], ["checks", "Checks"], ["docs", "API"]];

const UNITS = {
  bytes: [["gb", 1024 ** 3], ["mb", 1024 ** 2], ["kb", 1024]],
  seconds: [["d", 86400], ["h", 3600], ["m", 60]],
};

/** A size or time in the largest unit that it is a whole number of. */
function readable({ unit, value }) {
  const number = Number(value);
  const fitting = (UNITS[unit] ?? []).find(([, worth]) => number >= worth && number % worth === 0);
  return fitting ? `${number / fitting[1]}${fitting[0]}` : value;
}

export async function settings(content) {
  const { settings: all, _locked: locked } = await get("settings", { v: 2 });
  const shown = all.filter((s) => s.shown).map((s) => ({ ...s, value: readable(s) }));
  const changed = new Map();
  const fields = [];
  const count = el("p", { role: "status" });
  const save = el("button", { type: "submit", disabled: true }, "Save");
  const discard = button("Discard changes", () => settings(content), "plain");
  const problems = new Map();
  let turn = 0;

  const update = () => {
    const bad = [...problems.keys()].length;
    fill(count, changed.size ? `${changed.size} changed${bad ? `, ${bad} invalid` : ""}` : "No changes.");
    save.disabled = changed.size === 0 || bad > 0;
    discard.disabled = changed.size === 0;
    for (const { setting, row, error, input } of fields) {
      const problem = problems.get(setting.key);
      row.classList.toggle("changed", changed.has(setting.key));
      input.setAttribute("aria-invalid", problem ? "true" : "false");
      fill(error, problem ?? "");
    }
  };
  const check = async () => {
    const mine = (turn += 1);
    const { errors } = await post("settings", Object.fromEntries(changed));
    if (mine !== turn) return;
    problems.clear();
    for (const [key, text] of Object.entries(errors)) problems.set(key, text.replace(`${key}: `, ""));
    update();
  };
  const edited = (setting, text) => {
    if (text === setting.value) changed.delete(setting.key);
    else changed.set(setting.key, text);
    update();
    check().catch((error) => say(error.message, true));
  };

  const toDefault = async (setting) => {
    await put("server", { [setting.key]: null });
    await settings(content);
    say(`${setting.key} is at its default.`);
  };

  const row = (setting) => {
    const id = `setting-${setting.key}`;
    const about = { id, "aria-describedby": `${id}-help ${id}-error`, disabled: locked };
    let input;
    if (setting.kind === "bool") {
      input = el("input", { ...about, type: "checkbox", checked: setting.value === "true", onchange: (e) => edited(setting, String(e.target.checked)) });
    } else if (["ruleText", "welcomeMessage"].includes(setting.key)) {
      input = el("textarea", { ...about, value: setting.value, oninput: (e) => edited(setting, e.target.value) });
    } else {
      input = el("input", { ...about, type: "text", autocomplete: "off", value: setting.value, oninput: (e) => edited(setting, e.target.value) });
    }
    const reset = setting.changed && !locked
      ? button("Back to default", () => toDefault(setting), "plain", `of ${setting.key}`)
      : null;
    const error = el("p", { class: "error", id: `${id}-error` });
    const facts = [setting.unit && `In ${setting.unit} without a unit.`, setting.kind !== "bool" && setting.range && `Range: ${setting.range}.`,
      `Default: ${setting.default || "empty"}.`].filter(Boolean).join(" ");
    const element = el("div", { class: "field" },
      el("div", {}, el("label", { for: id }, setting.key),
        setting.changed ? tag("changed") : null, el("p", { class: "help", id: `${id}-help` }, `${setting.help} ${facts}`)),
      el("div", {}, input, reset, error));
    fields.push({ setting, row: element, error, input });
    return element;
  };

  const groups = [...new Set(shown.map((s) => s.group))].map((group) => {
    const rows = shown.filter((s) => s.group === group).map(row);
    return el("section", { class: "card settings" }, el("h2", {}, group), rows);
  });
  const find = search("Search settings", (text) => {
    for (const { setting, row: element } of fields) {
      element.hidden = !`${setting.key} ${setting.help}`.toLowerCase().includes(text);
    }
    for (const group of groups) group.hidden = ![...group.querySelectorAll(".field")].some((f) => !f.hidden);
  });
  const page = el("form", { onsubmit: (event) => {
    event.preventDefault();
    guard(async () => {
      const answer = await put("server", Object.fromEntries(changed));
      const wrong = Object.entries(answer._errors ?? {});
      if (wrong.length) throw new Error(wrong.map(([, text]) => text).join("; "));
      say("Saved. The changes are in force.");
      await settings(content);
    }, save);
  } }, groups, locked ? null : el("div", { class: "sticky row top" }, count, el("div", { class: "row" },
    discard, save)));
  fill(content, el("h1", {}, "Settings"), locked ? el("p", { class: "warning" }, "Settings are locked against changes.") : null,
    el("ul", { class: "chips plain" }, BELOW.map(([path, title]) => el("li", {}, el("a", { class: "button", href: `#/${path}` }, title)))),
    el("div", { class: "row top" }, find), page);
  update();
}
