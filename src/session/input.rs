//! Everything that can happen to a session, as data: what the actor gives its rules, and what a trace records.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use serde::{Deserialize, Serialize};

use super::BanExchanged;
use super::actor::ListingNews;
use super::admin::AdminRequest;
use super::effects::{ConnId, Effects, OpwordCheck};
use super::member::{JoinRequest, Visitor};
use super::stored::Rest;
use super::{SessionMachine, Shared};
use crate::clock::Now;
use crate::log::LogUser;
use crate::storage::folder::StoredFile;
use crate::storage::store::PasswordKind;
use crate::storage::template::{Messages, Template};

/// How a session begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Beginning {
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
        rest: Rest,
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
        visitor: Box<Visitor>,
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
    Listing(ListingNews),
    /// An abuse report was passed on, or could not be, for this reason.
    ReportSent(Option<String>),
    /// Settings of the server are others from now on.
    Shared(Shared),
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
pub type Positions = Vec<(ConnId, i64)>;

impl SessionMachine {
    /// Has something happen. The same beginning, inputs, times and positions have the same effects, always.
    pub fn handle(&mut self, input: Input, now: Now, fx: &mut Effects) {
        self.broadcasts.next_step();
        match input {
            Input::Host { visitor, host } => {
                self.set_up(&host, &visitor);
                // The login has checked that the id is valid.
                let user = u8::try_from(host.user_id).unwrap_or(1);
                self.host(*visitor, user, now, fx);
            }
            Input::Join(request) => self.join(*request, now, fx),
            Input::Learn { kind, hash, password } => self.learn_password(kind, &hash, &password),
            Input::Leave(conn) => self.leave(conn, now, fx),
            Input::Cut(conn) => self.cut(conn, now, fx),
            Input::Batch { conn, mut bytes } => fx.held = !self.batch(conn, &mut bytes, now, fx),
            Input::OpwordChecked(check, fits) => self.opword_checked(&check, fits, now, fx),
            Input::BansExchanged(done) => self.bans_exchanged(done, now, fx),
            Input::OutsideReport { user, reason } => self.outside_report(user, &reason, now, fx),
            Input::Listing(news) => self.listing_news(news, now, fx),
            Input::ReportSent(error) => self.report_sent(error, now, fx),
            Input::Shared(shared) => self.set_shared(shared, now, fx),
            Input::Stop => self.shut_down("Server shutting down", now, fx),
            Input::Tick => self.tick(now, fx),
            Input::Expire => self.expire(now, fx),
            Input::Administer(request) => {
                let answer = self.administer(request, now, fx);
                fx.answer = Some(answer);
            }
            Input::StoringFailed(error) => self.storing_failed(&error, now, fx),
            Input::StoringRecovered => self.storing_recovered(now, fx),
            Input::ServerFull(full) => self.history.set_server_full(full),
        }
        self.bound_journal();
    }

    /// Notes how far clients are, where that can matter, so that it cannot change while an input is handled. Clients move
    /// on by themselves, so it is a part of the input.
    pub fn observe_positions(&mut self) -> Positions {
        if self.side.is_none() && self.requested_correlator().is_none() {
            if self.positions_known {
                self.set_positions(&[]);
            }
            return Positions::new();
        }
        let loaded = self.members.iter().filter_map(|member| Some((member.conn(), member.position()?)));
        let positions: Positions = loaded.collect();
        self.set_positions(&positions);
        positions
    }

    /// The same with positions that were observed before.
    pub fn set_positions(&mut self, positions: &[(ConnId, i64)]) {
        self.positions_known = !positions.is_empty();
        for member in &mut self.members {
            let conn = member.conn();
            member.observed = positions.iter().find(|(c, _)| *c == conn).map(|(_, position)| *position);
        }
    }
}
