// How the walks of moderators use the page: with taps on a phone, with clicks at a desk.

import assert from "node:assert/strict";
import { isNotTooWide } from "./browser.mjs";

/** The two ways to use the page. Times are shown in UTC. */
export const DEVICES = [
  ["phone", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, timezoneId: "UTC" }],
  ["wide", { viewport: { width: 1280, height: 800 }, timezoneId: "UTC" }],
];

/** What is on a page, and how it is used there: with taps on a phone, with clicks at a desk. */
export function hand(page, { pick, isTouch, folder }) {
  let taps = 0;
  const press = async (target) => {
    taps += 1;
    await (isTouch ? target.tap() : target.click());
  };
  const button = (name, within = page) => within.getByRole("button", { name, exact: true }).first();
  return {
    page,
    press,
    button,
    taps: () => taps,
    link: (name, within = page) => within.getByRole("link", { name, exact: true }).first(),
    /** The row of a person. */
    row: (name) => page.locator("main .rows").getByRole("button", { name: new RegExp(`^${name}\\b`) }).first(),
    dialog: page.getByRole("dialog").last(),
    said: async (text) => {
      try {
        await page.locator("#said").getByText(text).first().waitFor();
      } catch (error) {
        // The message may have been another one, and be gone.
        await page.locator("#messages").evaluate((all) => all.click());
        error.message += `\nmessages: ${await page.getByRole("dialog").last().innerText().catch(() => "none")}`;
        throw error;
      }
    },
    heading: (name) => page.getByRole("heading", { level: 1, name, exact: true }).waitFor(),
    go: async (hash, title) => {
      // A sheet that was closed takes the browser back, a moment later.
      await page.waitForFunction(() => !history.state?.sheet || document.querySelector("dialog[open]"));
      await page.evaluate((to) => { location.hash = to; }, hash);
      await page.getByRole("heading", { level: 1, name: title, exact: true }).waitFor();
    },
    look: async (name) => {
      await isNotTooWide(page, name);
      await page.screenshot({ path: `${folder}/${pick}-${name}.png` });
      console.log(`looked at ${name}, ${pick}`);
    },
  };
}

export async function login(page, url, name = "boss", password = "secret") {
  await page.goto(url);
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Now", exact: true }).waitFor();
}

/** No two buttons of a screen have the same name. */
export async function namesDiffer(page, what) {
  const names = await page.evaluate(() => [...document.querySelectorAll("main button, nav button, header button")]
    .filter((b) => b.checkVisibility()).map((b) => b.textContent));
  const twice = names.filter((name, at) => names.indexOf(name) !== at);
  assert.deepEqual(twice, [], `buttons of ${what} with the same name`);
}

/** All that can be pressed is large enough for a finger; links within sentences are not meant. */
export async function isLargeEnough(page, what) {
  const small = await page.evaluate(() => [...document.querySelectorAll("main button, main a, main summary, main input, main select, nav a, header button, #alarm a, #alarm button")]
    .filter((e) => e.checkVisibility() && !e.classList.contains("hidden-text"))
    .map((e) => [e.closest("label") ?? e, e])
    .filter(([area]) => area.getBoundingClientRect().height < 43.5)
    .map(([, e]) => e.outerHTML.slice(0, 120)));
  assert.deepEqual(small, [], `too small on ${what}`);
}
