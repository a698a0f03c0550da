// Lines of the log as sentences about people.

/** Who and what is not told by a line about a request to the API: method, path, and the sentence behind the name. */
const REQUESTS = [
  ["DELETE", /^\/users\/[\w.]+$/, "kicked somebody"],
  ["DELETE", /^\/sessions\/[^/]+\/\d+$/, "kicked somebody from $session"],
  ["PUT", /^\/sessions\/[^/]+\/\d+$/, "changed what somebody may do in $session, or wrote to them"],
  ["DELETE", /^\/sessions\/[^/]+$/, "ended $session"],
  ["POST", /^\/sessions$/, "made a session"],
  ["PUT", /^\/sessions$/, "wrote to all sessions"],
  ["PUT", /^\/sessions\/[^/]+$/, "changed $session ($members)"],
  ["POST", /^\/sessions\/[^/]+\/chat$/, "joined the chat of $session"],
  ["PUT", /^\/sessions\/[^/]+\/chat$/, "wrote in $session"],
  ["DELETE", /^\/sessions\/[^/]+\/chat$/, "left the chat of $session"],
  ["POST", /^\/sessions\/[^/]+\/\d+\/warn$/, "warned somebody in $session"],
  ["POST", /^\/sessions\/[^/]+\/\d+\/restrict$/, "restricted somebody in $session"],
  ["DELETE", /^\/sessions\/[^/]+\/restrictions\/\d+$/, "lifted a restriction in $session"],
  ["PUT", /^\/sessions\/[^/]+\/newcomers$/, "closed or opened $session to newcomers"],
  ["DELETE", /^\/timeline$/, "erased the chat and events of somebody"],
  ["POST", /^\/sessions\/[^/]+\/invites$/, "made an invite to $session"],
  ["DELETE", /^\/sessions\/[^/]+\/invites\//, "removed an invite to $session"],
  ["POST", /^\/sessions\/[^/]+\/(undo|remove|cut|restore)$/, "undid drawing in $session"],
  ["POST", /^\/sessions\/[^/]+\/\d+\/thumbnail$/, "asked for a picture of $session"],
  ["POST", /^\/ended\/[^/]+\/restore$/, "restored a session"],
  ["POST", /^\/(systembans|banlist|userbans)$/, "kept somebody out"],
  ["DELETE", /^\/(systembans|banlist|userbans)\//, "let somebody back in"],
  ["POST", /^\/accounts$/, "added an account to the team"],
  ["PUT", /^\/accounts\//, "changed an account of the team"],
  ["DELETE", /^\/accounts\//, "removed an account of the team"],
  ["PUT", /^\/server$/, "changed settings ($members)"],
  ["POST", /^\/first-admin$/, "became the first administrator"],
  ["PUT", /^\/locks$/, "changed the locks"],
  ["POST", /^\/login$/, "logged in"],
  ["POST", /^\/logout$/, "logged out"],
];
const REQUEST = /^Admin API: ([A-Z]+) (\/\S*)(?: \(([^)]*)\))? by (.+?)(?:: (.*))?$/;
const CHANGE = /^Admin API: (\w+) changed (.*) by (\S+)$/;
const ADMINISTRATOR = "the server administrator";

/** Sentences about the user of a line, by topic and message; `$1` is what the message tells. */
const ABOUT_USER = [
  ["Join", /ghost/, "$who came invisibly to $session"],
  ["Join", /^Joined session$/, "$who came to $session"],
  ["Leave", /^Left session$/, "$who left $session"],
  ["Leave", /ghost/, "$who, who was invisible, left $session"],
  ["Op", /^Made operator by the server$/, "$who became operator of $session"],
  ["Op", /^Made operator by (.*)$/, "$1 made $who operator of $session"],
  ["Deop", /^Operator status revoked by (.*)$/, "$1 took operator back from $who in $session"],
  ["Op", /^Made operator via invite created by (.*)$/, "$who became operator of $session by an invite of $1"],
  ["Trust", /^Trusted by (.*)$/, "$1 trusted $who in $session"],
  ["Trust", /^Trusted via invite created by (.*)$/, "$who became trusted in $session by an invite of $1"],
  ["Untrust", /^Untrusted by (.*)$/, "$1 stopped trusting $who in $session"],
  ["Ban", /^Banned by (.*)$/, "$1 banned $who from $session"],
  // Restrictions, for the words of `RestrictionKind::done` in rules/session/restrictions.rs.
  ["Mute", /^Muted by (.*?) for (.*)$/s, "$1 muted $who in $session for $2"],
  ["Mute", /^Drawing locked by (.*?) for (.*)$/s, "$1 let $who only look in $session for $2"],
  ["Mute", /^Slowed down by (.*?) for (.*)$/s, "$1 slowed $who down in $session for $2"],
  ["Unmute", /^Muted: over$/, "$who may chat again in $session"],
  ["Unmute", /^Drawing locked: over$/, "$who may draw again in $session"],
  ["Unmute", /^Slowed down: over$/, "$who is no longer slowed down in $session"],
  ["Unmute", /^Muted: lifted by (.*)$/, "$1 let $who chat again in $session"],
  ["Unmute", /^Drawing locked: lifted by (.*)$/, "$1 let $who draw again in $session"],
  ["Unmute", /^Slowed down: lifted by (.*)$/, "$1 stopped slowing $who down in $session"],
  ["Mute", /^Muted by (.*)$/, "$1 muted $who in $session"],
  ["Unmute", /^Unmuted by (.*)$/, "$1 let $who write again in $session"],
  ["Mute", /^Warned by (.*) \((\d+)\): (.*)$/s, "$1 warned $who in $session (warning $2): $3"],
  ["Report", /^Abuse report about user (\d+) received: (.*)$/s, "$who reported $user1 in $session: $2"],
];
const KICK = /^Kicked by (.*)$/s;
/** "the server administrator (reason) (kicked via web admin)": who, reason. */
const KICKED_BY = /^(.*?)(?: \((.*)\))? \(kicked via web admin\)$/s;

/** The parts of `id;address;name`. */
export function userOf(line) {
  const [id, address, ...name] = (line.user ?? "").split(";");
  return { id, address: address ?? "", name: name.join(";") };
}

/** Names without the address they came from. */
const shortName = (who) => who.replace(/@[^@]*$/, "");

function requestSentence(line, titleOf) {
  const change = CHANGE.exec(line.message);
  if (change) return `${shortName(change[3])} changed ${change[1]} ${change[2]}`;
  const request = REQUEST.exec(line.message);
  if (!request) return null;
  const [, method, path, members = "", who, error] = request;
  const known = REQUESTS.find(([wanted, pattern]) => wanted === method && pattern.test(path));
  const session = /^\/sessions\/([^/]+)/.exec(path)?.[1];
  const what = known ? known[2].replace("$session", () => titleOf(session)).replace("$members", () => members) : `sent ${method} ${path}`;
  return `${shortName(who)} ${error ? "wanted to but could not: " : ""}${what}${error ? ` (${error})` : ""}`;
}

/** Whether a request may have left a line: those about people are about their session, or about their connection. */
const isAbout = (request, line) => request[2].startsWith("/users/") || (line.session !== "" && request[2].includes(line.session ?? "-"));

/** Seconds between two lines at most, and lines between them, when one action has left both. */
const [NEAR_SECONDS, NEAR_LINES] = [2, 8];

/** Who asked for what a line tells: a request is logged just after what it did, so its line comes before, newest first. */
function byWhom(lines, at, taken) {
  for (let before = at - 1; before >= Math.max(0, at - NEAR_LINES); before -= 1) {
    const request = taken.has(lines[before]) ? null : REQUEST.exec(lines[before].message);
    const seconds = (new Date(lines[before].timestamp) - new Date(lines[at].timestamp)) / 1000;
    if (request && seconds <= NEAR_SECONDS && isAbout(request, lines[at])) return { line: lines[before], who: shortName(request[4]) };
  }
  return null;
}

function sentenceOf(line, names) {
  const { name } = userOf(line);
  const session = line.session ? names.titleOf(line.session) : "the server";
  for (const [topic, pattern, sentence] of ABOUT_USER) {
    const match = line.topic === topic ? pattern.exec(line.message) : null;
    if (!match) continue;
    return sentence.replace(/\$(who|session|user1|\d)/g, (_, what) => {
      if (what === "who") return name || "somebody";
      if (what === "session") return session;
      if (what === "user1") return names.userIn(line.session, match[1]) ?? `user ${match[1]}`;
      return match[Number(what)];
    });
  }
  const kicked = line.topic === "Kick" ? KICK.exec(line.message) : null;
  if (kicked) {
    const [, who = kicked[1], reason] = KICKED_BY.exec(kicked[1]) ?? [];
    return `${who} kicked ${name || "somebody"} from ${session}${reason ? `: ${reason}` : ""}`;
  }
  return name ? `${name} in ${session}: ${line.message}` : line.session ? `${session}: ${line.message}` : line.message;
}

/** Whether a line is about a request to the API; `session` limits it to those about that session. */
export const isRequest = (line, session = "") => line.message.startsWith("Admin API: ") && line.message.includes(`/sessions/${session}`);

/** Requests that log what they did in a sentence of its own, or that change nothing. */
const TELLS_ITSELF = /^Admin API: [A-Z]+ \/(bans|reports|people|invitations|invitation)(\/\S*)?( \([^)]*\))? by \S+$/;

/** Lines that tell programs something, or what another line tells better. */
const isNoise = (line) => TELLS_ITSELF.test(line.message) || line.topic === "ClientInfo" || /Cannot send abuse report: server URL not configured/.test(line.message) || line.message === "settings were read again";

/**
 * Sentences of lines that are ordered newest first: {at, text, line, kind}. `kind` is people, team or server. Lines that
 * one action has left are one sentence; those with `isHelper` only tell who it was. `names.titleOf(session)`, `names.userIn(session, id)`.
 */
export function sentencesOf(lines, names) {
  const merged = new Set();
  const result = [];
  for (const [at, line] of lines.entries()) {
    if (!line.message.includes(ADMINISTRATOR)) continue;
    const request = byWhom(lines, at, merged);
    if (!request) continue;
    merged.add(request.line);
    line.by = request.who;
    // Whoever is kicked leaves, too.
    const left = lines.slice(Math.max(0, at - NEAR_LINES), at).find((other) => line.topic === "Kick" && other.topic === "Leave" && other.user === line.user && other.session === line.session);
    if (left) merged.add(left);
  }
  for (const line of lines) {
    if (merged.has(line) || line.isHelper || isNoise(line)) continue;
    const request = line.message.startsWith("Admin API: ") ? requestSentence(line, names.titleOf) : null;
    const text = request ?? sentenceOf(line, names).replace(ADMINISTRATOR, () => line.by ?? "an administrator");
    const isTeams = request || line.by || (!line.user && ["Ban", "Unban", "Report"].includes(line.topic));
    result.push({ at: line.timestamp, text, line, kind: isTeams ? "team" : line.user || line.session ? "people" : "server" });
  }
  return result;
}
