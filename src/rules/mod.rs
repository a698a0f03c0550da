//! What is decided: state machines and what they share. Nothing here has a socket, a file, a clock or an actor.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`login`] | the login of one connection |
//! | [`session`] | who is in a session, what each may do, what enters its history |
//! | [`batch`] | whole frames from a client, with what they cost |
//! | [`disk_space`] | when a disk will be full |
//! | [`limits`] | how often something may be done |
//! | [`network`] | which addresses count as one |
//! | [`password`] | hashes of passwords |
//! | [`token`] | tokens of auth servers |
//! | [`undo`] | what clients undo, and what an undo by the server would reach |
//! | [`lookalike`] | names folded for search |
//! | [`received_report`] | an abuse report, with everybody as they were |
//! | [`sighting`] | who was in a session, as it is recorded for moderators |
//! | [`username`] | which user names are valid, and which look alike |
//! | [`history_indexes`] | which messages a client that reconnects has already |
//! | [`metadata`], [`journal`] | the stored state of a session, and the entries that change it |
//! | [`template`] | what a session from a template begins with |
//! | [`gathering`] | when a session sends what has come |
//! | [`time`], [`rng`] | time and randomness, as inputs |
//!
//! `tests/architecture.rs` checks what may be used here.

pub mod batch;
pub mod disk_space;
pub mod gathering;
pub mod history_indexes;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod login;
pub mod lookalike;
pub mod metadata;
pub mod network;
pub mod password;
pub mod received_report;
pub mod rng;
pub(crate) mod serde_base64;
pub mod session;
pub mod sighting;
pub mod stored_restrictions;
pub mod template;
pub mod time;
pub mod token;
pub mod undo;
pub mod username;
