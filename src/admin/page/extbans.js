// External bans, fetched from a URL.

import { el, button, table, say, time, ask } from "./dom.js";
import { redraw } from "./redraw.js";
import { get, post, put, remove } from "./api.js";
import { every } from "./live.js";

const covers = (ban) => [
  ...ban.ips.map((r) => (r.from === r.to || !r.to ? r.from : `${r.from} to ${r.to}`)),
  ...ban.system.map((s) => `${(s.sids ?? []).length} system ids`),
  ...ban.users.map((u) => `${(u.ids ?? []).length} users`),
].join(", ");

export async function extbans(content, signal) {
  async function load() {
    const answer = await get("extbans");
    if (signal.aborted) return;
    const { status, config, bans, _locked: locked } = answer;
    const next = status.msecsUntilNextCheck >= 0 ? `, the next time in ${Math.ceil(status.msecsUntilNextCheck / 60000)} min` : "";
    redraw(content, el("h1", {}, "External bans"),
      locked ? el("p", { class: "warning" }, "External bans are locked against changes.") : null,
      status.active
        ? el("p", {}, "Fetched from ", el("span", { class: "mono" }, status.url), ` every ${Math.round(status.intervalMsecs / 60000)} min${next}.`,
          config.extBansCacheUrl === status.url ? "" : " Nothing has been fetched yet.")
        : el("p", {}, "External bans are off. ", el("a", { href: "#/settings" }, "Set extBansUrl"), " to the address of a ban list."),
      el("div", { class: "row" },
        status.active ? button("Fetch now", async () => {
          await post("extbans/refresh");
          say("Fetching.");
          setTimeout(() => load().catch(() => {}), 1500);
        }) : null,
        locked ? null : button("Discard", async () => {
          if (!(await ask("Discard the external bans?", "They have no effect until they are fetched again.", { action: "Discard", danger: true }))) return;
          await remove("extbans");
          await load();
        }, "danger")),
      table("External bans", [
        { title: "Number", num: true, cell: (b) => String(b.id) },
        { title: "Matches", cell: covers },
        { title: "Until", cell: (b) => time(b.expires) },
        { title: "Reason", cell: (b) => b.reason },
        { title: "Comment", cell: (b) => b.comment },
        { title: "Enabled", cell: (b) => (b.enabled ? "yes" : "no") },
        { title: "Actions", cell: (b) => (locked ? "" : button(b.enabled ? "Disable" : "Enable", async () => {
          await put(`extbans/${b.id}`, { enabled: !b.enabled });
          await load();
        }, "plain", `external ban ${b.id}`)) },
      ], bans, "There are no external bans."));
  }
  await load();
  every(signal, 30000, load);
}
