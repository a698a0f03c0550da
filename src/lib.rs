//! Drawhall, a dedicated server for Drawpile.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`rules`] | what is decided: login, sessions, names, passwords, limits |
//! | [`history`] | the message log of a session: one writer, many readers |
//! | [`storage`] | stored sessions: journals, history files |
//! | [`db`] | the configuration database |
//! | [`config`] | settings and where they come from |
//! | [`transport`] | listeners and streams |
//! | [`acme`] | certificates from a certificate authority |
//! | [`actors`] | Server, Session, Client and Auth, and the messages between them |
//! | [`admin`] | the admin API |
//! | [`auth_server`] | an auth server of its own |
//! | `web`, [`http`] | what our HTTP servers share; requests to other servers |
//! | [`clock`], `entropy` | time and randomness of the system |
//! | `child_process` | child processes, and what they report |
//! | [`pictures`] | runs the process that makes messages of pictures |
//! | [`renderer`] | runs an external program that makes pictures of sessions |
//! | [`port_mapping`] | ports of the router that lead to this machine |
//! | [`app`] | from options to a running server |
//! | [`background`] | threads of our own: a bounded queue each, one way to end |
//! | [`blocking`] | the pool for password hashes, ban lists and files |
//! | [`log`] | the event log and its text form |
//! | [`metrics`] | what is counted |
//! | [`doctor`] | looks for faults of configuration, files and surroundings |
//! | [`text`] | text from outside, as it may be shown |
//! | [`tools`] | what the program does besides serving |
//! | [`trace`] | recorded inputs of the state machines, and their replay |
//!
//! `docs/ARCHITECTURE.md` says how they work together.

pub mod acme;
pub mod actors;
pub mod admin;
pub mod app;
pub mod auth_server;
pub mod background;
pub mod blocking;
mod child_process;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod db;
pub mod doctor;
mod entropy;
pub mod history;
pub mod http;
pub mod log;
pub mod metrics;
pub mod pictures;
pub mod port_mapping;
pub mod renderer;
pub mod rules;
pub mod storage;
pub mod text;
pub mod tools;
pub mod trace;
pub mod transport;
mod web;

#[cfg(test)]
#[path = "../tests/common/postgres.rs"]
#[allow(dead_code, reason = "integration tests use the rest")]
mod postgres;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
