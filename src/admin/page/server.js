// The machine: load, disks, a message to everybody.

import { el, fill, field, form, say, bytes, age, time, values, tag } from "./dom.js";
import { redraw } from "./redraw.js";
import { counted, countedPeople } from "./actions.js";
import { get, put } from "./api.js";
import { isReader } from "./rights.js";
import { follow, every } from "./live.js";
import { chart, rates } from "./charts.js";

/** Until when the certificate is valid, with an alert in the last three days: it should have been renewed by then. */
function certificate(seconds) {
  const until = time(new Date(seconds * 1000).toISOString());
  return seconds * 1000 < Date.now() + 3 * 86400 * 1000
    ? el("p", { class: "warning", role: "alert" }, "The certificate is valid only until ", until, "; the log says why it is not renewed.")
    : el("p", { class: "soft" }, "Certificate valid until ", until);
}

/** The servers of the cluster, this one first. */
function serverRow(one, at) {
  const counts = `${counted(one.sessions, "session")}, ${countedPeople(one.users)}`;
  return el("li", { "data-key": one.address },
    el("span", { class: "row-title" }, one.name), " ", at === 0 ? tag("this one") : null, " ", one.draining ? tag("draining") : null,
    el("span", { class: "soft" }, ` ${one.address}: ${counts}${one.sharesSessions ? "" : ", which no other server takes over"}`));
}

export async function server(content, signal) {
  const [status, seen] = await Promise.all([get("status"), get("overview")]);
  const samples = seen.samples;
  const cards = el("div", { class: "cards" });
  const disks = el("div");
  const servers = el("ul", { class: "plain" });
  const unowned = el("p", { class: "soft" });
  const cluster = el("section", { hidden: true }, el("h2", {}, "Servers"), servers, unowned);
  const drawCluster = (state) => {
    cluster.hidden = state.servers.length === 0;
    redraw(servers, state.servers.map(serverRow));
    fill(unowned, state.unownedSessions ? `${counted(state.unownedSessions, "session")} with nobody in them go on where somebody joins.` : "");
  };

  const draw = () => {
    const now = samples.at(-1) ?? { users: status.users, sessions: status.sessions, memory: 0, received: 0, sent: 0, messages: 0 };
    const one = (title, number, numbers) =>
      el("section", { class: "card" }, el("h2", {}, title), el("p", { class: "number" }, number), chart(title, numbers));
    const rate = (key) => rates(samples.map((s) => s[key]), seen.interval);
    const last = (list) => list.at(-1) ?? 0;
    redraw(cards,
      one("People", String(now.users), samples.map((s) => s.users)),
      one("Sessions", `${now.sessions} of ${status.maxSessions}`, samples.map((s) => s.sessions)),
      one("Received", `${bytes(Math.round(last(rate("received"))))}/s`, rate("received")),
      one("Sent", `${bytes(Math.round(last(rate("sent"))))}/s`, rate("sent")),
      one("Messages", `${Math.round(last(rate("messages")))}/s`, rate("messages")),
      one("Memory", bytes(now.memory), samples.map((s) => s.memory)));
  };
  const drawDisks = (list) => redraw(disks, list.map((disk) => el("div", { class: disk.low ? "warning" : "" },
    el("p", {}, `${bytes(disk.free)} of ${bytes(disk.total)} free`, disk.low ? ". Nearly full: delete what is not needed, such as old recordings and archives, or end large sessions. When it is full, sessions cannot be stored." : ""),
    el("meter", { min: 0, max: disk.total, value: disk.total - disk.free, high: disk.low ? 0 : disk.total * 0.9,
      low: 0, optimum: 0, "aria-label": `Used on the disk of ${disk.paths.join(" and ")}` }),
    el("p", { class: "mono soft" }, disk.paths.join(", ")))));

  const where = status.ext_host ? `${status.ext_host}:${status.ext_port}` : `port ${status.ext_port}`;
  const message = isReader() ? null : form([
    field("message", "Message to all sessions", { required: true }),
    field("alert", "As a pop-up they must close", { kind: "check" }),
  ], "Send to everybody", async (element) => {
    const { message: text, alert } = values(element);
    await put("sessions", alert ? { alert: text } : { message: text });
    element.reset();
    say("Sent to all sessions.");
  });

  fill(content,
    el("h1", {}, "Server"),
    el("p", { class: "soft" }, `Drawhall ${seen.version} at ${where}, up ${age(status.started)} (since `, time(status.started), ")"),
    seen.certificateExpires ? certificate(seen.certificateExpires) : null,
    seen.storageErrors > 0 ? el("p", { class: "warning", role: "alert" },
      `Writing to disk failed ${seen.storageErrors} times; see the log. Affected sessions are marked.`) : null,
    seen.notLoaded.length ? el("section", { class: "warning" },
      el("p", {}, `${seen.notLoaded.length} stored sessions are not loaded; drawhall repair may mend them.`),
      el("ul", {}, seen.notLoaded.map(({ id, reason }) => el("li", {}, `${id}: ${reason}`)))) : null,
    cards,
    cluster,
    el("section", {}, el("h2", {}, "Disks"), disks),
    message ? el("section", { class: "card" }, el("h2", {}, "Message everybody"), message) : null);
  draw();
  drawCluster(seen);
  drawDisks(seen.disks);
  if (seen.disks.length === 0) fill(disks, el("p", { class: "soft" }, "Nothing is stored: all sessions are in memory only."));

  follow(signal, ["status"], {
    status: (sample) => {
      // What comes every two seconds stands for the newest sample; the list itself is read again now and then.
      samples[Math.max(0, samples.length - 1)] = sample;
      draw();
    },
    disk: async () => drawDisks((await get("overview")).disks),
  });
  every(signal, seen.interval * 1000, async () => {
    const fresh = await get("overview");
    samples.splice(0, samples.length, ...fresh.samples);
    draw();
    drawCluster(fresh);
    if (fresh.disks.length) drawDisks(fresh.disks);
  });
}
