// Elements, forms and tables.

import { listen } from "./redraw.js";
import { say } from "./toasts.js";

export { ask } from "./sheets.js";
export { say } from "./toasts.js";

/**
 * Makes an element. Attributes that begin with `on` are listeners; what is null or false is left out. Children that are
 * texts become text nodes, whatever people have typed.
 */
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) listen(element, key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key === "value" || key === "checked") {
      element[key] = value;
      element.given = { ...element.given, [key]: value };
    } else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts children in place of what an element has, unless that would be the same. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button. `about` completes its name for those who do not see what it stands beside: "Kick" about "PixelKing". */
export function button(text, act, kind = "", about = "") {
  const more = about ? el("span", { class: "hidden-text" }, ` ${about}`) : null;
  return el("button", { type: "button", class: kind, onclick: (event) => guard(act, event.currentTarget) }, text, more);
}

/** Does something once at a time, and says what went wrong. */
export async function guard(act, element) {
  const focused = element !== undefined && element === document.activeElement;
  if (element) {
    element.disabled = true;
    element.isBusy = true;
  }
  try {
    await act();
  } catch (error) {
    say(error.message, true);
  } finally {
    if (element) {
      element.disabled = false;
      element.isBusy = false;
      // Disabling took the focus away.
      if (focused && document.activeElement === document.body) element.focus();
    }
  }
}

let fields = 0;

/** An input with its label. Kinds: text, password, number, check, area, select. */
export function field(name, label, options = {}) {
  const id = `field-${(fields += 1)}`;
  const help = options.help ? el("p", { class: "help", id: `${id}-help` }, options.help) : null;
  const shared = { id, name, "aria-describedby": help ? `${id}-help` : null, required: options.required };
  if (options.kind === "check") {
    const input = el("input", { ...shared, type: "checkbox", checked: options.value === true });
    return el("div", { class: "field" }, el("label", { class: "inline", for: id }, input, label), help);
  }
  let input;
  if (options.kind === "area") {
    input = el("textarea", { ...shared, value: options.value ?? "" });
  } else if (options.kind === "select") {
    input = el("select", shared, options.choices.map(([value, text]) => el("option", { value }, text)));
    input.value = options.value ?? options.choices[0][0];
    input.given = { value: input.value };
  } else {
    const type = options.kind ?? "text";
    const autocomplete = options.autocomplete ?? (type === "password" ? "new-password" : "off");
    input = el("input", {
      ...shared, type, autocomplete, value: options.value ?? "", min: options.min, max: options.max, placeholder: options.placeholder, accept: options.accept,
    });
  }
  return el("div", { class: "field" }, el("label", { for: id }, label), help, input);
}

/** One of several: radio buttons [value, text, remark] below a legend. */
export function choices(name, legend, options, chosen) {
  return el("fieldset", { class: "choices" }, el("legend", {}, legend), options.map(([value, text, remark]) =>
    el("label", { class: "choice" }, el("input", { type: "radio", name, value, checked: value === chosen, autofocus: value === chosen }),
      el("span", {}, text, remark ? el("span", { class: "remark" }, remark) : null))));
}

/** What a form holds: numbers as numbers, checks as truths; empty texts are left out unless `keep` names them. */
export function values(form, keep = []) {
  const result = {};
  for (const input of form.elements) {
    if (!input.name) continue;
    if (input.type === "radio" && !input.checked) continue;
    if (input.type === "checkbox") result[input.name] = input.checked;
    else if (input.type === "number") {
      if (input.value !== "") result[input.name] = Number(input.value);
    } else if (input.value !== "" || keep.includes(input.name)) result[input.name] = input.value;
  }
  return result;
}

/** A form whose button does something with what it holds. */
export function form(children, text, act, options = {}) {
  const send = el("button", { type: "submit", class: options.kind ?? "" }, text,
    options.about ? el("span", { class: "hidden-text" }, ` ${options.about}`) : null);
  return el("form", {
    onsubmit: (event) => {
      event.preventDefault();
      const element = event.currentTarget;
      guard(() => act(element), element.querySelector("[type=submit]"));
    },
  }, children, options.inline ? send : el("div", { class: "row" }, send));
}

/** A table. Columns: {title, cell(row), num}. With `key(row)`, rows stay where they are when it is redrawn. */
export function table(caption, columns, rows, empty = "Nothing here.", key = null) {
  if (rows.length === 0) return el("p", { class: "soft" }, empty);
  const head = el("tr", {}, columns.map((c) => el("th", { scope: "col", class: c.num ? "num" : "" }, c.title)));
  const body = rows.map((row) => el("tr", { "data-key": key && key(row) }, columns.map((c) =>
    el("td", { class: c.num ? "num" : c.mono ? "mono" : "", "data-label": c.title }, c.cell(row) ?? ""))));
  return el("div", { class: "scroll" }, el("table", { class: "stack" },
    el("caption", { class: "hidden-text" }, caption), el("thead", {}, head), el("tbody", {}, body)));
}

export const tag = (text) => el("span", { class: "tag" }, text);

/** Bytes for people. */
export function bytes(count) {
  if (count === null || count === undefined) return "";
  let value = count;
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (value < 1024) return `${unit === "B" ? value : value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TB`;
}

/** The time of a text. One without a zone is UTC: the database writes times so. */
export const instant = (text) => new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(" ", "T")}Z`);

/** A time for people, in their own zone. */
export function time(text) {
  if (!text) return "";
  const date = instant(text);
  if (Number.isNaN(date.getTime())) return text;
  const iso = date.toISOString();
  return el("time", { datetime: iso, title: iso }, date.toLocaleString());
}

/** When somebody was active. */
export const activity = (text) => (age(text) ? `${age(text)} ago` : "not yet");

/** How long ago something was; what never was has no age. */
export function age(text) {
  if (!text || text.startsWith("1970")) return "";
  const seconds = Math.max(0, (Date.now() - instant(text).getTime()) / 1000);
  for (const [length, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name}`;
  }
  return `${Math.floor(seconds)} s`;
}

/** A box that filters rows as one types. */
export function search(label, changed) {
  const id = `field-${(fields += 1)}`;
  return el("div", {}, el("label", { for: id }, label),
    el("input", { id, type: "search", autocomplete: "off", oninput: (event) => changed(event.target.value.toLowerCase()) }));
}

/** Whether some text of a row has this in it. */
export const has = (row, text, keys) => !text || keys.some((key) => String(row[key] ?? "").toLowerCase().includes(text));
