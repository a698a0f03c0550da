// Bans of people at the API: a plan is {name, devices, accounts, addresses, seconds or forever, reason, note, stay}.

import { ask, choices, instant } from "./dom.js";
import { get, post, put, remove, part } from "./api.js";
import { disconnect } from "./actions.js";

/** Whom a plan would hit, now and in the last days, and why one should think twice. Changes nothing. */
export const previewBan = (plan) => post("bans/preview", plan);

export const bansOf = (parameters) => get("bans", parameters);

/** Changes a ban: how long, reason, note, name. */
export const changeBan = (id, change) => put(`bans/${part(id)}`, change);

/** Lets back in. */
export const letIn = (id) => remove(`bans/${part(id)}`);

/** Bans the same again, for the rest of the time. */
export function banAgain({ name, targets, expires, permanent, reason, note }) {
  const subjects = (kind) => targets.filter((target) => target.kind === kind).map((target) => target.subject);
  return post("bans", { name, reason, note, devices: subjects("device"), accounts: subjects("account"), addresses: subjects("address"),
    ...(permanent ? { forever: true } : { expires }), stay: true });
}

const lengthOf = (plan) => (plan.forever ? { forever: true } : { seconds: plan.seconds });

/** When a ban of this plan would end, in milliseconds since 1970. */
const endOf = (plan) => (plan.forever ? Infinity : Date.now() + plan.seconds * 1000);

/**
 * Bans, and disconnects who is hit unless they may stay. Returns {ended, kept, undo}: how many connections ended; of a ban
 * that was there already and was left as it is, the words for it; and what takes back what was changed. `undo.letsIn` is
 * false if it only changes the end of a ban. Null when nothing was done.
 */
export async function ban(plan) {
  try {
    const { ban: made, disconnected } = await post("bans", plan);
    return { ended: disconnected.length, kept: null, undo: { act: () => letIn(made.id), letsIn: true } };
  } catch (error) {
    if (error.status !== 409 || !error.answer?.ban) throw error;
    return banBesides(plan, error);
  }
}

/** Whoever is banned already stays so: for the time that is wanted now, or for the time of that ban. */
async function banBesides(plan, { message, answer: { ban: id, expires } }) {
  const isLonger = endOf(plan) > instant(expires).getTime();
  const answer = await ask(`${plan.name} is kept out already`, `${message}.`, { action: "Keep out", danger: true, fields: [
    choices("end", "Until when", [
      ["new", `The new time (${isLonger ? "longer" : "shorter"})`], ["old", `As it is (${isLonger ? "shorter" : "longer"})`]], isLonger ? "new" : "old")] });
  if (!answer) return null;
  let undo = null;
  if (answer.end === "new") {
    await changeBan(id, lengthOf(plan));
    undo = { act: () => changeBan(id, { expires }), letsIn: false };
  }
  // That ban may have let them stay.
  const { connected } = plan.stay ? { connected: [] } : await previewBan(plan);
  const { done } = await disconnect(connected, plan.reason || "You are kept out of this server.");
  return { ended: done.length, kept: undo ? null : `${message.charAt(0).toLowerCase()}${message.slice(1)}`, undo };
}
