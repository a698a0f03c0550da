//! Everything that can happen to a session, as data: what the actor gives its rules, and what a trace records.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use serde::{Deserialize, Serialize};

use super::BanExchanged;
use super::actor::ListingUpdate;
use super::admin::AdminRequest;
use super::effects::{ConnId, Effects, OpwordCheck};
use super::member::{AuthenticatedClient, JoinRequest};
use super::persistence::Suspended;
use super::{ServerSettings, SessionMachine};
use crate::clock::Timestamp;
use crate::log::LogUser;
use crate::storage::session_dir::StoredFile;
use crate::storage::session_files::PasswordKind;
use crate::storage::template::{Messages, Template};

/// How a session begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Origin {
    /// Somebody hosts it.
    Hosted {
        /// Alias, empty without.
        alias: String,
        /// Its version.
        protocol: ProtocolVersion,
        /// Name of who hosts.
        founder: String,
    },
    /// It is made of a template, or by an administrator.
    Made {
        /// What it is like.
        template: Box<Template>,
        /// Its first messages.
        messages: Messages,
        /// Passwords as they were typed.
        passwords: Vec<(PasswordKind, String)>,
    },
    /// It was stored.
    Loaded {
        /// What is remembered of it.
        rest: Suspended,
        /// Its files as they were before.
        files: Vec<StoredFile>,
    },
}

/// What happens to a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Input {
    /// The host enters.
    Host {
        /// Who hosts.
        #[serde(alias = "visitor")]
        client: Box<AuthenticatedClient>,
        /// What was asked for.
        host: Box<Host>,
    },
    /// Somebody wants to join.
    Join(Box<JoinRequest>),
    /// A password was found to fit a hash of the session.
    Learn {
        /// Which.
        kind: PasswordKind,
        /// The hash.
        hash: String,
        /// The password.
        password: String,
    },
    /// A client is gone.
    Leave(ConnId),
    /// A client is gone because the server has cut it off.
    Cut(ConnId),
    /// Whole frames from a client.
    Batch {
        /// The connection.
        conn: ConnId,
        /// The frames.
        #[serde(with = "crate::trace::base64")]
        bytes: Vec<u8>,
    },
    /// Whether an opword was right.
    OpwordChecked(OpwordCheck, bool),
    /// A ban list was written or read.
    BansExchanged(BanExchanged),
    /// An abuse report from somebody who is not in the session.
    OutsideReport {
        /// Who reports.
        user: LogUser,
        /// What is wrong.
        reason: String,
    },
    /// What has become of the session's listings.
    Listing(ListingUpdate),
    /// An abuse report was passed on, or could not be, for this reason.
    ReportSent(Option<String>),
    /// Settings of the server are others from now on.
    Shared(ServerSettings),
    /// The server stops.
    Stop,
    /// It is time for what is due.
    Tick,
    /// It is time to see whether the session is over.
    Expire,
    /// An administrator wants something.
    Administer(AdminRequest),
    /// It cannot be stored, for this reason.
    StoringFailed(String),
    /// It can be stored again.
    StoringRecovered,
    /// All sessions of the server together have no space for more, or have it again.
    ServerFull(bool),
}

/// How far clients have been sent the history.
pub type ReaderOffsets = Vec<(ConnId, i64)>;

impl SessionMachine {
    /// Has something happen. The same beginning, inputs, times and positions have the same effects, always.
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
            Input::StoringFailed(error) => self.storing_failed(&error, now, effects),
            Input::StoringRecovered => self.storing_recovered(now, effects),
            Input::ServerFull(full) => self.history.set_server_full(full),
        }
        self.bound_journal();
    }

    /// Notes how far clients are, where that can matter, so that it cannot change while an input is handled. Clients move
    /// on by themselves, so it is a part of the input.
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

    /// The same with positions that were observed before.
    pub fn set_reader_offsets(&mut self, positions: &[(ConnId, i64)]) {
        self.reader_offsets_known = !positions.is_empty();
        for member in &mut self.members {
            let conn = member.conn();
            member.observed = positions.iter().find(|(c, _)| *c == conn).map(|(_, position)| *position);
        }
    }
}
