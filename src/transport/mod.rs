//! Listeners and streams. What a message means is not known here.
//!
//! | file | what it does |
//! | --- | --- |
//! | `budget` | what those who are in may have the server do |
//! | `gate` | how many connections are let in, in all and from one address |
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
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

pub mod accept;
pub mod budget;
pub mod forwarded;
pub mod gate;
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
    let opened = match address {
        Some(ip) => open(SocketAddr::new(ip, port), false),
        // A machine without IPv6 still has IPv4.
        None => open(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), true)
            .or_else(|_| open(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port), false)),
    };
    let name = address.map_or_else(|| "all interfaces".to_owned(), |ip| ip.to_string());
    opened.map_err(|source| ListenError { address: format!("{name}, port {port}"), source })
}

fn open(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if both {
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
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
