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

/**
 * The slider of a section, with what it stands for: {offer(times)}. It stays in the page when there are other times, so
 * that nobody loses what they hold, and they are taken over when it has lost the focus.
 */
function choiceOfTime(element, path, reload) {
  let [times, later, kept] = [[], null, null];
  const chosen = el("p", { id: "chosen-time" });
  const slider = el("input", {
    type: "range", min: 0, "aria-label": "Time to go back to", "aria-describedby": "chosen-time",
    oninput: () => {
      kept = times[Number(slider.value)].at;
      show();
    },
    onblur: () => later && take(later),
  });
  const show = () => {
    const { at, size, of, isEarlier } = times[Number(slider.value)];
    fill(chosen, time(at), ` (${age(at)} ago${isEarlier ? ", before the last reset" : ""}), ${bytes(size)} of ${bytes(of)}`);
  };
  const take = (newest) => {
    [times, later] = [newest, null];
    slider.max = times.length - 1;
    const at = times.findIndex((entry) => entry.at === kept);
    slider.value = at >= 0 ? at : times.length - 1;
    show();
  };
  fill(element, slider, chosen,
    button("Go back to this time\u2026", async () => {
      if (await cutBack(path, times[Number(slider.value)].at)) await reload();
    }, "danger"));
  return {
    offer: (newest) => {
      if (document.activeElement === slider) later = newest;
      else take(newest);
    },
  };
}

/** Sections that have a slider. */
const choices = new WeakMap();

/** Draws the choice of a time. */
export async function drawTimes(element, path, locked, reload) {
  const times = allTimes(await get(`${path}/times`));
  if (locked || times.length < 2) {
    choices.delete(element);
    fill(element, el("p", { class: "soft" }, "Nothing was drawn since the last reset."));
    return;
  }
  if (!choices.has(element)) choices.set(element, choiceOfTime(element, path, reload));
  choices.get(element).offer(times);
}
