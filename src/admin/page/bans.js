// Bans of addresses, system ids and users.

import { el, fill, button, field, form, values, table, say, time, ask, search, has } from "./dom.js";
import { get, getIfThere, post, remove } from "./api.js";

const REACTIONS = [
  ["normal", "Tell them that they are banned"], ["neterror", "Pretend a network error"], ["garbage", "Send garbage"],
  ["hang", "Never answer"], ["timer", "Disconnect after a while"],
];
const DURATIONS = [["1", "1 day"], ["7", "1 week"], ["30", "30 days"], ["365", "1 year"], ["36500", "Permanently"]];

const until = (days) => new Date(Date.now() + Number(days) * 86400000).toISOString().slice(0, 19).replace("T", " ");

/** Live preview of a ban: how many addresses it covers and which connected users it affects. */
function preview(form, output) {
  let asked = 0;
  const look = async () => {
    const { ip, subnet } = values(form);
    const turn = (asked += 1);
    if (!ip) return fill(output);
    try {
      const seen = await get("banlist/preview", { ip, subnet: subnet ?? 0 });
      if (turn !== asked) return;
      fill(output,
        el("p", { class: seen.many ? "warning" : "" }, seen.first === seen.last ? `Covers ${seen.first} only.`
          : `Covers ${seen.addresses} addresses, ${seen.first} to ${seen.last}.${seen.many ? " That is many: people other than the one you mean will be kept out." : ""}`),
        seen.users.length ? el("p", {}, `Connected now and affected: ${seen.users.map((u) => `${u.name || "somebody"} (${u.ip})`).join(", ")}`)
          : el("p", { class: "soft" }, "Affects nobody who is connected now."));
    } catch (error) {
      if (turn === asked) fill(output, el("p", { class: "error" }, error.message));
    }
  };
  form.addEventListener("input", look);
  return look();
}

const common = (withReaction) => [
  field("days", "For", { kind: "select", choices: DURATIONS, value: "30" }),
  ...(withReaction ? [field("reaction", "What happens", { kind: "select", choices: REACTIONS }), field("reason", "Reason (shown to them)")] : []),
  field("comment", "Comment (for administrators)"),
];

const body = (given) => {
  const { days, ...rest } = given;
  return { ...rest, expires: until(days) };
};

const addressFields = (ip = "") => [
  field("ip", "Address", { required: true, value: ip }),
  field("subnet", "Prefix length", { kind: "number", min: 0, max: 128, value: 0, help: "0: this address only; 24: 256 IPv4 addresses; 64: one IPv6 network, such as a home" }),
];

/** Bans an address after a confirmation. Returns whether it was banned. */
export async function banAddress(ip, comment) {
  const output = el("div", { "aria-live": "polite" });
  const inner = [...addressFields(ip), output, ...common(false)];
  inner.at(-1).querySelector("input").value = comment ?? "";
  const answering = ask(`Ban ${ip}?`, "New connections from these addresses are refused. Users who are connected now stay until they are kicked.",
    { action: "Ban", danger: true, fields: inner });
  preview(output.closest("form"), output);
  const answer = await answering;
  if (!answer) return false;
  await post("banlist", body(answer));
  say("Banned.");
  return true;
}

export async function bans(content) {
  const answer = await getIfThere("banlist", { v: 2 });
  if (!answer) {
    fill(content, el("h1", {}, "Bans"), el("p", {}, "Bans need a configuration database: start the server with --database or --data."));
    return;
  }
  const locked = answer._locked;
  const kind = (path, title, columns, keys, inner, withReaction, check) => {
    const list = el("div");
    let rows = [];
    let wanted = "";
    const draw = () => fill(list, table(title, [
      ...columns,
      ...(withReaction ? [{ title: "Reaction", cell: (b) => b.reaction }, { title: "Reason", cell: (b) => b.reason }] : []),
      { title: "Until", cell: (b) => time(b.expires) },
      { title: "Comment", cell: (b) => b.comment },
      { title: "Added", cell: (b) => time(b.added) },
      { title: "Actions", cell: (b) => (locked ? "" : button("Remove", async () => {
        if (!(await ask("Remove the ban?", "The banned can connect again.", { action: "Remove" }))) return;
        await remove(`${path}/${b.id}`);
        await load();
      }, "danger")) },
    ], rows.filter((b) => has(b, wanted, keys)), wanted ? "No matching bans." : "No bans."));
    const load = async () => {
      rows = await get(path);
      draw();
    };
    const adding = locked ? null : form([...inner, ...common(withReaction)], "Ban", async (element) => {
      await post(path, body(values(element)));
      element.reset();
      if (check) fill(check);
      say("Banned.");
      await load();
    }, { kind: "danger" });
    if (check && adding) {
      adding.querySelector("[name=subnet]").closest(".field").after(check);
      preview(adding, check);
    }
    const section = el("section", { class: "card" }, el("h2", {}, title),
      el("div", { class: "row top" }, search(`Search in ${title.toLowerCase()}`, (text) => { wanted = text; draw(); })), list,
      adding ? el("details", {}, el("summary", {}, "Add a ban"), adding) : null);
    return { section, load };
  };
  const parts = [
    kind("banlist", "Addresses", [{ title: "Addresses", mono: true, cell: (b) => (b.subnet ? `${b.ip}/${b.subnet}` : b.ip) }], ["ip", "comment"],
      addressFields(), false, el("div", { "aria-live": "polite" })),
    kind("systembans", "Systems", [{ title: "System id", mono: true, cell: (b) => b.sid }], ["sid", "comment", "reason"],
      [field("sid", "System id", { required: true, help: "As users show it" })], true),
    kind("userbans", "Users of the auth server", [{ title: "User id", num: true, cell: (b) => String(b.userId) }], ["userId", "comment", "reason"],
      [field("userId", "User id", { kind: "number", min: 1, required: true })], true),
  ];
  fill(content, el("h1", {}, "Bans"), locked ? el("p", { class: "warning" }, "Bans are locked against changes.") : null, parts.map((p) => p.section));
  await Promise.all(parts.map((p) => p.load()));
}
