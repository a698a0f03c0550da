//! Drawhall, a dedicated server for Drawpile.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`config`] | settings and where they come from |
//! | [`log`] | the event log and its text form |
//! | [`db`] | the configuration database |
//! | [`rules`] | pure state machines: what is decided |
//! | [`history`] | the message log of a session: one writer, many readers |
//! | [`session`] | who is in a session, what each may do, what enters its history |
//! | [`client`] | connections: login, reading, writing |
//! | [`auth`] | accounts and passwords |
//! | [`blocking`] | the pool for password hashes, ban lists and files |
//! | [`server`] | which sessions there are, who may start one; running it all |
//! | [`storage`] | stored sessions: journals, history files |
//! | [`transport`] | listeners and streams |
//! | [`metrics`] | what is counted |
//! | [`limits`] | how often something may be done |
//! | [`admin`] | the admin API |
//! | [`text`] | text from outside, as it may be shown |
//! | [`tools`] | what the program does besides serving |
//! | [`trace`] | recorded inputs of the state machines, and their replay |
//!
//! `docs/ARCHITECTURE.md` says how they work together.

pub mod admin;
pub mod auth;
pub mod blocking;
pub mod client;
pub mod clock;
pub mod config;
pub mod db;
pub mod history;
pub mod http;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod rules;
pub mod server;
pub mod session;
pub mod storage;
pub mod text;
pub mod tools;
pub mod trace;
pub mod transport;
pub mod username;
mod web;

#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
