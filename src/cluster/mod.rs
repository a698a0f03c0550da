//! Node links: encrypted connections between the servers of a cluster, which carry clients of one server to a session on
//! another. See docs/guide/cluster.md.
//!
//! | file | what it does |
//! | --- | --- |
//! | `identity` | the key that all servers of a cluster have, and TLS with it |
//! | `link` | what is said over a link, and how it is framed |
//! | `socket` | connecting to another server, and options of sockets |

mod identity;
pub mod link;
mod socket;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::{client, server};

use crate::db::nodes::Node;
use crate::db::{Database, DbError};
use identity::{LinkIdentity, SERVER_NAME};
use link::{AdminCall, AdminHead, JoinAnswer, LinkRequest};
use socket::{Source, prepare};

/// Time for connecting to another server, with the TLS handshake and the request.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time for whoever has connected to perform the handshake and send the request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Time for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Time for an answer of the admin API.
const ADMIN_LIMIT: Duration = Duration::from_secs(60);
/// The same where it takes minutes, such as for a picture.
const LONG_ADMIN_LIMIT: Duration = Duration::from_secs(600);

/// Clients on their way to a server that has taken their session over, at most: others wait. That server has places for
/// no more than some hundred links at the same time.
const MAX_FOLLOWING: usize = 32;

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
    /// Rows of servers that are gone cannot be removed from the database.
    #[error("the list of servers in the database cannot be changed: {0}")]
    List(DbError),
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
    /// The other servers, as the database had them last.
    others: Arc<Mutex<Vec<Node>>>,
    source: Source,
    /// Permits for clients on their way to the server that has taken their session over.
    follow_permits: Arc<Semaphore>,
}

impl Cluster {
    /// A server of this name whose links are accepted at this address, and whether it shares sessions. The key is read
    /// from the database, where the first server puts it. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read or written, or has a key that cannot be used.
    pub fn open(
        database: &Database,
        name: String,
        address: SocketAddr,
        shares_sessions: bool,
    ) -> Result<Cluster, ClusterError> {
        let fresh = LinkIdentity::generate_key().map_err(ClusterError::Tls)?;
        let key = database.key(KEY_NAME, &fresh)?;
        let identity = LinkIdentity::new(&key).map_err(ClusterError::Tls)?;
        let incarnation = ulid::Ulid::generate().to_string();
        let address_text = address.to_string();
        let node = Node { incarnation, name, address: address_text, shares_sessions, is_draining: false };
        Ok(Cluster {
            node,
            identity,
            others: Arc::default(),
            source: Source::new(address),
            follow_permits: Arc::new(Semaphore::new(MAX_FOLLOWING)),
        })
    }

    /// The other servers, as the database had them last.
    pub fn others(&self) -> Vec<Node> {
        self.others.lock().clone()
    }

    /// The other servers that take sessions over.
    pub fn takers(&self) -> Vec<Node> {
        self.others.lock().iter().filter(|node| node.takes_sessions()).cloned().collect()
    }

    /// Whether a server has this address, also this one: it may open links to itself. There may be others, from behind a
    /// router.
    pub fn knows(&self, address: IpAddr) -> bool {
        let is_at = |node: &Node| {
            let listens = node.address.parse::<SocketAddr>();
            listens.is_ok_and(|listens| listens.ip().to_canonical() == address.to_canonical())
        };
        is_at(&self.node) || self.others.lock().iter().any(is_at)
    }

    /// Takes the servers that the database has, and returns the others. Of several at one address only the newest
    /// counts: the server was started again. So an earlier start of this one counts as little as this one itself.
    pub fn update_others(&self, nodes: Vec<Node>) -> Vec<Node> {
        let mut newest: HashMap<String, Node> = HashMap::new();
        for node in nodes.into_iter().filter(|node| node.address != self.node.address) {
            // Incarnations grow with time.
            let is_older = |other: &Node| other.incarnation < node.incarnation;
            if newest.get(&node.address).is_none_or(is_older) {
                newest.insert(node.address.clone(), node);
            }
        }
        let mut others: Vec<Node> = newest.into_values().collect();
        others.sort_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
        *self.others.lock() = others.clone();
        others
    }

    /// Opens a link to another server and sends the request.
    ///
    /// # Errors
    /// When it cannot be reached within seconds, or is no server of this cluster.
    pub async fn connect(&self, node: &Node, request: &LinkRequest) -> io::Result<Link> {
        let connecting = async {
            let stream = self.source.connect(node.address.parse().map_err(io::Error::other)?).await?;
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

    /// Asks a server that has taken a session over to go on with a client who stays. Of many some wait for others.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn follow(&self, node: &Node, request: &LinkRequest) -> io::Result<(Link, JoinAnswer)> {
        let _permit = self.follow_permits.acquire().await.map_err(io::Error::other)?;
        self.join(node, request).await
    }

    /// Passes a request on to the admin API of another server. The body of the answer follows on the link.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer in time.
    pub async fn call(&self, node: &Node, call: AdminCall) -> io::Result<(AdminHead, Link)> {
        let limit = if call.ends_with_connection { LONG_ADMIN_LIMIT } else { ADMIN_LIMIT };
        let mut link = self.connect(node, &LinkRequest::Admin(Box::new(call))).await?;
        let head = tokio::time::timeout(limit, link::read(&mut link)).await.map_err(io::Error::from)??;
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

/// Sends an answer or news over a link.
///
/// # Errors
/// When the peer does not take it.
pub async fn reply(link: &mut AcceptedLink, answer: &impl Serialize) -> io::Result<()> {
    tokio::time::timeout(ANSWER_LIMIT, link::write(link, answer)).await.map_err(io::Error::from)?
}

#[cfg(test)]
mod tests;
