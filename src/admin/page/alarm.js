// The line about a disk that is nearly full, on every screen.

import { el, bytes, button } from "./dom.js";
import { redraw } from "./redraw.js";
import { get } from "./api.js";
import { follow, every } from "./live.js";

const EVERY = 5000;
const HIDDEN_FOR = 3600 * 1000;
const STORED = "drawhall-alarm-hidden-until";

/** How long the space will last, in words. */
function left(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const hours = seconds / 3600;
  if (hours < 1) return ", less than an hour at today's rate";
  return hours < 48 ? `, about ${Math.round(hours)} hours at today's rate` : `, about ${Math.round(hours / 24)} days at today's rate`;
}

function draw(disks) {
  const element = document.getElementById("alarm");
  const low = Number(localStorage.getItem(STORED)) > Date.now() ? [] : disks.filter((disk) => disk.low);
  redraw(element, low.map((disk) => el("p", { "data-key": disk.path },
    el("span", { role: "alert" }, "Disk nearly full: "),
    el("span", {}, `${bytes(disk.free)} free${left(disk.secondsLeft)}. ${disk.belowReserve ? "New sessions are refused. " : "New drawings may be lost. "}`),
    el("a", { href: "#/server" }, "What to do"), " ",
    button("Hide for an hour", () => {
      localStorage.setItem(STORED, String(Date.now() + HIDDEN_FOR));
      draw(disks);
    }, "plain"))));
}

/** Watches the disks until the signal. */
export function watchDisks(signal) {
  const look = async () => draw((await get("overview")).disks);
  look().catch(() => {});
  follow(signal, ["status"], { disk: () => look().catch(() => {}) });
  every(signal, EVERY, look);
  signal.addEventListener("abort", () => redraw(document.getElementById("alarm")));
}
