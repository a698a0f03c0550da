// Allowed list servers.

import { el, fill, field, form, values, say } from "./dom.js";
import { getIfThere, put } from "./api.js";

export async function lists(content) {
  const answer = await getIfThere("listserverwhitelist");
  if (!answer) {
    fill(content, el("h1", {}, "List servers"), el("p", {}, "The list needs a configuration database: start the server with --database or --data."));
    return;
  }
  const { enabled, whitelist, _locked: locked } = answer;
  fill(content, el("h1", {}, "List servers"),
    el("p", {}, "Hosts can announce sessions at list servers, where people find them. Restrict here which servers are allowed."),
    locked ? el("p", { class: "warning" }, "The list is locked against changes.") : null,
    el("div", { class: "card" }, locked
      ? [el("p", {}, enabled ? "Only these are allowed:" : "All are allowed."), el("pre", {}, whitelist.join("\n"))]
      : form([
        field("enabled", "Allow only list servers that match", { kind: "check", value: enabled }),
        field("whitelist", "Allowed list servers", { kind: "area", value: whitelist.join("\n"), help: "Regular expressions of URLs, one a line, such as ^https://pub\\.drawpile\\.net/" }),
      ], "Save", async (element) => {
        const given = values(element, ["whitelist"]);
        await put("listserverwhitelist", { enabled: given.enabled, whitelist: given.whitelist.split("\n").map((l) => l.trim()).filter(Boolean) });
        say("Saved.");
      })));
}
