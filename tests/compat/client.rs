//! A client whose messages are received in the background, with time limits, and kept for reports of failures.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::common;
use crate::common::client::{Received, wire_from};

/// What came of waiting for a message.
pub(crate) enum Came {
    Message(Received),
    /// The connection has ended.
    End,
    /// Nothing, for so long.
    Nothing,
}

/// A connection. A thread reads it, so that nothing the server sends has to wait.
pub(crate) struct Client {
    connection: common::Client,
    received: Receiver<Received>,
    /// Everything that was received, for errors.
    pub seen: Vec<String>,
    /// What was passed over when something was last waited for.
    pub passed: Vec<Received>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Client, String> {
        let cannot = |e| format!("cannot connect to {address}: {e}");
        let connection = common::Client::try_connect(address).map_err(cannot)?;
        let reading = connection.socket().try_clone().map_err(cannot)?;
        reading.set_read_timeout(None).map_err(cannot)?;
        let mut reader = common::Client::over(reading);
        let (sender, received) = channel();
        std::thread::spawn(move || {
            while let Some(message) = reader.next() {
                // Whoever listened may be done.
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Client { connection, received, seen: Vec::new(), passed: Vec::new() })
    }

    /// The connection may be at its end already, which is found when something is waited for.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.connection.send_bytes(bytes);
    }

    pub(crate) fn send(&mut self, kind: u8, user: u8, payload: &[u8]) {
        self.send_bytes(&wire_from(user, kind, payload));
    }

    /// The next message, waiting until then.
    pub(crate) fn next(&mut self, until: Instant) -> Came {
        match self.received.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(message) => {
                self.seen.push(message.to_string());
                Came::Message(message)
            }
            Err(RecvTimeoutError::Timeout) => Came::Nothing,
            Err(RecvTimeoutError::Disconnected) => Came::End,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.close();
    }
}

/// How long something may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
/// How long nothing must happen before it counts as not happening.
pub(crate) const QUIET: Duration = Duration::from_millis(250);
