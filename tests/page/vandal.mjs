// A vandal has covered the canvas and left. What they drew is undone, and the undo is undone; then the same with
// removing: on the admin page, and on a phone by the link of an operator. `tests/page/main.rs` starts the server.
//
//   node vandal.mjs URL LINK FOLDER-FOR-SCREENSHOTS

import assert from "node:assert/strict";
import { isAccessible, isNotTooWide, start } from "./browser.mjs";

const [url, link, folder] = process.argv.slice(2);
const { browser, problems, open } = await start([url]);

/** What is on a page; `pick` names the pictures. */
function parts(page, pick) {
  return {
    dialog: page.getByRole("dialog"),
    said: (text) => page.locator("#said").getByText(text).first().waitFor(),
    button: (name, within = page) => within.getByRole("button", { name, exact: true }).first(),
    look: async (name) => {
      await isAccessible(page, name);
      await isNotTooWide(page, name);
      await page.screenshot({ path: `${folder}/${pick}-${name}.png` });
      console.log(`looked at ${pick}-${name}`);
    },
  };
}

/** Looks at a report of what a removal since a time would do. */
async function lookAtPart(page, press, pick) {
  const { dialog, button, look } = parts(page, pick);
  await press(button("Remove everything of somebody\u2026"));
  await look("everybody");
  await press(button("Remove all of Vandal"));
  const part = dialog.getByLabel("What of it");
  await part.waitFor();
  // The oldest time, behind which there are two actions, and more if a second ended while the others were drawn.
  await part.selectOption({ index: (await part.locator("option").count()) - 1 });
  await look("part");
  await press(button("Show report", dialog));
  await dialog.getByText(/Removes [2-7] actions/).waitFor();
  await press(button("Cancel", dialog));
  await dialog.waitFor({ state: "detached" });
  await press(button("Back to the newest actions"));
  await button("Undo of Vandal").waitFor();
}

/** Goes back to the second in which the history began, and takes that back. */
async function goBackInTime(page, press, pick) {
  const { dialog, said, button, look } = parts(page, pick);
  const slider = page.getByLabel("Time to go back to");
  await slider.fill("0");
  await slider.blur();
  await slider.evaluate((element) => element.scrollIntoView({ block: "center" }));
  await look("time");
  await press(button("Go back to this time\u2026"));
  await dialog.getByText("Removes what was drawn since then: 8 actions").waitFor();
  await press(button("Go back", dialog));
  await said("Went back, 8 actions removed.");
  await button("Undo of Vandal").waitFor({ state: "detached" });
  await press(button("Go back"));
  await press(button("Go back", dialog));
  await button("Undo of Vandal").waitFor();
  // Both were resets: there are times before the last one now.
  // They come after the list of actions, and while the slider has the focus it keeps those that it has.
  const before = page.locator("#chosen-time").getByText("before the last reset");
  for (let tries = 0; tries < 100 && !(await before.count()); tries += 1) {
    await slider.fill("0");
    await slider.blur();
    await page.waitForTimeout(100);
  }
  await before.waitFor();
}

/** Clicks or taps through undo, redo, remove and going back. */
async function walk(page, press, pick) {
  const { dialog, said, button, look } = parts(page, pick);
  await button("Undo of Vandal").evaluate((element) => element.scrollIntoView({ block: "center" }));
  await look("who-drew");
  await press(button("Undo of Vandal"));
  await dialog.getByText("7 actions can be undone").waitFor();
  await look("undo");
  await press(button("Undo", dialog));
  await said("7 actions of Vandal undone");
  await press(button("Redo 7 of Vandal"));
  await said("7 actions of Vandal redone");

  if (await button("Remove everything of somebody\u2026").count()) await press(button("Remove everything of somebody\u2026"));
  await press(button("Remove all of Vandal"));
  await dialog.getByText("Removes 7 actions").waitFor();
  await look("remove");
  await press(button("Cancel", dialog));
  await dialog.waitFor({ state: "detached" });
  await press(button("Remove all of Vandal"));
  await press(button("Remove", dialog));
  await said("Removed 7 actions of Vandal.");
  await button("Remove all of Vandal").waitFor({ state: "detached" });

  await button("Go back").evaluate((element) => element.scrollIntoView({ block: "center" }));
  await look("before-resets");
  await press(button("Go back"));
  await dialog.getByText("The canvas becomes what it was").waitFor();
  await press(button("Go back", dialog));
  await said("Went back");
  await button("Remove all of Vandal").waitFor();
}

let page;
try {
  page = await open({ viewport: { width: 1280, height: 800 } });
  await page.goto(url);
  await page.getByLabel("Name", { exact: true }).fill("boss");
  await page.getByLabel("Password", { exact: true }).fill("secret");
  await page.keyboard.press("Enter");
  await page.getByRole("navigation").getByRole("link", { name: "Sessions", exact: true }).click();
  await page.getByRole("link", { name: "Harbour" }).click();
  await page.getByRole("heading", { level: 1, name: "Harbour", exact: true }).waitFor();
  await lookAtPart(page, (button) => button.click(), "page");
  await goBackInTime(page, (button) => button.click(), "page");
  await walk(page, (button) => button.click(), "page");

  for (const [pick, options] of [
    ["link-wide", { viewport: { width: 1280, height: 800 } }],
    ["link", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
  ]) {
    page = await open(options);
    await page.goto(link);
    await page.getByText("This link is for you only").waitFor();
    assert.equal(await page.locator("nav").count(), 0, "nothing else of the server is there");
    await walk(page, (button) => (options.hasTouch ? button.tap() : button.click()), pick);
  }

  await page.goto(`${link}x`);
  await page.getByRole("heading", { name: "This link has ended" }).waitFor();
  assert.deepEqual(problems, []);
  console.log("what the vandal drew is gone, and back");
} catch (error) {
  await page?.screenshot({ path: `${folder}/failed-vandal.png`, fullPage: true });
  console.error(problems.join("\n"));
  throw error;
} finally {
  await browser.close();
}
