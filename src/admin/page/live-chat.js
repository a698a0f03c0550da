// The chat of a session from the moment on when the administrator joins it, where the server keeps no chat or not all.

import { el, fill, button, field, form } from "./dom.js";
import { getIfThere, post, put, remove } from "./api.js";
import { every } from "./live.js";

/** After so many milliseconds without reading the server takes the administrator out of the chat. */
const TIMEOUT = 900000;

/** How often what was said is read. */
const EVERY = 2000;

/** The chat of the session, once the administrator has joined it. */
export function liveChat(path, signal, locked) {
  const lines = el("div", { class: "chat", role: "log", "aria-label": "Chat", tabindex: "0" });
  const box = el("div");
  let offset = 0;
  let joined = false;

  // Two answers may have the same messages: those that are shown already are left out.
  const take = ({ offset: first, messages }) => {
    const fresh = messages.slice(Math.max(0, offset - first));
    for (const m of fresh) {
      lines.append(el("p", {}, el("b", {}, m.n ?? "Administrator"), `: ${m.m}`));
    }
    offset = Math.max(offset, first + messages.length);
    if (fresh.length) lines.scrollTop = lines.scrollHeight;
  };
  const look = async () => {
    if (!joined) return;
    const answer = await getIfThere(`${path}/chat`, { offset });
    if (answer) take(answer);
    else draw(false);
  };
  function draw(isJoined) {
    joined = isJoined;
    if (locked) {
      fill(box, el("p", { class: "soft" }, "Chat is locked."));
    } else if (!joined) {
      fill(box, el("p", { class: "soft" }, "What is said from now on is shown here when you join. What you say is a pop-up for everybody, and is written to the log."),
        button("Join the chat", async () => {
          const present = await getIfThere(`${path}/chat`, { offset: 0 });
          fill(lines);
          offset = 0;
          take(present ?? (await post(`${path}/chat`, { timeout: TIMEOUT })));
          draw(true);
        }, "plain"));
    } else {
      const say = form([field("message", "Say in the chat", { required: true })], "Say", async (element) => {
        take(await put(`${path}/chat`, { message: element.message.value, offset }));
        element.reset();
      });
      fill(box, lines, say, button("Leave the chat", async () => { await remove(`${path}/chat`); draw(false); }, "plain"));
    }
  }
  draw(false);
  every(signal, EVERY, look);
  return box;
}
