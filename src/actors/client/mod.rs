//! Connections: one [`actor::Client`] each, with its inbound and its outbound half; its login is in [`crate::rules::login`].
//!
//! | file | what it does |
//! | --- | --- |
//! | `actor` | the Client actor: effects of login and session, messages between them and the server |
//! | `inbound` | reading: from the socket to whole frames |
//! | `outbox` | what is to be sent: direct messages and history, in one order |
//! | `relay` | wakes the writers of a worker when something enters a history |
//! | `writer` | writing: vectored writes of what the outbox has |
//! | `worker` | state shared by the clients of one worker: buffer, idle timeout, slow clients |

pub mod actor;
mod inbound;
mod outbox;
mod relay;
mod worker;
mod writer;
