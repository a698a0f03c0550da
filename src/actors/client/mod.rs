//! Connections: one [`connection::Client`] each, with its inbound and its outbound half; its login is in [`crate::rules::login`].
//!
//! | file | what it does |
//! | --- | --- |
//! | `connection` | the life of a connection: the Client actor, its phases, the tasks that read and write |
//! | `inbound` | reading: from the socket to whole frames |
//! | `outbox` | what is to be sent: direct messages and history, in one order |
//! | `subscriptions` | wakes the writers of a worker when something enters a history |
//! | `writer` | writing: vectored writes of what the outbox has |
//! | `worker` | state shared by the clients of one worker: buffer, idle timeout, slow clients |

pub mod connection;
mod inbound;
mod outbox;
mod subscriptions;
#[cfg(test)]
mod tests;
mod worker;
mod writer;
