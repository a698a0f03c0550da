//! The Server actor: session directory, hosting, lobby, listings.
//!
//! It knows sessions by their latest description, serialized once, so that a login only copies it.

pub mod acceptor;
mod admin;
mod deps;
mod directory;
mod hand_over;
mod hosting;
pub mod list_server;
mod listing;
mod listings;
mod loading;
mod lobby;
mod remote;
pub mod reports;
mod shared;
mod templates;
mod watchers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::reply::SessionDescription;
use tokio::sync::oneshot;

use crate::actors::messages::{
    Answer, ClientHandle, FoundSession, NewRules, PendingEntry, SessionHandle, ToClient, ToServer, ToSession,
    notify,
};
use crate::config::Rules;
use crate::db::nodes::Node;
use crate::history::total::HistoryTotal;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::login::LookupAnswer;
use crate::rules::metadata::SessionSummary;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::{ConnId, DisconnectReason, JoinRequest, SessionMachine};
use crate::rules::time::Timestamp;
use crate::storage::session_dir::SessionDir;
use crate::storage::shared::LastOwner;
use crate::storage::template::Templates;
pub use admin::{
    FindActive, FindRunning, ListClients, ListSessions, MakeFromTemplate, MakeSession, RelistSessions,
    TellSessions,
};
pub use deps::ServerDeps;
use directory::{Directory, Missing, Residency, SessionEntry, Waiter};
pub use hand_over::HandOver;
use hand_over::Leaving;
pub use hosting::BelowReserve;
pub use listing::ListSession;
use listings::Listings;
use lobby::Lobby;
pub use remote::{CountByNode, FindNode, NodeCount};
use reports::Reports;
pub use templates::NewTemplates;
use watchers::Watchers;

/// Time-out for clients to read the shutdown message.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Interval of the check for clients that stay in the lobby too long.
const LINGER_INTERVAL: Duration = Duration::from_secs(15);

/// A connection.
struct Connection {
    client: ClientHandle,
    /// Since when it is in no session, monotonic milliseconds.
    without_session: Option<u64>,
}

/// The Server actor.
pub struct Server {
    rules: Arc<Rules>,
    parts: ServerDeps,
    templates: Arc<Templates>,
    /// Ids reserved for sessions from templates, by alias.
    template_ids: HashMap<String, String>,
    listings: Listings,
    reports: Reports,
    watchers: Watchers,
    /// What stands for sessions on other servers that are no longer in the directory, while clients are there.
    unlisted_remotes: Vec<SessionHandle>,
    /// Sessions that servers share, and that none has.
    unowned: HashMap<String, LastOwner>,
    /// What the last owner tells of a session that it has lost in the database, but perhaps only for a moment.
    told_by_last_owner: HashMap<String, (Arc<Node>, SessionDescription)>,
    /// Stored sessions to announce again, with their list servers.
    to_announce: Vec<(String, String)>,
    /// Templates being instantiated, by alias, with waiters.
    instantiating: HashMap<String, Vec<Waiter>>,
    workers: Vec<ArbiterHandle>,
    next_worker: usize,
    directory: Directory,
    /// Size of all histories together.
    histories: HistoryTotal,
    /// The disk of the sessions has less than `diskSpaceReserve` left.
    below_reserve: bool,
    /// That `totalHistoryLimit` is reached has been logged.
    full_logged: bool,
    connections: HashMap<ConnId, Connection>,
    lobby: Lobby,
    stopping: Option<oneshot::Sender<()>>,
    leaving: Leaving,
}

impl Server {
    /// A server whose sessions run on these workers.
    pub fn new(rules: Arc<Rules>, workers: Vec<ArbiterHandle>, parts: ServerDeps) -> Self {
        let histories = HistoryTotal::default();
        histories.set_limit(rules.settings().total_history_limit.0);
        Self {
            rules,
            parts,
            templates: Arc::default(),
            template_ids: HashMap::new(),
            listings: Listings::default(),
            reports: Reports::default(),
            watchers: Watchers::default(),
            unlisted_remotes: Vec::new(),
            unowned: HashMap::new(),
            told_by_last_owner: HashMap::new(),
            to_announce: Vec::new(),
            instantiating: HashMap::new(),
            workers,
            next_worker: 0,
            directory: Directory::default(),
            histories,
            below_reserve: false,
            full_logged: false,
            connections: HashMap::new(),
            lobby: Lobby::default(),
            stopping: None,
            leaving: Leaving::default(),
        }
    }

    /// Worker for the next session: round-robin.
    fn next_worker(&mut self) -> Option<ArbiterHandle> {
        let worker = self.workers.get(self.next_worker)?.clone();
        self.next_worker = (self.next_worker + 1) % self.workers.len();
        Some(worker)
    }

    fn kick_lingering(&mut self) {
        let limit = self.rules.settings().session_less_client_linger_time.millis();
        if limit == 0 {
            return;
        }
        let now = Timestamp::now().monotonic_ms;
        for connection in self.connections.values() {
            if connection.without_session.is_some_and(|since| now.saturating_sub(since) >= limit) {
                let message = "the server (lingering without session)".to_owned();
                connection.client.tell(ToClient::SendAway { reason: DisconnectReason::Kick, message });
            }
        }
    }

    fn stopped_if_idle(&mut self) {
        if self.connections.is_empty()
            && self.instantiating.is_empty()
            && self.directory.entries().all(SessionEntry::is_at_rest)
            && let Some(done) = self.stopping.take()
        {
            notify(done, ());
        }
    }
}

fn new_session_id() -> String {
    ulid::Ulid::generate().to_string().to_ascii_lowercase()
}

impl Actor for Server {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LINGER_INTERVAL, |server, ctx| {
            server.kick_lingering();
            server.check_total_history_limit();
            server.retry_unreadable(ctx);
            server.end_expired(ctx);
        });
        ctx.run_interval(listing::REFRESH_INTERVAL, |server, ctx| server.refresh_listings(ctx));
        self.announce_stored(ctx);
        self.follow_ownership(ctx);
    }
}

impl Handler<ToServer> for Server {
    type Result = ();

    fn handle(&mut self, message: ToServer, ctx: &mut Self::Context) {
        match message {
            ToServer::NewClient { conn, client } => self.new_client(conn, client),
            ToServer::ClientGone(conn) => self.client_gone(conn),
            ToServer::EnterLobby(enter) => self.enter_lobby(enter),
            ToServer::LeaveLobby(conn) => self.leave_lobby(conn),
            ToServer::LookUp { session, invite, sid, answer } => {
                self.look_up(&session, (invite, sid), answer, ctx);
            }
            ToServer::FindSession { session, answer } => notify(answer, self.find_session(&session)),
            ToServer::EnterSession { id, request, entry } => self.enter_session(&id, request, entry, ctx),
            ToServer::Resume { id, conn, entry } => self.resume(&id, conn, entry),
            ToServer::HandOver { id, staying, answer } => self.hand_over(&id, *staying, answer),
            ToServer::Drain(is_draining) => self.drain(is_draining, ctx),
            ToServer::TakeOver { handed, answer } => self.take_over(*handed, answer, ctx),
            ToServer::CancelEntering { id, conn } => self.cancel_entering(&id, conn, ctx),
            ToServer::Host(wanted, answer) => {
                let hosted = self.host(*wanted, ctx);
                notify(answer, hosted);
            }
            ToServer::ReportSession { session, user, reason } => {
                self.report_session(&session, user, reason, ctx);
            }
            ToServer::SessionChanged { description, announce } => {
                self.session_changed(description, announce, ctx);
            }
            ToServer::SessionEnded { id, rest } => self.session_over(&id, rest, ctx),
            ToServer::SessionMoved { id } => self.session_moved(&id, ctx),
            ToServer::RequestUnload { id } => self.request_unload(&id),
            ToServer::UnloadDeclined { id } => self.unload_declined(&id),
            // The session is told why no attempt is made.
            ToServer::Announce { id, url } => drop(self.announce_for_session(&id, &url, ctx)),
            ToServer::Unlist { id, url } => self.unlist_for_session(&id, &url, ctx),
            ToServer::WatchSessions(answer) => {
                let news = self.watch_sessions(ctx);
                notify(answer, news);
            }
            ToServer::RemoteNews { node, news } => self.remote_news(&node, news, ctx),
            ToServer::Reported(report) => self.record_report(report),
            ToServer::SendReport { id, address, report } => self.send_report(id, address, report, ctx),
        }
    }
}

impl Server {
    fn new_client(&mut self, conn: ConnId, client: ClientHandle) {
        if self.stopping.is_some() {
            let message = "Server shutting down".to_owned();
            client.tell(ToClient::SendAway { reason: DisconnectReason::Shutdown, message });
        }
        self.connections
            .insert(conn, Connection { client, without_session: Some(Timestamp::now().monotonic_ms) });
    }

    fn client_gone(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
        self.lobby.remove(conn);
        self.stopped_if_idle();
    }

    fn look_up(
        &mut self,
        session: &str,
        question: (String, String),
        answer: Answer<LookupAnswer>,
        ctx: &mut Context<Self>,
    ) {
        let (invite, sid) = question;
        if let Some(found) = self.look_up_template(session, &invite) {
            return notify(answer, found);
        }
        let waiter: Waiter = Box::new(move |address| match address {
            Ok(address) => address.tell(ToSession::LookUp { invite, sid, answer }),
            Err(missing @ Missing::Unreadable(_)) => {
                notify(answer, LookupAnswer::Refused(missing.refusal()));
            }
            Err(Missing::NotFound) => notify(answer, LookupAnswer::NotFound),
        });
        self.with_session(session, waiter, ctx);
    }

    fn find_session(&mut self, session: &str) -> Option<FoundSession> {
        let found = self.directory.find(session);
        let found =
            found.map(|e| FoundSession { id: e.description.id.clone(), protocol: e.protocol.clone() });
        found.or_else(|| self.find_template(session))
    }

    /// Lets a client join a session that was found; the session answers the client.
    fn enter_session(
        &mut self,
        id: &str,
        request: Box<JoinRequest>,
        entry: PendingEntry,
        ctx: &mut Context<Self>,
    ) {
        let waiter: Waiter = Box::new(move |address| match address {
            Ok(session) => session.tell(ToSession::Join { request, entry }),
            Err(missing) => entry.refuse(missing.refusal()),
        });
        self.with_session(id, waiter, ctx);
    }

    /// A client that was about to join has gone.
    fn cancel_entering(&mut self, id: &str, conn: ConnId, ctx: &mut Context<Self>) {
        let unloaded = self.directory.find(id).is_none_or(|e| matches!(e.residency, Residency::Stored(_)));
        if !unloaded || self.is_instantiating(id) {
            let waiter: Waiter = Box::new(move |session| {
                if let Ok(session) = session {
                    session.tell(ToSession::Leave(conn));
                }
            });
            self.with_session(id, waiter, ctx);
        }
    }

    fn session_changed(&mut self, description: SessionDescription, announce: bool, ctx: &mut Context<Self>) {
        let Some(entry) = self.directory.find_mut(&description.id) else { return };
        let unlisted = description.unlisted.then(|| description.id.clone());
        let for_lobby = (announce && !self.lobby.is_empty()).then(|| description.clone());
        entry.describe(description);
        let was_listed = announce.then(|| entry.show());
        if let Some(id) = unlisted {
            self.unlist(&id, None, true, ctx);
        }
        if let (Some(description), Some(was_listed)) = (for_lobby, was_listed) {
            self.announce_change(&description, was_listed, ctx);
        }
    }

    /// A session has ended, or was suspended at shutdown or after a crash.
    fn session_over(&mut self, id: &str, rest: Option<Suspended>, ctx: &mut Context<Self>) {
        match rest {
            Some(rest) => self.unloaded(id, rest, ctx),
            None => {
                // At shutdown, stored sessions stay announced for the next start.
                if self.stopping.is_none() {
                    self.unlist(id, None, false, ctx);
                }
                self.session_ended(id);
            }
        }
        self.stopped_if_idle();
    }

    fn report_session(&mut self, session: &str, user: LogUser, reason: String, ctx: &mut Context<Self>) {
        if self.directory.find(session).is_some()
            && self.reports.may_come_in(user.address, &self.parts.metrics)
        {
            let waiter: Waiter = Box::new(move |address| {
                if let Ok(address) = address {
                    address.tell(ToSession::ReportFromOutside { user, reason });
                }
            });
            self.with_session(session, waiter, ctx);
        }
    }
}

/// Asks for the number of connections and sessions.
#[derive(Message)]
#[rtype(result = "Load")]
pub struct GetLoad;

/// Answer to [`GetLoad`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, MessageResponse)]
pub struct Load {
    /// Connections.
    pub users: usize,
    /// Sessions.
    pub sessions: usize,
    /// It stops, or is draining: new clients had better go to another server.
    pub refuses_sessions: bool,
}

impl Handler<GetLoad> for Server {
    type Result = Load;

    fn handle(&mut self, _: GetLoad, _: &mut Self::Context) -> Self::Result {
        Load {
            users: self.connections.len(),
            sessions: self.session_count(),
            refuses_sessions: self.refuses_sessions(),
        }
    }
}

impl Handler<NewRules> for Server {
    type Result = ();

    fn handle(&mut self, NewRules(rules): NewRules, _: &mut Self::Context) {
        for session in self.directory.entries().filter_map(SessionEntry::address) {
            session.tell(ToSession::Settings(rules.shared.clone()));
        }
        if let Some(session_dir) = &self.parts.session_dir {
            session_dir.syncer().set_interval(Duration::from_millis(rules.settings().sync_interval.0));
        }
        for entry in self.directory.entries_mut().filter(|e| e.is_local() && e.address().is_none()) {
            // Active sessions update themselves, and so do those of other servers.
            entry.amend(|description| description.nsfm |= rules.settings().force_nsfm);
        }
        self.histories.set_limit(rules.settings().total_history_limit.0);
        self.rules = rules;
        self.check_total_history_limit();
    }
}

/// Shuts down: disconnects everybody. Answers when all have gone, or after a time-out.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Stop> for Server {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        LogEntry::new(Timestamp::now(), Level::Info, Topic::Status, "Server shutting down").emit("");
        let (done, stopped) = oneshot::channel();
        self.stopping = Some(done);
        let listed = self.directory.entries().filter_map(SessionEntry::handle);
        for session in listed.chain(&self.unlisted_remotes) {
            session.tell(ToSession::Stop);
        }
        for connection in self.connections.values() {
            // Clients in a session are disconnected by it.
            if connection.without_session.is_some() {
                let message = "Server shutting down".to_owned();
                connection.client.tell(ToClient::SendAway { reason: DisconnectReason::Shutdown, message });
            }
        }
        let withdrawn = self.withdraw_all();
        self.stopped_if_idle();
        Box::pin(async move {
            let withdrawing: Vec<_> = withdrawn.into_iter().map(actix_rt::spawn).collect();
            let all = async {
                for one in withdrawing {
                    // A task that failed has logged why.
                    let _ = one.await;
                }
            };
            if tokio::time::timeout(listing::WITHDRAW_LIMIT, all).await.is_err() {
                tracing::warn!("some list servers did not answer");
            }
            if tokio::time::timeout(STOP_LIMIT, stopped).await.is_err() {
                tracing::warn!("some clients did not read that the server stops");
            }
        })
    }
}
