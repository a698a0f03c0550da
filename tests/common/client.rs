//! A client of the protocol, over TCP, TLS or WebSocket.
//!
//! It takes messages apart by itself, and its WebSocket side is tungstenite: what the server sends is checked by code
//! that the server does not share.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;

use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use serde_json::{Value, json};

use drawhall::transport::tls::CertificateFiles;

use super::tls::{Stream, encrypt_to};
use super::websocket::WebSocket;
use super::{PATIENCE, SID};

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub kind: u8,
    pub user: u8,
    pub payload: Vec<u8>,
}

impl Received {
    /// The content of a command or reply.
    pub fn json(&self) -> Option<Value> {
        if self.kind == 0 { serde_json::from_slice(&self.payload).ok() } else { None }
    }
}

impl std::fmt::Display for Received {
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

/// A message in wire form, from user 0.
pub fn wire(kind: u8, payload: &[u8]) -> Vec<u8> {
    wire_from(0, kind, payload)
}

/// A message in wire form.
pub fn wire_from(user: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[length[0], length[1], kind, user], payload].concat()
}

/// A TCP connection on which the server has [`PATIENCE`] to send something.
pub fn open(address: SocketAddr) -> TcpStream {
    try_open(address).unwrap()
}

fn try_open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Messages one after another on a byte stream.
struct Framed {
    stream: Stream,
    /// What was received and is not taken yet; everything before `taken` is.
    buffer: Vec<u8>,
    taken: usize,
}

impl Framed {
    fn pending(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// A message that is there as a whole.
    fn take(&mut self) -> Option<Received> {
        let (&[high, low, kind, user], rest) = self.pending().split_first_chunk()?;
        let payload = rest.get(..usize::from(u16::from_be_bytes([high, low])))?.to_vec();
        self.taken += 4 + payload.len();
        Some(Received { kind, user, payload })
    }

    fn next(&mut self) -> io::Result<Option<Received>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            self.buffer.drain(..std::mem::take(&mut self.taken));
            let mut bytes = [0; 1 << 16];
            match self.stream.read(&mut bytes)? {
                0 => return Ok(None),
                count => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

enum Connection {
    Framed(Framed),
    WebSocket(Box<WebSocket>),
}

/// A connection to a server.
pub struct Client {
    connection: Connection,
    greeting: Option<Value>,
}

impl Client {
    /// Connects over TCP.
    pub fn connect(address: SocketAddr) -> Client {
        Self::over(open(address))
    }

    /// The same, where it may fail.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Ok(Self::over(try_open(address)?))
    }

    /// Connects over TCP, asks for encryption as the greeting says that one must, and encrypts.
    pub fn connect_tls(
        address: SocketAddr,
        files: &CertificateFiles,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Client> {
        let mut client = Self::connect(address);
        client.greeting();
        client.send(0, 0, br#"{"cmd":"startTls"}"#);
        client.reply(|v| v["startTls"] == true);
        client.into_encrypted("localhost", &files.certificate, version)
    }

    /// Connects and encrypts, as a client that trusts this root (PEM) and expects this name.
    pub fn connect_tls_to(name: &'static str, address: SocketAddr, root: &Path) -> io::Result<Client> {
        let mut client = Self::connect(address);
        client.greeting();
        client.send(0, 0, br#"{"cmd":"startTls"}"#);
        client.reply(|v| v["startTls"] == true);
        client.into_encrypted(name, root, &TLS13)
    }

    /// A client on a connection that carries messages as they are.
    pub fn over(stream: impl Into<Stream>) -> Client {
        let framed = Framed { stream: stream.into(), buffer: Vec::new(), taken: 0 };
        Client { connection: Connection::Framed(framed), greeting: None }
    }

    /// A client that upgrades a connection to WebSocket, with further headers, a line each. The error is the status of
    /// the answer, or 0 if the connection ended before one.
    pub fn websocket(stream: impl Into<Stream>, headers: &str) -> Result<Client, u16> {
        Self::websocket_at("ws://x/any", stream, headers)
    }

    /// The same for a URL.
    pub fn websocket_at(url: &str, stream: impl Into<Stream>, headers: &str) -> Result<Client, u16> {
        let websocket = WebSocket::upgrade(url, stream.into(), headers)?;
        Ok(Client { connection: Connection::WebSocket(Box::new(websocket)), greeting: None })
    }

    fn into_encrypted(
        self,
        name: &'static str,
        root: &Path,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Client> {
        let Connection::Framed(Framed { stream: Stream::Plain(stream), buffer, taken }) = self.connection
        else {
            panic!("only TCP in clear can be encrypted");
        };
        assert_eq!(buffer.len(), taken, "the server waits for the handshake");
        Ok(Client { greeting: self.greeting, ..Self::over(encrypt_to(name, stream, root, version)?) })
    }

    /// The socket below TLS and WebSocket.
    pub fn socket(&self) -> &TcpStream {
        match &self.connection {
            Connection::Framed(framed) => framed.stream.socket(),
            Connection::WebSocket(websocket) => websocket.stream().socket(),
        }
    }

    /// The WebSocket side, for frames of its own.
    pub fn as_websocket(&mut self) -> &mut WebSocket {
        match &mut self.connection {
            Connection::WebSocket(websocket) => websocket,
            Connection::Framed(_) => panic!("this client does not use WebSocket"),
        }
    }

    /// Sends bytes as they are, through TLS but not as frames of WebSocket.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = match &mut self.connection {
            Connection::Framed(framed) => &mut framed.stream,
            Connection::WebSocket(websocket) => websocket.stream_mut(),
        };
        stream.write_all(bytes)?;
        stream.flush()
    }

    pub fn send(&mut self, kind: u8, user: u8, payload: &[u8]) {
        match &mut self.connection {
            Connection::Framed(_) => self.send_bytes(&wire_from(user, kind, payload)).unwrap(),
            Connection::WebSocket(websocket) => websocket.send(kind, user, payload),
        }
    }

    pub fn command(&mut self, cmd: &str, args: Value, kwargs: Value) {
        let json = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
        self.send(0, 0, json.to_string().as_bytes());
    }

    /// The next message; `None` when the server has closed the connection.
    pub fn next(&mut self) -> Option<Received> {
        match self.try_next() {
            Ok(message) => message,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came: {e}")
            }
            // A connection that was reset has ended, too.
            Err(_) => None,
        }
    }

    /// The same, where nothing may come within the read timeout of the socket: `WouldBlock`. Then it can be tried again.
    pub fn try_next(&mut self) -> io::Result<Option<Received>> {
        let message = match &mut self.connection {
            Connection::Framed(framed) => framed.next(),
            Connection::WebSocket(websocket) => websocket.next(),
        }?;
        if self.greeting.is_none() {
            self.greeting = message.as_ref().and_then(Received::json).filter(|v| v["type"] == "login");
        }
        Ok(message)
    }

    /// Reads until a message fits.
    pub fn until(&mut self, fits: impl Fn(&Received) -> bool) -> Received {
        loop {
            let message = self.next().expect("the connection is open");
            if fits(&message) {
                return message;
            }
        }
    }

    /// Reads until a reply fits.
    pub fn reply(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.until(|m| m.json().is_some_and(|v| fits(&v))).json().unwrap()
    }

    /// The content of the messages of a type, up to one that has this content.
    pub fn contents_until(&mut self, kind: u8, last: &[u8]) -> Vec<Vec<u8>> {
        let mut contents = Vec::new();
        while contents.last().is_none_or(|content: &Vec<u8>| content != last) {
            contents.push(self.until(|m| m.kind == kind).payload);
        }
        contents
    }

    /// Reads until the connection ends, and returns everything.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Whether a reply comes before the connection ends.
    pub fn rest_until(&mut self, fits: impl Fn(&Value) -> bool) -> bool {
        while let Some(message) = self.next() {
            if message.json().is_some_and(|v| fits(&v)) {
                return true;
            }
        }
        false
    }

    /// What was received but not yet returned; nothing of it of WebSocket.
    pub fn pending(&self) -> &[u8] {
        match &self.connection {
            Connection::Framed(framed) => framed.pending(),
            Connection::WebSocket(_) => &[],
        }
    }

    pub fn close(&self) {
        // It may be closed already.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// The server's greeting, which is read if it was not yet.
    pub fn greeting(&mut self) -> Value {
        while self.greeting.is_none() {
            self.next().expect("the connection is open");
        }
        self.greeting.clone().unwrap()
    }

    /// Logs in as a guest.
    pub fn ident(&mut self, name: &str) {
        self.greeting();
        self.command("ident", json!([name]), json!({}));
        self.reply(|v| v["state"] == "identOk");
    }

    /// Logs in with an account; returns the descriptions of the sessions that are there.
    pub fn ident_as(&mut self, name: &str, password: &str) -> Vec<Value> {
        self.greeting();
        self.command("ident", json!([name, password]), json!({}));
        self.reply(|v| v["state"] == "identOk");
        self.sessions()
    }

    /// Logs in as a guest; returns the descriptions of the sessions that are there.
    pub fn ident_for_list(&mut self, name: &str) -> Vec<Value> {
        self.greeting();
        self.command("ident", json!([name]), json!({}));
        self.sessions()
    }

    /// The descriptions of the sessions that the welcome shows.
    pub fn sessions(&mut self) -> Vec<Value> {
        let welcome = self.reply(|v| v["message"] == "Welcome");
        welcome["sessions"].as_array().cloned().unwrap_or_default()
    }

    /// Asks to host a session, after login.
    pub fn ask_to_host(&mut self) {
        self.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID}));
    }

    /// Logs in and hosts a session; returns its id. The initial content is not sent yet.
    pub fn host(&mut self, name: &str) -> String {
        self.ident(name);
        self.ask_to_host();
        let result = self.reply(|v| v["state"] == "host");
        result["join"]["id"].as_str().unwrap().to_owned()
    }

    /// Logs in and asks to host a session: whether it may, or is disconnected instead.
    pub fn may_host(&mut self, name: &str) -> bool {
        self.ident(name);
        self.ask_to_host();
        self.until(|m| m.kind == 1 || m.json().is_some_and(|v| v["state"] == "host")).kind == 0
    }

    /// Hosts a session with a small canvas that runs; returns its id.
    pub fn host_running(&mut self, name: &str) -> String {
        let id = self.host(name);
        self.send(129, 1, &[0; 16]);
        self.command("init-complete", json!([]), json!({}));
        self.reply(|v| v["type"] == "status");
        id
    }

    /// Logs in and joins; returns the user id.
    pub fn join(&mut self, name: &str, session: &str) -> u8 {
        self.ident(name);
        self.command("join", json!([session]), json!({"s": system_id(name)}));
        let result = self.reply(|v| v["state"] == "join");
        result["join"]["user"].as_u64().unwrap() as u8
    }
}

/// The system id of a client of this name.
pub fn system_id(name: &str) -> String {
    format!("{:0>32x}", name.bytes().fold(7u64, |n, byte| n.wrapping_mul(31).wrapping_add(u64::from(byte))))
}
