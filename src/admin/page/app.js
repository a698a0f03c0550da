// The admin page: which screen is shown, and who is there.

import { el, fill, field, form, say, guard } from "./dom.js";
import { get, post, whenLoginIsNeeded } from "./api.js";
import { redraw } from "./redraw.js";
import { openSheet } from "./sheets.js";
import { unfollow } from "./live.js";
import { watchDisks } from "./alarm.js";
import { openPalette } from "./palette.js";
import { forgetMessages, showMessages } from "./toasts.js";
import { entriesOf, mainScreens, otherScreens, screenOf } from "./screens.js";
import { watchReports } from "./report-count.js";
import { setRights } from "./rights.js";
import { firstAdmin, tokenOf } from "./first-admin.js";
import { acceptInvitation, invitationOf } from "./invitation.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const tools = document.getElementById("tools");
let ending = new AbortController();
/** Ends what goes on beside the screens while somebody is logged in. */
let frame = new AbortController();
/** Reports that nobody has handled. */
let open = 0;
let shownScreen = null;

/** What can be done with the keyboard. */
const showKeys = () => openSheet("Keyboard", (close) => [el("dl", {},
  el("dt", {}, "/ or Ctrl+K"), el("dd", {}, "Find people, sessions, screens; kick name, message name, keep out name"),
  el("dt", {}, "Esc or Back"), el("dd", {}, "Close what is open"), el("dt", {}, "?"), el("dd", {}, "This help")),
el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Close"))]).closed;

document.getElementById("find").addEventListener("click", () => guard(openPalette));
document.getElementById("messages").addEventListener("click", () => guard(showMessages));
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, dialog");
  if (event.key === "?" && !isTyping && !nav.hidden && !document.querySelector("dialog[open]")) {
    guard(showKeys);
    return;
  }
  const asks = (event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !isTyping);
  if (!asks || nav.hidden || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  guard(openPalette);
});

/** A part of the address as text. What is no valid percent-encoding is taken as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { name, rest: rest.map(decoded) };
}

function drawNavigation(screen) {
  const { main: inBar, side } = entriesOf(screen);
  const entries = (screens, current, kind) => el("ul", { class: kind }, screens.map(({ path, title }) =>
    el("li", { class: path === "more" ? "on-phone" : "" },
      el("a", { href: `#/${path}`, "aria-current": path === current ? "page" : null }, title,
        path === "reports" && open > 0 ? [" ", el("span", { class: "count" }, String(open))] : null))));
  redraw(nav, entries(mainScreens(), inBar, "bar"), entries(otherScreens(), side, "others"));
}

/** Leads to the heading of a screen as soon as it is there: when the rest comes, whoever reads may have gone on. */
function focusHeading(content, signal) {
  const observer = new MutationObserver(() => {
    const heading = content.querySelector("h1");
    if (!heading) return;
    observer.disconnect();
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  });
  observer.observe(content, { childList: true, subtree: true });
  signal.addEventListener("abort", () => observer.disconnect());
}

async function show(focus) {
  ending.abort();
  ending = new AbortController();
  const { name, rest } = route();
  const screen = screenOf(name);
  shownScreen = screen;
  drawNavigation(screen);
  document.title = `${screen.title} - Drawhall`;
  const content = el("div");
  fill(main, content);
  const shown = ending.signal;
  if (focus) focusHeading(content, shown);
  try {
    await (screen.one && rest.length > 0 ? screen.one(content, shown, rest[0]) : screen.draw(content, shown));
  } catch (error) {
    if (error.status !== 401 && !shown.aborted) {
      fill(content, el("h1", {}, screen.title), el("p", { class: "error", role: "alert" }, error.message),
        el("p", {}, el("a", { href: "#/sessions" }, "All sessions")));
    }
  }
}

/** Leaves all screens: there is nobody who may see them. */
function leaveScreens() {
  ending.abort();
  frame.abort();
  unfollow();
  nav.hidden = tools.hidden = true;
}

function askForLogin() {
  if (document.getElementById("login")) return;
  leaveScreens();
  forgetMessages();
  document.title = "Log in - Drawhall";
  fill(document.getElementById("who"));
  const problem = el("p", { class: "error", role: "alert" });
  const inputs = [
    field("username", "Name", { required: true, autocomplete: "username" }),
    field("password", "Password", { kind: "password", required: true, autocomplete: "current-password" }),
  ];
  const login = form([...inputs, problem], "Log in", async (element) => {
    try {
      await post("login", { username: element.username.value, password: element.password.value });
    } catch (error) {
      fill(problem, error.message);
      return;
    }
    await begin();
  });
  login.id = "login";
  fill(main, el("h1", {}, "Log in"),
    el("p", {}, "Name and password you got from the owner of this server."), el("div", { class: "card" }, login));
  login.querySelector("input").focus();
}

async function begin() {
  const who = await get("whoami");
  setRights(who);
  nav.hidden = tools.hidden = false;
  frame.abort();
  frame = new AbortController();
  watchDisks(frame.signal);
  watchReports(frame.signal, (count) => {
    open = count;
    if (shownScreen) drawNavigation(shownScreen);
  });
  const leave = el("button", { type: "button", class: "plain", onclick: (event) => guard(async () => {
    await post("logout");
    await begin();
    say("Logged out.");
  }, event.currentTarget) }, "Log out");
  fill(document.getElementById("who"), who.login ? [el("span", { class: "on-wide" }, who.user.replace(/@[^@]*$/, ""), " "), leave] : null);
  await show(false);
}

/** Follows a one-time link. Its token must not stay in the address and in the history of the browser. */
function followLink(show, token) {
  leaveScreens();
  history.replaceState(null, "", "#/");
  show(main, token, async () => {
    await begin();
    say("The account was created, and you are logged in.");
  });
}

whenLoginIsNeeded(askForLogin);
/** The form of a one-time link, and its token. */
function oneTimeLink() {
  const [first, invited] = [tokenOf(location.hash), invitationOf(location.hash)];
  return first ? [firstAdmin, first] : invited ? [acceptInvitation, invited] : null;
}
addEventListener("hashchange", () => {
  const link = oneTimeLink();
  if (link) followLink(...link);
  else show(true);
});
const link = oneTimeLink();
if (link) {
  followLink(...link);
} else {
  begin().catch((error) => {
    if (error.status !== 401) fill(main, el("h1", {}, "Drawhall"), el("p", { class: "error", role: "alert" }, error.message));
  });
}
