// Going back to a time: what everybody drew since then goes.

import { el, fill, button, say, ask, bytes, time, age } from "./dom.js";
import { get, post } from "./api.js";
import { actions } from "./undo.js";

/** Says what cutting back to a time means, and does it after a confirmation. */
async function cutBack(path, until) {
  const { report: r, acrossReset, stored } = await post(`${path}/cut`, { until, dryRun: true });
  const whose = r.people.slice(0, 5).map((p) => `${p.actions} of ${p.name || `user ${p.id}`}`).join(", ");
  const facts = [
    acrossReset ? "That is before the last reset; the session gets as large as it was then." : null,
    `Removes what was drawn since then: ${actions(r.actions)} (${bytes(r.bytes)})${whose ? `, ${whose}` : ""}${r.people.length > 5 ? " and others" : ""}.`,
    "Everybody reloads the canvas.",
    stored ? "It can be taken back under \"Before resets\"." : "It cannot be taken back, because the session is not stored.",
  ];
  const answer = await ask("Go back to this time?", facts.filter(Boolean).join(" "), { action: "Go back", danger: true });
  if (!answer) return false;
  const done = await post(`${path}/cut`, { until });
  say(`Went back, ${actions(done.report.actions)} removed.`);
  return true;
}

/** The times that can be chosen, oldest first: those before the last reset, and those since. */
const allTimes = ({ times, earlier }) => [...earlier.map((entry) => ({ ...entry, of: earlier.at(-1).size, isEarlier: true })),
  ...times.map((entry) => ({ ...entry, of: times.at(-1).size }))];

/** Draws the choice of a time. */
export async function drawTimes(element, path, locked, reload) {
  // Whoever is choosing is not disturbed.
  if (document.activeElement?.type === "range" && element.contains(document.activeElement)) return;
  const times = allTimes(await get(`${path}/times`));
  const kept = element.querySelector("input")?.dataset.chosen;
  if (locked || times.length < 2) {
    fill(element, el("p", { class: "soft" }, "Nothing was drawn since the last reset."));
    return;
  }
  const chosen = el("p", { id: "chosen-time" });
  const show = ({ at, size, of, isEarlier }) => fill(chosen, time(at), ` (${age(at)} ago${isEarlier ? ", before the last reset" : ""}), ${bytes(size)} of ${bytes(of)}`);
  const slider = el("input", {
    type: "range", min: 0, max: times.length - 1, "aria-label": "Time to go back to", "aria-describedby": "chosen-time",
    oninput: ({ target }) => {
      const entry = times[Number(target.value)];
      target.dataset.chosen = entry.at;
      show(entry);
    },
  });
  // A choice stays when the section is drawn anew.
  const at = times.findIndex((entry) => entry.at === kept);
  if (at >= 0) slider.dataset.chosen = kept;
  slider.value = at >= 0 ? at : times.length - 1;
  show(times[Number(slider.value)]);
  fill(element, slider, chosen,
    button("Go back to this time\u2026", async () => {
      if (await cutBack(path, times[Number(slider.value)].at)) await reload();
    }, "danger"));
}
