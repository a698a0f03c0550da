// Who is kept out, newest first, and who was.

import { el, fill, button, choices, field, form, say, ask, search, time, values } from "./dom.js";
import { redraw } from "./redraw.js";
import { getIfThere } from "./api.js";
import { follow } from "./live.js";
import { ban, banAgain, bansOf, changeBan, letIn, previewBan } from "./ban-api.js";
import { isReader } from "./rights.js";
import { lengthChoices, lengthIn } from "./keep-out.js";
import { counted } from "./actions.js";

const PAGE = 100;

/** Targets in words: "this device, 192.0.2.0/24". */
function targetsOf({ targets }) {
  const count = (kind, what) => {
    const number = targets.filter((target) => target.kind === kind).length;
    return number ? (number === 1 ? `one ${what}` : counted(number, what)) : null;
  };
  return [count("device", "device"), count("account", "account"), ...targets.filter((t) => t.kind === "address").map((t) => t.subject)]
    .filter(Boolean).join(", ");
}

const nameOf = (b) => b.name || targetsOf(b);

/** Lets somebody back in after a confirmation. */
async function askAndLetIn(b) {
  if (!(await ask(`Let ${nameOf(b)} back in?`, `Kept out: ${targetsOf(b)}.`, { action: "Let back in" }))) return;
  const before = await letIn(b.id);
  say(`${nameOf(b)} may come back in.`, false, async () => {
    await banAgain({ ...b, ...before, expires: b.expires });
    say(`${nameOf(b)} is kept out again.`);
  });
}

/** Changes how long, reason and note of a ban. */
async function askAndChange(b) {
  const answer = await ask(`Change: ${nameOf(b)}`, ["The time begins now.", b.changes?.length ? el("ul", {}, b.changes.map((c) =>
    el("li", {}, time(c.at), ` ${c.by} changed ${c.what} from "${c.before}" to "${c.after}"`))) : null].filter(Boolean), { action: "Change", keep: ["reason", "note", "name"], fields: [
    choices("length", "Keep out for", [["", "As it is"], ...lengthChoices()], ""),
    field("reason", "Reason (they read it)", { value: b.reason }), field("note", "Note for the team", { value: b.note }),
    field("name", "Name", { value: b.name })] });
  if (!answer) return;
  const { length, ...texts } = answer;
  await changeBan(b.id, { ...texts, ...(length ? lengthIn({ length }) : {}) });
  say(`The ban of ${answer.name || nameOf(b)} is changed.`);
}

function row(b, locked, reload) {
  const until = b.ended ? ["let back in ", time(b.ended.at), b.ended.by ? ` by ${b.ended.by}` : ""]
    : b.permanent ? ["for ever"] : [b.inForce ? "until " : "ended ", time(b.expires)];
  return el("li", { "data-key": String(b.id), class: "ban" },
    el("div", {}, el("b", {}, nameOf(b)), b.name ? el("span", { class: "soft" }, ` (${targetsOf(b)})`) : null,
      el("div", {}, until, b.author ? `, by ${b.author}` : "", b.reason ? `: ${b.reason}` : ""),
      b.note ? el("div", { class: "soft" }, b.note) : null),
    b.inForce && !locked ? el("div", { class: "row" },
      button("Change", () => askAndChange(b).then(reload), "plain", `the ban of ${nameOf(b)} (${b.id})`),
      button("Let back in", () => askAndLetIn(b).then(reload), "plain", `${nameOf(b)} (${b.id})`)) : null);
}

/** The form that keeps out addresses or devices without a person. */
function adding(reload) {
  const effect = el("div", { role: "status" });
  const lines = (text) => (text ?? "").split(/[\s,]+/).filter(Boolean);
  const planOf = (given) => ({ name: given.name ?? "", addresses: lines(given.addresses), devices: lines(given.devices), accounts: [],
    reason: given.reason ?? "", note: given.note ?? "", ...lengthIn(given) });
  const element = form([
    field("addresses", "Addresses", { help: "Also ranges: 192.0.2.0/24, 192.0.2.5-192.0.2.90, 2001:db8::/48" }),
    field("devices", "Devices", { help: "As the sheet of a person shows them" }), effect,
    choices("length", "Keep out for", lengthChoices(), "604800"),
    field("name", "Name"), field("reason", "Reason (they read it)"), field("note", "Note for the team"),
  ], "Keep out", async (given) => {
    const result = await ban(planOf(values(given)));
    if (!result) return;
    given.reset();
    fill(effect);
    say(`Kept out. ${counted(result.ended, "connection")} ended.`);
    await reload();
  }, { kind: "danger" });
  let asked = 0;
  element.addEventListener("input", async () => {
    const plan = planOf(values(element));
    const turn = (asked += 1);
    if (plan.addresses.length + plan.devices.length === 0) return fill(effect);
    try {
      const hit = await previewBan(plan);
      if (turn !== asked) return undefined;
      const names = [...hit.connected.map((c) => c.name), ...hit.recent.flatMap((r) => r.names.slice(0, 1))].filter(Boolean);
      return fill(effect, el("p", {}, `Covers ${hit.addresses === "1" ? "one address" : `${hit.addresses} addresses`}. Keeps out ${names.length ? [...new Set(names)].join(", ") : "nobody of those who are here or were lately"}.`),
        hit.warnings.length ? el("p", { class: "warning bad" }, hit.warnings.map(({ text }) => text).join(" ")) : null);
    } catch (error) {
      return turn === asked ? fill(effect, el("p", { class: "error" }, error.message)) : undefined;
    }
  });
  return element;
}

export async function bans(content, signal) {
  const first = await getIfThere("bans");
  if (!first) {
    fill(content, el("h1", {}, "Bans"), el("p", {}, "Bans need a configuration database: start the server with --database or --data."));
    return;
  }
  const locked = isReader() || first._locked === true;
  const lists = { "in-force": el("ul", { class: "rows", id: "bans" }), over: el("ul", { class: "rows", id: "bans-over" }) };
  const pages = { "in-force": 0, over: 0 };
  let wanted = "";

  const draw = async (state) => {
    let rows = [];
    let total = 0;
    for (let page = 0; page <= pages[state]; page += 1) {
      const answer = await bansOf({ state, contains: wanted, page });
      rows = [...rows, ...answer.bans];
      total = answer.total;
    }
    if (signal.aborted) return;
    redraw(lists[state], rows.length ? rows.map((b) => row(b, locked, reload)) : el("li", { class: "soft" }, wanted ? "Nobody fits." : "Nobody."),
      total > rows.length ? el("li", { "data-key": "more" }, button("More", () => { pages[state] += 1; return draw(state); }, "plain", state)) : null);
  };
  const over = el("details", { class: "card", ontoggle: () => { if (over.open) draw("over").catch(() => {}); } }, el("summary", {}, "Over"), lists.over);
  async function reload() {
    await draw("in-force");
    if (over.open) await draw("over");
  }
  let due = null;
  const soon = () => {
    due ??= setTimeout(() => { due = null; reload().catch(() => {}); }, 300);
  };
  fill(content, el("h1", {}, "Bans"), first._locked ? el("p", { class: "warning" }, "Bans are locked against changes.") : null,
    el("div", { class: "finder" }, search("Search names, addresses, reasons", (text) => { wanted = text; pages["in-force"] = 0; pages.over = 0; soon(); })),
    lists["in-force"], locked ? null : el("details", { class: "card" }, el("summary", {}, "Keep out an address or device"), adding(reload)), over);
  await draw("in-force");
  follow(signal, ["bans"], { open: soon, ban: soon });
}
