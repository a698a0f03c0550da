// Invitations to the team: links for one use.

import { el, button, choices, field, form, say, time, values } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, post, remove, part } from "./api.js";
import { openSheet } from "./sheets.js";

const ROLES = [
  ["moderator", "Moderator", "people, sessions, reports, bans up to 30 days"], ["reader", "Reader", "sees all that and changes nothing"],
  ["administrator", "Administrator", "everything, also settings and the team"],
];

/** The link of an invitation: with the public address of the page, where the server knows it. */
const linkTo = ({ link, token }) => link ?? `${location.origin}${location.pathname}#/invitation/${token}`;

/** Shows the link, with a text to send. */
function showLink(invitation) {
  const { role, name, expires } = invitation;
  const text = `Hello${name ? ` ${name}` : ""}, please help on our drawing server as ${role}. Open this link and choose a password: ${linkTo(invitation)} It can be used once, until ${new Date(expires).toLocaleString()}.`;
  const area = el("textarea", { id: "invitation-text", readonly: true, value: text });
  return openSheet("Send this invitation", (close) => [
    el("p", {}, "Whoever opens the link first can use it. It is shown only now."),
    el("label", { for: "invitation-text" }, "Text"), area,
    el("div", { class: "row" }, el("button", { type: "button", class: "plain", onclick: close }, "Close"),
      button("Copy invitation", async () => {
        area.select();
        await navigator.clipboard.writeText(text);
        say("The invitation is copied.");
      }))], { kind: "sheet" }).closed;
}

/** The section with invitations; `load` reads them again. */
export function invitations() {
  const list = el("ul", { class: "plain spaced", id: "invitations" });
  const load = async () => {
    const answer = await get("invitations");
    const all = answer.invitations ?? answer;
    redraw(list, all.map((invitation) => el("li", { "data-key": String(invitation.id) },
      `${invitation.name || "Somebody"} is invited as ${invitation.role}, until `, time(invitation.expires), " ",
      button("Withdraw", async () => {
        await remove(`invitations/${part(invitation.id)}`);
        say("The invitation is withdrawn.");
        await load();
      }, "plain", `the invitation of ${invitation.name || "somebody"} (${invitation.id})`))));
  };
  const inviting = form([field("name", "Name", { required: true }), choices("role", "Role", ROLES, "moderator")], "Invite", async (element) => {
    const made = await post("invitations", values(element));
    element.reset();
    await load();
    await showLink(made);
  });
  return { load, section: el("section", { class: "card" }, el("h2", {}, "Invite somebody"), inviting, list) };
}
