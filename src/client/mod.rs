//! Connections: one [`actor::Client`] each, its login, its way in and its way out.
//!
//! | file | what it does |
//! | --- | --- |
//! | `login` | the login phase as a plain state machine |
//! | `actor` | the Client actor: carries effects out between login, server and session |
//! | `in_flight_budget` | what is on its way from a client to its session |
//! | `inbound` | reading: from the socket to whole frames |
//! | `outbox` | what is to be sent: direct messages and history, in one order |
//! | `relay` | waking the writers of a worker when something enters a history |
//! | `writer` | writing: as much as possible in each call |
//! | `worker` | what the clients of one worker share: buffers, wake-ups, timeouts |

pub mod actor;
pub mod in_flight;
mod inbound;
pub mod login;
mod outbox;
mod relay;
mod worker;
mod writer;
