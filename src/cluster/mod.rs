//! Node links: encrypted connections between the servers of a cluster, which carry clients of one server to a session on
//! another. See docs/guide/cluster.md.
//!
//! | file | what it does |
//! | --- | --- |
//! | `identity` | the key that all servers of a cluster have, and TLS with it |
//! | `link` | what is said over a link, and how it is framed |

mod identity;
pub mod link;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use crate::db::nodes::Node;
use crate::db::{Database, DbError};
use identity::{LinkIdentity, SERVER_NAME};
use link::{AdminCall, AdminHead, JoinAnswer, LinkRequest};

/// Time for connecting to another server, with the TLS handshake and the request.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time for whoever has connected to perform the handshake and send the request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Time for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Time for an answer of the admin API: making a picture takes minutes.
const ADMIN_LIMIT: Duration = Duration::from_secs(600);
/// How long a link may wait for a server that does not acknowledge anything, or takes nothing: longer than a slow client
/// may (`lagTimeLimit`), for whom nothing is read. Links for news notice a dead server by themselves.
const DEAD_AFTER: Duration = Duration::from_secs(150);
/// Interval of the probes of a connection on which nothing is sent.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// Name of the links' key in the database.
const KEY_NAME: &str = "node-links";

/// A node link, at the server that has opened it.
pub type Link = client::TlsStream<TcpStream>;
/// A node link, at the server that has accepted it.
pub type AcceptedLink = server::TlsStream<TcpStream>;

/// Why node links cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The database has no key, or takes none.
    #[error("the key of node links cannot be read: {0}")]
    Key(#[from] DbError),
    /// The key in the database is no key.
    #[error(
        "the key of node links in the database cannot be used: {0}; delete the row '{KEY_NAME}' of drawhall_keys and \
         start all servers again"
    )]
    Tls(String),
}

/// This server as one of several, and its means to reach the others.
#[derive(Clone)]
pub struct Cluster {
    /// What others are told of this server.
    pub node: Node,
    identity: LinkIdentity,
    /// Addresses of the other servers, as the database has them.
    known: Arc<Mutex<HashSet<IpAddr>>>,
}

impl Cluster {
    /// A server of this name whose links are accepted at this address. The key is read from the database, where the first
    /// server puts it. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read or written, or has a key that cannot be used.
    pub fn open(database: &Database, name: String, address: SocketAddr) -> Result<Cluster, ClusterError> {
        let fresh = LinkIdentity::generate_key().map_err(ClusterError::Tls)?;
        let key = database.key(KEY_NAME, &fresh)?;
        let identity = LinkIdentity::new(&key).map_err(ClusterError::Tls)?;
        let incarnation = ulid::Ulid::generate().to_string();
        let node = Node { incarnation, name, address: address.to_string() };
        Ok(Cluster { node, identity, known: Arc::default() })
    }

    /// Whether another server of the cluster has this address. Others may be one as well, from behind a router.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.known.lock().contains(&address.to_canonical())
    }

    /// Remembers the addresses of the other servers.
    pub fn set_known<'a>(&self, nodes: impl Iterator<Item = &'a Node>) {
        let addresses = nodes.filter_map(|node| node.address.parse::<SocketAddr>().ok());
        *self.known.lock() = addresses.map(|address| address.ip().to_canonical()).collect();
    }

    /// Opens a link to another server and sends the request.
    ///
    /// # Errors
    /// When it cannot be reached within seconds, or is no server of this cluster.
    pub async fn connect(&self, node: &Node, request: &LinkRequest) -> io::Result<Link> {
        let connecting = async {
            let stream = TcpStream::connect(&node.address).await?;
            prepare(&stream)?;
            let mut link = self.identity.connector().connect(SERVER_NAME.clone(), stream).await?;
            link::write(&mut link, request).await?;
            Ok(link)
        };
        tokio::time::timeout(CONNECT_LIMIT, connecting).await.map_err(io::Error::from)?
    }

    /// Asks another server a question that has one answer.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time.
    pub async fn ask<T: DeserializeOwned>(&self, node: &Node, request: &LinkRequest) -> io::Result<T> {
        let mut link = self.connect(node, request).await?;
        tokio::time::timeout(ANSWER_LIMIT, link::read(&mut link)).await.map_err(io::Error::from)?
    }

    /// Asks another server to let a client join. If it does, the link carries the client's messages.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time.
    pub async fn join(&self, node: &Node, request: &LinkRequest) -> io::Result<(Link, JoinAnswer)> {
        let mut link = self.connect(node, request).await?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, JoinAnswer::read(&mut link)).await;
        Ok((link, answer.map_err(io::Error::from)??))
    }

    /// Passes a request on to the admin API of another server. The body of the answer follows on the link.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time.
    pub async fn call(&self, node: &Node, call: AdminCall) -> io::Result<(AdminHead, Link)> {
        let mut link = self.connect(node, &LinkRequest::Admin(Box::new(call))).await?;
        let head =
            tokio::time::timeout(ADMIN_LIMIT, link::read(&mut link)).await.map_err(io::Error::from)??;
        Ok((head, link))
    }

    /// Accepts a link: performs the handshake and reads the request. Whoever does not have the key of the cluster is
    /// refused.
    ///
    /// # Errors
    /// When the peer is no server of this cluster, or is not done within [`REQUEST_LIMIT`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(AcceptedLink, LinkRequest)> {
        let accepting = async {
            prepare(&stream)?;
            let mut link = self.identity.acceptor().accept(stream).await?;
            let request = link::read(&mut link).await?;
            Ok((link, request))
        };
        tokio::time::timeout(REQUEST_LIMIT, accepting).await.map_err(io::Error::from)?
    }
}

/// Sets the options of a link's socket: small writes are sent at once, and a machine that has vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_INTERVAL).with_interval(PROBE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

/// Sends an answer or news over a link.
///
/// # Errors
/// When the peer does not take it.
pub async fn reply(link: &mut AcceptedLink, answer: &impl Serialize) -> io::Result<()> {
    tokio::time::timeout(ANSWER_LIMIT, link::write(link, answer)).await.map_err(io::Error::from)?
}

#[cfg(test)]
mod tests;
