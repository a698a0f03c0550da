//! Accepts WebSocket connections: PROXY protocol header, TLS handshake, upgrade request. Other HTTP requests can be
//! handed over to an HTTP server that shares the port.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection_limiter::{ConnectionPermit, Limit};
use super::forwarded::ForwardedHeaders;
use super::origin::{self, RefusedOrigins};
use super::proxy::{self, Header};
use super::stream::Stream;
use super::tls::Certificate;
use super::websocket::{MAX_HEAD, Refused, Upgrade, read_other_request};
use crate::config::Settings;

const TLS_HANDSHAKE: u8 = 0x16;
/// First bytes of a PROXY protocol header, versions 1 and 2.
const PROXY_HEADER_STARTS: [u8; 2] = [b'P', b'\r'];
/// Maximum length of a PROXY protocol header in bytes.
const MAX_PROXY_HEADER: usize = 4 << 10;

const NO_REQUEST: &str = "this is neither a WebSocket request nor a PROXY protocol header";

/// Settings of a WebSocket listener.
#[derive(Debug, Clone, Default)]
pub struct WebSocketRules {
    /// Origins of pages that may connect; any if empty or `*`.
    pub allowed_origins: Vec<String>,
    /// Refuse unencrypted connections, unless a trusted proxy says that the client's connection to it was encrypted.
    pub secure: bool,
}

/// Checks WebSocket connections of a server.
#[derive(Debug, Default)]
pub struct WebSocketAccess {
    rules: WebSocketRules,
    refused_origins: RefusedOrigins,
}

impl WebSocketAccess {
    /// Checks by these rules.
    pub fn new(rules: WebSocketRules) -> WebSocketAccess {
        WebSocketAccess { rules, refused_origins: RefusedOrigins::default() }
    }
}

/// An accepted WebSocket connection.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct WebSocket {
    pub stream: Stream,
    /// Bytes received after the request.
    pub arrived: Vec<u8>,
    /// The request had an `Origin` header: a browser.
    pub browser: bool,
}

/// A connection whose first request does not ask for WebSocket.
#[derive(Debug)]
pub struct Http {
    /// The connection, after TLS.
    pub stream: Stream,
    /// Bytes received: the request, and perhaps its body.
    pub arrived: Vec<u8>,
}

/// An [`Http`] connection on its way to the HTTP server that shares the port.
#[derive(Debug)]
pub struct HttpConnection {
    /// The connection.
    pub http: Http,
    /// Counts against the connection limits until it is dropped.
    pub permit: ConnectionPermit,
}

/// What a connection has turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// It speaks WebSocket.
    WebSocket(WebSocket),
    /// Only where an HTTP server shares the port.
    Http(Http),
}

/// What a connection begins with.
enum FirstBytes {
    /// A PROXY protocol header, and the client that it names.
    ProxyHeader(Option<IpAddr>),
    /// Something else, of which this was read.
    Other(Vec<u8>),
}

/// The first request of a connection.
enum FirstRequest {
    Upgrade(Upgrade),
    Other(ForwardedHeaders),
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The connection ended, or the TLS handshake failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The request was answered with an error.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Performs a handshake within its time limit in milliseconds, 0 for none.
///
/// # Errors
/// Those of the handshake, and [`io::ErrorKind::TimedOut`].
pub async fn within<T, E: From<io::Error>>(
    limit_ms: u64,
    handshake: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if limit_ms == 0 {
        return handshake.await;
    }
    let limited = tokio::time::timeout(Duration::from_millis(limit_ms), handshake).await;
    limited.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Performs the handshakes of a WebSocket connection. The caller sets the timeout. `shares_port`: an HTTP server takes
/// the requests that do not ask for WebSocket.
///
/// # Errors
/// When the connection fails, or the client is refused; it has got the HTTP answer then.
pub async fn websocket(
    mut stream: TcpStream,
    permit: &mut ConnectionPermit,
    certificate: Option<Certificate>,
    access: &WebSocketAccess,
    settings: &Settings,
    shares_port: bool,
) -> Result<Opened, AcceptError> {
    let mut first = peek(&stream).await?;
    let mut arrived = Vec::new();
    if permit.may_speak_proxy() && PROXY_HEADER_STARTS.contains(&first) {
        let followed = match read_proxy_header(&mut stream).await? {
            FirstBytes::ProxyHeader(source) => permit.follow_proxy_header(source, settings).map_err(refused),
            // POST, PUT and others begin with the same letter.
            FirstBytes::Other(bytes) if shares_port => {
                arrived = bytes;
                Ok(())
            }
            FirstBytes::Other(_) => Err(Refused::bad(NO_REQUEST)),
        };
        if let Err(refused) = followed {
            return Err(refuse(Stream::Tcp(stream), refused).await);
        }
        if arrived.is_empty() {
            first = peek(&stream).await?;
        }
    }
    let mut stream = match certificate {
        Some(certificate) if first == TLS_HANDSHAKE => {
            Stream::Tls(Box::new(certificate.accept(stream).await?))
        }
        _ => Stream::Tcp(stream),
    };
    let request = match read_request(&mut stream, &mut arrived, shares_port).await {
        Ok(FirstRequest::Upgrade(upgrade)) => {
            admit(&upgrade, stream.is_tls(), permit, access, settings).map(|()| Some(upgrade))
        }
        Ok(FirstRequest::Other(forwarded)) => {
            check_encryption(stream.is_tls(), permit, &access.rules, &forwarded).map(|()| None)
        }
        Err(AcceptError::Refused(refused)) => Err(refused),
        Err(error) => return Err(error),
    };
    match request {
        Ok(Some(upgrade)) => {
            stream.write_all(upgrade.answer().as_bytes()).await?;
            stream.flush().await?;
            arrived.drain(..upgrade.len);
            Ok(Opened::WebSocket(WebSocket { stream, arrived, browser: !upgrade.origin.is_empty() }))
        }
        Ok(None) => Ok(Opened::Http(Http { stream, arrived })),
        Err(refused) => Err(refuse(stream, refused).await),
    }
}

/// Sends the error answer and closes. Then reads and discards what the client sends: closing a socket with unread
/// bytes would reset the connection, and the answer would be lost.
async fn refuse(mut stream: Stream, refused: Refused) -> AcceptError {
    let mut discarded = [0; 1024];
    let answer = refused.answer();
    // A failed write means that the client has disconnected.
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        for _ in 0..MAX_HEAD / discarded.len() {
            if stream.read(&mut discarded).await.map_or(true, |count| count == 0) {
                break;
            }
        }
    }
    refused.into()
}

fn refused(limit: Limit) -> Refused {
    Refused { status: "429 Too Many Requests", reason: limit.message() }
}

fn check_encryption(
    is_encrypted: bool,
    permit: &ConnectionPermit,
    rules: &WebSocketRules,
    forwarded: &ForwardedHeaders,
) -> Result<(), Refused> {
    if rules.secure && !is_encrypted && !permit.trusted().is_https(permit.client_addr(), forwarded) {
        return Err(Refused::forbidden("only encrypted connections (wss, https) are accepted"));
    }
    Ok(())
}

/// Checks encryption, the origin and the address limits, and sets the client address from proxy headers.
fn admit(
    upgrade: &Upgrade,
    encrypted: bool,
    permit: &mut ConnectionPermit,
    WebSocketAccess { rules, refused_origins }: &WebSocketAccess,
    settings: &Settings,
) -> Result<(), Refused> {
    let peer = permit.client_addr();
    check_encryption(encrypted, permit, rules, &upgrade.forwarded)?;
    let allowed = &rules.allowed_origins;
    if !upgrade.origin.is_empty() && !allowed.is_empty() && !origin::is_allowed(allowed, &upgrade.origin) {
        refused_origins.log(&upgrade.origin, "--websocket-allowed-origin");
        return Err(Refused::forbidden("pages of this origin may not connect"));
    }
    let client = permit.trusted().resolve(peer, &upgrade.forwarded);
    let client = client.map_err(|ambiguous| Refused::bad(ambiguous.reason()))?;
    permit.set_client_addr(client, settings).map_err(refused)
}

async fn peek(stream: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}

/// Reads exactly one header: what follows may belong to the TLS handshake.
async fn read_proxy_header(stream: &mut TcpStream) -> io::Result<FirstBytes> {
    let mut bytes = Vec::new();
    loop {
        match proxy::read(&bytes) {
            Header::Partial if bytes.len() < MAX_PROXY_HEADER => bytes.push(stream.read_u8().await?),
            Header::Found { source, .. } => return Ok(FirstBytes::ProxyHeader(source)),
            Header::None | Header::Partial | Header::Bad => return Ok(FirstBytes::Other(bytes)),
        }
    }
}

async fn read_request(
    stream: &mut Stream,
    arrived: &mut Vec<u8>,
    shares_port: bool,
) -> Result<FirstRequest, AcceptError> {
    let mut buffer = [0; 2048];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        arrived.extend_from_slice(&buffer[..count]);
        if let Some(forwarded) = read_other_request(arrived).filter(|_| shares_port) {
            return Ok(FirstRequest::Other(forwarded));
        }
        if let Some(upgrade) = Upgrade::read(arrived)? {
            return Ok(FirstRequest::Upgrade(upgrade));
        }
        if arrived.len() > MAX_HEAD {
            return Err(Refused::bad("the request is too long").into());
        }
    }
}
