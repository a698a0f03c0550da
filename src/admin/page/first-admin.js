// The first administrator: the form that the one-time link of a start leads to.

import { el, fill, field, form } from "./dom.js";
import { post } from "./api.js";

/** The token of a link; null if the address is another one. */
export const tokenOf = (hash) => /^#\/first-admin\/([\w-]+)$/.exec(hash)?.[1] ?? null;

/** Shows the form. `done` is called when the account was made; its login has begun then. */
export function firstAdmin(main, token, done) {
  document.title = "First administrator - Drawhall";
  const problem = el("p", { class: "error", role: "alert" });
  const password = { kind: "password", required: true, autocomplete: "new-password" };
  const inputs = [
    field("username", "Name", { required: true, autocomplete: "username" }),
    field("password", "Password", password),
    field("again", "Password again", password),
  ];
  const account = form([...inputs, problem], "Create account", async (element) => {
    if (element.password.value !== element.again.value) {
      fill(problem, "The passwords differ.");
      return;
    }
    try {
      await post("first-admin", { token, username: element.username.value, password: element.password.value });
    } catch (error) {
      fill(problem, error.message);
      return;
    }
    await done();
  });
  fill(main, el("h1", {}, "First administrator"),
    el("p", {}, "Nobody administers this server yet. Create an account with the flag ADMIN."),
    el("div", { class: "card" }, account));
  account.querySelector("input").focus();
}
