// On a phone: the screens that have no place in the bar.

import { el, fill } from "./dom.js";
import { otherScreens } from "./screens.js";

export function more(content) {
  fill(content, el("h1", {}, "More"),
    el("ul", { class: "rows" }, otherScreens().map(({ path, title }) => el("li", {}, el("a", { class: "row-link", href: `#/${path}` }, title)))));
}
