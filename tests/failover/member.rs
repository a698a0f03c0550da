//! A client that is in a session, and comes back when its connection ends, as somebody who clicks Reconnect at once.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::Client;
use super::common::client::{system_id, wire};
use super::numbers::Numbers;
use super::observed::{Connection, Message};

/// Longest wait for a step of the login. Then another server is tried.
const LOGIN: Duration = Duration::from_secs(5);
/// After so long without a byte of the server the connection is given up: clients ping all the time.
const SILENCE: Duration = Duration::from_secs(3);
const PING: Duration = Duration::from_millis(500);
/// How long [`Member::poll`] waits for a message.
const WAIT: Duration = Duration::from_millis(4);
const DISCONNECT: u8 = 1;
const PINGED: u8 = 2;

/// Who somebody is, and where they want to be.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    /// Number of the client.
    pub(crate) number: u32,
    pub(crate) name: String,
    /// Of an account.
    pub(crate) password: Option<&'static str>,
    pub(crate) session: String,
    /// Where it can connect; one of them is chosen each time.
    pub(crate) servers: Arc<[SocketAddr]>,
}

pub(crate) struct Member {
    pub(crate) who: Who,
    pub(crate) numbers: Numbers,
    client: Option<Client>,
    /// Connections that got into the session.
    pub(crate) connections: Vec<Connection>,
    /// Connections so far, also those that did not get in.
    attempts: u32,
    /// Whether it says when it comes back what it has.
    pub(crate) may_skip: bool,
    /// Start id of the latest history index.
    start: String,
    /// Index of the latest message that it has.
    index: Option<i64>,
    /// When the server was heard last, and when it was pinged.
    heard: Instant,
    pinged: Instant,
    /// Since when it has no connection that is in the session.
    lost: Instant,
    /// The times that it took to be in again.
    pub(crate) absences: Vec<Duration>,
    /// Answers of servers that did not let it in, the latest one last.
    pub(crate) refusals: Vec<String>,
}

impl Member {
    pub(crate) fn new(who: Who, seed: u64) -> Member {
        let now = Instant::now();
        Member {
            numbers: Numbers(seed ^ (u64::from(who.number) << 32)),
            who,
            client: None,
            connections: Vec::new(),
            attempts: 0,
            may_skip: true,
            start: String::new(),
            index: None,
            heard: now,
            pinged: now,
            lost: now,
            absences: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub(crate) fn is_in(&self) -> bool {
        self.client.is_some()
    }

    /// Number of the connection that it has.
    pub(crate) fn connection(&self) -> u32 {
        self.attempts
    }

    /// The next message. Comes back into the session first, if it is not in it; `None` if that has not succeeded, or
    /// nothing has come for a while.
    pub(crate) fn poll(&mut self) -> Option<Message> {
        if self.client.is_none() && !self.come_back() {
            std::thread::sleep(Duration::from_millis(20));
            return None;
        }
        let now = Instant::now();
        if now - self.heard > SILENCE {
            self.leave();
            return None;
        }
        if now - self.pinged > PING {
            self.pinged = now;
            self.send(PINGED, &[0]);
        }
        match self.client.as_mut()?.try_next() {
            Ok(Some(received)) => {
                self.heard = Instant::now();
                if received.kind == DISCONNECT {
                    self.leave();
                    return None;
                }
                let message = Message { kind: received.kind, user: received.user, payload: received.payload };
                self.record(&message);
                Some(message)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Ok(None) | Err(_) => {
                self.leave();
                None
            }
        }
    }

    fn record(&mut self, message: &Message) {
        if !message.is_of_history() {
            return;
        }
        self.index = match message.anchor() {
            Some((start, before)) => {
                self.start = start;
                Some(before + 1)
            }
            None => self.index.map(|index| index + 1),
        };
        if let Some(connection) = self.connections.last_mut() {
            connection.messages.push(message.clone());
        }
    }

    /// Sends a message; without effect if the connection has ended.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) -> bool {
        let sent = self.client.as_mut().is_some_and(|client| client.send_bytes(&wire(kind, payload)).is_ok());
        if !sent {
            self.leave();
        }
        sent
    }

    pub(crate) fn command(&mut self, cmd: &str, args: &Value, kwargs: &Value) -> bool {
        let json = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
        self.send(0, json.to_string().as_bytes())
    }

    /// Closes its connection.
    pub(crate) fn leave(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
            self.lost = Instant::now();
        }
    }

    /// Tries one server; whether it is in the session.
    fn come_back(&mut self) -> bool {
        let server = self.numbers.below(self.who.servers.len() as u64) as usize;
        self.attempts += 1;
        let Some(mut client) = connect(self.who.servers[server]) else { return false };
        let asked = self.index.filter(|_| self.may_skip);
        match self.join(&mut client, asked) {
            Ok(skipped) => {
                let (client_number, number) = (self.who.number, self.attempts);
                self.connections.push(Connection {
                    client: client_number,
                    number,
                    server,
                    asked,
                    skipped,
                    messages: Vec::new(),
                });
                // Without a skip the history comes from its beginning.
                self.index = asked.filter(|_| skipped);
                self.heard = Instant::now();
                self.absences.push(self.lost.elapsed());
                let _ = client.socket().set_read_timeout(Some(WAIT));
                self.client = Some(client);
                true
            }
            Err(refusal) => {
                self.refusals.push(refusal);
                client.close();
                false
            }
        }
    }

    /// Whether the server skips what it has; or what it said instead of letting it in.
    fn join(&mut self, client: &mut Client, asked: Option<i64>) -> Result<bool, String> {
        reply(client, |reply| reply["type"] == "login")?;
        let name = &self.who.name;
        let ident = self.who.password.map_or(json!([name]), |password| json!([name, password]));
        command(client, "ident", &ident, &json!({}))?;
        reply(client, |reply| reply["state"] == "identOk")?;
        let mut kwargs = json!({"s": system_id(name)});
        if let Some(index) = asked {
            kwargs["hidx"] = format!("{}:{index}:{}", self.start, self.who.session).into();
        }
        command(client, "join", &json!([self.who.session]), &kwargs)?;
        let joined = reply(client, |reply| reply["state"] == "join")?;
        self.may_skip =
            joined["join"]["flags"].as_array().is_some_and(|flags| flags.contains(&json!("SKIP")));
        Ok(joined["join"]["skip"] == true)
    }
}

fn connect(server: SocketAddr) -> Option<Client> {
    let stream = TcpStream::connect_timeout(&server, LOGIN).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    stream.set_write_timeout(Some(SILENCE)).ok()?;
    Some(Client::over(stream))
}

fn command(client: &mut Client, cmd: &str, args: &Value, kwargs: &Value) -> Result<(), String> {
    let json = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
    client.send_bytes(&wire(0, json.to_string().as_bytes())).map_err(|e| e.to_string())
}

/// Reads until a reply fits. An error is one too, and does not fit.
fn reply(client: &mut Client, fits: impl Fn(&Value) -> bool) -> Result<Value, String> {
    let begin = Instant::now();
    while begin.elapsed() < LOGIN {
        let Some(message) = client.try_next().map_err(|e| e.to_string())? else {
            return Err("the connection has ended".into());
        };
        match message.json() {
            Some(reply) if fits(&reply) => return Ok(reply),
            Some(reply) if reply["type"] == "error" => return Err(reply.to_string()),
            _ if message.kind == DISCONNECT => {
                return Err(String::from_utf8_lossy(&message.payload).into_owned());
            }
            _ => {}
        }
    }
    Err("the server does not answer".into())
}
