//! Listeners, TCP/TLS/WebSocket connections, connection limits and proxies. Knows nothing of messages.
//!
//! | file | what it does |
//! | --- | --- |
//! | `budget` | rate limits of commands, chat and log entries |
//! | `challenges` | answers to challenges of a certificate authority (ACME) |
//! | `connection_limiter` | limits of connections, in total and per address |
//! | `network` | which networks around an address the limits count for |
//! | `http` | answers HTTP requests on the port of the Drawpile protocol |
//! | `accept` | handshakes of WebSocket connections |
//! | `stream` | TCP and TLS connections behind one type |
//! | `tls` | certificates: loading, reload, self-signed ones |
//! | `trust` | trusted proxies, and the client address of a request |
//! | `proxy`, `forwarded` | parsers of the PROXY protocol and of proxy headers |
//! | `origin` | origins of web pages |
//! | `websocket` | WebSocket upgrade and frames |

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

pub mod accept;
pub mod budget;
pub mod challenges;
pub mod connection_limiter;
pub mod forwarded;
pub mod http;
pub mod origin;
pub mod proxy;
pub mod stream;
pub mod tls;
pub mod trust;
pub mod websocket;

pub use stream::{ReadHalf, Stream, WriteHalf};

/// Listen backlog: connections that the system queues until they are accepted.
const BACKLOG: i32 = 1024;

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
#[allow(missing_docs, reason = "the names say it")]
pub struct ListenError {
    pub address: String,
    #[source]
    pub source: io::Error,
}

/// Opens a TCP listener. Without an address it listens on all interfaces, IPv6 and IPv4; port 0 lets the system
/// choose.
///
/// # Errors
/// When the address is in use, or is not an address of this machine.
pub fn listen(address: Option<IpAddr>, port: u16) -> Result<TcpListener, ListenError> {
    let failed = |source| listen_error(address, port, source);
    open(address, port).and_then(|socket| TcpListener::from_std(socket.into())).map_err(failed)
}

/// Like [`listen`], for the HTTP servers, which have their own event loop.
///
/// # Errors
/// When the address is in use, or is not an address of this machine.
pub fn listen_std(address: Option<IpAddr>, port: u16) -> Result<std::net::TcpListener, ListenError> {
    open(address, port).map(Socket::into).map_err(|source| listen_error(address, port, source))
}

fn listen_error(address: Option<IpAddr>, port: u16, source: io::Error) -> ListenError {
    let name = address.map_or_else(|| "all interfaces".to_owned(), |ip| ip.to_string());
    ListenError { address: format!("{name}, port {port}"), source }
}

fn open(address: Option<IpAddr>, port: u16) -> io::Result<Socket> {
    let all_interfaces = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let opened = open_at(SocketAddr::new(address.unwrap_or(all_interfaces), port));
    match opened {
        // Without IPv6, listen on IPv4. But a port in use for IPv6 is an error: half of the clients would reach
        // another server.
        Err(error) if address.is_none() && error.kind() != io::ErrorKind::AddrInUse => {
            open_at((Ipv4Addr::UNSPECIFIED, port).into())
        }
        opened => opened,
    }
}

fn open_at(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Dual stack, whatever the system's default is (net.ipv6.bindv6only).
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn all_interfaces_are_ipv6_and_ipv4() {
        let listener = listen(None, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }

    #[actix_rt::test]
    async fn the_error_names_the_port_in_use() {
        let ip = Some("127.0.0.1".parse().unwrap());
        let listener = listen(ip, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = listen(ip, port).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on 127.0.0.1, port {port}: ")), "{error}");
    }
}
