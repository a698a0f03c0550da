// What the walks through the pages share: the browser, what must never happen in it, and looking at a screen.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

/** A browser whose pages may ask only the servers of `urls`, and say what went wrong in `problems`. */
export async function start(urls) {
  const browser = await chromium.launch({
    executablePath: process.env.DRAWHALL_CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const problems = [];
  const open = async (options) => {
    const context = await browser.newContext(options);
    if (process.env.DRAWHALL_PAGE) await serveFrom(context, process.env.DRAWHALL_PAGE);
    const page = await context.newPage();
    // A machine that builds beside this is slow.
    page.setDefaultTimeout(45000);
    page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
    page.on("console", (message) => {
      // A refused login is an answer like any other.
      if (message.type() === "error" && !/status of (400|401|403|404|409|410)/.test(message.text())) problems.push(`console: ${message.text()} ${message.location().url}`);
    });
    page.on("request", (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol !== "data:" && !urls.some((url) => origin === new URL(url).origin)) problems.push(`asked elsewhere: ${request.url()}`);
    });
    return page;
  };
  return { browser, problems, open };
}

/** Has the page's files come from a directory in place of the server: what was edited is seen without a build. */
async function serveFrom(context, folder) {
  const types = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html" };
  const fulfill = async (route, name) => {
    const body = (await readFile(`${folder}/${name}`, "utf8")).replace('<script type="importmap">{import-map}</script>', "");
    await route.fulfill({ body, contentType: types[name.split(".").at(-1)] });
  };
  await context.route(/\/assets\//, (route) => fulfill(route, new URL(route.request().url()).pathname.split("/").at(-1).replace(/\.[0-9a-f]{16}\./, ".")));
  await context.route((url) => url.pathname === "/", (route) => fulfill(route, "index.html"));
  await context.route((url) => url.pathname === "/operator/" || url.pathname === "/operator", (route) => fulfill(route, "operator.html"));
}

/** No serious fault of accessibility, whatever colours are wanted. The checker is injected past the page's policy. */
export async function isAccessible(page, name, afterEach = async () => {}) {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  await page.evaluate(axe);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"] }));
    const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact));
    assert.deepEqual(serious.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), [], `${name}, ${scheme}`);
    await afterEach(scheme);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

/** Nothing is wider than the window. */
export async function isNotTooWide(page, name) {
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wider <= 0, `${name} is ${wider} pixels wider than the window`);
}
