//! Sessions: members, their rights, and what enters the history.
//!
//! [`SessionMachine`] is a plain state machine: inputs go in with a [`Cx`], which collects the effects. The Session actor performs
//! the effects. Each command has a file of its own in `commands`. Source: docs/spec/session.md#commands.

mod accounts;
pub mod admin;
pub mod autoreset;
mod ban_text;
pub mod bans;
mod broadcasts;
pub mod commands;
mod description;
pub mod effects;
mod events;
pub mod ids;
pub mod input;
pub mod invites;
mod join;
mod leave;
mod listing;
pub mod member;
mod messages;
mod password_attempts;
mod password_verifier;
pub mod persistence;
mod reset;
mod restore;
mod roles;
mod rollback;
mod roster;
mod settings;
mod snapshot;
mod streamed_reset;
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
use autoreset::AutoResetState;
use bans::BanList;
pub use commands::ban_exchange::{BanExchange, BanExchanged};
use commands::report::Reports;
pub use effects::{ClientOp, ConnId, Cx, DisconnectReason, Effect, OpwordCheck, Refusal};
use events::EventLog;
use ids::IdQueue;
use invites::Invites;
pub use listing::{ListedAt, ListingUpdate};
pub use member::{AuthenticatedClient, JoinRequest, Member};
use member::{FaultVerdict, PastUser};
use password_attempts::PasswordAttempts;
use password_verifier::PasswordVerifier;
use persistence::PersistedFields;
pub use restore::{ReadSoFar, RestoreRequest};
pub use rollback::{Rollback, UndoRequest};
use roster::{MemberKey, Roster};
use streamed_reset::StagedReset;
pub use write_batch::{FileDisposition, KeepGenerations, PasswordKind, WriteBatch};

use crate::config::{ServerSettings, Settings};
use crate::history::History;
use crate::log::{Level, LogEntry, LogUser, Topic};
use crate::metrics::METRICS;
use crate::rules::journal::Entry;
use crate::rules::limits::Bucket;
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

/// A reset image that is being uploaded.
#[derive(Debug, Default)]
struct ResetImage {
    bytes: Vec<u8>,
    messages: u64,
    /// Time-out of the upload, monotonic milliseconds; extended by each message.
    due: u64,
    /// Time-out that is not extended.
    last_due: u64,
}

/// Time-out between messages of a reset image, in milliseconds. Nobody can join meanwhile.
const RESET_PAUSE_MS: u64 = 120_000;
/// Time-out of a whole reset, in milliseconds: the largest image over a slow connection.
const RESET_MS: u64 = 1_800_000;

impl ResetImage {
    fn begun(now: Timestamp) -> ResetImage {
        let mut image = ResetImage { last_due: now.monotonic_ms + RESET_MS, ..ResetImage::default() };
        image.goes_on(now);
        image
    }

    fn goes_on(&mut self, now: Timestamp) {
        self.due = (now.monotonic_ms + RESET_PAUSE_MS).min(self.last_due);
    }
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
    reset_base: u64,
    override_size: u64,
    started: Timestamp,
    state: SessionState,
    history: History,
    /// Renewed at every reset; first part of a history index.
    start_id: i64,
    catchup_key: u32,
    members: Roster,
    past_users: BTreeMap<u8, PastUser>,
    ids: IdQueue,
    /// User id of the host or resetter during an upload.
    uploader: Option<u8>,
    image: ResetImage,
    autoreset: AutoResetState,
    rollback: Rollback,
    staged: Option<StagedReset>,
    /// Reader offsets have been set for the present input.
    reader_offsets_known: bool,
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
    /// List server URLs to announce at, also after a restart.
    announcements: Vec<String>,
    /// Current listings.
    listed: Vec<ListedAt>,
    /// Rate limit for announcements.
    announcing: Bucket,
    /// Rate limits for abuse reports.
    reports: Reports,
    /// Archive the files at the end; `None` follows the server's setting.
    archive: Option<bool>,
    /// Changes are persisted.
    stored: bool,
    journaled: PersistedFields,
    journal: Vec<Entry>,
    /// Too many entries were waiting for the journal: it must be rewritten.
    journal_incomplete: bool,
    /// Passwords whose hashes must be persisted.
    new_passwords: Vec<(PasswordKind, String)>,
    /// The settings found in the history after loading, until they are compared with those in force.
    settings_known: Option<Value>,
    /// There was a member since the session was loaded.
    visited: bool,
    /// The server is shutting down: an empty session does not end.
    stopping: bool,
    /// When the last member left.
    emptied: Timestamp,
    /// When the server last disconnected a member, monotonic milliseconds.
    accident: Option<u64>,
    /// Emptied by a disconnect of the server: kept until then, monotonic milliseconds.
    stays_until: Option<u64>,
    /// Earliest moment from which it counts as empty, monotonic milliseconds; see [`persistence::Suspended`].
    empty_since: u64,
    is_recorded: bool,
    recording_due: bool,
    recorded: Vec<u8>,
    log: EventLog,
    last_event: Timestamp,
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
            reset_base: 0,
            override_size: 0,
            started: now,
            state: SessionState::Initialization,
            history: History::default(),
            start_id: now.utc_ms / 1000,
            catchup_key: FIRST_CATCHUP_KEY,
            members: Roster::default(),
            past_users: BTreeMap::new(),
            ids: IdQueue::default(),
            uploader: None,
            image: ResetImage::default(),
            autoreset: AutoResetState::default(),
            rollback,
            staged: None,
            reader_offsets_known: false,
            bans: BanList::default(),
            exchanges: 0,
            broadcasts: broadcasts::Broadcasts::default(),
            invites: Invites::default(),
            thumbnail: thumbnail::Thumbnail::default(),
            admin_chat: None,
            storage_error: None,
            accounts: Accounts::default(),
            announcements: Vec::new(),
            listed: Vec::new(),
            announcing: Bucket::default(),
            reports: Reports::default(),
            archive: None,
            stored: false,
            journaled: PersistedFields::default(),
            journal: Vec::new(),
            journal_incomplete: false,
            new_passwords: Vec::new(),
            settings_known: None,
            visited: true,
            stopping: false,
            emptied: now,
            accident: None,
            stays_until: None,
            empty_since: 0,
            is_recorded: false,
            recording_due: false,
            recorded: Vec::new(),
            log: EventLog::default(),
            last_event: now,
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
        self.state
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
            || !matches!(self.state, SessionState::Initialization | SessionState::Running)
    }

    /// `<start id>:<index>:<session id>`; `None` unless running or `forced`. `back`: that many messages before the
    /// last.
    fn history_index(&self, forced: bool, back: i64) -> Option<String> {
        (forced || self.state == SessionState::Running)
            .then(|| format!("{}:{}:{}", self.start_id, self.history.last_index() - back, self.id))
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

    /// Logs about the session, visible to members.
    fn note(&mut self, level: Level, topic: Topic, message: impl Into<String>, cx: &mut Cx<'_>) {
        self.note_entry(LogEntry::new(cx.now, level, topic, message), cx);
    }

    /// Logs about a user of the session, visible to members.
    fn note_about(
        &mut self,
        user: LogUser,
        level: Level,
        topic: Topic,
        message: impl Into<String>,
        cx: &mut Cx<'_>,
    ) {
        self.note_entry(LogEntry::new(cx.now, level, topic, message).about(user), cx);
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

    fn note_entry(&mut self, entry: LogEntry, cx: &mut Cx<'_>) {
        if entry.level < Level::Debug
            && let Some(frame) = description::log_frame(&entry)
        {
            for member in self.members.iter().filter(|m| m.is_moderator() || !entry.topic.is_sensitive()) {
                cx.direct(member.conn(), frame.clone());
            }
            self.log.push(entry.topic, frame);
        }
        cx.log(entry);
    }

    /// Sends everybody a text with a key for translation. `false` if it does not fit into a message.
    fn notice(
        &self,
        alert: bool,
        key: &str,
        message: String,
        params: &[(&str, &str)],
        reset: &str,
        cx: &mut Cx<'_>,
    ) -> bool {
        let params: Map<String, Value> =
            params.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        let notice = Notice { message, key: key.into(), params, reset: reset.into() };
        self.to_all(&if alert { ServerReply::Alert(notice) } else { ServerReply::Msg(notice) }, cx)
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
        let stream = self.staged.as_ref().and_then(StagedReset::poll_at);
        let reset = (self.state == SessionState::Reset).then_some(self.image.due);
        let due = [stream, reset, self.broadcasts.due(), self.autoreset.deadline()];
        due.into_iter().flatten().min()
    }

    /// Session expiry: ends the session if it has been empty or idle for too long. Called every 15 s.
    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        if self.state == SessionState::Shutdown {
            return;
        }
        self.expire_chat(cx);
        self.follow_history();
        let settings = &self.shared.settings;
        let since = |ms: u64| cx.now.monotonic_ms.saturating_sub(ms);
        let last_event = self.last_event.monotonic_ms;
        let idle_limit = settings.idle_time_limit.millis();
        let exempt = settings.allow_idle_override && self.flags.idle_override;
        let linger = settings.empty_session_linger_time.millis();
        let is_left = persistence::is_left(since(last_event.max(self.empty_since)), self.visited, linger)
            && !persistence::stays(self.stays_until, cx.now);
        if !self.flags.persistent && self.is_empty() && is_left {
            self.note(Level::Info, Topic::Status, "Closing lingering non-persistent session.", cx);
            self.end("Session terminated due to being empty too long", cx);
        } else if persistence::is_idle(since(last_event), since(self.empty_since), exempt, idle_limit) {
            self.note(Level::Info, Topic::Status, "Idle session expired.", cx);
            self.end("Session terminated due to being idle too long", cx);
        }
    }

    /// Ends the session and disconnects everybody.
    pub fn end(&mut self, message: &str, cx: &mut Cx<'_>) {
        if self.state == SessionState::Shutdown {
            return;
        }
        self.state = SessionState::Shutdown;
        for member in self.members.take() {
            let text = format!("{message} (terminate=true)");
            cx.log(LogEntry::new(cx.now, Level::Info, Topic::Leave, text).about(member.log_user()));
            let (reason, message) = (DisconnectReason::Shutdown, message.to_owned());
            cx.client(member.conn(), ClientOp::Disconnect { reason, message });
        }
        cx.push(Effect::End(self.ending()));
    }

    /// Ends the session silently: clients stay connected and are only echoed their own messages.
    pub fn end_quietly(&mut self, cx: &mut Cx<'_>) {
        if self.state == SessionState::Shutdown {
            return;
        }
        self.state = SessionState::Shutdown;
        for member in self.members.take() {
            let text = "Session terminated by the server administrator (quietly)";
            cx.log(LogEntry::new(cx.now, Level::Info, Topic::Leave, text).about(member.log_user()));
            cx.client(member.conn(), ClientOp::Quiet);
        }
        cx.push(Effect::End(self.ending()));
    }

    /// Shutdown of the server. A stored session is suspended; any other ends.
    pub fn shut_down(&mut self, message: &str, cx: &mut Cx<'_>) {
        if !self.stored || self.state == SessionState::Shutdown {
            return self.end(message, cx);
        }
        self.stopping = true;
        let keys: Vec<MemberKey> = self.members.iter().map(Member::key).collect();
        for key in keys {
            self.disconnect(key, DisconnectReason::Shutdown, message, "", cx);
        }
        self.state = SessionState::Shutdown;
        cx.push(Effect::End(FileDisposition::Keep));
    }
}
