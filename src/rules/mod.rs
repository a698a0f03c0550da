//! What is decided: state machines and what they share. Nothing here has a socket, a file, a clock or an actor.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`login`] | the login of one connection |
//! | [`session`] | who is in a session, what each may do, what enters its history |
//! | [`batch`] | whole frames from a client, with what they cost |
//! | [`limits`] | how often something may be done |
//! | [`network`] | which addresses count as one |
//! | [`password`] | hashes of passwords |
//! | [`token`] | tokens of auth servers |
//! | [`undo`] | what clients undo, and what an undo by the server would reach |
//! | [`username`] | which user names are valid, and which look alike |
//! | [`metadata`], [`journal`] | the stored state of a session, and the entries that change it |
//! | [`template`] | what a session from a template begins with |
//! | [`time`], [`rng`] | time and randomness, as inputs |
//!
//! `tests/architecture.rs` checks what may be used here.

pub mod batch;
pub mod journal;
pub mod limits;
pub mod login;
pub mod metadata;
pub mod network;
pub mod password;
pub mod rng;
pub(crate) mod serde_base64;
pub mod session;
pub mod template;
pub mod time;
pub mod token;
pub mod undo;
pub mod username;
