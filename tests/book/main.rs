//! What the book in `docs` tells people to type works: its commands against a real server, its recipes for reverse
//! proxies with the proxies of Debian, and that a plain start connects to nobody.
//!
//! * ```` ```sh run ```` is a block of commands that is run; the blocks of a page follow one another in one shell.
//! * ```` ```nginx recipe ```` and the like is a configuration that a proxy is started with.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod proxies;
mod quiet;
mod shell;
mod text;
