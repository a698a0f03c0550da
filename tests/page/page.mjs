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
  await heading("Overview");

  // Overview: it goes on by itself.
  await page.getByText(/ up /).waitFor();
  assert.equal(await page.locator("svg.chart").count(), 6);
  await page.waitForFunction(() => /^[1-9]/.test(document.querySelector(".card .number").textContent));
  await page.waitForFunction(() => document.querySelectorAll("meter").length > 0);
  await type("Message to all sessions", "Backup in ten minutes");
  await press("Send to everybody");
  await said("Sent to all sessions.");
  await look("overview");

  // By keyboard: the first stop leads to the content, the next ones through the navigation.
  await page.reload();
  await heading("Overview");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await heading("Sessions");

  // Sessions.
  await page.getByRole("link", { name: "Harbour" }).waitFor();
  await look("sessions");
  await type("Search title, alias, id, founder", "nothing like it");
  await page.getByText("No matching sessions.").waitFor();
  await type("Search title, alias, id, founder", "harb");
  await page.getByRole("link", { name: "Harbour" }).waitFor();
  await page.getByText("New session").click();
  await type("Title", "Meadow");
  await type("Alias", "not an alias!");
  await press("Create session");
  await said("Not done: alias");
  await type("Alias", "meadow");
  await press("Create session");
  await heading("Meadow");
  await press("End session");
  await dialog.getByLabel("Reason (shown to its users)").fill("A test");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await heading("Meadow");
  await press("End session");
  await press("End session", dialog);
  await said("Session ended.");
  await heading("Sessions");
  await page.getByRole("link", { name: "Meadow" }).waitFor({ state: "detached" });

  // One session: picture, chat, users, invites, settings.
  await page.getByRole("link", { name: "Harbour" }).click();
  await heading("Harbour");
  await press("Request thumbnail from Ada");
  await page.locator("img.thumb").waitFor();
  await page.waitForFunction(() => document.querySelector("img.thumb").naturalWidth > 0);
  await press("Join the chat");
  await page.getByRole("log").getByText("as it happens").first().waitFor();
  await type("Say", "Hello from the administration");
  await press("Send", section("Chat"));
  await page.getByRole("log").getByText("Hello from the administration").waitFor();
  await press("Leave the chat");
  await page.getByRole("button", { name: "Join the chat" }).waitFor();
  const row = (name) => section("Users").getByRole("row").filter({ has: page.getByRole("cell", { name, exact: true }) });
  await press("Trust", row("Ben"));
  await press("Untrust", row("Ben"));
  await row("Ben").getByRole("button", { name: "Trust", exact: true }).waitFor();
  await press("Message", row("Ben"));
  await dialog.getByLabel("Message").fill("Only for you");
  await press("Send", dialog);
  await dialog.waitFor({ state: "detached" });
  await press("Create invite");
  await press("Remove", section("Invites"));
  await page.getByText("There are no invites.").waitFor();
  await type("Title", "Harbour at night", section("Settings of the session"));
  await section("Settings of the session").getByLabel("Not safe for minors").check();
  await press("Save", section("Settings of the session"));
  await said("Saved.");
  await heading("Harbour at night");
  await section("Passwords").getByLabel("Set the operator password").check();
  await section("Passwords").getByLabel(/^New operator password/).fill("op");
  await press("Change", section("Passwords"));
  await said("Changed.");
  await look("session");
  await press("Kick", row("Cleo"));
  await press("Kick", dialog);
  await row("Cleo").waitFor({ state: "detached" });
  await page.getByText("1 have left").waitFor();

  // A vandal is kicked: what they drew is undone, and that is taken back.
  await press("Kick", row("Vandal"));
  await press("Kick", dialog);
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

  // Users.
  await screen("Users");
  await page.getByRole("cell", { name: "Ada" }).waitFor();
  await type("Search name, address, system id, session", "ben");
  await page.getByText(/^1 of/).waitFor();
  await look("users");

  // Bans: how many and whom, before anything is done.
  await screen("Bans");
  await section("Addresses").getByText("Add a ban").click();
  await type("Address", "127.0.0.1", section("Addresses"));
  await page.getByText("Covers 127.0.0.1 only.").waitFor();
  await page.getByText(/Connected now and affected: .*Ada/).waitFor();
  await type("Address", "198.51.100.7", section("Addresses"));
  await section("Addresses").getByLabel("Prefix length").fill("16");
  await page.getByText("Covers 65536 addresses, 198.51.0.0 to 198.51.255.255. That is many").waitFor();
  await page.getByText("Affects nobody who is connected now.").waitFor();
  await look("bans");
  await press("Ban", section("Addresses"));
  await page.getByRole("cell", { name: "198.51.100.7/16" }).waitFor();
  await press("Remove", section("Addresses"));
  await press("Remove", dialog);
  await section("Addresses").getByText("No bans.").waitFor();
  await section("Systems").getByText("Add a ban").click();
  await type("System id", "00000000000000000000000000000099", section("Systems"));
  await section("Systems").getByLabel("What happens").selectOption("hang");
  await press("Ban", section("Systems"));
  await section("Systems").getByRole("cell", { name: "hang" }).waitFor();

  await screen("External bans");
  await page.getByText("External bans are off.").waitFor();
  await look("external-bans");

  // Accounts.
  await screen("Accounts");
  await page.getByText("Add an account").click();
  const adding = page.locator("details").filter({ hasText: "Add an account" });
  await type("Name", "helper", adding);
  await type("Password", "secret", adding);
  await adding.getByLabel(/^MOD:/).check();
  await press("Add", adding);
  const helper = page.locator("#accounts").getByRole("row").filter({ hasText: "helper" });
  await helper.getByText("MOD").waitFor();
  await press("Change", helper);
  await dialog.getByLabel("Locked: nobody can log in").check();
  await press("Save", dialog);
  await helper.getByRole("cell", { name: "yes" }).waitFor();
  await look("accounts");
  await press("Remove", helper);
  await press("Remove", dialog);
  await helper.waitFor({ state: "detached" });

  // List servers.
  await screen("List servers");
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
  await press("Back to default", page.locator(".field").filter({ has: page.getByLabel("serverTitle") }));
  await said("serverTitle is at its default.");
  assert.equal(await page.getByLabel("serverTitle").inputValue(), "");

  // The log follows.
  await screen("Log");
  await page.getByRole("cell", { name: /PUT .*server \(clientTimeout, serverTitle\) by boss/ }).waitFor();
  await type("Text", "as it happens");
  await press("Filter");
  await type("Text", "Administrator connected");
  await press("Filter");
  await page.getByRole("cell", { name: "Administrator connected to chat" }).waitFor();
  await type("Text", "[page test]");
  await press("Filter");
  await page.getByText("No matching log entries.").waitFor();
  await page.evaluate(() => fetch("/api/log", { method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ level: "Warn", topic: "Status", message: "[page test] something new" }) }));
  await page.getByRole("cell", { name: "[page test] something new" }).waitFor();
  await look("log");

  // Checks of the running server.
  await screen("Checks");
  await page.getByText(/indings in \d+ checks/).waitFor();
  await press("Check again");
  await page.getByText(/indings in \d+ checks/).waitFor();
  await look("checks");

  // Locks.
  await screen("Locks");
  await page.getByLabel("Settings", { exact: true }).check();
  await press("Save");
  await said("Saved.");
  await look("locks");
  await screen("Settings");
  await page.getByText("Settings are locked against changes.").waitFor();
  await screen("Locks");
  await page.getByLabel("Settings", { exact: true }).uncheck();
  await press("Save");
  await said("Saved.");

  await screen("API");
  await type("Search the API", "banlist/preview");
  const request = page.locator("details").filter({ hasText: "GET /api/banlist/preview" });
  await request.locator("summary").click();
  await request.getByText("Length of the common prefix in bits").waitFor();
  await look("api");

  // On a phone the navigation is behind a button.
  await page.setViewportSize({ width: 390, height: 844 });
  await press("Menu");
  await screen("Overview");
  await page.setViewportSize({ width: 1280, height: 900 });

  await press("Log out");
  await heading("Log in");
  await page.goto(`${url}#/users`);
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
  await heading("Overview");
  await said("you are logged in");
  await page.locator("#who").getByText("founder").waitFor();
  await page.goto(`${new URL(link).origin}/#/accounts`);
  await page.getByRole("cell", { name: "founder" }).waitFor();
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
