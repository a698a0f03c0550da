// Several people at once: who is selected on the screen People, and what is done to all of them.

import { el, button } from "./dom.js";
import { redraw } from "./redraw.js";
import { kickPeople, messagePeople } from "./actions.js";
import { restrictPeople, warnPeople } from "./restrictions.js";
import { keepOut } from "./keep-out.js";
import { isReader } from "./rights.js";
import { online } from "./live-users.js";

/**
 * The people who are selected. `changed` is called when others are, or when selecting begins or ends. {begin, bar,
 * isOn(), has(person), set(person, isSelected), draw(persons)}: `begin` is the button that begins, `bar` has the actions.
 */
export function selection(changed) {
  const begin = el("div", { class: "row" });
  const bar = el("div", { class: "sticky selected", role: "group", "aria-label": "Selected people", hidden: true });
  const keys = new Set();
  let isOn = false;
  /** Those who are shown, as they are now. */
  let shown = [];

  const end = () => {
    keys.clear();
    isOn = false;
    changed();
  };
  const start = () => {
    isOn = true;
    changed();
  };
  /** An action on all who are selected; when it is done, selecting ends. */
  const act = (text, what, kind, needsConnection = true) => {
    const chosen = shown.filter((person) => keys.has(person.key) && (!needsConnection || person.connections.length > 0));
    const element = button(text, async () => { if (await what(chosen)) end(); }, kind, "selected people");
    element.disabled = chosen.length === 0;
    return element;
  };
  function draw(persons) {
    shown = persons;
    bar.hidden = !isOn;
    redraw(begin, isReader() || online.locked ? null : isOn ? button("Stop selecting", end, "plain") : button("Select several", start, "plain"));
    if (!isOn) return;
    const count = shown.filter((person) => keys.has(person.key)).length;
    redraw(bar, el("p", { role: "status" }, count === 1 ? "1 person selected" : `${count} people selected`),
      el("div", { class: "row" }, act("Message", messagePeople, "plain"), act("Warn", warnPeople, "plain"),
        act("Mute or slow", restrictPeople, "plain"), act("Kick", kickPeople, "plain"), act("Keep out", keepOut, "danger last", false)));
  }
  const set = (person, isSelected) => {
    if (isSelected) keys.add(person.key);
    else keys.delete(person.key);
    isOn = true;
    changed();
  };
  return { begin, bar, isOn: () => isOn, has: (person) => keys.has(person.key), set, draw };
}
