//! Sockets of node links.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// Time for connecting from the address at which this server accepts links.
const BOUND_LIMIT: Duration = Duration::from_secs(2);
/// How long a link may wait for a server that does not acknowledge anything, or takes nothing, as for a slow client:
/// longer than the default of `lagTimeLimit`. Links for news notice a dead server by themselves.
const DEAD_AFTER: Duration = Duration::from_secs(150);
/// Interval of the probes of a connection on which nothing is sent.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// The address that links to other servers come from: that at which this server accepts links, because the others know
/// it from the database. Where no connection can be made from that one, it is the system's choice.
#[derive(Clone)]
pub(super) struct Source {
    address: SocketAddr,
    /// Connections from the address have failed while others did not.
    is_useless: Arc<AtomicBool>,
}

impl Source {
    /// A server that accepts links at this address.
    pub(super) fn new(mut address: SocketAddr) -> Source {
        address.set_port(0);
        Source { address, is_useless: Arc::default() }
    }

    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        if self.is_useless.load(Ordering::Relaxed) || self.address.is_ipv4() != to.is_ipv4() {
            return TcpStream::connect(to).await;
        }
        let bound = tokio::time::timeout(BOUND_LIMIT, self.connect_bound(to)).await;
        match bound.map_err(io::Error::from).and_then(|bound| bound) {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            Err(error) => {
                let stream = TcpStream::connect(to).await?;
                let address = self.address.ip();
                tracing::info!("links to other servers are not opened from {address}: {error}");
                self.is_useless.store(true, Ordering::Relaxed);
                Ok(stream)
            }
        }
    }

    async fn connect_bound(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(self.address)?;
        socket.connect(to).await
    }
}

/// Sets the options of a link's socket: small writes are sent at once, and a machine that has vanished is noticed.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_INTERVAL).with_interval(PROBE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn links_come_from_the_address_of_the_server_if_they_can() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        // The last two are not of this machine, or lead elsewhere.
        for (own, expected) in [
            ("127.0.0.2:27752", "127.0.0.2"),
            ("127.0.0.1:27752", "127.0.0.1"),
            ("[::1]:27752", "127.0.0.1"),
            ("192.0.2.1:27752", "127.0.0.1"),
        ] {
            let source = Source::new(own.parse().unwrap());
            for _ in 0..2 {
                let _stream = source.connect(to).await.unwrap();
                let (_, peer) = listener.accept().await.unwrap();
                assert_eq!(peer.ip().to_string(), expected, "{own}");
            }
        }
        drop(listener);
        let error = Source::new(to).connect(to).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
