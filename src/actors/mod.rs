//! The actors, and the messages between them.
//!
//! | module | its actor |
//! | --- | --- |
//! | [`server`] | the one Server: directory of sessions, lobby, hosting, list servers |
//! | [`session`] | a Session for each session: performs what its rules decide |
//! | [`client`] | a Client for each connection: login, reading, writing |
//! | [`nodes`] | a RemoteSession for each session on another server of the cluster: carries clients there |
//! | [`reload`] | none: a task that reads settings again and tells the actors |
//! | [`messages`] | none: every message that passes between them |
//! | [`auth`] | the one Auth: accounts and passwords |

pub mod auth;
pub mod client;
pub(crate) mod in_flight;
pub mod messages;
pub mod nodes;
pub mod reload;
pub mod server;
pub mod session;
