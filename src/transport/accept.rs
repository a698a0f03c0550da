//! From an accepted socket to a connection over which messages come: encryption and the upgrade to WebSocket.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection_limiter::{ConnectionPermit, Limit};
use super::origin;
use super::proxy::{self, Header};
use super::stream::Stream;
use super::tls::Certificate;
use super::websocket::{MAX_HEAD, Refused, Upgrade};
use crate::config::Settings;

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// First bytes of the PROXY protocol's versions.
const PROXY_STARTS: [u8; 2] = [b'P', b'\r'];
/// Longest header of the PROXY protocol that is read here.
const MAX_PROXY_HEADER: usize = 4 << 10;

/// What a listener for WebSocket demands.
#[derive(Debug, Clone, Default)]
pub struct WebSocketRules {
    /// Origins of pages that browsers may connect from; any if it is empty, or `*`.
    pub allowed_origins: Vec<String>,
    /// Connections in clear are refused, unless a trusted proxy says that the way to it was encrypted.
    pub secure: bool,
}

/// A WebSocket connection.
#[derive(Debug)]
pub struct WebSocket {
    /// The connection.
    pub stream: Stream,
    /// What arrived behind the request already.
    pub arrived: Vec<u8>,
    /// It comes from a browser.
    pub browser: bool,
}

/// A connection that comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It ended, or it cannot be encrypted.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has asked for something else.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Lets a client become a WebSocket client. The caller limits the time that this may take.
///
/// # Errors
/// When the client does not do so, or may not.
pub async fn websocket(
    mut stream: TcpStream,
    permit: &mut ConnectionPermit,
    certificate: Option<Certificate>,
    rules: &WebSocketRules,
    settings: &Settings,
) -> Result<WebSocket, AcceptError> {
    let mut first = peek(&stream).await?;
    if permit.may_speak_proxy() && PROXY_STARTS.contains(&first) {
        let source = match read_proxy_header(&mut stream).await {
            Err(AcceptError::Refused(refused)) => return Err(refuse(Stream::Tcp(stream), refused).await),
            source => source?,
        };
        if let Err(limit) = permit.set_client_addr(source.unwrap_or(permit.address()), settings) {
            return Err(refuse(Stream::Tcp(stream), refused(limit)).await);
        }
        first = peek(&stream).await?;
    }
    let mut stream = match certificate {
        Some(certificate) if first == TLS_HANDSHAKE => {
            Stream::Tls(Box::new(certificate.acceptor().accept(stream).await?))
        }
        _ => Stream::Tcp(stream),
    };
    let mut arrived = Vec::new();
    let upgrade = match read_request(&mut stream, &mut arrived).await {
        Ok(upgrade) => admit(&upgrade, stream.is_tls(), permit, rules, settings).map(|()| upgrade),
        Err(AcceptError::Refused(refused)) => Err(refused),
        Err(error) => return Err(error),
    };
    match upgrade {
        Ok(upgrade) => {
            stream.write_all(upgrade.answer().as_bytes()).await?;
            stream.flush().await?;
            arrived.drain(..upgrade.len);
            Ok(WebSocket { stream, arrived, browser: !upgrade.origin.is_empty() })
        }
        Err(refused) => Err(refuse(stream, refused).await),
    }
}

/// Says why not. What else the client sends is read and thrown away, or the system would take back what was said.
async fn refuse(mut stream: Stream, refused: Refused) -> AcceptError {
    let mut rest = [0; 1024];
    let answer = refused.answer();
    // It may be gone already.
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        for _ in 0..MAX_HEAD / rest.len() {
            if stream.read(&mut rest).await.map_or(true, |count| count == 0) {
                break;
            }
        }
    }
    refused.into()
}

fn refused(limit: Limit) -> Refused {
    Refused { status: "429 Too Many Requests", reason: limit.message() }
}

/// Whether somebody may connect.
fn admit(
    upgrade: &Upgrade,
    encrypted: bool,
    permit: &mut ConnectionPermit,
    rules: &WebSocketRules,
    settings: &Settings,
) -> Result<(), Refused> {
    let peer = permit.address();
    if rules.secure && !encrypted && !permit.trusted().is_https(peer, &upgrade.claims) {
        return Err(Refused::forbidden("only encrypted connections (wss) are accepted"));
    }
    let allowed = &rules.allowed_origins;
    if !upgrade.origin.is_empty() && !allowed.is_empty() && !origin::is_allowed(allowed, &upgrade.origin) {
        origin::log_refused(&upgrade.origin, "--websocket-allowed-origin");
        return Err(Refused::forbidden("pages of this origin may not connect"));
    }
    let source = permit.trusted().resolve(peer, &upgrade.claims);
    let source = source.map_err(|unclear| Refused::bad(unclear.reason()))?;
    if source.direct { Ok(()) } else { permit.set_client_addr(source.address, settings).map_err(refused) }
}

async fn peek(stream: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}

/// Reads a header and nothing behind it: that may belong to the encryption.
async fn read_proxy_header(stream: &mut TcpStream) -> Result<Option<std::net::IpAddr>, AcceptError> {
    let mut bytes = Vec::new();
    loop {
        match proxy::read(&bytes) {
            Header::Partial if bytes.len() < MAX_PROXY_HEADER => bytes.push(stream.read_u8().await?),
            Header::Found { source, .. } => return Ok(source),
            Header::None | Header::Partial | Header::Bad => {
                return Err(Refused::bad(
                    "this is no request for WebSocket, nor a header of the PROXY protocol",
                )
                .into());
            }
        }
    }
}

async fn read_request(stream: &mut Stream, arrived: &mut Vec<u8>) -> Result<Upgrade, AcceptError> {
    let mut buffer = [0; 2048];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        arrived.extend_from_slice(&buffer[..count]);
        if let Some(upgrade) = Upgrade::read(arrived)? {
            return Ok(upgrade);
        }
        if arrived.len() > MAX_HEAD {
            return Err(Refused::bad("the request is too long").into());
        }
    }
}
