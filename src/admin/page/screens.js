// Which screens there are, and where in the navigation.

import { accounts } from "./accounts.js";
import { bans } from "./bans.js";
import { checks } from "./checks.js";
import { docs } from "./docs.js";
import { extbans } from "./extbans.js";
import { history } from "./history.js";
import { lists } from "./lists.js";
import { locks } from "./locks.js";
import { more } from "./more.js";
import { now } from "./now.js";
import { people } from "./people.js";
import { reports } from "./reports.js";
import { isAdministrator } from "./rights.js";
import { server } from "./server.js";
import { session } from "./session.js";
import { sessions } from "./sessions.js";
import { settings } from "./settings.js";
import { texts } from "./texts.js";

/** The first ones are in the bar at the bottom of a phone; the others are below "More" there. */
const MAIN = [
  { path: "", title: "Now", draw: now },
  { path: "people", title: "People", draw: people },
  { path: "sessions", title: "Sessions", draw: sessions, one: session },
  { path: "reports", title: "Reports", draw: reports },
  { path: "more", title: "More", draw: more },
];

const OTHERS = [
  { path: "history", title: "History", draw: history, one: history },
  { path: "bans", title: "Bans", draw: bans },
  { path: "team", title: "Team", draw: accounts, forAdministrators: true },
  { path: "texts", title: "Texts", draw: texts },
  { path: "settings", title: "Settings", draw: settings, forAdministrators: true },
  { path: "server", title: "Server", draw: server },
];

/** Reached from the settings. */
const BELOW_SETTINGS = [
  { path: "extbans", title: "External bans", draw: extbans, forAdministrators: true },
  { path: "lists", title: "List servers", draw: lists, forAdministrators: true },
  { path: "locks", title: "Locks", draw: locks, forAdministrators: true },
  { path: "checks", title: "Checks", draw: checks, forAdministrators: true },
  { path: "docs", title: "API", draw: docs, forAdministrators: true },
];

const isMine = (screen) => !screen.forAdministrators || isAdministrator();
export const mainScreens = () => MAIN.filter(isMine);
export const otherScreens = () => OTHERS.filter(isMine);
/** All screens that whoever is logged in may use, in the order of the navigation. */
export const allScreens = () => ALL.filter(isMine);

/** Where screens were before. */
const MOVED = { users: "people", accounts: "team", log: "history" };

const ALL = [...MAIN, ...OTHERS, ...BELOW_SETTINGS];

/** The screen of a path; the first one if there is none. */
export function screenOf(path) {
  const wanted = MOVED[path] ?? path;
  return allScreens().find((screen) => screen.path === wanted) ?? ALL[0];
}

/** The entry of the navigation that a screen belongs to: {main} in the bar of a phone, {side} beside a wide screen. */
export function entriesOf(screen) {
  const side = BELOW_SETTINGS.includes(screen) ? "settings" : screen.path;
  return { main: MAIN.includes(screen) ? screen.path : "more", side };
}
