//! Clients that speak TLS or WebSocket, and certificates for them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drawhall::transport::tls::{CertificateFiles, KeyAlgorithm, make};
use drawhall_protocol::FrameDecoder;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use serde_json::{Value, json};

use super::{PATIENCE, Received, SID};

/// Both directions of a connection.
pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// An encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A new certificate for `localhost` in a directory.
pub fn certificate(folder: &Path) -> CertificateFiles {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    make(&["localhost".to_owned()], &certificate, &key).unwrap();
    CertificateFiles { certificate, key, algorithm: KeyAlgorithm::Guess }
}

/// Encrypts a connection as a client does that trusts this certificate.
pub fn encrypt(
    mut stream: TcpStream,
    files: &CertificateFiles,
    version: &'static SupportedProtocolVersion,
) -> io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

/// Opens a connection with a time limit for reading.
pub fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a message that is in clear, and nothing behind it.
pub fn read_clear(stream: &mut TcpStream) -> Value {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[0], head[1]]))];
    stream.read_exact(&mut payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// A message in wire form.
pub fn wire(kind: u8, payload: &[u8]) -> Vec<u8> {
    drawhall_protocol::Frame::new(kind, 0, payload).unwrap().as_bytes().to_vec()
}

/// Asks for encryption, as the greeting says that one must, and encrypts.
pub fn start_tls(
    address: SocketAddr,
    files: &CertificateFiles,
    version: &'static SupportedProtocolVersion,
) -> io::Result<(Value, TlsStream)> {
    let mut stream = open(address);
    let greeting = read_clear(&mut stream);
    stream.write_all(&wire(0, br#"{"cmd":"startTls"}"#))?;
    let answer = read_clear(&mut stream);
    assert_eq!(answer["startTls"], true);
    Ok((greeting, encrypt(stream, files, version)?))
}

/// A client over any connection, by WebSocket or not.
pub struct AnyClient {
    pub stream: Box<dyn Duplex>,
    websocket: bool,
    decoder: FrameDecoder,
    /// What arrived of a WebSocket connection.
    raw: Vec<u8>,
    /// Frames of WebSocket that are no messages: kind and content.
    pub control: VecDeque<(u8, Vec<u8>)>,
}

impl AnyClient {
    /// Over a connection that carries messages as they are.
    pub fn over(stream: impl Duplex + 'static) -> AnyClient {
        let (raw, control) = (Vec::new(), VecDeque::new());
        AnyClient {
            stream: Box::new(stream),
            websocket: false,
            decoder: FrameDecoder::default(),
            raw,
            control,
        }
    }

    /// Asks for WebSocket with further headers; the status of the answer if it is another than 101.
    pub fn websocket(mut stream: impl Duplex + 'static, headers: &str) -> Result<AnyClient, u16> {
        let request = format!(
            "GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return Err(0);
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        Ok(AnyClient { websocket: true, ..Self::over(stream) })
    }

    /// Sends a frame of WebSocket.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&masked(first, payload)).unwrap();
        self.stream.flush().unwrap();
    }

    pub fn send(&mut self, kind: u8, payload: &[u8]) {
        if self.websocket {
            self.frame(0x82, &[&[kind, 0], payload].concat());
        } else {
            self.stream.write_all(&wire(kind, payload)).unwrap();
            self.stream.flush().unwrap();
        }
    }

    pub fn command(&mut self, cmd: &str, args: Value, kwargs: Value) {
        let json = json!({"cmd": cmd, "args": args, "kwargs": kwargs});
        self.send(0, json.to_string().as_bytes());
    }

    /// The next message; `None` when the connection is closed.
    pub fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.decoder.next_frame() {
                let (header, payload) = (frame.header(), frame.payload().to_vec());
                return Some(Received { kind: header.kind, user: header.user, payload });
            }
            let mut buffer = vec![0; 1 << 16];
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    panic!("nothing came: {e}")
                }
                Err(_) => return None,
            };
            if self.websocket {
                self.raw.extend_from_slice(&buffer[..count]);
                self.take_frames();
            } else {
                self.decoder.buffer_mut().extend_from_slice(&buffer[..count]);
            }
        }
    }

    /// Takes the frames that a server has sent apart; they are whole messages and not masked.
    fn take_frames(&mut self) {
        loop {
            let [first, second, rest @ ..] = self.raw.as_slice() else { return };
            let (head, len) = match second {
                127 if rest.len() >= 8 => (10, u64::from_be_bytes(*rest.first_chunk().unwrap()) as usize),
                126 if rest.len() >= 2 => (4, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
                126 | 127 => return,
                len => (2, usize::from(*len)),
            };
            if self.raw.len() < head + len {
                return;
            }
            let first = *first;
            let payload: Vec<u8> = self.raw.drain(..head + len).skip(head).collect();
            if first == 0x82 {
                let size = u16::try_from(payload.len() - 2).unwrap().to_be_bytes();
                self.decoder.buffer_mut().extend_from_slice(&size);
                self.decoder.buffer_mut().extend_from_slice(&payload);
            } else {
                self.control.push_back((first, payload));
            }
        }
    }

    pub fn until(&mut self, fits: impl Fn(&Received) -> bool) -> Received {
        loop {
            let message = self.next().expect("the connection is open");
            if fits(&message) {
                return message;
            }
        }
    }

    pub fn reply(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.until(|m| m.json().is_some_and(|v| fits(&v))).json().unwrap()
    }

    /// Reads until the connection ends, and returns everything.
    pub fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Says who it is; the greeting was read before if the connection is encrypted.
    pub fn ident(&mut self, name: &str) {
        self.command("ident", json!([name]), json!({}));
        self.reply(|v| v["state"] == "identOk");
    }

    /// Hosts a session with a small canvas that runs; returns its id.
    pub fn host_running(&mut self, name: &str) -> String {
        self.ident(name);
        self.command("host", json!([]), json!({"protocol": "dp:4.24.0", "user_id": 1, "s": SID}));
        let result = self.reply(|v| v["state"] == "host");
        self.send(129, &[0; 16]);
        self.command("init-complete", json!([]), json!({}));
        self.reply(|v| v["type"] == "status");
        result["join"]["id"].as_str().unwrap().to_owned()
    }

    /// Joins; returns the reply that decides.
    pub fn join(&mut self, name: &str, session: &str) -> Value {
        self.ident(name);
        self.command("join", json!([session]), json!({"s": SID.replace('f', "e")}));
        self.reply(|v| v["state"] == "join" || v["type"] == "error")
    }
}

/// A frame of a WebSocket client.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ ..126 => frame.push(0x80 | len as u8),
        len @ ..=65535 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// A short wait for something that has no event.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
