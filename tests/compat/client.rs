//! A client of the protocol that does what it is told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub kind: u8,
    pub user: u8,
    pub payload: Vec<u8>,
}

impl Message {
    pub(crate) fn json(&self) -> Option<Value> {
        if self.kind == 0 { serde_json::from_slice(&self.payload).ok() } else { None }
    }
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.json() {
            Some(json) => write!(f, "0/{} {json}", self.user),
            None => {
                write!(f, "{}/{} ", self.kind, self.user)?;
                self.payload.iter().take(40).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// What came of waiting for a message.
pub(crate) enum Came {
    Message(Message),
    /// The connection has ended.
    End,
    /// Nothing, for so long.
    Nothing,
}

/// A connection. A thread reads it, so that nothing the server sends has to wait.
pub(crate) struct Client {
    stream: TcpStream,
    received: Receiver<Message>,
    /// Everything that was received, for errors.
    pub seen: Vec<String>,
    /// What was passed over when something was last waited for.
    pub passed: Vec<Message>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Client, String> {
        let stream = TcpStream::connect(address).map_err(|e| format!("cannot connect to {address}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut reader = stream.try_clone().map_err(|e| e.to_string())?;
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut header = [0; 4];
            while reader.read_exact(&mut header).is_ok() {
                let mut payload = vec![0; usize::from(u16::from_be_bytes([header[0], header[1]]))];
                if reader.read_exact(&mut payload).is_err() {
                    return;
                }
                // Whoever listened may be done.
                if sender.send(Message { kind: header[2], user: header[3], payload }).is_err() {
                    return;
                }
            }
        });
        Ok(Client { stream, received, seen: Vec::new(), passed: Vec::new() })
    }

    /// The connection may be at its end already, which is found when something is waited for.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn send(&mut self, kind: u8, user: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        self.send_bytes(&[&[length[0], length[1], kind, user], payload].concat());
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

    pub(crate) fn close(&self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// How long something may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing must happen before it counts as not happening.
pub(crate) const QUIET: Duration = Duration::from_millis(250);
