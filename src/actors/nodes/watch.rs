//! Follows which servers the cluster has, and which sessions they have.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use tokio::sync::oneshot;

use super::Counted;
use crate::actors::messages::{ServerHandle, ToServer, notify};
use crate::blocking::{BlockingPool, Job};
use crate::clock::every;
use crate::cluster::link::{LinkRequest, NEWS_SESSIONS, SessionNews, read};
use crate::cluster::{Cluster, Link};
use crate::db::Database;
use crate::db::nodes::Node;
use crate::metrics::Metrics;

/// Interval of the sign of life in the database.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Without news for so long a link counts as broken; they come each second.
const NEWS_LIMIT: Duration = Duration::from_secs(4);
/// Pause before a broken link is opened again.
const RETRY: Duration = Duration::from_millis(500);
/// Failures in a row after which the sessions of a server are no longer listed.
const MAX_FAILURES: u32 = 4;

/// Keeps this server in the list of those in the database, and follows the sessions of the others, until it is aborted.
pub async fn watch_nodes(
    cluster: Cluster,
    database: Database,
    pool: BlockingPool,
    server: ServerHandle,
    metrics: Arc<Metrics>,
) {
    let mut followed: HashMap<String, Followed> = HashMap::new();
    let mut interval = every(SIGN_OF_LIFE);
    let mut is_away = false;
    loop {
        interval.tick().await;
        let (database, node) = (database.clone(), cluster.node.clone());
        let announced = pool.run(Job::FileIo, move || database.announce_node(&node)).await;
        match announced {
            Some(Ok(nodes)) => {
                is_away = false;
                cluster.set_known(nodes.iter());
                let others = others(nodes, &cluster.node);
                let is_gone = |incarnation: &String, followed: &mut Followed| {
                    let is_replaced = others.values().any(|other| other.address == followed.node.address);
                    !others.contains_key(incarnation) && (is_replaced || !followed.is_linked.get())
                };
                for (_, gone) in followed.extract_if(is_gone) {
                    gone.forget();
                }
                for (incarnation, node) in others {
                    followed.entry(incarnation).or_insert_with(|| {
                        tracing::info!("server {} is in the cluster, at {}", node.name, node.address);
                        Followed::start(cluster.clone(), Arc::new(node), server.clone(), metrics.clone())
                    });
                }
            }
            // Links go on without the database.
            Some(Err(error)) if !std::mem::replace(&mut is_away, true) => {
                tracing::warn!("the list of servers of the cluster cannot be read: {error}");
            }
            Some(Err(_)) | None => {}
        }
    }
}

/// The other servers, by incarnation. Of several with one address only the newest is there: it was started again.
fn others(nodes: Vec<Node>, own: &Node) -> HashMap<String, Node> {
    let mut newest: HashMap<String, Node> = HashMap::new();
    for node in nodes.into_iter().filter(|node| node.incarnation != own.incarnation) {
        // Incarnations grow with time.
        let is_older = |other: &Node| other.incarnation < node.incarnation;
        if newest.get(&node.address).is_none_or(is_older) {
            newest.insert(node.address.clone(), node);
        }
    }
    newest.into_values().map(|node| (node.incarnation.clone(), node)).collect()
}

/// A server whose sessions are followed, until this is dropped.
struct Followed {
    node: Arc<Node>,
    /// There is a link for its news. Then it is not gone, even if its row in the database is old.
    is_linked: Rc<Cell<bool>>,
    task: Option<JoinHandle<()>>,
    gone: Option<oneshot::Sender<()>>,
}

impl Followed {
    fn start(cluster: Cluster, node: Arc<Node>, server: ServerHandle, metrics: Arc<Metrics>) -> Followed {
        let is_linked = Rc::<Cell<bool>>::default();
        let mut sessions = RemoteSessions {
            node: node.clone(),
            server,
            metrics,
            is_linked: is_linked.clone(),
            known: HashSet::new(),
        };
        let (gone, is_gone) = oneshot::channel();
        let task = actix_rt::spawn(async move {
            tokio::select! {
                () = sessions.follow(&cluster) => {}
                _ = is_gone => sessions.forget_all(),
            }
        });
        Followed { node, is_linked, task: Some(task), gone: Some(gone) }
    }

    /// The server is not there any more: its sessions are not listed either.
    fn forget(mut self) {
        self.task = None;
        if let Some(gone) = self.gone.take() {
            notify(gone, ());
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// The sessions of another server, as far as the Server was told of them.
struct RemoteSessions {
    node: Arc<Node>,
    server: ServerHandle,
    metrics: Arc<Metrics>,
    is_linked: Rc<Cell<bool>>,
    known: HashSet<String>,
}

impl RemoteSessions {
    /// Follows them forever.
    async fn follow(&mut self, cluster: &Cluster) {
        let mut failures = 0;
        loop {
            match cluster.connect(&self.node, &LinkRequest::Watch).await {
                Ok(mut link) => {
                    failures = 0;
                    let _counted = Counted::new(&self.metrics, |metrics| &metrics.linked_servers);
                    self.is_linked.set(true);
                    let error = self.read_news(&mut link).await;
                    self.is_linked.set(false);
                    tracing::info!("the link to server {} has ended: {error}", self.node.name);
                }
                Err(error) => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        tracing::warn!("server {} cannot be reached: {error}", self.node.name);
                        self.forget_all();
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Passes news on until the link breaks; returns why.
    async fn read_news(&mut self, link: &mut Link) -> io::Error {
        // Of the sessions that were known before, those that are not told again have ended.
        let mut untold = Some(self.known.clone());
        loop {
            let news = tokio::time::timeout(NEWS_LIMIT, read(link)).await;
            let mut news: SessionNews = match news.map_err(io::Error::from).and_then(|news| news) {
                Ok(news) => news,
                Err(error) => return error,
            };
            if let Some(untold) = &mut untold {
                for session in &news.sessions {
                    untold.remove(&session.id);
                }
            }
            if news.complete {
                news.ended.extend(untold.take().into_iter().flatten());
            }
            self.pass_on(news);
        }
    }

    fn pass_on(&mut self, news: SessionNews) {
        if news.sessions.is_empty() && news.ended.is_empty() {
            return;
        }
        self.known.extend(news.sessions.iter().map(|session| session.id.clone()));
        for id in &news.ended {
            self.known.remove(id);
        }
        self.server.tell(ToServer::RemoteNews { node: self.node.clone(), news });
    }

    fn forget_all(&mut self) {
        let ended: Vec<String> = self.known.iter().cloned().collect();
        for ended in ended.chunks(NEWS_SESSIONS) {
            self.pass_on(SessionNews { ended: ended.to_vec(), ..SessionNews::default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_server_that_was_started_again_only_the_newest_counts() {
        let node = |incarnation: &str, address: &str| Node {
            incarnation: incarnation.into(),
            name: "n".into(),
            address: address.into(),
        };
        let nodes = vec![node("3", "b:1"), node("1", "b:1"), node("2", "c:1"), node("4", "a:1")];
        let mut found: Vec<String> = others(nodes, &node("4", "a:1")).into_keys().collect();
        found.sort();
        assert_eq!(found, ["2", "3"]);
    }
}
