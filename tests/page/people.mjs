// People for the walks: clients of the drawing protocol.

import { connect } from "node:net";

const COMMAND = 0;
const DISCONNECT = 1;
const PING = 2;
const CHAT = 35;
const UNDO_POINT = 128;
const DRAWING = 148;
const THUMBNAIL = 4;

/** A picture of one pixel. */
const PICTURE = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** A system id that differs by its number. */
export const device = (number) => number.toString(16).padStart(32, "a");

/** A connection to the server, as if from an address. What it received is in `messages`: {kind, user, payload, json}. */
export class Person {
  constructor(port, address) {
    this.messages = [];
    this.waiting = [];
    this.pending = Buffer.alloc(0);
    this.isOver = false;
    this.socket = connect({ port, host: "127.0.0.1" });
    this.socket.setNoDelay(true);
    // The server believes proxies on its own machine.
    if (address) this.socket.write(`PROXY TCP4 ${address} 127.0.0.1 4000 ${port}\r\n`);
    this.socket.on("data", (bytes) => this.#take(bytes));
    this.socket.on("error", () => {});
    // As real clients do: the server disconnects one that is silent for a minute or two.
    const pings = setInterval(() => this.send(PING, 0, [0]), 15000);
    this.socket.on("close", () => {
      clearInterval(pings);
      this.isOver = true;
      this.#wake();
    });
  }

  #take(bytes) {
    this.pending = Buffer.concat([this.pending, bytes]);
    while (this.pending.length >= 4) {
      const end = 4 + this.pending.readUInt16BE(0);
      if (this.pending.length < end) break;
      const [kind, user] = [this.pending[2], this.pending[3]];
      const payload = Buffer.from(this.pending.subarray(4, end));
      this.pending = this.pending.subarray(end);
      if (kind === PING && payload[0] === 0) this.send(PING, 0, [1]);
      const json = kind === COMMAND ? JSON.parse(payload) : null;
      // Only who said that they can make pictures is asked for one.
      if (json?.type === "thumbnail" && json.correlator) this.send(THUMBNAIL, 0, Buffer.concat([Buffer.from(json.correlator), PICTURE]));
      this.messages.push({ kind, user, payload, json });
    }
    this.#wake();
  }

  #wake() {
    for (const wake of this.waiting.splice(0)) wake();
  }

  send(kind, user, payload) {
    const body = Buffer.from(payload);
    const head = Buffer.from([body.length >> 8, body.length & 255, kind, user]);
    if (!this.isOver) this.socket.write(Buffer.concat([head, body]));
  }

  command(cmd, args = [], kwargs = {}) {
    this.send(COMMAND, 0, JSON.stringify({ cmd, args, kwargs }));
  }

  /** The first message that fits, now or later; fails when the connection ends before, or after 30 seconds. */
  async until(fits, what = "a message") {
    const patience = Date.now() + 30000;
    for (;;) {
      const found = this.messages.find(fits);
      if (found) return found;
      if (this.isOver) throw new Error(`the connection ended before ${what} came`);
      if (Date.now() > patience) throw new Error(`${what} did not come`);
      await this.#next(500);
    }
  }

  /** The text of the last message, once the connection has ended. */
  async ending() {
    while (!this.isOver) await this.#next(500);
    const last = this.messages.filter((m) => m.kind === DISCONNECT).at(-1);
    return last ? last.payload.subarray(1).toString() : this.messages.filter((m) => m.json).at(-1)?.json.message ?? "";
  }

  #next(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  reply(fits, what) {
    return this.until((m) => m.json && fits(m.json), what);
  }

  async ident(name, password) {
    await this.reply((v) => v.type === "login", "the greeting");
    this.command("ident", password === undefined ? [name] : [name, password]);
    await this.reply((v) => v.state === "identOk", "the answer to ident");
  }

  /** Hosts a session with a small canvas, with settings of sessions such as `nsfm`; returns its id. */
  async host(name, title, { id, pictures = false, settings = {} } = {}) {
    await this.ident(name);
    this.command("host", [], { protocol: "dp:4.24.0", user_id: 1, s: id, ...(pictures ? { capabilities: "KEEPALIVE,THUMBNAIL" } : {}) });
    const { json } = await this.reply((v) => v.state === "host", "the answer to host");
    this.send(129, 1, Buffer.alloc(16));
    this.command("init-complete");
    this.command("sessionconf", [], { title, ...settings });
    await this.reply((v) => v.type === "sessionconf" && v.config?.title === title, "the title");
    this.user = 1;
    return json.join.id;
  }

  async join(name, session, id) {
    await this.ident(name);
    this.command("join", [session], { s: id });
    const { json } = await this.reply((v) => v.state === "join", "the answer to join");
    this.user = json.join.user;
    return this;
  }

  say(text) {
    this.send(CHAT, this.user, Buffer.concat([Buffer.from([0, 0]), Buffer.from(text)]));
  }

  draw() {
    this.send(UNDO_POINT, this.user, []);
    this.send(DRAWING, this.user, Buffer.alloc(40, 7));
  }

  /** Reports somebody to the moderators. */
  report(user, reason) {
    this.command("report", [], { user, reason });
  }

  leave() {
    this.socket.destroy();
  }
}
