//! Accepts links of other servers, and answers them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::setups::{Setup, Setups};
use crate::actors::client::connection::ClientContext;
use crate::actors::client::connection::relayed::LinkedClient;
use crate::actors::messages::ToServer;
use crate::cluster::link::{AdminCall, HandedOver, LinkRequest};
use crate::cluster::{self, AcceptedLink, Cluster};
use crate::config::Rules;
use crate::rules::login::LookupAnswer;
use crate::rules::session::ConnId;
use crate::transport::connection_limiter::{ConnectionLimiter, ConnectionPermit};

/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A request to the admin API that another server has passed on, and the link for its answer.
pub(crate) type RelayedCall = (AcceptedLink, Box<AdminCall>);

/// Accepts node links.
#[derive(Clone)]
pub(crate) struct LinkAcceptor {
    pub(crate) cluster: Cluster,
    pub(crate) workers: Vec<ArbiterHandle>,
    pub(crate) context: ClientContext,
    pub(crate) rules: watch::Receiver<Arc<Rules>>,
    pub(crate) limiter: ConnectionLimiter,
    /// Takes requests to the admin API.
    pub(crate) admin: mpsc::Sender<RelayedCall>,
    /// Number of the next connection, the same for all listeners.
    pub(crate) next_conn: Arc<AtomicU64>,
}

impl LinkAcceptor {
    /// Accepts links forever.
    pub(crate) async fn accept(mut self, listener: TcpListener) {
        let setups = Setups::default();
        for worker in self.workers.clone().iter().cycle() {
            let (stream, setup) = self.next(&listener, &setups).await;
            self.context.rules = self.rules.borrow().clone();
            let Ok(stream) = stream.into_std() else { continue };
            let acceptor = self.clone();
            worker.spawn_fn(move || {
                actix_rt::spawn(async move {
                    if let Err(error) = acceptor.serve(stream, setup).await {
                        tracing::debug!(%error, "a node link has ended");
                    }
                });
            });
        }
    }

    /// The next connection that there is a place for. It waits for none: who is behind in the queue may be a server.
    async fn next(&self, listener: &TcpListener, setups: &Setups) -> (TcpStream, Setup) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(setup) = setups.place(peer.ip(), self.cluster.knows(peer.ip())) {
                        return (stream, setup);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a node link");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    async fn serve(self, stream: std::net::TcpStream, setup: Setup) -> io::Result<()> {
        let (link, request) = self.cluster.accept(TcpStream::from_std(stream)?).await?;
        setup.done();
        match request {
            LinkRequest::Watch => self.tell_news(link).await,
            LinkRequest::Admin(call) => {
                // The other server sees the link end if nobody takes it.
                let _ = self.admin.send((link, call)).await;
                Ok(())
            }
            LinkRequest::LookUp { session, invite, sid } => self.look_up(link, session, invite, sid).await,
            LinkRequest::Report { session, user, reason } => {
                self.context.server.tell(ToServer::ReportSession { session, user, reason });
                Ok(())
            }
            LinkRequest::Join { session, request } => {
                let conn = self.next_conn.fetch_add(1, Ordering::Relaxed);
                let permit = self.permit(request.client.identity.address);
                LinkedClient { link, conn, permit, context: self.context }.join(session, request);
                Ok(())
            }
            LinkRequest::Resume { session, conn, user } => {
                let permit = self.permit(user.address);
                LinkedClient { link, conn, permit, context: self.context }.resume(session, user);
                Ok(())
            }
            LinkRequest::TakeOver(handed) => self.take_over(link, handed).await,
        }
    }

    fn permit(&self, address: Option<IpAddr>) -> ConnectionPermit {
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        self.limiter.enter_relayed(address, self.context.rules.settings())
    }

    async fn take_over(self, mut link: AcceptedLink, mut handed: Box<HandedOver>) -> io::Result<()> {
        let members = &mut handed.staying.members;
        for member in members.iter_mut() {
            member.client.conn = self.next_conn.fetch_add(1, Ordering::Relaxed);
        }
        let conns: Vec<ConnId> = members.iter().map(|member| member.client.conn).collect();
        let asked = self.context.server.ask(|answer| ToServer::TakeOver { handed, answer });
        let is_taken = asked.await.unwrap_or(false);
        cluster::reply(&mut link, &is_taken.then_some(conns)).await
    }

    async fn look_up(
        self,
        mut link: AcceptedLink,
        session: String,
        invite: String,
        sid: String,
    ) -> io::Result<()> {
        let asked = self.context.server.ask(|answer| ToServer::LookUp { session, invite, sid, answer });
        let found = asked.await.unwrap_or(LookupAnswer::NotFound);
        cluster::reply(&mut link, &found).await
    }

    /// Sends news of the sessions here, until the other server goes or does not take them.
    async fn tell_news(self, mut link: AcceptedLink) -> io::Result<()> {
        let Some(mut news) = self.context.server.ask(ToServer::WatchSessions).await else { return Ok(()) };
        while let Some(news) = news.recv().await {
            cluster::reply(&mut link, &*news).await?;
        }
        Ok(())
    }
}
