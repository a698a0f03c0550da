// Parts of the API that are locked against changes.

import { el, fill, field, form, values, say } from "./dom.js";
import { get, put } from "./api.js";

const NAMES = {
  accounts: "Accounts", bans: "Bans", extbans: "External bans", listserverwhitelist: "List servers", server: "Settings", sessions: "Sessions and users",
};

export async function locks(content) {
  const answer = await get("locks");
  const intro = el("p", {}, "Locked parts are read-only on this page and in the API until they are unlocked.");
  if (!answer.supported) {
    fill(content, el("h1", {}, "Locks"), intro, el("p", {}, "Locks need a configuration database: start the server with --database or --data."));
    return;
  }
  fill(content, el("h1", {}, "Locks"), intro, el("div", { class: "card" }, form([
    ...Object.entries(answer.sections).map(([name, on]) => field(name, NAMES[name] ?? name, { kind: "check", value: on })),
    field("password", "Password", { kind: "password", help: answer.password
      ? "The password that protects the locks"
      : "Optional. If set, it is needed to change the locks until nothing is locked" }),
  ], "Save", async (element) => {
    const { password, ...sections } = values(element);
    const wanted = Object.entries(sections).filter(([, on]) => on).map(([name]) => name);
    await put("locks", { sections: wanted, ...(password ? { password } : {}) });
    say("Saved.");
    await locks(content);
  })));
}
