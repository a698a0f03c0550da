// Elements, forms, tables and questions.

/** Makes an element. Attributes that begin with `on` are listeners; what is null or false is left out. */
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key === "value") element.value = value;
    else if (key === "checked") element.checked = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts children in place of what an element has, unless that would be the same. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function button(text, act, kind = "") {
  return el("button", { type: "button", class: kind, onclick: (event) => guard(act, event.currentTarget) }, text);
}

/** Does something once at a time, and says what went wrong. */
export async function guard(act, element) {
  if (element) element.disabled = true;
  try {
    await act();
  } catch (error) {
    say(error.message, true);
  } finally {
    if (element) element.disabled = false;
  }
}

/** Tells something that passes. */
export function say(text, isError = false) {
  const line = el("p", { class: isError ? "is-error" : "" }, isError ? `Not done: ${text}` : text);
  const said = document.getElementById("said");
  said.append(line);
  // More would hide what they are about.
  while (said.children.length > 2) said.firstChild.remove();
  setTimeout(() => line.remove(), isError ? 10000 : 4000);
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
  } else {
    const type = options.kind ?? "text";
    const autocomplete = options.autocomplete ?? (type === "password" ? "new-password" : "off");
    input = el("input", {
      ...shared, type, autocomplete, value: options.value ?? "", min: options.min, max: options.max, placeholder: options.placeholder,
    });
  }
  return el("div", { class: "field" }, el("label", { for: id }, label), help, input);
}

/** What a form holds: numbers as numbers, checks as truths; empty texts are left out unless `keep` names them. */
export function values(form, keep = []) {
  const result = {};
  for (const input of form.elements) {
    if (!input.name) continue;
    if (input.type === "checkbox") result[input.name] = input.checked;
    else if (input.type === "number") {
      if (input.value !== "") result[input.name] = Number(input.value);
    } else if (input.value !== "" || keep.includes(input.name)) result[input.name] = input.value;
  }
  return result;
}

/** A form whose button does something with what it holds. */
export function form(children, text, act, options = {}) {
  const send = el("button", { type: "submit", class: options.kind ?? "" }, text);
  const element = el("form", {
    onsubmit: (event) => {
      event.preventDefault();
      guard(() => act(element), send);
    },
  }, children, options.inline ? send : el("div", { class: "row" }, send));
  return element;
}

/** A table. Columns: {title, cell(row), num}. */
export function table(caption, columns, rows, empty = "Nothing here.") {
  if (rows.length === 0) return el("p", { class: "soft" }, empty);
  const head = el("tr", {}, columns.map((c) => el("th", { scope: "col", class: c.num ? "num" : "" }, c.title)));
  const body = rows.map((row) => el("tr", {}, columns.map((c) =>
    el("td", { class: c.num ? "num" : c.mono ? "mono" : "", "data-label": c.title }, c.cell(row) ?? ""))));
  return el("div", { class: "scroll" }, el("table", { class: "stack" },
    el("caption", { class: "hidden-text" }, caption), el("thead", {}, head), el("tbody", {}, body)));
}

/** Asks whether something is meant, saying what will happen; with fields, answers with what they hold. */
export function ask(title, text, { action = "OK", danger = false, fields: inner = [], keep = [] } = {}) {
  return new Promise((resolve) => {
    const id = `dialog-${(fields += 1)}`;
    let answer = null;
    const dialog = el("dialog", { "aria-labelledby": id, onclose: () => {
      dialog.remove();
      resolve(answer);
    } });
    const inside = el("form", { onsubmit: (event) => {
      event.preventDefault();
      answer = values(inside, keep);
      dialog.close();
    } },
    el("h2", { id }, title),
    ...[text].flat().map((line) => (typeof line === "string" ? el("p", {}, line) : line)),
    ...inner,
    el("div", { class: "row" },
      el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", class: danger ? "danger" : "" }, action)));
    dialog.append(inside);
    document.body.append(dialog);
    dialog.showModal();
  });
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

/** A time for people, in their own zone. The database writes times in UTC without saying so. */
export function time(text) {
  if (!text) return "";
  const iso = /[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(" ", "T")}Z`;
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return text;
  return el("time", { datetime: iso, title: iso }, date.toLocaleString());
}

/** When somebody was active. */
export const activity = (text) => (age(text) ? `${age(text)} ago` : "not yet");

/** How long ago something was; what never was has no age. */
export function age(text) {
  if (!text || text.startsWith("1970")) return "";
  const seconds = Math.max(0, (Date.now() - new Date(text).getTime()) / 1000);
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
