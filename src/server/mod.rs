//! The Server actor: which sessions there are, who may start one, who waits for one.
//!
//! It knows sessions by their latest description, kept ready as JSON, so that a login costs no more than copying it.

pub mod acceptor;
mod admin;
mod directory;
mod hosting;
pub mod list_server;
mod listing;
mod listings;
mod loading;
mod lobby;
mod prepare;
pub mod reload;
pub mod reports;
pub mod run;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::reply::SessionDescription;
use tokio::sync::oneshot;

use crate::blocking::BlockingPool;
use crate::client::actor::{Client, SendAway};
use crate::client::login::LookupAnswer;
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::history::total::HistoryTotal;
use crate::http::Http;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::session::actor::{
    JoinSession, LeaveSession, LookUpSession, PendingEntry, ReportFromOutside, Session, SessionDeps,
    SetServerSettings, StopSession,
};
use crate::session::persistence::Suspended;
use crate::session::{ConnId, DisconnectReason, JoinRequest, SessionMachine};
use crate::storage::recorder::Recorder;
use crate::storage::session_dir::{SessionDir, SessionSummary};
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

/// How long clients may take to read that the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often clients that do not join anything are looked for.
const LINGER_INTERVAL: Duration = Duration::from_secs(15);

/// A connection, as the server knows it.
struct Connection {
    client: Addr<Client>,
    /// Since when it is in no session, on the forward clock.
    without_session: Option<u64>,
}

/// What a server works with besides its rules.
#[derive(Clone, Default)]
pub struct ServerDeps {
    /// Where sessions are stored; in memory only without.
    pub folder: Option<Arc<SessionDir>>,
    /// Records sessions.
    pub recorder: Option<Arc<Recorder>>,
    /// Where hashes are computed and files are worked on.
    pub blocking_pool: BlockingPool,
    /// Port that list servers are told.
    pub announce_port: u16,
    /// Requests to what the operator has named.
    pub http: Http,
    /// Requests to list servers, which clients name.
    pub list_servers: ListServers,
    /// Where inputs are recorded, if they are.
    pub trace: Option<Trace>,
}

/// The Server actor.
pub struct Server {
    rules: Arc<Rules>,
    parts: ServerDeps,
    templates: Arc<Templates>,
    /// Ids that sessions from templates will have, by alias.
    template_ids: HashMap<String, String>,
    listings: Listings,
    reports: Reports,
    /// Stored sessions that are to be announced again, and where.
    to_announce: Vec<(String, String)>,
    /// Templates of which sessions are being made, by alias, and who waits for them.
    instantiating: HashMap<String, Vec<Waiter>>,
    workers: Vec<ArbiterHandle>,
    next_worker: usize,
    directory: Directory,
    /// What the histories of all sessions hold together.
    histories: HistoryTotal,
    /// It was told that there is no space for more.
    full_told: bool,
    connections: HashMap<ConnId, Connection>,
    lobby: Lobby,
    stopping: Option<oneshot::Sender<()>>,
}

impl Server {
    /// A server whose sessions live on these workers.
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
            full_told: false,
            connections: HashMap::new(),
            lobby: Lobby::default(),
            stopping: None,
        }
    }

    /// The worker for the next session: sessions are about equally many on each.
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
            // Who waited may have lost patience.
            let _ = done.send(());
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
            server.look_at_space();
            server.retry_unreadable(ctx);
            server.end_expired(ctx);
        });
        ctx.run_interval(listing::REFRESH_INTERVAL, |server, ctx| server.refresh_listings(ctx));
        self.announce_stored(ctx);
    }
}

/// A connection has come.
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

/// A connection is gone.
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

/// How many there are?
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

/// What is there under this id or alias?
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
            // If nobody waits for the answer any more, none is needed.
            let _ = ask.send(address.map(|a| a.send(LookUpSession { invite, sid })));
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

/// The session under this id or alias.
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

/// Let somebody into a session that was found. The session answers.
#[derive(Message)]
#[rtype(result = "()")]
pub struct EnterSession {
    /// Its id.
    pub id: String,
    /// Who, and how.
    pub request: Box<JoinRequest>,
    /// The client, which is answered whatever comes between.
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

/// Somebody who was to be let into a session is gone.
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
        let asleep = self.directory.find(&id).is_none_or(|e| matches!(e.residency, Residency::Stored(_)));
        if !asleep || self.is_instantiating(&id) {
            let waiter: Waiter = Box::new(move |session| {
                if let Ok(session) = session {
                    session.do_send(LeaveSession { conn, cut: false });
                }
            });
            self.with_session(&id, waiter, ctx);
        }
    }
}

/// A session's description is another.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionChanged {
    /// The description.
    pub description: SessionDescription,
    /// Those who wait are shown the change now.
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

/// A session is over, or in files only from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SessionEnded {
    /// Its id.
    pub id: String,
    /// What is remembered of it, if it can be loaded again.
    pub rest: Option<Suspended>,
}

impl Handler<SessionEnded> for Server {
    type Result = ();

    fn handle(&mut self, SessionEnded { id, rest }: SessionEnded, ctx: &mut Self::Context) {
        match rest {
            Some(rest) => self.asleep(&id, rest, ctx),
            None => {
                // A session that is stored and stopped with the server is announced again.
                if self.stopping.is_none() {
                    self.unlist(&id, None, false, ctx);
                }
                self.gone(&id);
            }
        }
        self.stopped_if_idle();
    }
}

/// An abuse report about a session that one is not in.
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

/// Other rules are in force from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NewRules(pub Arc<Rules>);

impl Handler<NewRules> for Server {
    type Result = ();

    fn handle(&mut self, NewRules(rules): NewRules, _: &mut Self::Context) {
        for session in self.directory.entries().filter_map(Entry::address) {
            session.do_send(SetServerSettings(rules.shared.clone()));
        }
        if let Some(folder) = &self.parts.folder {
            folder.syncer().set_interval(Duration::from_millis(rules.settings().sync_interval.0));
        }
        for entry in self.directory.entries_mut().filter(|e| e.address().is_none()) {
            // What those in memory do by themselves.
            entry.amend(|description| description.nsfm |= rules.settings().force_nsfm);
        }
        self.histories.set_limit(rules.settings().total_history_limit.0);
        self.rules = rules;
        self.look_at_space();
    }
}

/// Stop: everybody is told. Answered when all are gone, or after a time limit.
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
            // Those in a session hear it from there; to be told twice does not matter.
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
                    // One that failed has said so.
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
