// Checks of the evening of moderators: filters of people and several of them at once, bans that exist already, and
// answers that come late or in another order.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { isAccessible } from "./browser.mjs";
import { isLargeEnough, namesDiffer } from "./hand.mjs";
import { device, Person } from "./people.mjs";

const DAY = 86400;

/** Asks the API, as whoever is logged in on the page. */
export const api = (page, method, path, body) => page.evaluate(async ([how, where, what]) => {
  const response = await fetch(`api/${where}`, { method: how, body: what && JSON.stringify(what),
    headers: { "X-Requested-With": "XMLHttpRequest", "Content-Type": "application/json" } });
  const text = await response.text();
  if (!response.ok) throw new Error(`${how} ${where}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}, [method, path, body]);

/**
 * The chat of a session is read once, later only what is new, one request at a time; a part of the address that is not
 * valid leads to a message; what a ban would hit is asked for what is sent, however late the answers are.
 */
export async function answersInTime({ page, go, row, press, button, dialog, heading }, tonight) {
  const asked = [];
  const running = new Set();
  let together = 0;
  const isTimeline = (request) => request.url().includes("/api/timeline?");
  const begins = (request) => {
    if (!isTimeline(request)) return;
    running.add(request);
    together = Math.max(together, running.size);
    asked.push(new URL(request.url()).searchParams);
  };
  const ends = (request) => running.delete(request);
  const watched = { request: begins, requestfinished: ends, requestfailed: ends };
  for (const [event, act] of Object.entries(watched)) page.on(event, act);
  await go("#/people", "People");
  await go(`#/sessions/${tonight.doodles.id}`, "Friday Night Doodles");
  for (const text of ["first of two", "second of two"]) {
    tonight.others[11].say(text);
    await page.getByRole("log").getByText(text).waitFor();
  }
  assert.equal(await page.getByRole("log").getByText("first of two").count(), 1);
  assert.equal(asked[0].get("newest"), "200");
  assert.ok(asked.length > 1);
  for (const [at, query] of asked.entries()) {
    assert.equal(query.get("topic"), "Chat");
    assert.equal(Boolean(query.get("after")), at > 0, `request ${at} for chat: ${query}`);
  }
  assert.equal(together, 1, "one look at a time");
  for (const [event, act] of Object.entries(watched)) page.off(event, act);

  await page.evaluate(() => { location.hash = "#/sessions/%"; });
  await heading("Sessions");
  await page.getByRole("main").getByRole("alert").waitFor();

  const neighbour = await new Person(tonight.port, "192.0.2.3").join("neighbour", tonight.doodles.id, device(970));
  await go("#/people", "People");
  await press(row("neighbour"));
  await press(button("Keep out neighbour", dialog));
  await dialog.getByText("Ends 1 connection.").waitFor();
  let release = null;
  const gate = new Promise((resolve) => { release = resolve; });
  await page.route(/\/api\/bans\/preview$/, async (route) => {
    await gate;
    await route.continue();
  });
  await dialog.getByLabel(/^This address/).check();
  await press(button("Kick and keep out for a week", dialog));
  release();
  await page.getByRole("heading", { level: 2, name: "Keep out neighbour all the same?" }).waitFor();
  await dialog.getByText("inkfox is an operator of a session.").waitFor();
  await page.unroute(/\/api\/bans\/preview$/);
  await closeAll(page, 3);
  assert.ok(!neighbour.isOver);
  neighbour.leave();
}

/** Closes sheets, the top one first. */
async function closeAll(page, count) {
  for (let left = count; left > 0; left -= 1) {
    await page.waitForFunction((open) => history.state?.sheet === open && document.querySelectorAll("dialog").length === open, left);
    await page.goBack();
  }
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

/** The filters show whom they name, also those who have left. */
export async function filtersPeople({ page, go, row, press, button, look }, tonight, port) {
  const twins = [];
  for (const name of ["twin one", "twin two"]) twins.push(await new Person(port, "192.0.2.80").join(name, tonight.doodles.id, device(980)));
  const short = await new Person(port, "192.0.2.81").join("short visit", tonight.doodles.id, device(981));
  short.leave();
  await api(page, "POST", `sessions/${tonight.doodles.id}/${tonight.others[4].user}/restrict`, { kind: "mute", seconds: 600, reason: "" });
  const away = await new Person(port, "192.0.2.82").join("kept away", tonight.doodles.id, device(982));
  const { ban } = await api(page, "POST", "bans", { name: "kept away", devices: [device(982)], seconds: DAY });
  await away.ending();

  await go("#/people", "People");
  await row("guest 5").waitFor();
  const rows = page.locator("#people > li");
  const only = async (filter, shown, hidden) => {
    await press(button(filter));
    await rows.filter({ hasText: shown }).first().waitFor();
    assert.equal(await rows.filter({ hasText: hidden }).count(), 0, `${hidden} is not shown by ${filter}`);
    assert.equal(await button(filter).getAttribute("aria-pressed"), "true");
  };
  await only("Same device", "twin one and twin two", "guest 5");
  await only("Muted", "guest 4", "guest 5");
  await only("Kept out", "kept away", "guest 5");
  const reads = [];
  const reading = (request) => { if (request.url().includes("/api/people?")) reads.push(request.url()); };
  page.on("request", reading);
  await only("New in 24 hours", "short visit", "nobody of this name");
  page.off("request", reading);
  assert.deepEqual(reads.map((url) => [...new URL(url).searchParams.keys()]), [["since"]], "who is new is one request");
  await rows.filter({ hasText: "short visit" }).getByText(/has left/).waitFor();
  await only("Guests", "guest 5", "short visit");
  await isLargeEnough(page, "filtered people");
  await namesDiffer(page, "filtered people");
  await isAccessible(page, "filtered people");
  await look("filter");
  await press(button("Guests"));
  await row("twin one").waitFor();
  await api(page, "DELETE", `bans/${ban.id}`);
  for (const twin of twins) twin.leave();
}

/** Warns several people, and keeps them out, with one action each; Undo lets all of them back in. */
export async function actsOnSeveral({ page, go, row, press, button, dialog, said, look }, tonight, port) {
  const names = ["one of three", "two of three", "three of three"];
  const id = (at) => device(990 + at);
  const persons = [];
  for (const [at, name] of names.entries()) persons.push(await new Person(port, `192.0.2.${90 + at}`).join(name, tonight.doodles.id, id(at)));
  await go("#/people", "People");
  await row(names[2]).waitFor();
  const bar = page.getByRole("group", { name: "Selected people" });
  const box = (name) => page.locator("#people").getByRole("checkbox", { name: new RegExp(`^${name}`) });

  await press(button("Select several"));
  await bar.getByText("0 people selected").waitFor();
  for (const name of names) await press(box(name));
  await bar.getByText("3 people selected").waitFor();
  await isLargeEnough(page, "selected people");
  await namesDiffer(page, "selected people");
  await isAccessible(page, "selected people");
  await look("select");
  await press(button("Warn selected people", bar));
  await dialog.getByLabel("Warning").fill("All of you, please stop.");
  await press(dialog.getByRole("button", { name: "Warn", exact: true }));
  await said("one of three, two of three and three of three were warned.");
  for (const person of persons) await person.reply((v) => JSON.stringify(v).includes("All of you, please stop."), "the warning");
  await bar.waitFor({ state: "hidden" });

  // It fails for the second of them, and only for that one.
  await press(button("Select several"));
  for (const name of names) await press(box(name));
  let warnings = 0;
  await page.route(/\/warn$/, (route) => ((warnings += 1) === 2 ? route.fulfill({ status: 409, json: { message: "Busy just now" } }) : route.continue()));
  await press(button("Warn selected people", bar));
  await dialog.getByLabel("Warning").fill("Once more, please stop.");
  await press(dialog.getByRole("button", { name: "Warn", exact: true }));
  await said("one of three and three of three were warned.");
  await said("for two of three: Busy just now");
  await page.unroute(/\/warn$/);
  await bar.waitFor({ state: "hidden" });

  // A long press, or the right button, begins with somebody.
  await row(names[0]).dispatchEvent("contextmenu");
  assert.ok(await box(names[0]).isChecked());
  for (const name of names.slice(1)) await press(box(name));
  await press(button("Keep out selected people", bar));
  await page.getByRole("heading", { level: 2, name: "Keep out 3 people" }).waitFor();
  await dialog.getByText("Ends 3 connections.").waitFor();
  await look("keep-out-several");
  await press(button("Kick and keep out for a week", dialog));
  await said("one of three, two of three and three of three are kept out for a week. 3 connections ended.");
  for (const person of persons) await person.ending();
  await assert.rejects(new Person(port).join(names[1], tonight.doodles.id, id(1)));
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said("one of three, two of three and three of three may come back in as before.");
  for (const [at, name] of names.entries()) (await new Person(port).join(name, tonight.doodles.id, id(at))).leave();
}

/**
 * Somebody whom a colleague has banned and let stay is kept out for longer: they are disconnected, and Undo gives the ban
 * of the colleague its end back.
 */
export async function extendsBan({ page, go, row, press, button, dialog, said, look }, tonight, port) {
  const stays = await new Person(port, "192.0.2.95").join("let stay", tonight.doodles.id, device(995));
  const { ban } = await api(page, "POST", "bans", { name: "let stay", devices: [device(995)], seconds: DAY, stay: true });
  await go("#/people", "People");
  await press(row("let stay"));
  await press(button("Keep out let stay", dialog));
  await press(button("Kick and keep out for a week", dialog));
  await page.getByRole("heading", { level: 2, name: "let stay is kept out already" }).waitFor();
  assert.ok(await dialog.getByLabel("The new time (longer)").isChecked());
  await look("kept-out-already");
  await press(button("Keep out", dialog));
  await said("let stay is kept out for a week. 1 connection ended.");
  await stays.ending();
  const ends = () => api(page, "GET", `bans/${ban.id}`);
  assert.ok((await ends()).expires > ban.expires);
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said("The ban of let stay ends as before.");
  const { expires, inForce } = await ends();
  assert.deepEqual({ expires, inForce }, { expires: ban.expires, inForce: true });

  // Left as it is, the ban does not become one of the time that was not chosen, and there is nothing to take back.
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const returns = await new Person(port, "192.0.2.96").join("never banned", tonight.doodles.id, device(996));
  await row("never banned").waitFor();
  await press(button("Select several"));
  for (const name of ["let stay", "never banned"]) await press(page.locator("#people").getByRole("checkbox", { name: new RegExp(`^${name}`) }));
  await press(button("Keep out selected people", page.getByRole("group", { name: "Selected people" })));
  await press(button("Kick and keep out for a week", dialog));
  await page.getByRole("heading", { level: 2, name: "let stay is kept out already" }).waitFor();
  await dialog.getByLabel("As it is (shorter)").check();
  await press(button("Keep out", dialog));
  const until = ban.expires.slice(0, 10);
  await said(new RegExp(`^never banned is kept out for a week\\. let stay is already banned until ${until}.*\\. 1 connection ended\\.`));
  await returns.ending();
  assert.equal((await ends()).expires, ban.expires);
  await press(page.locator("#said").getByRole("button", { name: "Undo" }).last());
  await said("never banned may come back in.");
  assert.ok((await ends()).inForce, "the ban that was there stays");
  await api(page, "DELETE", `bans/${ban.id}`);
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

/** What somebody wrote and what the team did about them is in their sheet; all that is stored about them can be downloaded. */
export async function knowsPerson({ page, go, row, press, dialog, said, look }) {
  await go("#/people", "People");
  await press(row("guest 3"));
  await press(dialog.getByText("What they wrote"));
  await dialog.locator("[data-key=wrote]").getByText("Friday Night Doodles: I will not stop").waitFor();
  await press(dialog.getByText(/^What happened/));
  const happened = dialog.locator("[data-key=timeline]");
  for (const text of [/warned guest 3 in Friday Night Doodles.*This is the last warning\./, /muted guest 3 in Friday Night Doodles for 10 minutes: shouting/]) await happened.getByText(text).first().waitFor();
  await look("person");
  await press(dialog.getByText("Addresses and device"));
  const [download] = await Promise.all([page.waitForEvent("download"), press(dialog.getByRole("button", { name: /^Download all that is stored/ }))]);
  const { names, events } = JSON.parse(await readFile(await download.path(), "utf8"));
  assert.ok(names.includes("guest 3"));
  assert.ok(events.some(({ text }) => text === "I will not stop"));
  await page.route(/\/api\/people\/.*\/export$/, (route) => route.fulfill({ status: 404, json: { message: "Erased meanwhile" } }));
  await press(dialog.getByRole("button", { name: /^Download all that is stored/ }));
  await said(/Erased meanwhile/);
  await page.unroute(/\/api\/people\/.*\/export$/);
  await page.goBack();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

/** Where the server could not keep all of the chat, the page says so and offers to join it. */
export async function tellsOfLostChat({ page, go, press, button }, tonight) {
  await page.route(/\/api\/timeline\?/, async (route) => {
    const response = await route.fetch({ maxRetries: 3 });
    await route.fulfill({ response, json: { ...await response.json(), full: true } });
  });
  await go(`#/sessions/${tonight.pixels.id}`, "Pixel art corner");
  await page.getByText("some of the chat is not kept").waitFor();
  await press(button("Join the chat"));
  await button("Leave the chat").waitFor();
  tonight.marmalade.say("seen by those who joined");
  await page.getByRole("log").last().getByText("seen by those who joined").waitFor();
  await press(button("Leave the chat"));
  await button("Join the chat").waitFor();
  await page.unroute(/\/api\/timeline\?/);
}
