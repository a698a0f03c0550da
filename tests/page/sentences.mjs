// The page tells the log in sentences, by the texts that the server writes: each kind of restriction has one, when it
// begins and when it ends.
//
//   node sentences.mjs FOLDER

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const source = (path) => readFile(new URL(`../../src/${path}`, import.meta.url), "utf8");
const { sentencesOf } = await import(`data:text/javascript,${encodeURIComponent(await source("admin/page/sentences.js"))}`);

const rules = await source("rules/session/restrictions.rs");
const done = /fn done\(self\)[^{]*\{([^}]*)\}/.exec(rules)[1];
// A new kind must get a sentence.
const kinds = [...done.matchAll(/=> "([^"]+)"/g)].map(([, word]) => word);
assert.ok(kinds.length >= 3, `the words of restrictions: ${kinds}`);

const names = { titleOf: () => "the harbour", userIn: () => undefined };
const tell = (topic, message) => sentencesOf([{ timestamp: "2026-11-27T22:00:00Z", level: "Info", topic, user: "3;192.0.2.1;Ann", session: "x", message }], names)[0].text;
/** A sentence of its own, in place of "Ann in the harbour: " and the text of the log. */
const isTold = (topic, message) => assert.doesNotMatch(tell(topic, message), /: (Muted|Drawing|Slowed|Warned)|\bover\b|\$/, message);
for (const kind of kinds) {
  isTold("Mute", `${kind} by juniper for 10 minutes: spam`);
  for (const end of ["over", "lifted by juniper"]) isTold("Unmute", `${kind}: ${end}`);
}
assert.equal(tell("Mute", "Muted by juniper for 10 minutes: spam"), "juniper muted Ann in the harbour for 10 minutes: spam");
assert.equal(tell("Unmute", "Drawing locked: over"), "Ann may draw again in the harbour");
assert.equal(tell("Mute", "Warned by juniper (2): Stop (please)"), "juniper warned Ann in the harbour (warning 2): Stop (please)");
console.log(`restrictions are told in sentences: ${kinds.join(", ")}`);
