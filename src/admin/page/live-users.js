// Who is connected and which sessions there are, kept up to date for the screens that show people.

import { get } from "./api.js";
import { follow, every } from "./live.js";

/** What is known: connections, sessions by id, and whether they are locked against changes. */
export const online = { users: [], sessions: new Map(), locked: false };

const EVERY = 5000;
/** Topics of the log after which people or their roles are different. */
const TOPICS = ["Join", "Leave", "Kick", "Ban", "ClientInfo", "Op", "Deop", "Trust", "Untrust", "Mute", "Unmute"];

const watchers = new Set();
let ending = null;
let due = null;

/** Reads all again, and has the watchers draw it. */
export async function reloadOnline() {
  const [{ users, _locked: locked }, sessions] = await Promise.all([get("users", { v: 2 }), get("sessions")]);
  online.users = users;
  online.locked = locked;
  online.sessions = new Map(sessions.filter((s) => s.id).map((s) => [s.id, s]));
  for (const changed of [...watchers]) changed();
}

function begin() {
  ending = new AbortController();
  const soon = () => {
    due ??= setTimeout(() => {
      due = null;
      reloadOnline().catch(() => {});
    }, 300);
  };
  follow(ending.signal, ["log", "sessions"], {
    open: soon,
    log: (line) => { if (TOPICS.includes(line.topic)) soon(); },
    session: soon,
    "session-end": soon,
  });
  every(ending.signal, EVERY, reloadOnline);
}

/** Calls back after each change until the signal; resolves when all has been read once. */
export async function watchOnline(signal, changed) {
  const loaded = reloadOnline();
  watchers.add(changed);
  if (watchers.size === 1) begin();
  signal.addEventListener("abort", () => {
    watchers.delete(changed);
    if (watchers.size === 0) ending.abort();
  });
  await loaded;
}

/** The title of a session; with the time it began where another one is called the same. */
export function titleOf(id) {
  const session = online.sessions.get(id);
  if (!session) return "a session that has ended";
  const title = session.title || session.alias || "Untitled";
  const isAmbiguous = [...online.sessions.values()].some((other) => other !== session && (other.title || other.alias || "Untitled") === title);
  return isAmbiguous ? `${title} (begun ${new Date(session.startTime).toLocaleString()})` : title;
}
