// The sixteen tasks of an evening with a troll, done on a phone by a moderator: each is done and seen, and its taps, typed
// characters and screens that are scrolled past are counted, beside those of the first version of the page. It
// brings in the people itself. `tests/page/main.rs` starts the server, and writes a log of some days.
//
//   node tasks.mjs URL PORT-OF-THE-DRAWING-PROTOCOL SESSION-OF-LAST-NIGHT FOLDER-FOR-SCREENSHOTS

import assert from "node:assert/strict";
import { isNotTooWide, start } from "./browser.mjs";
import { evening, SHARED, TROLL, TROLL_NAMES } from "./evening.mjs";
import { DEVICES } from "./hand.mjs";
import { device, Person } from "./people.mjs";
import { api } from "./several.mjs";

const [url, portText, ofLastNight, folder] = process.argv.slice(2);
const port = Number(portText);
const { browser, problems, open } = await start([url]);
const [, phone] = DEVICES[0];

/** Seconds of a tap with finding it, of a typed character on a phone, and of a screen that is scrolled past. */
const [PER_TAP, PER_CHARACTER, PER_SCREEN] = [1.6, 0.28, 1.2];
/** Pixels at the bottom of a phone that the bar covers. */
const BAR = 72;

/** Number, what, and how it was on the first version of the page: whether it was done, taps, typed characters, seconds. */
const BEFORE = [
  [1, "Log in as moderator", "no", 3, 13, 8], [2, "Who is online, where is trouble", "half", 2, 0, 12],
  [3, "Find the troll, all names", "yes", 4, 17, 11], [4, "Kick, ban for a week, reason, whom else", "yes", 12, 72, 41],
  [5, "What did they write, when", "no", 4, 0, 13], [6, "Talk to a session, answer somebody", "yes", 9, 115, 55],
  [7, "Picture of the canvas", "half", 4, 0, 9], [8, "New operator after the host left", "yes", 4, 0, 12],
  [9, "Find a report, handle it", "half", 8, 25, 29], [10, "End a session, say why", "yes", 5, 36, 20],
  [11, "Let an innocent person back in", "half", 6, 18, 14], [12, "Welcome text and rules", "yes", 5, 147, 53],
  [13, "Last night, 22 to 23, in one session", "half", 7, 26, 45], [14, "From a report to kicked and banned", "no", 15, 3, 26],
  [15, "Add a moderator, tell them how", "half", 8, 20, 26], [16, "Notice the full disk", "half", 0, 0, 0],
];

/** What a task has cost so far. */
let cost = null;
const results = new Map();
const secondsOf = ({ taps, typed, screens }) => PER_TAP * taps + PER_CHARACTER * typed + PER_SCREEN * screens;

/** How much has to be scrolled to see an element, in screens. */
const screensTo = (target) => target.evaluate((element, bar) => {
  const { top, bottom } = element.getBoundingClientRect();
  const visible = innerHeight - (element.closest("dialog, nav") ? 0 : bar);
  return Math.max(0, -top, bottom - visible) / innerHeight;
}, BAR);

async function tap(target) {
  await target.waitFor();
  cost.screens += await screensTo(target);
  cost.taps += 1;
  await target.tap();
}

async function type(target, text) {
  await tap(target);
  cost.typed += text.length;
  await target.fill(text);
}

/** Reads a screen to its end. */
async function readAll(page) {
  cost.screens += await page.evaluate((bar) => Math.max(0, document.documentElement.scrollHeight - (innerHeight - bar)) / innerHeight, BAR);
}

/** Does a task, from the screen that `page` shows; what it does afterwards to see that it is done costs nothing. */
async function task(number, page, act) {
  cost = { taps: 0, typed: 0, screens: 0 };
  try {
    await act();
  } catch (error) {
    await page.screenshot({ path: `${folder}/failed-task-${number}.png` });
    error.message = `task ${number}: ${error.message}`;
    throw error;
  }
  results.set(number, cost);
  await isNotTooWide(page, `task ${number}`);
  await page.screenshot({ path: `${folder}/task-${number}.png` });
}

/** Whoever uses the page: finders of what is there. */
function finder(page) {
  const button = (name, within = page) => within.getByRole("button", { name, exact: typeof name === "string" }).first();
  return {
    page,
    button,
    bar: (name) => page.getByRole("navigation").getByRole("link", { name }),
    link: (name) => page.getByRole("main").getByRole("link", { name }).first(),
    dialog: page.getByRole("dialog").last(),
    row: (name) => page.locator("main .rows").getByRole("button", { name: new RegExp(`^${name}\\b`) }).first(),
    said: (text) => page.locator("#said").getByText(text).first().waitFor(),
    /** Begins a task at the first screen. */
    home: async () => {
      await page.waitForFunction(() => !history.state?.sheet || document.querySelector("dialog[open]"));
      await page.evaluate(() => { location.hash = "#/"; });
      await page.getByRole("heading", { level: 1, name: "Now", exact: true }).waitFor();
      await page.locator("#now-sessions li").nth(4).waitFor();
      await page.evaluate(() => document.querySelectorAll("#said p").forEach((line) => line.click()));
    },
  };
}

/** Logs in; counted only in a task. */
async function login(page, name, password) {
  await page.goto(url);
  await type(page.getByLabel("Name", { exact: true }), name);
  await type(page.getByLabel("Password", { exact: true }), password);
  await tap(page.getByRole("button", { name: "Log in" }));
  await page.getByRole("heading", { level: 1, name: "Now", exact: true }).waitFor();
}

/** Sessions, people, bans, accounts and reports of the evening. */
async function prepare(admin) {
  for (let number = 0; number < 12; number += 1) {
    const flags = number === 0 ? "ADMINMOD" : number < 4 ? "MOD" : "HOST";
    await api(admin, "POST", "accounts", { username: number === 0 ? "rowan" : `account ${number}`, password: "sesame12", flags });
  }
  for (let number = 0; number < 60; number += 1) {
    const expires = number % 3 ? "2025-10-18 00:00:00" : "2035-01-01 00:00:00";
    await api(admin, "POST", "banlist", { ip: `198.18.${number}.0`, subnet: number % 2 ? 24 : 0, expires, comment: `old ban ${number}` });
  }
  const tonight = await evening(port);
  const host = async (name, title, number, options) => {
    const person = new Person(port, `192.0.2.${number}`);
    return { person, title, id: await person.host(name, title, { id: device(number), ...options }) };
  };
  tonight.life = await host("maple", "Life drawing", 20, { pictures: true, settings: { nsfm: true } });
  tonight.club = await host("hazel", "Closed club", 21, { settings: { password: "secret" } });
  for (const [at, name] of ["birch", "alder"].entries()) await new Person(port, `192.0.2.${22 + at}`).join(name, tonight.quiet.id, device(22 + at));
  for (const [at, text] of ["nobody can stop me", "this is mine now"].entries()) tonight.troll[at].say(text);
  tonight.marmalade.say("Please stop that");
  const flooder = tonight.others[0];
  for (let stroke = 0; stroke < 300; stroke += 1) flooder.draw();
  return tonight;
}

/** Reports somebody, and waits until the first screen has it. */
async function report({ page }, reporter, about, name, reason) {
  reporter.report(about.user, reason);
  await page.locator("#now-reports").getByText(reason).waitFor();
  await page.locator("#now-reports").getByText(new RegExp(`about ${name}$`)).first().waitFor();
}

/** Tasks 2, 3, 5 and 4: looking around, and the troll. */
async function meetsTroll(f, tonight) {
  const { page, bar, button, dialog, said, row } = f;
  await report(f, tonight.marmalade, tonight.troll[1], "PixeIKing", "covers everyone's drawings");
  await task(2, page, async () => {
    await page.locator("#now-sessions li").filter({ hasText: "Pixel art corner" }).getByText("1 report").waitFor();
    await readAll(page);
    await tap(bar("People"));
    await row("guest 14").waitFor();
    await readAll(page);
  });
  await f.home();
  await task(3, page, async () => {
    await tap(bar("People"));
    await type(page.getByLabel("Search names and addresses, also of people who have left"), "pixelking");
    await page.getByText(/^1 of \d+ people match/).waitFor();
    for (const name of TROLL_NAMES) await page.locator("#people > li").first().getByText(name).waitFor();
  });
  await task(5, page, async () => {
    await tap(row("PixelKing"));
    await tap(dialog.getByText(/^What they wrote/));
    const lines = dialog.locator("[data-key=wrote] li");
    for (const text of ["nobody can stop me", "this is mine now"]) await lines.filter({ hasText: text }).locator("time").waitFor();
  });
  await page.goBack();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await task(4, page, async () => {
    await tap(row("PixelKing"));
    await tap(button("Keep out PixelKing", dialog));
    await dialog.getByText("also keeps out Marmalade").first().waitFor();
    await tap(button("Please do not draw over others.", dialog));
    await tap(button("Kick and keep out for a week", dialog));
    await said("PixelKing is kept out for a week. 3 connections ended.");
  });
  for (const person of tonight.troll) assert.match(await person.ending(), /Please do not draw over others\./);
  assert.ok(!tonight.marmalade.isOver, "whoever shares the address stays");
  await assert.rejects(new Person(port, "198.51.100.99").join("PixelKing", tonight.doodles.id, TROLL));
}

/** Tasks 6, 7, 8 and 10: sessions. */
async function looksAfterSessions(f, tonight) {
  const { page, bar, button, dialog, said, row, link } = f;
  const [toAll, answer] = ["Welcome everybody! Please leave the corner at the upper left to the newcomers, ok?", "You can find the rules in the chat."];
  await f.home();
  await task(6, page, async () => {
    await tap(link(/^Friday Night Doodles/));
    await row("guest 14").waitFor();
    await page.getByRole("log").getByText("nobody can stop me").waitFor();
    await type(page.getByLabel("Write to Friday Night Doodles"), toAll);
    await tap(button("Send to Friday Night Doodles"));
    await said("Sent to Friday Night Doodles.");
    await tap(row("guest 2"));
    await tap(button("Message guest 2", dialog));
    await type(dialog.getByLabel("Message", { exact: true }), answer);
    await tap(dialog.getByRole("button", { name: "Send", exact: true }));
    await said("Sent to guest 2.");
  });
  for (const text of [toAll, answer]) await tonight.others[2].reply((v) => JSON.stringify(v).includes(text), text);
  await page.goBack();
  await f.home();
  await task(7, page, async () => {
    await tap(link(/^Life drawing/));
    await tap(button("Get a picture"));
    await page.getByRole("img", { name: "The canvas of Life drawing" }).waitFor();
  });
  tonight.quiet.person.leave();
  await f.home();
  await page.locator("#now-sessions li").filter({ hasText: "Quiet room" }).getByText("2 people").waitFor();
  // The server has made one of those who stay operator; that is seen, and the other one is preferred.
  await task(8, page, async () => {
    await tap(link(/^Quiet room/));
    await row("birch").getByText("operator").waitFor();
    await tap(row("alder"));
    await tap(button("Make operator of alder", dialog));
    await said("alder is operator of Quiet room.");
  });
  await page.goBack();
  await f.home();
  await task(10, page, async () => {
    await tap(bar("Sessions"));
    await tap(button("End session Closed club"));
    await type(dialog.getByLabel("Reason (they read it)"), "This server is for open sessions only");
    await tap(button("End session", dialog));
    await said("Session ended.");
  });
  await tonight.club.person.ending();
  assert.ok(tonight.club.person.messages.some(({ json }) => JSON.stringify(json)?.includes("open sessions only")), "the reason is told");
}

/** Tasks 9, 14 and 11: reports and bans. */
async function handlesReports(f, tonight) {
  const { page, bar, button, dialog, said, link } = f;
  await f.home();
  await report(f, tonight.others[3], tonight.others[0], "guest 0", "floods the canvas");
  await task(9, page, async () => {
    await tap(page.locator("#now-reports").getByRole("link", { name: /floods the canvas/ }));
    await tap(page.locator("#reports > li").filter({ hasText: "floods the canvas" }).getByRole("button", { name: /^Handled/ }));
    await tap(button("Handled", dialog));
    await said("The report of guest 3 is handled: nothing to do.");
  });

  // The troll is back with another device, three names, and a report.
  const again = device(0xbad2);
  const troll = [];
  for (const [at, session] of [tonight.doodles, tonight.pixels, tonight.life].entries()) troll.push(await new Person(port, SHARED).join(`${TROLL_NAMES[at]}2`, session.id, again));
  await f.home();
  await report(f, tonight.marmalade, troll[1], "PixeIKing2", "is back and does it again");
  await task(14, page, async () => {
    await tap(page.locator("#now-reports").getByRole("link", { name: /is back/ }));
    await tap(page.getByRole("button", { name: /^Keep out PixeIKing2/ }));
    await tap(button("Please do not draw over others.", dialog));
    await tap(button("Kick and keep out for a week", dialog));
    await said("PixeIKing2 is kept out for a week. 3 connections ended.");
  });
  for (const person of troll) await person.ending();
  await page.getByRole("navigation").getByRole("link", { name: "Reports 1", exact: true }).waitFor();
  const { taps, typed } = results.get(14);
  assert.ok(taps <= 4 && typed === 0 && secondsOf(results.get(14)) < 10, `task 14: ${taps} taps, ${secondsOf(results.get(14))} s`);

  await api(page, "POST", "bans", { name: "Marmalade", devices: [device(4)], seconds: 86400, reason: "a mistake" });
  await tonight.marmalade.ending();
  await f.home();
  await task(11, page, async () => {
    await tap(bar("More"));
    await tap(link("Bans"));
    await tap(page.locator("#bans").getByRole("button", { name: /^Let back in Marmalade/ }));
    await tap(button("Let back in", dialog));
    await said("Marmalade may come back in.");
  });
  await new Person(port, SHARED).join("Marmalade", tonight.pixels.id, device(4));
  await assert.rejects(new Person(port, SHARED).join("PixelKing", tonight.pixels.id, TROLL), "the troll stays out");
}

/** Task 13: the log of last night. */
async function readsLastNight(f) {
  const { page, button, link } = f;
  await f.home();
  await task(13, page, async () => {
    await tap(page.locator(`#now-sessions a[href="#/sessions/${ofLastNight}"]`));
    await tap(link("History of this session"));
    await tap(button("Last night"));
    await tap(button("22:00-23:00"));
    const sentences = page.locator("#history .sentence");
    await sentences.getByText("juniper kicked Nightmare from Night harbour: scribbling").waitFor();
    await page.waitForFunction(() => !document.getElementById("history").textContent.includes("Too"));
  });
}

/** Tasks 12 and 15, for administrators. */
async function administers(f) {
  const { page, bar, button, dialog, said, link } = f;
  const [welcome, rules] = ["Welcome! Be kind, ask before you draw over others, and have fun tonight.", "1. No drawing over others. 2. Keep the chat friendly. 3. Hosts decide here."];
  await f.home();
  await task(12, page, async () => {
    await tap(bar("More"));
    await tap(link("Texts"));
    await type(page.getByLabel("Welcome text"), welcome);
    await type(page.getByLabel("Rules", { exact: true }), rules);
    await tap(button("Save texts"));
    await said("The texts are saved. People read them from now on.");
  });
  const { welcomeMessage } = await api(page, "GET", "server");
  assert.equal(welcomeMessage, welcome);
  await f.home();
  await task(15, page, async () => {
    await tap(bar("More"));
    await tap(link("Team"));
    await type(page.getByLabel("Name", { exact: true }).first(), "juniper");
    await tap(button("Invite"));
    await tap(button("Copy invitation", dialog));
    await said("The invitation is copied.");
  });
  assert.match(await dialog.getByLabel("Text").inputValue(), /juniper.*moderator.*http:\S+#\/invitation\//);
  await page.goBack();
}

/** Task 16: the disk, from a screen that has nothing to do with it. */
async function noticesDisk(f) {
  const { page } = f;
  await page.route(/\/api\/overview$/, async (route) => {
    const response = await route.fetch({ maxRetries: 3 });
    const overview = await response.json();
    for (const disk of overview.disks) Object.assign(disk, { free: 33 * 1024 * 1024, low: true });
    await route.fulfill({ response, json: overview });
  });
  await page.evaluate(() => { location.hash = "#/people"; });
  await task(16, page, () => page.locator("#alarm p").getByText("33 MB free").waitFor());
}

/** The table of all tasks, in Markdown. */
function table() {
  const line = ([number, what, done, taps, typed, seconds]) => {
    const now = results.get(number);
    return `| ${number} | ${what} | ${done} | ${taps} | ${typed} | ${seconds} | ${now.taps} | ${now.typed} | ${now.screens.toFixed(1)} | ${Math.round(secondsOf(now))} |`;
  };
  return ["| # | task | done before | taps | typed | s | taps now | typed now | screens now | s now |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", ...BEFORE.map(line)].join("\n");
}

try {
  cost = { taps: 0, typed: 0, screens: 0 };
  const desk = await open(phone);
  await desk.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await login(desk, "boss", "secret");
  const tonight = await prepare(desk);
  const page = await open(phone);
  const f = finder(page);
  await task(1, page, () => login(page, "rowan", "sesame12"));
  await page.locator("#now-sessions li").nth(4).waitFor();
  await meetsTroll(f, tonight);
  await looksAfterSessions(f, tonight);
  await handlesReports(f, tonight);
  await readsLastNight(f);
  await administers(finder(desk));
  await noticesDisk(f);
  tonight.leave();
  assert.deepEqual(problems, []);
  for (const [number] of BEFORE) assert.ok(results.has(number), `task ${number} was done`);
  console.log(table());
} catch (error) {
  console.error(problems.join("\n"));
  throw error;
} finally {
  await browser.close();
}
process.exit(0);
