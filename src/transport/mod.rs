//! Listeners and streams. What a message means is not known here.
//!
//! | file | what it does |
//! | --- | --- |
//! | `budget` | what those who are in may have the server do |
//! | `limiter` | how many connections are let in, in all and from one address |
//! | `network` | what counts as one address |
//! | `http` | what those are told who speak HTTP to the port of drawing programs |
//! | `accept` | from an accepted socket to a WebSocket connection |
//! | `stream` | TCP and TLS connections behind one type |
//! | `tls` | certificates |
//! | `trust` | who is asking: which proxies are believed, and what of what they say |
//! | `proxy`, `forwarded` | what proxies say: the PROXY protocol, headers of HTTP |
//! | `origin` | origins of pages in browsers |
//! | `websocket` | WebSocket frames |

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

pub mod accept;
pub mod budget;
pub mod connection_limiter;
pub mod forwarded;
pub mod http;
pub mod network;
pub mod origin;
pub mod proxy;
pub mod stream;
pub mod tls;
pub mod trust;
pub mod websocket;

pub use stream::{ReadHalf, Stream, WriteHalf};

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address.
    pub address: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Opens a TCP listener. Without an address it listens on all interfaces, IPv6 and IPv4; port 0 lets the system choose.
///
/// # Errors
/// When the address is in use or not of this machine.
pub fn listen(address: Option<IpAddr>, port: u16) -> Result<TcpListener, ListenError> {
    let failed = |source| listen_error(address, port, source);
    open(address, port).and_then(|socket| TcpListener::from_std(socket.into())).map_err(failed)
}

/// The same for servers of HTTP, which bring an event loop of their own.
///
/// # Errors
/// When the address is in use or not of this machine.
pub fn listen_std(address: Option<IpAddr>, port: u16) -> Result<std::net::TcpListener, ListenError> {
    open(address, port).map(Socket::into).map_err(|source| listen_error(address, port, source))
}

fn listen_error(address: Option<IpAddr>, port: u16, source: io::Error) -> ListenError {
    let name = address.map_or_else(|| "all interfaces".to_owned(), |ip| ip.to_string());
    ListenError { address: format!("{name}, port {port}"), source }
}

fn open(address: Option<IpAddr>, port: u16) -> io::Result<Socket> {
    let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let opened = open_at(SocketAddr::new(address.unwrap_or(everywhere), port));
    match opened {
        // A machine without IPv6 still has IPv4. A port that is in use for IPv6 is not free for half of the clients.
        Err(error) if address.is_none() && error.kind() != io::ErrorKind::AddrInUse => {
            open_at((Ipv4Addr::UNSPECIFIED, port).into())
        }
        opened => opened,
    }
}

fn open_at(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Whatever the system's default is (net.ipv6.bindv6only).
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
    async fn a_port_in_use_is_named() {
        let ip = Some("127.0.0.1".parse().unwrap());
        let listener = listen(ip, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = listen(ip, port).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on 127.0.0.1, port {port}: ")), "{error}");
    }
}
