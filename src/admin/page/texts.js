// Texts that people read: welcome and rules of the server, and saved replies of moderators.

import { el, fill, field, form, say } from "./dom.js";
import { get, put } from "./api.js";
import { isAdministrator } from "./rights.js";
import { replies, setReplies } from "./replies.js";

const TEXTS = [
  ["welcomeMessage", "Welcome text", "Everybody reads it in the chat when they join."],
  ["ruleText", "Rules", "People read them before they log in."],
  ["serverTitle", "Title of the server", "Shown in lists and when logging in."],
];

/** The form for saved replies, which are everybody's own. */
const ownReplies = () => form([field("replies", "Saved replies, one a line", { kind: "area", value: replies().join("\n"),
  help: "They are offered where you write to somebody, kick and keep out. Kept in this browser." })], "Save replies", async (element) => {
  setReplies(element.elements.replies.value.split("\n").map((line) => line.trim()).filter(Boolean));
  say("The replies are saved.");
});

export async function texts(content) {
  const own = ownReplies();
  if (!isAdministrator()) {
    fill(content, el("h1", {}, "Texts"), el("div", { class: "card tall" }, own));
    return;
  }
  const { settings, _locked: locked } = await get("settings", { v: 2 });
  const known = TEXTS.filter(([key]) => settings.some((s) => s.key === key));
  const valueOf = (key) => settings.find((s) => s.key === key).value;
  const server = form(known.map(([key, label, help]) =>
    field(key, label, { help, value: valueOf(key), kind: key === "serverTitle" ? "text" : "area" })), "Save texts", async (element) => {
    const changed = Object.fromEntries(known.map(([key]) => [key, element.elements[key].value]).filter(([key, text]) => text !== valueOf(key)));
    const answer = await put("server", changed);
    const wrong = Object.values(answer._errors ?? {});
    if (wrong.length) throw new Error(wrong.join("; "));
    say("The texts are saved. People read them from now on.");
    await texts(content);
  });
  fill(content, el("h1", {}, "Texts"),
    locked ? el("p", { class: "warning" }, "Settings are locked against changes.") : el("div", { class: "card tall" }, server),
    el("div", { class: "card tall" }, own));
}
