//! Inputs of a session's state machine. The actor feeds them, a trace records them.

use drawhall_protocol::command::Host;
use serde::{Deserialize, Serialize};

use super::BanExchanged;
use super::ListingUpdate;
use super::admin::{AdminRequest, Answered};
use super::effects::{ConnId, Cx, Effect, OpwordCheck};
use super::member::{AuthenticatedClient, JoinRequest};
use super::thumbnail::{Jpeg, Rendered};
use super::{RestoreRequest, ServerSettings, SessionMachine};
use crate::log::LogUser;
use crate::rules::batch::Batch;
use crate::rules::session::PasswordKind;

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
    /// A member who stays is there, after the session came from another server.
    Resume(ConnId),
    /// A password was verified against one of the session's hashes, so it need not be hashed again.
    Learn { kind: PasswordKind, hash: String, password: String },
    /// A connection was closed by the client.
    Leave(ConnId),
    /// A connection was closed by the server (rate limit, time-out, slow client).
    Cut(ConnId),
    /// Whole frames from a client.
    Batch {
        conn: ConnId,
        #[serde(rename = "bytes")]
        batch: Batch,
    },
    /// A client has begun (`slowed`) or ceased to draw faster than its rate limit allows.
    DrawsTooFast { conn: ConnId, slowed: bool },
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
    /// The compaction that the server began by itself has ended.
    CompactionDone(Rendered<()>),
    /// The server has made a thumbnail, or could not.
    ThumbnailMade(Rendered<Jpeg>),
    /// Writing to disk failed, with the reason.
    StoringFailed(String),
    /// Writing to disk works again.
    StoringRecovered,
    /// The history of all sessions together has reached `totalHistoryLimit` (`true`), or has room again.
    ServerFull(bool),
    /// The report of this user is kept for moderators, or is not because there were too many.
    ReportStored { user: u8, name: String, stored: bool },
}

/// How far each connection has been sent the history, in bytes of the log's axis.
pub type ReaderOffsets = Vec<(ConnId, i64)>;

impl SessionMachine {
    /// The deterministic transition function: the same origin, inputs, times and reader offsets give the same
    /// effects.
    pub fn handle(&mut self, input: Input, cx: &mut Cx<'_>) {
        self.broadcasts.next_step();
        let before = self.end_before(cx.now);
        // Nothing that is only drawn changes ranks.
        let only_draws =
            matches!(&input, Input::Batch { batch, .. } if batch.is_opaque() && !batch.locks_users());
        match input {
            Input::Host { client, host } => {
                self.set_up(&host, &client);
                // The login has checked that the id is valid.
                let user = u8::try_from(host.user_id).unwrap_or(1);
                self.host(*client, user, cx);
            }
            Input::Join(request) => self.join(*request, cx),
            Input::Resume(conn) => self.resume(conn, cx),
            Input::Learn { kind, hash, password } => self.cache_verified_password(kind, &hash, &password),
            Input::Leave(conn) => self.leave(conn, cx),
            Input::Cut(conn) => self.cut(conn, cx),
            Input::Batch { conn, batch } => {
                if !self.batch(conn, batch, cx) {
                    cx.push(Effect::Held);
                }
            }
            Input::DrawsTooFast { conn, slowed } => self.draws_too_fast(conn, slowed, cx),
            Input::OpwordChecked(check, fits) => self.opword_checked(&check, fits, cx),
            Input::BansExchanged(done) => self.bans_exchanged(done, cx),
            Input::OutsideReport { user, reason } => self.outside_report(user, &reason, cx),
            Input::Listing(news) => self.listing_news(news, cx),
            Input::ReportSent(error) => self.report_sent(error, cx),
            Input::Shared(shared) => self.set_shared(shared, cx),
            Input::Stop => self.shut_down("Server shutting down", cx),
            Input::Tick => self.tick(cx),
            Input::Expire => self.expire(cx),
            Input::Administer(request) => {
                let answer = self.administer(request, cx);
                cx.push(Effect::Answer(answer));
            }
            Input::Restore(request) => {
                let answer = self.restore(*request, cx).map(Answered::Restored);
                cx.push(Effect::Answer(answer));
            }
            Input::CompactionDone(outcome) => self.compaction_done(outcome, cx),
            Input::ThumbnailMade(rendered) => self.thumbnail_rendered(rendered, cx),
            Input::StoringFailed(error) => self.storing_failed(&error, cx),
            Input::StoringRecovered => self.storing_recovered(cx),
            Input::ServerFull(full) => self.history.set_server_full(full),
            Input::ReportStored { user, name, stored } => self.report_stored(user, &name, stored, cx),
        }
        if !only_draws {
            self.enforce_locks(cx);
            self.update_draw_rates(cx);
        }
        self.mark_time(before);
        self.bound_journal();
    }

    /// Snapshots reader offsets where the input can depend on them. Clients go on reading meanwhile, so the offsets
    /// are part of the input and must not change while it is handled.
    pub fn snapshot_reader_offsets(&mut self, input: &Input) -> ReaderOffsets {
        // A command may begin a reset.
        let may_reset = matches!(input, Input::Batch { batch, .. } if !batch.is_opaque());
        if !may_reset && !self.resets.depends_on_readers() {
            if self.resets.reader_offsets_known() {
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
        self.resets.set_reader_offsets_known(!positions.is_empty());
        for member in &mut self.members {
            let conn = member.conn();
            member.observed = positions.iter().find(|(c, _)| *c == conn).map(|(_, position)| *position);
        }
    }
}
