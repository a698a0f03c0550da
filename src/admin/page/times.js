// Going back to a time: what everybody drew since then goes.

import { el, fill, button, say, ask, bytes, time, age } from "./dom.js";
import { get, post } from "./api.js";
import { actions } from "./undo.js";

/** Says what cutting back to a time means, and does it after a confirmation. */
async function cutBack(path, until) {
  const { report: r, stored } = await post(`${path}/cut`, { until, dryRun: true });
  const whose = r.people.slice(0, 5).map((p) => `${p.actions} of ${p.name || `user ${p.id}`}`).join(", ");
  const facts = [
    `Removes what was drawn since then: ${actions(r.actions)} (${bytes(r.bytes)})${whose ? `, ${whose}` : ""}${r.people.length > 5 ? " and others" : ""}.`,
    "Everybody reloads the canvas.",
    stored ? "It can be taken back under \"Before resets\"." : "It cannot be taken back, because the session is not stored.",
  ];
  const answer = await ask("Go back to this time?", facts.join(" "), { action: "Go back", danger: true });
  if (!answer) return false;
  const done = await post(`${path}/cut`, { until });
  say(`Went back, ${actions(done.report.actions)} removed.`);
  return true;
}

/** Draws the choice of a time. */
export async function drawTimes(element, path, locked, reload) {
  // Whoever is choosing is not disturbed.
  if (document.activeElement?.type === "range" && element.contains(document.activeElement)) return;
  const { times } = await get(`${path}/times`);
  if (locked || times.length < 2) {
    fill(element, el("p", { class: "soft" }, "Nothing was drawn since the last reset."));
    return;
  }
  const chosen = el("p", { id: "chosen-time" });
  const show = (at) => fill(chosen, time(times[at].at), ` (${age(times[at].at)} ago), ${bytes(times[at].size)} of ${bytes(times.at(-1).size)}`);
  const slider = el("input", {
    type: "range", min: 0, max: times.length - 1, "aria-label": "Time to go back to", "aria-describedby": "chosen-time",
    oninput: (event) => show(Number(event.target.value)),
  });
  slider.value = times.length - 1;
  show(times.length - 1);
  fill(element, slider, chosen,
    button("Go back to this time\u2026", async () => {
      if (await cutBack(path, times[Number(slider.value)].at)) await reload();
    }, "danger"));
}
