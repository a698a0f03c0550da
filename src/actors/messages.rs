//! Every message that passes between actors, by who gets it, and the handles that they are sent to.
//!
//! A message names no actor, so the actors use this module and not one another. A question has the sender for its
//! answer in it; when the actor that was asked is gone, the sender is dropped, and who asked learns that.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use actix::prelude::*;
use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use drawhall_protocol::reply::SessionDescription;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::in_flight::InFlightBudget;
use crate::cluster::link::{HandedOver, SessionNews};
use crate::config::{Rules, ServerSettings};
use crate::db::nodes::Node;
use crate::log::LogUser;
use crate::rules::batch::Batch;
use crate::rules::login::{HostRefusal, LookupAnswer};
use crate::rules::received_report::ReceivedReport;
use crate::rules::session::admin::answer::{MemberDetails, OutsideClient};
use crate::rules::session::admin::{AdminRequest, SessionAnswer};
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::{
    Asker, AuthenticatedClient, ClientOp, ConnId, DisconnectReason, JoinRequest, LinkHolder, ListingUpdate,
    Refusal,
};

/// The sender for the answer to a question.
pub type Answer<T> = oneshot::Sender<T>;

/// Answers somebody who waits. One who has timed out or gone needs no answer, so it does not matter if sending fails.
pub(crate) fn notify<T>(waiting: Answer<T>, answer: T) {
    let _ = waiting.send(answer);
}

/// An actor, by what it can be told.
/// Cheap to clone.
pub struct Handle<M: Message<Result = ()> + Send + 'static>(Arc<Recipient<M>>);

impl<M: Message<Result = ()> + Send + 'static> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Two handles are equal when they lead to the same actor.
impl<M: Message<Result = ()> + Send + 'static> PartialEq for Handle<M> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl<M: Message<Result = ()> + Send + 'static> Eq for Handle<M> {}

impl<M: Message<Result = ()> + Send + 'static> Hash for Handle<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<A, M> From<Addr<A>> for Handle<M>
where
    A: Actor + Handler<M>,
    A::Context: dev::ToEnvelope<A, M>,
    M: Message<Result = ()> + Send + 'static,
{
    fn from(address: Addr<A>) -> Self {
        Self(Arc::new(address.recipient()))
    }
}

impl<M: Message<Result = ()> + Send + 'static> Handle<M> {
    /// Sends a message. One to an actor that is gone is dropped.
    pub fn tell(&self, message: M) {
        self.0.do_send(message);
    }

    /// Whether the actor is still there.
    pub fn is_connected(&self) -> bool {
        self.0.connected()
    }

    /// Asks a question; `None` when the actor is gone.
    pub fn ask<T: Send + 'static>(&self, question: impl FnOnce(Answer<T>) -> M) -> Asked<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(question(answer));
        Asked(answered)
    }
}

/// The answer to a question, once it is there; `None` when the actor is gone.
pub struct Asked<T>(oneshot::Receiver<T>);

impl<T> Future for Asked<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

/// The actor of a connection.
pub type ClientHandle = Handle<ToClient>;
/// The actor of a session.
pub type SessionHandle = Handle<ToSession>;
/// The Server actor.
pub type ServerHandle = Handle<ToServer>;

/// To a Client: from its session, from the Server, and from the admin API.
#[derive(Message)]
#[rtype(result = "()")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ToClient {
    /// From the session: operations on the connection, in order.
    Deliver {
        ops: Vec<ClientOp>,
        /// Set when the client joins with these operations.
        session: Option<SessionHandle>,
    },
    /// From the session: it has caught up, reading goes on.
    ReadOn,
    /// From the Server: a session list update; dropped unless the client is in the lobby.
    LobbyFrame(Bytes),
    /// From the Server and the admin API: disconnect.
    SendAway { reason: DisconnectReason, message: String },
    /// From the admin API: who is it?
    Describe(Answer<UserSummary>),
}

/// A client, as the admin API shows it.
pub enum UserSummary {
    /// In this session, which knows more.
    In(SessionHandle),
    /// In no session.
    Alone(Box<OutsideClient>),
}

/// To a Session: from its clients, from the Server, and from the admin API.
#[derive(Message)]
#[rtype(result = "()")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ToSession {
    /// From a client: whole frames.
    Batch { conn: ConnId, batch: Batch },
    /// From a client: the connection was closed by the peer.
    Leave(ConnId),
    /// From a client: the connection was closed by the server (rate limit, time-out, slow client).
    Cut(ConnId),
    /// From a client whose connection another server has: nothing more comes from it, as [`ClientOp::Pause`] asks.
    Paused(ConnId),
    /// From a client: it has begun (`slowed`) or ceased to draw faster than its rate limit allows.
    DrawsTooFast { conn: ConnId, slowed: bool },
    /// From the Server: the host enters its new session.
    Host { client: Box<AuthenticatedClient>, host: Box<Host>, entry: PendingEntry },
    /// From the Server: a client asks to join.
    Join { request: Box<JoinRequest>, entry: PendingEntry },
    /// From the Server: a member who stays is there, after the session came from another server.
    Resume { conn: ConnId, entry: PendingEntry },
    /// From the Server: hand the session over to another server, if somebody is there who can stay. Whether it was.
    HandOver(Answer<bool>),
    /// From the Server: it is draining. Unloads the session if nobody is in it, and hands it over if all who are can
    /// stay. Whether it was handed over.
    Drain(Answer<bool>),
    /// From the Server: a lookup by a client that logs in.
    LookUp {
        /// Empty without an invite.
        invite: String,
        /// Empty if the system id is unknown.
        sid: String,
        answer: Answer<LookupAnswer>,
    },
    /// From the Server: an abuse report from a client that is not in the session.
    ReportFromOutside { user: LogUser, reason: String },
    /// From the Server: an abuse report was forwarded, or why it was not.
    ReportSent { error: Option<String> },
    /// From the Server: the report of this user is kept for moderators, or is not because there were too many.
    ReportStored { user: u8, name: String, stored: bool },
    /// From the Server: news about the session's listings.
    Listing(ListingUpdate),
    /// From the Server: new settings.
    Settings(ServerSettings),
    /// From the Server: no client is sent to the session any more, it may unload.
    Unload,
    /// From the Server: another server has taken the session over.
    Lost,
    /// From the Server: it shuts down.
    Stop,
    /// From the admin API.
    Administer(AdminRequest, Answer<SessionAnswer>),
    /// From the admin API: to put another history in place, or what there is.
    Histories(HistoryRequest, Answer<SessionAnswer>),
    /// From the admin API: who may use the link with this token.
    FindOperator { token: String, answer: Answer<Option<LinkHolder>> },
    /// From the admin API: the members, for the list of all users.
    DescribeUsers(Answer<Vec<MemberDetails>>),
}

/// A request of the admin API for another history than the present one.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HistoryRequest {
    /// List the earlier histories that can be gone back to.
    ListGenerations,
    /// Go back to one.
    GoBack {
        /// Number of the generation; the newest without it.
        generation: Option<u32>,
        /// Who asks.
        by: Asker,
    },
    /// List everybody who was in the session since the last reset, and before it as far as that is known.
    ListEverybody,
    /// Remove what a person drew, or say what that would mean.
    RemovePerson(RemovePerson),
    /// List the times that the history can be cut back to.
    ListTimes,
    /// Replace the history by an image of its canvas, made by an external program.
    Compact {
        /// Who asks.
        by: Asker,
    },
    /// Cut the history back to a time, or say what that would mean.
    CutBack {
        /// Milliseconds since 1970.
        until_ms: i64,
        /// Only report.
        dry_run: bool,
        /// Who asks.
        by: Asker,
    },
}

/// A person whose drawing is to be removed.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct RemovePerson {
    /// Index of the person's `Join`, as the lists have it.
    pub person: i64,
    /// The person's name as the list had it.
    pub name: Option<String>,
    /// Only what they drew since this time, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Whether also what they drew before the last reset goes; without it if they drew there and it is possible.
    pub across_reset: Option<bool>,
    /// Only report.
    pub dry_run: bool,
    /// Who asks.
    pub by: Asker,
}

/// To the Server: from clients and sessions. (The admin API asks it by messages of its own.)
#[derive(Message)]
#[rtype(result = "()")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ToServer {
    /// A new connection.
    NewClient { conn: ConnId, client: ClientHandle },
    /// A connection has closed.
    ClientGone(ConnId),
    /// A client has logged in: send it the welcome, then updates.
    EnterLobby(EnterLobby),
    /// A client has joined a session.
    LeaveLobby(ConnId),
    /// A client looks up a session or template.
    LookUp {
        /// Id or alias.
        session: String,
        /// Invite secret, empty without.
        invite: String,
        /// System id of the client, empty if it is not known yet.
        sid: String,
        answer: Answer<LookupAnswer>,
    },
    /// A client asks which session an id or alias is.
    FindSession { session: String, answer: Answer<Option<FoundSession>> },
    /// A client joins a session that was found; the session answers the client.
    EnterSession { id: String, request: Box<JoinRequest>, entry: PendingEntry },
    /// A member of a session that came from another server is there.
    Resume { id: String, conn: ConnId, entry: PendingEntry },
    /// A session is to go on at another server, with these members. What the servers that have their connections are
    /// told then ([`ClientOp::Moved`]), in their order; `None` if no server takes it.
    HandOver { id: String, staying: Box<StayingMembers>, answer: Answer<Option<Vec<String>>> },
    /// This server is draining: sent each second while it is, and once with `false` when that ends.
    Drain(bool),
    /// Another server hands a session over. Whether this one has it now.
    TakeOver { handed: Box<HandedOver>, answer: Answer<bool> },
    /// A client that was about to join has gone.
    CancelEntering { id: String, conn: ConnId },
    /// A client hosts a session.
    Host(Box<HostSession>, Answer<Result<SessionHandle, HostRefusal>>),
    /// Abuse report by a client that is not in the session.
    ReportSession {
        /// Id or alias.
        session: String,
        user: LogUser,
        reason: String,
    },
    /// The description of a session has changed.
    SessionChanged {
        description: SessionDescription,
        /// Show the change to the lobby now.
        announce: bool,
    },
    /// A session has ended, or was suspended.
    SessionEnded {
        id: String,
        /// State to load it again from, if it can be.
        rest: Option<Suspended>,
    },
    /// A session goes on at another server, or cannot be stored any more: it has ended here.
    SessionMoved { id: String },
    /// A session has been empty for `sessionUnloadTime` and asks to unload.
    RequestUnload { id: String },
    /// A session declines to unload.
    UnloadDeclined { id: String },
    /// A session is to be announced at a list server.
    Announce { id: String, url: String },
    /// A session is to be unlisted from a list server; from all with an empty URL.
    Unlist { id: String, url: String },
    /// Another server of the cluster wants to know of the sessions here: news come through the channel.
    WatchSessions(Answer<mpsc::Receiver<Arc<SessionNews>>>),
    /// What has changed at the sessions of another server of the cluster.
    RemoteNews { node: Arc<Node>, news: SessionNews },
    /// An abuse report is for the moderators.
    Reported(Box<ReceivedReport>),
    /// A session forwards an abuse report.
    SendReport {
        id: String,
        /// Address of the reporter.
        address: Option<IpAddr>,
        /// The body of the request.
        report: Value,
    },
}

/// What a client in the lobby is shown.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct EnterLobby {
    pub conn: ConnId,
    /// Include unlisted sessions.
    pub moderator: bool,
    /// Send the list with the welcome.
    pub list_now: bool,
    /// Send updates.
    pub list_changes: bool,
}

/// A session, or a template of one.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct FoundSession {
    pub id: String,
    pub protocol: ProtocolVersion,
}

/// A session to be hosted.
#[allow(missing_docs, reason = "the names say it")]
pub struct HostSession {
    pub host: Box<Host>,
    pub protocol: ProtocolVersion,
    pub authenticated: Box<AuthenticatedClient>,
    pub client: ClientHandle,
    pub in_flight_budget: Arc<InFlightBudget>,
    /// Address for `sessionsPerAddress`, if it counts.
    pub place: Option<IpAddr>,
}

/// To Server and Auth: new rules are in force.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NewRules(pub Arc<Rules>);

/// A client that waits to enter a session. It gets an answer whatever happens to the session, actors and mailboxes in
/// between: dropping this unanswered refuses the client.
pub struct PendingEntry {
    client: ClientHandle,
    in_flight_budget: Arc<InFlightBudget>,
    /// Another server has the connection.
    is_relayed: bool,
    /// Refusal when dropped; `None` once answered.
    otherwise: Option<Refusal>,
}

impl PendingEntry {
    /// A client that joins; dropped, it is told that the session does not exist.
    pub fn to_join(client: ClientHandle, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, is_relayed: false, otherwise: Some(Refusal::not_found()) }
    }

    /// The same for a client whose connection another server has.
    pub fn to_join_relayed(client: ClientHandle, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        let mut entry = PendingEntry::to_join(client, in_flight_budget);
        entry.is_relayed = true;
        entry
    }

    /// A client that hosts; dropped, it is told that the session cannot be stored.
    pub fn to_host(client: ClientHandle, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, is_relayed: false, otherwise: Some(Refusal::cannot_store()) }
    }

    /// Answers the client with a refusal.
    pub fn refuse(mut self, refusal: Refusal) {
        self.otherwise = Some(refusal);
    }

    /// The client has got its answer.
    pub(super) fn answered(&mut self) {
        self.otherwise = None;
    }

    /// Whether it is still unanswered.
    pub(super) fn waits(&self) -> bool {
        self.otherwise.is_some()
    }

    /// Whether another server has the connection.
    pub(super) fn is_relayed(&self) -> bool {
        self.is_relayed
    }

    pub(super) fn client(&self) -> &ClientHandle {
        &self.client
    }

    /// Budget of the client's in-flight messages.
    pub(super) fn in_flight_budget(&self) -> &InFlightBudget {
        &self.in_flight_budget
    }
}

impl Drop for PendingEntry {
    fn drop(&mut self) {
        if let Some(refusal) = self.otherwise.take() {
            self.client.tell(ToClient::Deliver { ops: vec![ClientOp::Refused(refusal)], session: None });
        }
    }
}
