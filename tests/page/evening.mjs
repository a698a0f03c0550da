// An evening on a server: sessions, people, and a troll with three connections of one device under three look-alike
// names, at an address that an innocent person shares.

import { device, Person } from "./people.mjs";

export const TROLL = device(0xbad);

/** The three names of the troll; the second has a capital I in place of an l. */
export const TROLL_NAMES = ["PixelKing", "PixeIKing", "pixel_king_"];

/** The address of the troll and of Marmalade. */
export const SHARED = "198.51.100.24";

/** Brings everybody in; `port` is that of the drawing protocol. */
export async function evening(port) {
  const host = async (name, title, number, options) => {
    const person = new Person(port, `192.0.2.${number}`);
    const id = await person.host(name, title, { id: device(number), ...options });
    return { person, id, title };
  };
  const come = (name, session, id, address) => new Person(port, address).join(name, session.id, id);
  const doodles = await host("rowanberry", "Friday Night Doodles", 1);
  const pixels = await host("juniper", "Pixel art corner", 2);
  const quiet = await host("inkfox", "Quiet room", 3);
  const troll = [];
  for (const [at, session] of [doodles, pixels, quiet].entries()) troll.push(await come(TROLL_NAMES[at], session, TROLL, SHARED));
  const marmalade = await come("Marmalade", pixels, device(4), SHARED);
  const others = [];
  for (let number = 0; number < 15; number += 1) others.push(await come(`guest ${number}`, doodles, device(100 + number), `203.0.113.${number + 1}`));
  const people = [doodles.person, pixels.person, quiet.person, ...troll, marmalade, ...others];
  return { port, doodles, pixels, quiet, troll, marmalade, others, leave: () => people.forEach((person) => person.leave()) };
}
