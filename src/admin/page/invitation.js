// The form that the link of an invitation leads to: whoever was invited chooses name and password.

import { el, fill, field, form } from "./dom.js";
import { post } from "./api.js";

/** The token of a link; null if the address is another one. */
export const invitationOf = (hash) => /^#\/invitation\/([\w-]+)$/.exec(hash)?.[1] ?? null;

/** Shows the form. `done` is called when the account was made; its login has begun then. */
export async function acceptInvitation(main, token, done) {
  document.title = "Invitation - Drawhall";
  let invited;
  try {
    invited = await post("invitation", { token });
  } catch (error) {
    fill(main, el("h1", {}, "Invitation"), el("p", { class: "error", role: "alert" }, error.message),
      el("p", {}, el("a", { href: "#/" }, "Log in")));
    return;
  }
  const problem = el("p", { class: "error", role: "alert" });
  const password = { kind: "password", required: true, autocomplete: "new-password" };
  const account = form([
    field("username", "Name", { required: true, autocomplete: "username", value: invited.name }),
    field("password", "Password", password), field("again", "Password again", password), problem], "Accept", async (element) => {
    const { username, password: chosen, again } = element.elements;
    if (chosen.value !== again.value) {
      fill(problem, "The passwords differ.");
      return;
    }
    try {
      await post("invitation/accept", { token, username: username.value, password: chosen.value });
    } catch (error) {
      fill(problem, error.message);
      return;
    }
    await done();
  });
  fill(main, el("h1", {}, "Invitation"), el("p", {}, `You are invited to help on this server as ${invited.role}. Choose a name and a password.`),
    el("div", { class: "card" }, account));
}
