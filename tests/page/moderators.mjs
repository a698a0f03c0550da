// An evening of a moderator, on a phone and at a desk: finds a troll, keeps them out, lets them back in. It brings in the
// people itself, and watches what they are told. `tests/page/main.rs` starts the server.
//
//   node moderators.mjs URL PORT-OF-THE-DRAWING-PROTOCOL SESSION-OF-LAST-NIGHT FOLDER-FOR-SCREENSHOTS

import assert from "node:assert/strict";
import { isAccessible, start } from "./browser.mjs";
import { DEVICES, hand, isLargeEnough, login, namesDiffer } from "./hand.mjs";
import { actsOnSeveral, answersInTime, api, extendsBan, filtersPeople, knowsPerson, tellsOfLostChat } from "./several.mjs";
import { evening, SHARED, TROLL, TROLL_NAMES } from "./evening.mjs";
import { device, Person } from "./people.mjs";

const [url, port, ofLastNight, folder] = process.argv.slice(2);
const { browser, problems, open } = await start([url]);
const LOW = 33 * 1024 * 1024;

/** The name and place of the person under a point of the window. */
const under = (page, x, y) => page.evaluate(([left, top]) => document.elementFromPoint(left, top)?.closest("li")?.dataset.key ?? null, [x, y]);

/** Acceptance check 3: look-alikes are found by how they look, titles of sessions are not searched. */
async function findsLookalikes({ page, go, row, look }, tonight) {
  await go("#/people", "People");
  await row("guest 14").waitFor();
  await page.getByLabel("Search names and addresses, also of people who have left").fill("pixelking");
  await page.getByText(/^1 of \d+ people match\.$/).waitFor();
  const rows = page.locator("#people > li");
  assert.equal(await rows.count(), 1);
  for (const name of TROLL_NAMES) assert.ok((await rows.first().textContent()).includes(name), name);
  await rows.getByText("same device, 3 connections - shares an address with Marmalade").waitFor();
  await page.getByLabel("Search names and addresses, also of people who have left").fill("pixel art");
  await page.getByText(/^0 of \d+ people match\.$/).waitFor();
  assert.ok(tonight.pixels.title.startsWith("Pixel art"));
  await page.getByLabel("Search names and addresses, also of people who have left").fill("PIXEL_K1NG");
  await page.getByText(/^1 of \d+ people match\.$/).waitFor();
  await look("search");
  await page.getByLabel("Search names and addresses, also of people who have left").fill("");
}

/** Acceptance check 8: while people come, go and draw, focus, rows and what is open stay, and Back closes a sheet. */
async function standsStill({ page, go, row, press, button, dialog, look }, tonight) {
  await go("#/people", "People");
  await row("guest 14").waitFor();
  await row("guest 6").focus();
  const box = await row("guest 6").boundingBox();
  const point = [box.x + 20, box.y + 20];
  const [focused, there] = [await page.evaluate(() => document.activeElement.closest("li").dataset.key), await under(page, ...point)];
  assert.equal(there, focused);
  // Everybody who comes and goes is five events: device, join, role, drawing, leave.
  const begin = Date.now();
  const visitors = [];
  for (let number = 0; Date.now() - begin < 20000; number += 1) {
    const visitor = await new Person(Number(port)).join(`visitor ${number}`, tonight.doodles.id, device(500 + number));
    visitor.draw();
    visitors.push(visitor);
    visitors[number - 4]?.leave();
    if (number % 4 === 0) tonight.others[10].draw();
    await new Promise((resolve) => { setTimeout(resolve, 400); });
  }
  for (const visitor of visitors) visitor.leave();
  await page.locator("#people > li.gone", { hasText: "visitor 3" }).getByText("has left").first().waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.closest("li")?.dataset.key), focused, "the focus stays");
  assert.equal(await under(page, ...point), there, "the same person is under the same point");
  await look("standing-still");

  await press(row("guest 6"));
  await page.getByRole("heading", { level: 2, name: "guest 6" }).waitFor();
  await press(dialog.getByText("Addresses and device"));
  const closing = new Person(Number(port));
  await closing.join("passer-by", tonight.doodles.id, device(900));
  closing.leave();
  await dialog.getByText("203.0.113.7").waitFor();
  await press(button("Kick guest 6", dialog));
  await page.getByRole("heading", { level: 2, name: "Kick guest 6?" }).waitFor();
  await page.goBack();
  await page.getByRole("heading", { level: 2, name: "Kick guest 6?" }).waitFor({ state: "detached" });
  await dialog.getByText("203.0.113.7").waitFor();
  await page.goBack();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.ok(page.url().endsWith("#/people"), "the screen is still there");
  assert.equal(await page.evaluate(() => document.activeElement.closest("li")?.dataset.key), focused, "the focus returns to the row");
}

/**
 * Acceptance checks 1, 2 and 4: a report makes a number appear, in two browsers; the troll is kept out by device with four
 * taps, is told until when and why, and whoever shares the address stays. The other browser sees who has handled it.
 */
async function handlesReport(tools, tonight, options) {
  const { page, go, press, button, link, dialog, said, look, taps } = tools;
  const other = await open(options);
  await login(other, url);
  await go("#/history", "History");
  const count = (where) => where.getByRole("navigation").getByRole("link", { name: /^Reports/ }).locator(".count");
  const before = await count(page).count();
  tonight.marmalade.report(tonight.troll[1].user, "covers everyone's drawings");
  for (const where of [page, other]) await count(where).getByText("1", { exact: true }).waitFor({ timeout: 4000 });
  assert.equal(before, 0);
  await press(link("Reports 1"));
  const begin = taps();
  await page.locator("#reports blockquote").getByText("covers everyone's drawings").waitFor();
  await page.getByText("No picture of the session.").waitFor();
  await isAccessible(page, "reports");
  await look("report");
  await press(page.getByRole("button", { name: /^Keep out PixeIKing/ }));
  await dialog.getByText("also keeps out Marmalade").first().waitFor();
  await dialog.getByText("Ends 3 connections.").waitFor();
  await look("keep-out");
  await dialog.getByRole("button", { name: "Please do not draw over others." }).first().click();
  await press(button("Kick and keep out for a week", dialog));
  await said("PixeIKing is kept out for a week. 3 connections ended.");
  assert.ok(taps() - begin <= 4, `${taps() - begin} taps`);
  for (const person of tonight.troll) {
    const told = await person.ending();
    assert.match(told, /Please do not draw over others\./);
    assert.doesNotMatch(told, /permanent/i);
  }
  assert.ok(!tonight.marmalade.isOver, "whoever shares the address stays");
  const again = new Person(Number(port), "198.51.100.99");
  await assert.rejects(again.join("PixelKing", tonight.doodles.id, TROLL), "the device is refused from another address");
  const refused = await again.ending();
  assert.match(refused, /Please do not draw over others\./);
  assert.match(refused, new RegExp(String(new Date(Date.now() + 7 * 86400000).getUTCDate())), `the end of the ban is in: ${refused}`);
  assert.doesNotMatch(refused, /permanent/i);
  const friend = await new Person(Number(port), SHARED).join("Friend", tonight.pixels.id, device(77));
  friend.leave();
  await page.getByText("No report is open.").waitFor();
  await count(other).waitFor({ state: "detached", timeout: 4000 });
  await other.evaluate(() => { location.hash = "#/reports"; });
  await other.getByText("Handled", { exact: true }).click();
  await other.locator("#handled").getByText(/^Handled by boss.*kept out for a week$/).first().waitFor();
  await other.close();
}

/** Bans and acceptance check 6: letting back in, taking that back, and again; the history tells each in a sentence. */
async function letsBackIn({ page, go, press, button, dialog, said, look, row }, tonight) {
  await go("#/people", "People");
  await page.getByLabel("Search names and addresses, also of people who have left").fill("pixelking");
  const left = page.locator("#people > li.gone").filter({ hasText: "pixel_king_" });
  await left.getByText(/kept out/).first().waitFor();
  await page.getByLabel("Search names and addresses, also of people who have left").fill("");

  await go("#/bans", "Bans");
  const ban = page.locator("#bans > li").filter({ hasText: "PixeIKing" });
  await ban.getByText(/by boss: Please do not draw over others\./).waitFor();
  await look("bans");
  await press(ban.getByRole("button", { name: /^Let back in/ }));
  await press(button("Let back in", dialog));
  await said("PixeIKing may come back in.");
  await ban.waitFor({ state: "detached" });
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said("PixeIKing is kept out again.");
  await ban.waitFor();
  await assert.rejects(new Person(Number(port)).join("PixelKing", tonight.doodles.id, TROLL));
  await press(ban.getByRole("button", { name: /^Let back in/ }));
  await press(button("Let back in", dialog));
  await ban.waitFor({ state: "detached" });
  const back = await new Person(Number(port), SHARED).join("PixelKing", tonight.doodles.id, TROLL);

  // Undo of keeping out, by its message.
  const letIn = () => page.evaluate(async () => (await (await fetch("api/log?contains=let%20PixelKing")).json()).length);
  const before = await letIn();
  await go("#/people", "People");
  await press(row("PixelKing"));
  await press(button("Keep out PixelKing", dialog));
  await press(button("Kick and keep out for a week", dialog));
  await said("PixelKing is kept out for a week. 1 connection ended.");
  await back.ending();
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said("PixelKing may come back in.");
  // The log is written a moment after what it tells.
  while (await letIn() === before) await page.waitForTimeout(50);
  await go("#/history", "History");
  const sentences = page.locator("#history .sentence");
  await sentences.getByText(/^boss banned PixelKing/).first().waitFor();
  await sentences.getByText(/^boss let PixelKing.* back in$/).first().waitFor();
  await sentences.getByText(/^boss handled the report of Marmalade about PixeIKing/).first().waitFor();
  await press(button("Messages"));
  await dialog.getByText("PixelKing is kept out for a week. 1 connection ended.").waitFor();
  await press(button("Close", dialog));
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

/** Acceptance checks 9 and 5: somebody is invited by a link for one use, and may do what moderators may. */
async function invites({ page, go, press, button, dialog, look }, tonight, options, name) {
  await go("#/team", "Team");
  await page.getByLabel("Name", { exact: true }).first().fill(name);
  await press(button("Invite"));
  const text = await dialog.getByLabel("Text").inputValue();
  await look("invitation");
  const address = /http:\S+#\/invitation\/[\w-]+/.exec(text)[0];
  await press(button("Close", dialog));
  const helper = await open(options);
  await helper.goto(address);
  await helper.getByRole("heading", { level: 1, name: "Invitation", exact: true }).waitFor();
  assert.ok(!helper.url().includes("invitation"), "the token is not left in the address");
  await helper.getByText("as moderator").waitFor();
  assert.equal(await helper.getByLabel("Name", { exact: true }).inputValue(), name);
  await helper.getByLabel("Password", { exact: true }).fill("long enough");
  await helper.getByLabel("Password again").fill("long enough");
  await helper.getByRole("button", { name: "Accept" }).click();
  await helper.getByRole("heading", { level: 1, name: "Now", exact: true }).waitFor();
  for (const hidden of ["Settings", "Team"]) assert.equal(await helper.getByRole("link", { name: hidden, exact: true }).count(), 0, hidden);
  for (const path of ["settings", "accounts"]) {
    assert.equal(await helper.evaluate(async (part) => (await fetch(`api/${part}`)).status, path), 403, path);
  }
  await helper.evaluate(() => { location.hash = "#/people"; });
  const victim = await new Person(Number(port)).join(`for ${name}`, tonight.doodles.id, device(700 + name.length));
  // The row of somebody who logs in has no device yet.
  await helper.locator("#people").getByRole("button", { name: new RegExp(`^for ${name}\\s+Friday Night`) }).click();
  const sheet = helper.getByRole("dialog").last();
  await sheet.getByRole("button", { name: /^Keep out/ }).click();
  await sheet.getByLabel("30 days").check();
  assert.equal(await sheet.getByLabel("for ever").count(), 0);
  await sheet.getByRole("button", { name: "Kick and keep out for 30 days" }).click();
  await hand(helper, {}).said("is kept out for 30 days. 1 connection ended.");
  await victim.ending();
  await helper.close();
  const second = await open(options);
  await second.goto(address);
  await second.getByRole("alert").getByText(/used/).waitFor();
  await second.close();
}

/** A warning before an operator is kept out, and a second question. */
async function warnsOfOperators({ page, go, row, press, button, dialog }, tonight) {
  await go("#/people", "People");
  await press(row("inkfox"));
  await press(button("Keep out inkfox", dialog));
  await dialog.getByText("inkfox is an operator of a session.").waitFor();
  await press(button("Kick and keep out for a week", dialog));
  await page.getByRole("heading", { level: 2, name: "Keep out inkfox all the same?" }).waitFor();
  await press(button("Cancel", dialog));
  for (const left of [2, 1]) {
    await page.waitForFunction((count) => history.state?.sheet === count && document.querySelectorAll("dialog").length === count, left);
    await page.goBack();
  }
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.ok(!tonight.quiet.person.isOver);
}

/**
 * Acceptance check 6, as far as roles in a session go: the answer is in words, and can be taken back. While the session of
 * the evening before is listed, which has the same title, the page tells when this one began.
 */
async function givesRoles({ page, go, row, press, button, dialog, said, look }, tonight) {
  await go(`#/sessions/${tonight.doodles.id}`, "Friday Night Doodles");
  await press(row("guest 2"));
  await press(button("Make operator of guest 2", dialog));
  await said(/^guest 2 is operator of Friday Night Doodles/);
  await button("Take back operator of guest 2", dialog).waitFor();
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said(/^guest 2 is no operator of Friday Night Doodles.* any more\./);
  await button("Make operator of guest 2", dialog).waitFor();
  await press(button("Kick guest 2", dialog));
  await dialog.getByLabel("Reason (they read it)").fill("scribbling");
  await press(dialog.getByRole("button", { name: "Kick", exact: true }));
  await said(/^guest 2 was kicked from Friday Night Doodles/);
  assert.match(await tonight.others[2].ending(), /scribbling/);
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await look("session");
}

/** Milder means than the door: a warning, a mute for a time, and a session that is closed for a time; each can be lifted. */
async function restrains({ page, go, row, press, button, dialog, said, look }, tonight) {
  await go(`#/sessions/${tonight.doodles.id}`, "Friday Night Doodles");
  tonight.others[3].say("I will not stop");
  await page.getByRole("log").getByText("I will not stop").waitFor();
  await press(row("guest 3"));
  await press(button("Warn guest 3", dialog));
  await dialog.getByLabel("Warning").fill("This is the last warning.");
  await press(dialog.getByRole("button", { name: "Warn", exact: true }));
  await said("guest 3 was warned, for the first time.");
  await tonight.others[3].reply((v) => JSON.stringify(v).includes("This is the last warning."), "the warning");
  await press(button("Mute or slow guest 3", dialog));
  await dialog.getByLabel("Reason (they read it)").fill("shouting");
  await look("mute");
  await press(button("Restrict", dialog));
  await said("guest 3 is muted for 10 minutes.");
  await press(button("Close", dialog));
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByText(/^guest 3 is muted until/).waitFor();
  await press(page.getByRole("button", { name: /^Lift the restriction of guest 3/ }));
  await said("guest 3 is restricted no more.");
  await press(button("Close to newcomers"));
  await press(button("Close", dialog));
  await said(/^Friday Night Doodles.* is closed to newcomers for an hour\./);
  await page.getByText("Closed to newcomers until").waitFor();
  await assert.rejects(new Person(Number(port)).join("newcomer", tonight.doodles.id, device(960)));
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said(/^Friday Night Doodles.* is open to newcomers\./);
}

/** What happened is told in sentences, by one line each; new lines do not push away what is read. */
async function tellsWhatHappened({ page, go, press, button, look }, tonight) {
  await go(`#/history/${tonight.doodles.id}`, "History of Friday Night Doodles");
  const sentences = page.locator("#history .sentence");
  await sentences.getByText("boss kicked guest 2 from Friday Night Doodles: scribbling").waitFor();
  await sentences.getByText("boss made guest 2 operator of Friday Night Doodles").waitFor();
  assert.equal(await sentences.filter({ hasText: "guest 2 left" }).count(), 0, "a kick is one line");
  const text = await page.locator("#history").innerText();
  for (const raw of [/[{}]/, tonight.doodles.id, /203\.0\.113/, /DELETE/]) assert.ok(!text.match(raw), `${raw} is in the history`);
  const first = await sentences.first().textContent();
  const late = await new Person(Number(port)).join("latecomer", tonight.doodles.id, device(950));
  await page.getByRole("button", { name: /^\d+ new, show$/ }).waitFor();
  assert.equal(await sentences.first().textContent(), first, "what is read stays where it is");
  await press(page.getByRole("button", { name: /^\d+ new, show$/ }));
  await sentences.getByText("latecomer came to Friday Night Doodles").waitFor();
  late.leave();
  await look("history");

  // A night is read from its beginning.
  await press(button("Tonight"));
  await page.waitForFunction(() => document.querySelectorAll(".chips button").length > 10);
  await press(button("Now"));
  await sentences.getByText("boss kicked guest 2").waitFor();
}

/** Acceptance check 7: one hour of last night in a session, with three taps, from its beginning. */
async function readsLastNight({ page, go, press, button, link, look, taps }) {
  await go(`#/sessions/${ofLastNight}`, "Night harbour");
  const before = taps();
  await press(link("History of this session"));
  await page.getByRole("heading", { level: 1, name: "History of Night harbour" }).waitFor();
  const sentences = page.locator("#history .sentence");
  await sentences.first().waitFor();
  // The answer about the whole night comes after the one about an hour, which was asked for later.
  let release = null;
  const gate = new Promise((resolve) => { release = resolve; });
  await page.route(/\/api\/log\?.*T06%3A00/, async (route) => {
    await gate;
    await route.continue();
  });
  await press(button("Last night"));
  await press(page.locator(".chips button").nth(7));
  await page.waitForFunction(() => !document.getElementById("history").textContent.includes("Too"));
  const late = page.waitForResponse((response) => response.url().includes("contains=Admin"));
  release();
  await (await late).finished();
  await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve); }));
  assert.ok(!(await page.locator("#history").textContent()).includes("Too"), "the hour is shown, not the night");
  await page.unroute(/\/api\/log\?.*T06%3A00/);
  assert.ok(taps() - before <= 3);
  const told = await sentences.allTextContents();
  assert.deepEqual(told, [
    "Ann came to Night harbour",
    "Nightmare came to Night harbour",
    "Ann reported Nightmare in Night harbour: covers everyone's drawings",
    "juniper kicked Nightmare from Night harbour: scribbling",
    "juniper banned Nightmare from Night harbour",
    "Ann in Night harbour: Session reset prepared",
    "Ann left Night harbour",
  ]);
  const tall = await sentences.evaluateAll((all) => all.filter((e) => e.getClientRects().length > 2 || e.offsetHeight > 60).length);
  assert.equal(tall, 0, "entries are two lines high at most");
  await look("last-night");
}

/** Acceptance check 10: the alarm on every screen, with the present number; size, names and contrast of what is there. */
async function showsLowDisk({ page, go, press, button, look }, tonight) {
  let free = LOW;
  await page.route(/\/api\/overview$/, async (route) => {
    const response = await route.fetch({ maxRetries: 3 });
    const overview = await response.json();
    for (const disk of overview.disks) Object.assign(disk, { free, low: true });
    await route.fulfill({ response, json: overview });
  });
  await page.goto(`${url}#/people`);
  await page.reload();
  const line = page.locator("#alarm p");
  await line.getByText("33 MB free").waitFor({ timeout: 4000 });
  assert.equal(await line.count(), 1, "directories on one disk are one line");
  free = 21 * 1024 * 1024;
  await line.getByText("21 MB free").waitFor({ timeout: 15000 });
  for (const [hash, title] of [["#/people", "People"], [`#/sessions/${tonight.doodles.id}`, "Friday Night Doodles"]]) {
    await go(hash, title);
    const person = page.locator("main .rows li button").first();
    await person.waitFor();
    const { y, height } = await person.boundingBox();
    assert.ok(y + height <= page.viewportSize().height, `the first person of ${title} is at ${y}`);
    await isLargeEnough(page, title);
    await namesDiffer(page, title);
    await isAccessible(page, title);
    await look(`disk-${title === "People" ? "people" : "session"}`);
  }
  await press(button("Hide for an hour"));
  await line.waitFor({ state: "detached" });
  await page.unroute(/\/api\/overview$/);
}

/** The palette: by key, and an action in words. */
async function findsByWord({ page, go, dialog, heading }) {
  await go("#/people", "People");
  await page.keyboard.press("Control+k");
  await dialog.getByRole("searchbox").fill("quiet");
  await page.keyboard.press("Enter");
  await heading("Quiet room");
  await page.keyboard.press("/");
  await dialog.getByRole("searchbox").fill("kick guest 9");
  await dialog.getByText("Kick guest 9").waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 2, name: "Kick guest 9?" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

let page;
try {
  for (const [pick, options] of DEVICES) {
    const tonight = await evening(Number(port));
    page = await open(options);
    await login(page, url);
    const tools = hand(page, { pick: `moderators-${pick}`, isTouch: options.hasTouch === true, folder });
    await page.locator("#newcomers").getByText("Marmalade").waitFor();
    await tools.look("now");
    await namesDiffer(page, "Now");
    await isLargeEnough(page, "Now");
    await findsLookalikes(tools, tonight);
    await standsStill(tools, tonight);
    await handlesReport(tools, tonight, options);
    await letsBackIn(tools, tonight);
    await invites(tools, tonight, options, `helper-${pick}`);
    await warnsOfOperators(tools, tonight);
    await givesRoles(tools, tonight);
    await restrains(tools, tonight);
    await answersInTime(tools, tonight);
    await filtersPeople(tools, tonight, Number(port));
    await actsOnSeveral(tools, tonight, Number(port));
    await extendsBan(tools, tonight, Number(port));
    await tellsOfLostChat(tools, tonight);
    await knowsPerson(tools);
    await tellsWhatHappened(tools, tonight);
    await readsLastNight(tools);
    await findsByWord(tools, tonight);
    await showsLowDisk(tools, tonight);
    // The next evening has sessions of the same titles. One that has ended already is as well.
    for (const { id } of [tonight.doodles, tonight.pixels, tonight.quiet]) {
      await api(page, "DELETE", `sessions/${id}`).catch(() => {});
    }
    await page.close();
    tonight.leave();
  }
  assert.deepEqual(problems, []);
  console.log("the moderators have had their evening");
} catch (error) {
  console.error(problems.join("\n"));
  if (page && !page.isClosed()) await page.screenshot({ path: `${folder}/failed-moderators.png` });
  throw error;
} finally {
  await browser.close();
}
process.exit(0);
