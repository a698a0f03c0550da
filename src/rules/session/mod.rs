//! Sessions: members, their rights, and what enters the history.
//!
//! [`SessionMachine`] is a plain state machine: inputs go in with a [`Cx`], which collects the effects. The Session actor performs
//! the effects. Each command has a file of its own in `commands`. Source: docs/spec/session.md#commands.

mod accounts;
pub mod admin;
mod ban_text;
pub mod bans;
mod broadcasts;
pub mod commands;
mod description;
pub mod effects;
mod ending;
mod events;
pub mod ids;
pub mod input;
pub mod invites;
mod join;
mod journal_queue;
mod leave;
mod lifetime;
mod listing;
mod listings;
pub mod member;
mod messages;
mod notices;
mod password_attempts;
mod password_verifier;
pub mod persistence;
mod recording;
mod resets;
mod restore;
mod roles;
pub mod rollback;
mod roster;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod thumbnail;
pub mod write_batch;

use std::collections::BTreeMap;

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use drawhall_protocol::reply::{Notice, ServerReply};
use serde_json::{Map, Value};

use crate::rules::rng::Rng;
use accounts::Accounts;
use bans::BanList;
pub use commands::ban_exchange::{BanExchange, BanExchanged};
use commands::report::Reports;
pub use effects::{ClientOp, ConnId, Cx, DisconnectReason, Effect, OpwordCheck, Refusal};
use events::EventLog;
use ids::IdQueue;
use invites::Invites;
use journal_queue::JournalQueue;
use lifetime::Lifetime;
pub use listing::{ListedAt, ListingUpdate};
use listings::Listings;
pub use member::{AuthenticatedClient, JoinRequest, Member};
use member::{FaultVerdict, PastUser};
use password_attempts::PasswordAttempts;
use password_verifier::PasswordVerifier;
use persistence::PersistedFields;
use recording::Recording;
use resets::ResetEngine;
pub use restore::{ReadSoFar, RestoreRequest};
pub use rollback::{Rollback, UndoRequest};
use roster::{MemberKey, Roster};
pub use write_batch::{FileDisposition, KeepGenerations, PasswordKind, WriteBatch};

use crate::config::{ServerSettings, Settings};
use crate::history::History;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;
use crate::rules::metadata::FIRST_CATCHUP_KEY;
pub use crate::rules::metadata::Flags;
use crate::rules::time::Timestamp;
use crate::rules::username;

/// Maximum length of a title in UTF-16 code units.
pub const MAX_TITLE: usize = 100;
/// How long after a drawing command a user counts as actively drawing, in milliseconds.
const ACTIVE_DRAWING_MS: i64 = 5 * 60 * 1000;
/// Minimum interval of status updates and of warnings about space, in milliseconds.
const REMINDER_MS: u64 = 10_000;
/// Maximum catch-up key.
const MAX_CATCHUP_KEY: u32 = 999_999_999;

/// State of a session. Source: docs/spec/session.md#states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum SessionState {
    /// The host uploads the initial content.
    Initialization,
    Running,
    /// An operator uploads a reset image.
    Reset,
    /// The session has ended.
    Shutdown,
}

/// The state machine of one session.
#[derive(Debug)]
pub struct SessionMachine {
    shared: ServerSettings,
    id: String,
    alias: String,
    protocol: ProtocolVersion,
    founder: String,
    title: String,
    flags: Flags,
    max_users: u32,
    password: PasswordVerifier,
    opword: PasswordVerifier,
    password_attempts: PasswordAttempts,
    reset_threshold: u64,
    override_size: u64,
    started: Timestamp,
    history: History,
    catchup_key: u32,
    members: Roster,
    past_users: BTreeMap<u8, PastUser>,
    ids: IdQueue,
    /// The session's state, uploads and resets.
    resets: ResetEngine,
    rollback: Rollback,
    bans: BanList,
    /// Number of ban lists being imported or exported.
    exchanges: usize,
    broadcasts: broadcasts::Broadcasts,
    invites: Invites,
    thumbnail: thumbnail::Thumbnail,
    admin_chat: Option<admin::AdminChat>,
    /// Why storing fails at present.
    storage_error: Option<String>,
    accounts: Accounts,
    /// Rate limits for abuse reports.
    reports: Reports,
    /// Archive the files at the end; `None` follows the server's setting.
    archive: Option<bool>,
    journaled: PersistedFields,
    journal: JournalQueue,
    recording: Recording,
    listings: Listings,
    lifetime: Lifetime,
    /// The settings found in the history after loading, until they are compared with those in force.
    settings_known: Option<Value>,
    log: EventLog,
    status_due: u64,
    space_warning_due: u64,
}

impl SessionMachine {
    /// A new session without members.
    pub fn new(
        shared: ServerSettings,
        id: String,
        alias: String,
        protocol: ProtocolVersion,
        founder: String,
        now: Timestamp,
    ) -> Self {
        let settings = &shared.settings;
        let rollback = Rollback::new(protocol.layout());
        let mut machine = Self {
            id,
            alias,
            protocol,
            founder,
            title: String::new(),
            flags: Flags { nsfm: settings.force_nsfm, ..Flags::default() },
            max_users: settings.session_user_limit,
            password: PasswordVerifier::default(),
            opword: PasswordVerifier::default(),
            password_attempts: PasswordAttempts::default(),
            reset_threshold: settings.autoreset_threshold,
            override_size: 0,
            started: now,
            history: History::default(),
            catchup_key: FIRST_CATCHUP_KEY,
            members: Roster::default(),
            past_users: BTreeMap::new(),
            ids: IdQueue::default(),
            resets: ResetEngine::new(now),
            rollback,
            bans: BanList::default(),
            exchanges: 0,
            broadcasts: broadcasts::Broadcasts::default(),
            invites: Invites::default(),
            thumbnail: thumbnail::Thumbnail::default(),
            admin_chat: None,
            storage_error: None,
            accounts: Accounts::default(),
            reports: Reports::default(),
            archive: None,
            journaled: PersistedFields::default(),
            journal: JournalQueue::default(),
            recording: Recording::default(),
            listings: Listings::default(),
            lifetime: Lifetime::new(now),
            settings_known: None,
            log: EventLog::default(),
            status_due: now.monotonic_ms + REMINDER_MS,
            space_warning_due: 0,
            shared,
        };
        machine.apply_limits();
        machine.send_settings(&mut Cx::new(now, &mut Rng::unseeded()));
        machine
    }

    /// The server's settings in force.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The server's key for ban lists.
    pub fn crypt_key(&self) -> Option<[u8; 32]> {
        self.shared.crypt_key
    }

    /// Session id, a ULID in lower case or a UUID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Empty without an alias.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Protocol version of the host; its namespace and server number decide who can join.
    pub fn protocol(&self) -> &ProtocolVersion {
        &self.protocol
    }

    /// State of the session; [`SessionState::Shutdown`] is final.
    pub fn state(&self) -> SessionState {
        self.resets.state()
    }

    /// The history, to store and to publish it. Messages enter it through inputs only.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// Members in the order of joining.
    pub fn members(&self) -> &[Member] {
        self.members.as_slice()
    }

    /// Makes everything in the history visible to readers.
    pub fn publish(&mut self) {
        self.history.publish();
    }

    /// The slow hash to verify the request's password against, on the blocking pool, before [`Self::join`].
    pub fn needs_slow_verify(&self, request: &JoinRequest) -> Option<&str> {
        self.password.needs_slow_verify(&request.password)
    }

    /// The slow hash to verify such a password against, on the blocking pool.
    pub fn slow_hash(&self, kind: PasswordKind, given: &str) -> Option<&str> {
        match kind {
            PasswordKind::Session => self.password.needs_slow_verify(given),
            PasswordKind::Operator => self.opword.needs_slow_verify(given),
        }
    }

    /// Caches a password that was verified against one of the session's hashes.
    pub fn cache_verified_password(&mut self, kind: PasswordKind, hash: &str, password: &str) {
        match kind {
            PasswordKind::Session => self.password.cache_verified(hash, password),
            PasswordKind::Operator => self.opword.cache_verified(hash, password),
        }
    }

    /// Applies the options of the host command.
    pub fn set_up(&mut self, host: &Host, client: &AuthenticatedClient) {
        if !host.password.is_empty() {
            self.set_password(PasswordKind::Session, &host.password);
        }
        let settings = &self.shared.settings;
        let manages_web = client.flags.iter().any(|f| f == "WEBSESSION");
        self.flags.allow_web = match host.web {
            _ if client.browser => true,
            Some(web) if manages_web => web,
            _ if settings.password_dependent_web_session => self.password.is_set(),
            _ => manages_web,
        };
        self.flags.invites = settings.invites;
        let policy = &settings.unlisted_host_policy;
        self.flags.unlisted = policy.contains("ALL") || (policy.contains("WEB") && client.browser);
    }

    fn apply_limits(&mut self) {
        let base = self.shared.settings.session_size_limit.min(i32::MAX as u64);
        self.history.set_limit(if self.override_size > 0 { self.override_size } else { base });
    }

    fn alias_or_id(&self) -> &str {
        if self.alias.is_empty() { &self.id } else { &self.alias }
    }

    fn member_by_id(&self, id: u8) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    fn member_mut(&mut self, id: u8) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.id == id)
    }

    fn member_by_name(&self, name: &str) -> Option<&Member> {
        let skeleton = username::skeleton(name);
        self.members.iter().find(|m| m.skeleton == skeleton)
    }

    /// Whether there are no members but ghosts.
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(Member::is_ghost)
    }

    fn is_closed(&self) -> bool {
        self.members.len() as u32 >= self.max_users
            || !matches!(self.resets.state(), SessionState::Initialization | SessionState::Running)
    }

    /// `<start id>:<index>:<session id>`; `None` unless running or `forced`. `back`: that many messages before the
    /// last.
    fn history_index(&self, forced: bool, back: i64) -> Option<String> {
        (forced || self.resets.is_running())
            .then(|| format!("{}:{}:{}", self.resets.start_id(), self.history.last_index() - back, self.id))
    }

    /// Sends a reply to all members. `false` if it does not fit into a message.
    fn to_all(&self, reply: &ServerReply, cx: &mut Cx<'_>) -> bool {
        let Ok(frame) = reply.to_frame() else { return false };
        self.frame_to_all(&frame.into_bytes(), cx);
        true
    }

    fn frame_to_all(&self, bytes: &Bytes, cx: &mut Cx<'_>) {
        for member in self.members.iter().filter(|m| m.takes_direct(bytes)) {
            cx.direct(member.conn(), bytes.clone());
        }
    }

    fn reply_to(&self, conn: ConnId, reply: &ServerReply, cx: &mut Cx<'_>) {
        if let Ok(frame) = reply.to_frame() {
            cx.direct(conn, frame.into_bytes());
        }
    }

    /// Logs a warning about a broken rule.
    fn rule_break(&mut self, key: MemberKey, message: impl Into<String>, cx: &mut Cx<'_>) {
        self.fault(key, Topic::RuleBreak, message, cx);
    }

    /// Logs a warning about an invalid message. As everybody sees it, it is rate limited; a member that goes on is
    /// disconnected.
    fn fault(&mut self, key: MemberKey, topic: Topic, message: impl Into<String>, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get_mut(key) else { return };
        let user = member.log_user();
        match member.faults.another(cx.now.monotonic_ms) {
            FaultVerdict::Tell => self.note_about(user, Level::Warn, topic, message, cx),
            FaultVerdict::TellLast => {
                METRICS.slowed.count();
                let text = "Sends too much that is not allowed; further messages of this kind are not shown";
                self.note_about(user, Level::Warn, Topic::RuleBreak, text, cx);
            }
            FaultVerdict::Silent => {}
            FaultVerdict::SendAway => {
                let text = "Too many messages that are not allowed";
                self.disconnect(key, DisconnectReason::Error, text, "", cx);
            }
        }
    }

    fn next_catchup_key(&mut self) -> u32 {
        let key = self.catchup_key;
        self.catchup_key = if key < MAX_CATCHUP_KEY { key + 1 } else { 1 };
        key
    }

    /// Handles expired deadlines.
    pub fn tick(&mut self, cx: &mut Cx<'_>) {
        self.autoreset_tick(cx);
        self.reset_tick(cx);
        self.resolve_stream("tick", cx);
        self.send_due_lists(cx);
    }

    /// Time of the next [`Self::tick`], monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        [self.resets.deadline(), self.broadcasts.due()].into_iter().flatten().min()
    }
}
