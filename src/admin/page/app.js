// The admin page: which screen is shown, and who is there.

import { el, fill, field, form, say, guard } from "./dom.js";
import { get, post, whenLoginIsNeeded } from "./api.js";
import { unfollow } from "./live.js";
import { overview } from "./overview.js";
import { sessions } from "./sessions.js";
import { session } from "./session.js";
import { users } from "./users.js";
import { bans } from "./bans.js";
import { extbans } from "./extbans.js";
import { accounts } from "./accounts.js";
import { lists } from "./lists.js";
import { settings } from "./settings.js";
import { log } from "./log.js";
import { locks } from "./locks.js";
import { docs } from "./docs.js";
import { checks } from "./checks.js";
import { firstAdmin, tokenOf } from "./first-admin.js";

const SCREENS = [
  ["", "Overview", overview],
  ["sessions", "Sessions", sessions],
  ["users", "Users", users],
  ["bans", "Bans", bans],
  ["extbans", "External bans", extbans],
  ["accounts", "Accounts", accounts],
  ["lists", "List servers", lists],
  ["settings", "Settings", settings],
  ["log", "Log", log],
  ["checks", "Checks", checks],
  ["locks", "Locks", locks],
  ["docs", "API", docs],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const menu = document.getElementById("menu");
let ending = new AbortController();

menu.addEventListener("click", () => {
  const open = nav.classList.toggle("open");
  menu.setAttribute("aria-expanded", String(open));
});

function place() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { name, rest: rest.map(decodeURIComponent) };
}

async function show(focus) {
  ending.abort();
  ending = new AbortController();
  const { name, rest } = place();
  const [path, title, screen] = SCREENS.find(([known]) => known === name) ?? SCREENS[0];
  nav.classList.remove("open");
  menu.setAttribute("aria-expanded", "false");
  fill(nav, el("ul", {}, SCREENS.map(([known, text]) =>
    el("li", {}, el("a", { href: `#/${known}`, "aria-current": known === path ? "page" : null }, text)))));
  document.title = `${title} - Drawhall`;
  const isSession = path === "sessions" && rest.length > 0;
  const content = el("div");
  fill(main, content);
  const shown = ending.signal;
  try {
    await (isSession ? session(content, shown, rest[0]) : screen(content, shown));
  } catch (error) {
    if (error.status !== 401 && !shown.aborted) {
      fill(content, el("h1", {}, title), el("p", { class: "error", role: "alert" }, error.message),
        el("p", {}, el("a", { href: "#/sessions" }, "All sessions")));
    }
  }
  if (focus && !shown.aborted) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function askForLogin() {
  if (document.getElementById("login")) return;
  ending.abort();
  unfollow();
  nav.hidden = menu.hidden = true;
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
    el("p", {}, "With the user of --web-admin-auth, or an account with the flag ADMIN."), el("div", { class: "card" }, login));
  login.querySelector("input").focus();
}

async function begin() {
  const who = await get("whoami");
  nav.hidden = menu.hidden = false;
  const leave = el("button", { type: "button", class: "plain", onclick: (event) => guard(async () => {
    await post("logout");
    await begin();
    say("Logged out.");
  }, event.currentTarget) }, "Log out");
  fill(document.getElementById("who"), who.login ? [who.user.replace(/@[^@]*$/, ""), " ", leave] : null);
  await show(false);
}

/** Follows a one-time link. Its token must not stay in the address and in the history of the browser. */
function followLink(token) {
  ending.abort();
  unfollow();
  nav.hidden = menu.hidden = true;
  history.replaceState(null, "", "#/");
  firstAdmin(main, token, async () => {
    await begin();
    say("The account was created, and you are logged in.");
  });
}

whenLoginIsNeeded(askForLogin);
addEventListener("hashchange", () => {
  const token = tokenOf(location.hash);
  if (token) followLink(token);
  else show(true);
});
const token = tokenOf(location.hash);
if (token) {
  followLink(token);
} else {
  begin().catch((error) => {
    if (error.status !== 401) fill(main, el("h1", {}, "Drawhall"), el("p", { class: "error", role: "alert" }, error.message));
  });
}
