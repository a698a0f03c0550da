// Clicks through the admin page in a real browser. `tests/page/main.rs` starts the server and the people in it, and then this.
//
//   node page.mjs URL LINK-FOR-THE-FIRST-ADMINISTRATOR FOLDER-FOR-SCREENSHOTS

import assert from "node:assert/strict";
import { isAccessible, isNotTooWide, start } from "./browser.mjs";

const [url, link, folder] = process.argv.slice(2);
const { browser, problems, open } = await start([url, link]);
const page = await open({ viewport: { width: 1280, height: 900 } });

/** No serious fault of accessibility, and a picture of the screen: wide, narrow, dark. */
async function look(name) {
  await isAccessible(page, name, (scheme) => page.screenshot({ path: `${folder}/${name}-${scheme}.png`, fullPage: true }));
  await page.setViewportSize({ width: 390, height: 844 });
  await isNotTooWide(page, name);
  await page.screenshot({ path: `${folder}/${name}-phone.png`, fullPage: true });
  await page.setViewportSize({ width: 1280, height: 900 });
  console.log(`looked at ${name}`);
}

const heading = (name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
const screen = async (name) => {
  await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
  await heading(name);
};
/** A screen that is reached from the settings. */
const below = async (name) => {
  await screen("Settings");
  await page.locator("main").getByRole("link", { name, exact: true }).click();
  await heading(name);
};
const said = (text) => page.locator("#said").getByText(text).first().waitFor();
const press = (name, within = page) => within.getByRole("button", { name, exact: true }).first().click();
const type = (label, text, within = page) => within.getByLabel(label, { exact: true }).first().fill(text);
const dialog = page.getByRole("dialog");
const section = (name) => page.locator("section").filter({ has: page.getByRole("heading", { name, exact: true }) });

try {
  // Login.
  await page.goto(url);
  await heading("Log in");
  await type("Name", "boss");
  await type("Password", "wrong");
  await press("Log in");
  await page.getByText("Name or password are wrong").waitFor();
  await look("login");
  await type("Password", "secret");
  await page.keyboard.press("Enter");
  await heading("Now");
  await page.locator("#now-sessions").getByText("Harbour").waitFor();
  await page.locator("#newcomers").getByText("Cleo").waitFor();
  await look("now");

  // The machine: it goes on by itself.
  await screen("Server");
  await page.getByText(/ up /).waitFor();
  assert.equal(await page.locator("svg.chart").count(), 6);
  await page.waitForFunction(() => /^[1-9]/.test(document.querySelector(".card .number").textContent));
  await page.waitForFunction(() => document.querySelectorAll("meter").length > 0);
  await type("Message to all sessions", "Backup in ten minutes");
  await press("Send to everybody");
  await said("Sent to all sessions.");
  await look("server");

  // The servers of a cluster.
  assert.ok(await section("Servers").isHidden());
  await page.route(/\/api\/overview$/, async (route) => {
    const response = await route.fetch();
    const one = { name: "east", address: "192.0.2.1:27751", sharesSessions: true, draining: true, sessions: 1, users: 1 };
    const servers = [one, { ...one, name: "west", address: "192.0.2.2:27751", draining: false, sessions: 3, users: 12 }];
    await route.fulfill({ response, json: { ...await response.json(), servers, unownedSessions: 2 } });
  });
  await page.reload();
  await section("Servers").getByText("192.0.2.1:27751: 1 session, 1 person").waitFor();
  await section("Servers").getByText("192.0.2.2:27751: 3 sessions, 12 people").waitFor();
  assert.equal(await section("Servers").getByText("draining").count(), 1);
  await section("Servers").getByText("2 sessions with nobody in them").waitFor();
  await look("servers");
  await page.unroute(/\/api\/overview$/);

  // By keyboard: the first stop leads to the content, the next ones through the navigation.
  await page.reload();
  await heading("Server");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  // Find, Messages, Log out, then Now, People, Sessions.
  for (let stop = 0; stop < 6; stop += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await heading("Sessions");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Sessions", "the focus is at the heading");

  // What of a screen comes late does not move whoever has gone on.
  let release = null;
  const late = new Promise((resolve) => { release = resolve; });
  await page.route(/\/api\/sessions\/[^/]+\/space$/, async (route) => {
    await late;
    await route.continue();
  });
  await page.getByRole("link", { name: "Harbour" }).click();
  await page.waitForFunction(() => document.activeElement.matches("h1") && document.activeElement.textContent.includes("Harbour"));
  const further = page.getByRole("link", { name: "History of this session" });
  await further.focus();
  const [answered, before] = [page.waitForResponse(/\/space$/), await page.evaluate(() => window.scrollY)];
  release();
  await answered;
  await page.getByText(/ of (any size|[0-9.]+ .?B)/).first().waitFor();
  assert.ok(await further.evaluate((link) => link === document.activeElement), "the focus stays");
  assert.equal(await page.evaluate(() => window.scrollY), before, "the view stays");
  await page.unroute(/\/api\/sessions\/[^/]+\/space$/);
  await screen("Sessions");

  // Sessions.
  await page.getByRole("link", { name: "Harbour" }).waitFor();
  await look("sessions");
  await type("Search title, alias, id, founder", "nothing like it");
  await page.getByText("No matching sessions.").waitFor();
  await type("Search title, alias, id, founder", "harb");
  await page.getByRole("link", { name: "Harbour" }).waitFor();
  await page.getByText(/^Recordings \([0-9]+\)$/).click();
  await page.getByRole("cell", { name: /^[-0-9]+ [.0-9]+ session .*\.dprec$/ }).first().waitFor();
  await page.getByRole("button", { name: /^Picture \(\.png\) .*\.dprec$/ }).first().click();
  await said("Not done: there is no program that makes pictures of sessions");
  await page.getByText("New session").click();
  await type("Title", "Meadow");
  await type("Alias", "not an alias!");
  await press("Create session");
  await said("Not done: alias");
  await type("Alias", "meadow");
  await press("Create session");
  await heading("Meadow");
  await press("End session");
  await dialog.getByLabel("Reason (they read it)").fill("A test");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await heading("Meadow");
  await press("End session");
  await press("End session", dialog);
  await said("Session ended.");
  await heading("Sessions");
  await page.getByRole("link", { name: "Meadow" }).waitFor({ state: "detached" });

  // A session that begins with a picture.
  await page.getByText("New session").click();
  await type("Title", "Zeichnung \u{1f41f}");
  const picture = (name, base64) => page.getByLabel("Picture to begin with")
    .setInputFiles({ name, mimeType: "image/png", buffer: Buffer.from(base64, "base64") });
  await picture("broken.png", "iVBORw0KGgo=");
  await press("Create session");
  await said("Not done: picture: the PNG cannot be read");
  await picture("dot.png", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==");
  await press("Create session");
  await heading("Zeichnung \u{1f41f}");
  await press("End session");
  await press("End session", dialog);
  await heading("Sessions");

  // One session: picture, people, chat; the rest is closed at first.
  await page.getByRole("link", { name: "Harbour" }).click();
  await heading("Harbour");
  await press("Get a picture");
  await page.locator("img.thumb").waitFor();
  await page.waitForFunction(() => document.querySelector("img.thumb").naturalWidth > 0);
  await page.getByRole("log").getByText("as it happens").first().waitFor();
  await type("Write to Harbour", "Hello from the administration");
  await press("Send to Harbour", section("Chat"));
  await said("Sent to Harbour.");
  const row = (name) => section("People").locator("li").filter({ has: page.locator(".row-title", { hasText: name }) });
  const sheetOf = (name) => row(name).getByRole("button").click();
  await sheetOf("Ben");
  await press("Trust Ben", dialog);
  await said("Ben is trusted in Harbour.");
  await press("Untrust Ben", dialog);
  await dialog.getByRole("button", { name: "Trust Ben", exact: true }).waitFor();
  await press("Message Ben", dialog);
  await dialog.last().getByLabel("Message").fill("Only for you");
  await press("Send", dialog.last());
  await said("Sent to Ben.");
  await press("Close", dialog);
  await dialog.waitFor({ state: "detached" });
  const opened = async (name) => {
    const part = page.locator("details").filter({ has: page.locator("summary").getByText(name, { exact: true }) });
    await part.locator("summary").click();
    return part;
  };
  const invites = await opened("Invites");
  await press("Create invite", invites);
  await invites.getByRole("button", { name: /^Remove the invite of administrator/ }).click();
  await invites.getByText("There are no invites.").waitFor();
  const conf = await opened("Settings of the session");
  await type("Title", "Harbour at night", conf);
  await conf.getByLabel("18+").check();
  await press("Save", conf);
  await said("Saved.");
  await heading("Harbour at night");
  const secrets = await opened("Passwords");
  await secrets.getByLabel("Set the operator password").check();
  await secrets.getByLabel(/^New operator password/).fill("op");
  await press("Change", secrets);
  await said("The passwords are changed.");
  await look("session");
  await sheetOf("Cleo");
  await press("Kick Cleo", dialog);
  await press("Kick", dialog.last());
  await said("Cleo was kicked from Harbour at night.");
  await page.getByText("1 have left").waitFor();

  // A vandal is kicked: what they drew is undone, and that is taken back.
  await sheetOf("Vandal");
  await press("Kick Vandal", dialog);
  await press("Kick", dialog.last());
  await dialog.getByText("7 actions can be undone").waitFor();
  await dialog.getByLabel("How many of the newest actions").fill("5");
  await look("undo-after-kick");
  await press("Undo", dialog);
  await said("5 actions of Vandal undone, 2 more can be.");
  const drawn = section("Undo").getByRole("row").filter({ has: page.getByRole("cell", { name: "Vandal", exact: true }) });
  await drawn.getByRole("button", { name: "Redo 5 of Vandal" }).waitFor();
  await drawn.getByText("has left").waitFor();
  await look("undo");
  await press("Redo 5 of Vandal", drawn);
  await said("5 actions of Vandal redone.");
  await drawn.getByRole("button", { name: "Undo of Vandal" }).waitFor();

  // People.
  await screen("People");
  await page.locator("#people .row-title").getByText("Ada").waitFor();
  await type("Search names and addresses, also of people who have left", "ben");
  await page.getByText(/^1 of/).waitFor();
  await look("people");

  // Bans: how many and whom, before anything is done.
  await screen("Bans");
  await page.getByText("Keep out an address or device").click();
  const keeping = page.locator("details").filter({ hasText: "Keep out an address or device" });
  await type("Addresses", "198.51.0.0/16", keeping);
  await page.getByText("Covers 65536 addresses. Keeps out nobody of those who are here or were lately.").waitFor();
  await keeping.locator(".warning").waitFor();
  await type("Addresses", "198.51.100.7", keeping);
  await page.getByText("Covers one address.").waitFor();
  await type("Name", "Stranger", keeping);
  await type("Reason (they read it)", "spoiled the lobby", keeping);
  await look("bans");
  await press("Keep out", keeping);
  await said("Kept out. 0 connections ended.");
  const banned = page.locator("#bans > li").filter({ hasText: "Stranger" });
  await banned.getByText(/198\.51\.100\.7.*by boss: spoiled the lobby/).waitFor();
  await banned.getByRole("button", { name: /^Change the ban of Stranger/ }).click();
  await dialog.getByLabel("30 days").check();
  await press("Change", dialog);
  await said("The ban of Stranger is changed.");
  await banned.getByRole("button", { name: /^Let back in Stranger/ }).click();
  await press("Let back in", dialog);
  await said("Stranger may come back in.");
  await banned.waitFor({ state: "detached" });
  await page.getByText("Over", { exact: true }).click();
  await page.locator("#bans-over").getByText(/let back in .* by boss/).first().waitFor();

  await below("External bans");
  await page.getByText("External bans are off.").waitFor();
  await look("external-bans");

  // The team.
  await screen("Team");
  await page.getByText("Add an account").click();
  const adding = page.locator("details").filter({ hasText: "Add an account" });
  await type("Name", "helper", adding);
  await type("Password", "secret", adding);
  await adding.getByLabel(/^MOD:/).check();
  await press("Add", adding);
  const helper = page.locator("#accounts").getByRole("row").filter({ hasText: "helper" });
  await helper.getByText("MOD").waitFor();
  await press("Change helper", helper);
  await dialog.getByLabel("Locked: nobody can log in").check();
  await press("Save", dialog);
  await helper.getByRole("cell", { name: "yes" }).waitFor();
  await look("team");
  await press("Remove helper", helper);
  await press("Remove", dialog);
  await helper.waitFor({ state: "detached" });

  // List servers.
  await below("List servers");
  await type("Allowed list servers", "(");
  await press("Save");
  await said("Not done: (");
  await type("Allowed list servers", "^https://list\\.example/");
  await page.getByLabel("Allow only list servers that match").check();
  await press("Save");
  await said("Saved.");
  await look("list-servers");

  // Settings: checked as one types, and in force at once.
  await screen("Settings");
  await type("clientTimeout", "soon");
  await page.getByText("'soon' is no time").waitFor();
  assert.ok(await page.getByRole("button", { name: "Save", exact: true }).isDisabled());
  await type("clientTimeout", "2m");
  await type("forbiddenNameRegex", "(");
  await page.getByText("1 invalid").waitFor();
  await type("forbiddenNameRegex", "");
  await type("serverTitle", "The harbour");
  await page.getByText("2 changed").waitFor();
  await look("settings");
  await press("Save");
  await said("Saved.");
  await page.getByText("No changes.").waitFor();
  assert.equal(await page.getByLabel("serverTitle").inputValue(), "The harbour");
  await type("Search settings", "regex");
  assert.ok(await page.getByLabel("serverTitle").isHidden());
  assert.ok(await page.getByLabel("filterNameRegex").isVisible());
  await type("Search settings", "serverTitle");
  await press("Back to default of serverTitle", page.locator(".field").filter({ has: page.getByLabel("serverTitle") }));
  await said("serverTitle is at its default.");
  assert.equal(await page.getByLabel("serverTitle").inputValue(), "");

  // Texts that people read.
  await screen("Texts");
  await type("Rules", "Be kind.");
  await press("Save texts");
  await said("The texts are saved.");
  await type("Saved replies, one a line", "Please be kind.\nPlease wait.");
  await press("Save replies");
  await said("The replies are saved.");
  await look("texts");

  // The history follows.
  await screen("History");
  const sentence = (text) => page.locator("#history .sentence").filter({ hasText: text }).first();
  await sentence("boss changed settings (clientTimeout, serverTitle)").waitFor();
  await page.getByText("Session, person, time").click();
  await type("Words", "serverTitle");
  await press("Show");
  await sentence("boss changed settings").waitFor();
  await type("Words", "[page test]");
  await press("Show");
  await page.getByText("Nothing happened then.").waitFor();
  await page.evaluate(() => fetch("/api/log", { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ level: "Warn", topic: "Status", message: "[page test] something new" }) }));
  await page.getByRole("button", { name: /^\d+ new, show$/ }).click();
  await sentence("[page test] something new").waitFor();
  await look("history");

  // Checks of the running server.
  await below("Checks");
  await page.getByText(/indings in \d+ checks/).waitFor();
  await press("Check again");
  await page.getByText(/indings in \d+ checks/).waitFor();
  await look("checks");

  // Locks.
  await below("Locks");
  await page.getByLabel("Settings", { exact: true }).check();
  await press("Save");
  await said("Saved.");
  await look("locks");
  await screen("Settings");
  await page.getByText("Settings are locked against changes.").waitFor();
  await below("Locks");
  await page.getByLabel("Settings", { exact: true }).uncheck();
  await press("Save");
  await said("Saved.");

  await below("API");
  await type("Search the API", "banlist/preview");
  const request = page.locator("details").filter({ hasText: "GET /api/banlist/preview" });
  await request.locator("summary").click();
  await request.getByText("Length of the common prefix in bits").waitFor();
  await look("api");

  // On a phone the navigation is at the bottom, and what is seldom used is behind "More".
  await page.setViewportSize({ width: 390, height: 844 });
  await screen("More");
  await page.locator("main").getByRole("link", { name: "Server" }).click();
  await heading("Server");
  await look("more");
  await page.setViewportSize({ width: 1280, height: 900 });

  await press("Log out");
  await heading("Log in");
  await page.goto(`${url}#/people`);
  await page.reload();
  await heading("Log in");

  // The first administrator of another server, on a phone.
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(link);
  await heading("First administrator");
  assert.ok(!page.url().includes("first-admin"), "the token is not left in the address");
  await look("first-admin");
  await page.setViewportSize({ width: 390, height: 844 });
  await type("Name", "founder");
  await type("Password", "one");
  await type("Password again", "another");
  await press("Create account");
  await page.getByText("The passwords differ.").waitFor();
  await type("Password again", "one");
  await press("Create account");
  await heading("Now");
  await said("you are logged in");
  await page.goto(`${new URL(link).origin}/#/team`);
  await page.locator("#accounts td[data-label=Name]").getByText("founder", { exact: true }).waitFor();
  // In an open tab, and used before.
  await page.goto(link);
  await heading("First administrator");
  await type("Name", "second");
  await type("Password", "one");
  await type("Password again", "one");
  await press("Create account");
  await page.getByText("The link is wrong, or it was used").waitFor();
  assert.deepEqual(problems, []);
  console.log("the page does what it should");
} catch (error) {
  await page.screenshot({ path: `${folder}/failed.png`, fullPage: true });
  console.error(problems.join("\n"));
  throw error;
} finally {
  await browser.close();
}
