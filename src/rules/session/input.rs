//! Inputs of a session's state machine. The actor feeds them, a trace records them.

use drawhall_protocol::command::Host;
use serde::{Deserialize, Serialize};

use super::BanExchanged;
use super::ListingUpdate;
use super::admin::AdminRequest;
use super::effects::{ConnId, Effects, OpwordCheck};
use super::member::{AuthenticatedClient, JoinRequest};
use super::{RestoreRequest, ServerSettings, SessionMachine};
use crate::log::LogUser;
use crate::rules::session::PasswordKind;
use crate::rules::time::Timestamp;

/// An input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Input {
    /// The host enters its new session.
    Host {
        #[serde(alias = "visitor")]
        client: Box<AuthenticatedClient>,
        host: Box<Host>,
    },
    /// A client asks to join.
    Join(Box<JoinRequest>),
    /// A password was verified against one of the session's hashes, so it need not be hashed again.
    Learn { kind: PasswordKind, hash: String, password: String },
    /// A connection was closed by the client.
    Leave(ConnId),
    /// A connection was closed by the server (rate limit, time-out, slow client).
    Cut(ConnId),
    /// Whole frames from a client.
    Batch {
        conn: ConnId,
        #[serde(with = "crate::rules::serde_base64")]
        bytes: Vec<u8>,
    },
    /// Result of an operator password check.
    OpwordChecked(OpwordCheck, bool),
    /// A ban list was encrypted or decrypted.
    BansExchanged(BanExchanged),
    /// An abuse report from somebody outside the session.
    OutsideReport { user: LogUser, reason: String },
    /// State of the session's listings at list servers.
    Listing(ListingUpdate),
    /// Result of forwarding an abuse report: `None`, or why it failed.
    ReportSent(Option<String>),
    /// New settings of the server.
    Shared(ServerSettings),
    /// The server shuts down.
    Stop,
    /// A deadline of [`SessionMachine::next_deadline`] has passed.
    Tick,
    /// Periodic check whether the session has expired.
    Expire,
    /// A request of the admin API.
    Administer(AdminRequest),
    /// An earlier history was read, to go back to it.
    Restore(Box<RestoreRequest>),
    /// Writing to disk failed, with the reason.
    StoringFailed(String),
    /// Writing to disk works again.
    StoringRecovered,
    /// The history of all sessions together has reached `totalHistoryLimit` (`true`), or has room again.
    ServerFull(bool),
}

/// How far each connection has been sent the history, in bytes of the log's axis.
pub type ReaderOffsets = Vec<(ConnId, i64)>;

impl SessionMachine {
    /// The deterministic transition function: the same origin, inputs, times and reader offsets give the same
    /// effects.
    pub fn handle(&mut self, input: Input, now: Timestamp, effects: &mut Effects) {
        self.broadcasts.next_step();
        match input {
            Input::Host { client, host } => {
                self.set_up(&host, &client);
                // The login has checked that the id is valid.
                let user = u8::try_from(host.user_id).unwrap_or(1);
                self.host(*client, user, now, effects);
            }
            Input::Join(request) => self.join(*request, now, effects),
            Input::Learn { kind, hash, password } => self.cache_verified_password(kind, &hash, &password),
            Input::Leave(conn) => self.leave(conn, now, effects),
            Input::Cut(conn) => self.cut(conn, now, effects),
            Input::Batch { conn, mut bytes } => effects.held = !self.batch(conn, &mut bytes, now, effects),
            Input::OpwordChecked(check, fits) => self.opword_checked(&check, fits, now, effects),
            Input::BansExchanged(done) => self.bans_exchanged(done, now, effects),
            Input::OutsideReport { user, reason } => self.outside_report(user, &reason, now, effects),
            Input::Listing(news) => self.listing_news(news, now, effects),
            Input::ReportSent(error) => self.report_sent(error, now, effects),
            Input::Shared(shared) => self.set_shared(shared, now, effects),
            Input::Stop => self.shut_down("Server shutting down", now, effects),
            Input::Tick => self.tick(now, effects),
            Input::Expire => self.expire(now, effects),
            Input::Administer(request) => {
                let answer = self.administer(request, now, effects);
                effects.answer = Some(answer);
            }
            Input::Restore(request) => {
                let answer = self.restore(*request, now, effects);
                effects.answer = Some(answer);
            }
            Input::StoringFailed(error) => self.storing_failed(&error, now, effects),
            Input::StoringRecovered => self.storing_recovered(now, effects),
            Input::ServerFull(full) => self.history.set_server_full(full),
        }
        self.bound_journal();
    }

    /// Snapshots reader offsets where the input can depend on them. Clients go on reading meanwhile, so the offsets
    /// are part of the input and must not change while it is handled.
    pub fn snapshot_reader_offsets(&mut self) -> ReaderOffsets {
        if self.staged.is_none() && self.requested_correlator().is_none() {
            if self.reader_offsets_known {
                self.set_reader_offsets(&[]);
            }
            return ReaderOffsets::new();
        }
        let loaded = self.members.iter().filter_map(|member| Some((member.conn(), member.position()?)));
        let positions: ReaderOffsets = loaded.collect();
        self.set_reader_offsets(&positions);
        positions
    }

    /// Uses reader offsets from a trace instead of a snapshot.
    pub fn set_reader_offsets(&mut self, positions: &[(ConnId, i64)]) {
        self.reader_offsets_known = !positions.is_empty();
        for member in &mut self.members {
            let conn = member.conn();
            member.observed = positions.iter().find(|(c, _)| *c == conn).map(|(_, position)| *position);
        }
    }
}
