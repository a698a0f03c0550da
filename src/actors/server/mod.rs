//! The Server actor: session directory, hosting, lobby, listings.
//!
//! It knows sessions by their latest description, serialized once, so that a login only copies it.

pub mod acceptor;
mod admin;
mod directory;
mod hosting;
pub mod list_server;
mod listing;
mod listings;
mod loading;
mod lobby;
pub mod reports;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::reply::SessionDescription;
use tokio::sync::oneshot;

use crate::actors::client::actor::{Client, SendAway};
use crate::actors::session::{
    JoinSession, LeaveSession, LookUpSession, PendingEntry, ReportFromOutside, Session, SessionDeps,
    SetServerSettings, StopSession,
};
use crate::blocking::BlockingPool;
use crate::config::Rules;
use crate::history::total::HistoryTotal;
use crate::http::Http;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::rules::login::LookupAnswer;
use crate::rules::metadata::SessionSummary;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::{ConnId, DisconnectReason, JoinRequest, SessionMachine};
use crate::rules::time::Timestamp;
use crate::storage::recorder::Recorder;
use crate::storage::session_dir::SessionDir;
use crate::storage::template::Templates;
use crate::trace::Trace;
pub use admin::{FindActive, ListClients, ListSessions, MakeFromTemplate, MakeSession, TellSessions};
use directory::{Directory, Entry, Missing, Residency, Waiter};
pub use hosting::HostSession;
use list_server::ListServers;
pub use listing::ListSession;
use listings::Listings;
pub use loading::{NewTemplates, RequestUnload, UnloadDeclined};
use lobby::Lobby;
pub use lobby::{EnterLobby, LeaveLobby};
use reports::Reports;
pub use reports::SendReport;

/// Time-out for clients to read the shutdown message.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Interval of the check for clients that stay in the lobby too long.
const LINGER_INTERVAL: Duration = Duration::from_secs(15);

/// A connection.
struct Connection {
    client: Addr<Client>,
    /// Since when it is in no session, monotonic milliseconds.
    without_session: Option<u64>,
}

/// What the Server actor needs besides the rules.
#[derive(Clone, Default)]
pub struct ServerDeps {
    /// `None`: sessions are in memory only.
    pub session_dir: Option<Arc<SessionDir>>,
    /// `None`: sessions are not recorded.
    pub recorder: Option<Arc<Recorder>>,
    /// Pool for hashes and files.
    pub blocking_pool: BlockingPool,
    /// Port in announcements.
    pub announce_port: u16,
    /// HTTP client for URLs that the operator configured.
    pub http: Http,
    /// HTTP client for list servers, whose URLs come from clients.
    pub list_servers: ListServers,
    /// Trace of inputs, if enabled.
    pub trace: Option<Trace>,
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
    /// Stored sessions to announce again, with their list servers.
    to_announce: Vec<(String, String)>,
    /// Templates being instantiated, by alias, with waiters.
    instantiating: HashMap<String, Vec<Waiter>>,
    workers: Vec<ArbiterHandle>,
    next_worker: usize,
    directory: Directory,
    /// Size of all histories together.
    histories: HistoryTotal,
    /// That `totalHistoryLimit` is reached has been logged.
    full_logged: bool,
    connections: HashMap<ConnId, Connection>,
    lobby: Lobby,
    stopping: Option<oneshot::Sender<()>>,
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
            to_announce: Vec::new(),
            instantiating: HashMap::new(),
            workers,
            next_worker: 0,
            directory: Directory::default(),
            histories,
            full_logged: false,
            connections: HashMap::new(),
            lobby: Lobby::default(),
            stopping: None,
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
                connection.client.do_send(SendAway { reason: DisconnectReason::Kick, message });
            }
        }
    }

    fn stopped_if_idle(&mut self) {
        if self.connections.is_empty()
            && self.instantiating.is_empty()
            && self.directory.entries().all(|e| matches!(e.residency, Residency::Stored(_)))
            && let Some(done) = self.stopping.take()
        {
            notify(done, ());
        }
    }
}

/// Answers somebody who waits. One who has timed out or gone needs no answer, so it does not matter if sending fails.
pub(crate) fn notify<T>(waiting: oneshot::Sender<T>, answer: T) {
    let _ = waiting.send(answer);
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
    }
}

/// A new connection.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NewClient {
    /// The connection.
    pub conn: ConnId,
    /// Its actor.
    pub client: Addr<Client>,
}

impl Handler<NewClient> for Server {
    type Result = ();

    fn handle(&mut self, NewClient { conn, client }: NewClient, _: &mut Self::Context) {
        if self.stopping.is_some() {
            let message = "Server shutting down".to_owned();
            client.do_send(SendAway { reason: DisconnectReason::Shutdown, message });
        }
        self.connections
            .insert(conn, Connection { client, without_session: Some(Timestamp::now().monotonic_ms) });
    }
}

/// A connection has closed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ClientGone {
    /// The connection.
    pub conn: ConnId,
}

impl Handler<ClientGone> for Server {
    type Result = ();

    fn handle(&mut self, ClientGone { conn }: ClientGone, _: &mut Self::Context) {
        self.connections.remove(&conn);
        self.lobby.remove(conn);
        self.stopped_if_idle();
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
}

impl Handler<GetLoad> for Server {
    type Result = Load;

    fn handle(&mut self, _: GetLoad, _: &mut Self::Context) -> Self::Result {
        Load { users: self.connections.len(), sessions: self.session_count() }
    }
}

/// Looks up a session or template.
#[derive(Message)]
#[rtype(result = "LookupAnswer")]
pub struct LookUp {
    /// Id or alias.
    pub session: String,
    /// Invite secret, empty without.
    pub invite: String,
    /// System id of the client, empty if it is not known yet.
    pub sid: String,
}

impl Handler<LookUp> for Server {
    type Result = ResponseFuture<LookupAnswer>;

    fn handle(&mut self, LookUp { session, invite, sid }: LookUp, ctx: &mut Self::Context) -> Self::Result {
        if let Some(answer) = self.look_up_template(&session, &invite) {
            return Box::pin(async move { answer });
        }
        let (ask, asked) = oneshot::channel();
        let waiter: Waiter = Box::new(move |address| {
            notify(ask, address.map(|a| a.send(LookUpSession { invite, sid })));
        });
        self.with_session(&session, waiter, ctx);
        Box::pin(async move {
            match asked.await {
                Ok(Ok(answer)) => answer.await.unwrap_or(LookupAnswer::NotFound),
                Ok(Err(missing @ Missing::Unreadable(_))) => LookupAnswer::Refused(missing.refusal()),
                Ok(Err(Missing::NotFound)) | Err(_) => LookupAnswer::NotFound,
            }
        })
    }
}

/// Finds a session.
#[derive(Message)]
#[rtype(result = "Option<FoundSession>")]
pub struct FindSession {
    /// Id or alias.
    pub session: String,
}

/// Answer to [`FindSession`].
pub struct FoundSession {
    /// Its id.
    pub id: String,
    /// Its protocol version.
    pub protocol: ProtocolVersion,
}

impl Handler<FindSession> for Server {
    type Result = MessageResult<FindSession>;

    fn handle(&mut self, FindSession { session }: FindSession, _: &mut Self::Context) -> Self::Result {
        let found = self
            .directory
            .find(&session)
            .map(|e| FoundSession { id: e.description.id.clone(), protocol: e.protocol.clone() });
        MessageResult(found.or_else(|| self.find_template(&session)))
    }
}

/// Lets a client join a session that was found; the session answers the client.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EnterSession {
    /// Its id.
    pub id: String,
    /// The request.
    pub request: Box<JoinRequest>,
    /// The client, which is answered in any case.
    pub entry: PendingEntry,
}

impl Handler<EnterSession> for Server {
    type Result = ();

    fn handle(&mut self, enter: EnterSession, ctx: &mut Self::Context) {
        let EnterSession { id, request, entry } = enter;
        let waiter: Waiter = Box::new(move |address| match address {
            Ok(session) => session.do_send(JoinSession { request, entry }),
            Err(missing) => entry.refuse(missing.refusal()),
        });
        self.with_session(&id, waiter, ctx);
    }
}

/// A client that was about to join has gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CancelEntering {
    /// The session.
    pub id: String,
    /// The connection.
    pub conn: ConnId,
}

impl Handler<CancelEntering> for Server {
    type Result = ();

    fn handle(&mut self, CancelEntering { id, conn }: CancelEntering, ctx: &mut Self::Context) {
        let unloaded = self.directory.find(&id).is_none_or(|e| matches!(e.residency, Residency::Stored(_)));
        if !unloaded || self.is_instantiating(&id) {
            let waiter: Waiter = Box::new(move |session| {
                if let Ok(session) = session {
                    session.do_send(LeaveSession { conn, cut: false });
                }
            });
            self.with_session(&id, waiter, ctx);
        }
    }
}

/// The description of a session has changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionChanged {
    /// The description.
    pub description: SessionDescription,
    /// Show the change to the lobby now.
    pub announce: bool,
}

impl Handler<SessionChanged> for Server {
    type Result = ();

    fn handle(&mut self, change: SessionChanged, ctx: &mut Self::Context) {
        let Some(entry) = self.directory.find_mut(&change.description.id) else { return };
        entry.describe(change.description.clone());
        let shown = change.announce.then(|| entry.show());
        if change.description.unlisted {
            self.unlist(&change.description.id, None, true, ctx);
        }
        if let Some(was_listed) = shown {
            self.announce_change(&change.description, was_listed, ctx);
        }
    }
}

/// A session has ended, or was suspended at shutdown or after a crash.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionEnded {
    /// Its id.
    pub id: String,
    /// State to load it again from, if it can be.
    pub rest: Option<Suspended>,
}

impl Handler<SessionEnded> for Server {
    type Result = ();

    fn handle(&mut self, SessionEnded { id, rest }: SessionEnded, ctx: &mut Self::Context) {
        match rest {
            Some(rest) => self.unloaded(&id, rest, ctx),
            None => {
                // At shutdown, stored sessions stay announced for the next start.
                if self.stopping.is_none() {
                    self.unlist(&id, None, false, ctx);
                }
                self.session_ended(&id);
            }
        }
        self.stopped_if_idle();
    }
}

/// Abuse report by a client that is not in the session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReportSession {
    /// Id or alias.
    pub session: String,
    /// Who reports.
    pub user: LogUser,
    /// What is wrong.
    pub reason: String,
}

impl Handler<ReportSession> for Server {
    type Result = ();

    fn handle(&mut self, report: ReportSession, ctx: &mut Self::Context) {
        let ReportSession { session, user, reason } = report;
        if self.directory.find(&session).is_some() && self.reports.may_come_in(user.address) {
            let waiter: Waiter = Box::new(move |address| {
                if let Ok(address) = address {
                    address.do_send(ReportFromOutside { user, reason });
                }
            });
            self.with_session(&session, waiter, ctx);
        }
    }
}

/// New rules are in force.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NewRules(pub Arc<Rules>);

impl Handler<NewRules> for Server {
    type Result = ();

    fn handle(&mut self, NewRules(rules): NewRules, _: &mut Self::Context) {
        for session in self.directory.entries().filter_map(Entry::address) {
            session.do_send(SetServerSettings(rules.shared.clone()));
        }
        if let Some(session_dir) = &self.parts.session_dir {
            session_dir.syncer().set_interval(Duration::from_millis(rules.settings().sync_interval.0));
        }
        for entry in self.directory.entries_mut().filter(|e| e.address().is_none()) {
            // Active sessions update themselves.
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
        for session in self.directory.entries().filter_map(Entry::address) {
            session.do_send(StopSession);
        }
        for connection in self.connections.values() {
            // Clients in a session are disconnected by it.
            if connection.without_session.is_some() {
                let message = "Server shutting down".to_owned();
                connection.client.do_send(SendAway { reason: DisconnectReason::Shutdown, message });
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
