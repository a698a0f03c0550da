//! Follows which servers the cluster has, and which sessions they have.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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
    let (mut is_away, mut was_draining) = (false, false);
    loop {
        interval.tick().await;
        let (database, node) = (database.clone(), cluster.node.clone());
        let announced = pool.run(Job::FileIo, move || database.announce_node(&node)).await;
        match announced {
            Some(Ok(nodes)) => {
                is_away = false;
                let own = nodes.iter().find(|node| node.incarnation == cluster.node.incarnation);
                let is_draining = own.is_some_and(|own| own.is_draining);
                let others = cluster.update_others(nodes);
                let is_gone = |incarnation: &String, followed: &mut Followed| {
                    let is_there = others.iter().any(|other| other.incarnation == *incarnation);
                    let is_replaced = others.iter().any(|other| other.address == followed.node.address);
                    !is_there && (is_replaced || !followed.is_linked.get())
                };
                // Each time, as people come and go.
                if is_draining || was_draining {
                    server.tell(ToServer::Drain(is_draining));
                }
                was_draining = is_draining;
                for (_, gone) in followed.extract_if(is_gone) {
                    gone.forget();
                }
                for node in others {
                    followed.entry(node.incarnation.clone()).or_insert_with(|| {
                        tracing::info!("server {} is in the cluster, at {}", node.name, node.address);
                        Followed::start(cluster.clone(), Arc::new(node), server.clone(), metrics.clone())
                    });
                }
            }
            // Links go on without the database.
            failed if !std::mem::replace(&mut is_away, true) => {
                let why = failed.and_then(Result::err).map_or_else(String::new, |error| format!(": {error}"));
                tracing::warn!("the list of servers of the cluster cannot be read{why}");
            }
            _ => {}
        }
    }
}

/// A server whose sessions are followed, until this is dropped.
struct Followed {
    node: Arc<Node>,
    /// There is a link for its news. Then it is not gone, even if its row in the database is old.
    is_linked: Rc<Cell<bool>>,
    /// Ends following: with a message the sessions are forgotten, without they stay.
    end: oneshot::Sender<()>,
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
        let (end, ended) = oneshot::channel();
        actix_rt::spawn(async move {
            tokio::select! {
                () = sessions.follow(&cluster) => {}
                end = ended => {
                    if end.is_ok() {
                        sessions.forget_all();
                    }
                }
            }
        });
        Followed { node, is_linked, end }
    }

    /// The server is not there any more: its sessions are not listed either.
    fn forget(self) {
        notify(self.end, ());
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
