//! Sessions: members, their rights, and what enters the history.
//!
//! [`SessionMachine`] is a plain state machine: inputs go in with a [`Cx`], which collects the effects. The Session actor performs
//! the effects. Each command has a file of its own in `commands`. Source: docs/spec/session.md#commands.

mod accounts;
pub mod admin;
mod announcements;
mod ban_text;
pub mod bans;
mod broadcasts;
mod chat_commands;
pub mod commands;
mod description;
mod draw_rates;
pub mod effects;
mod ending;
mod events;
mod follow;
pub mod hand_over;
pub mod ids;
pub mod input;
pub mod invites;
mod join;
mod last_reset;
mod leave;
mod listing;
pub mod member;
mod messages;
mod moderation;
mod notices;
mod operator_links;
mod password_attempts;
mod password_verifier;
pub mod persistence;
mod properties;
mod resets;
mod restore;
pub mod restrictions;
mod roles;
pub mod rollback;
mod roster;
mod settings;
mod space;
#[cfg(test)]
mod tests;
pub mod thumbnail;
mod time_marks;
mod timers;
mod user_locks;
pub mod write_batch;

use bytes::Bytes;
use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::command::Host;
use drawhall_protocol::reply::ServerReply;

use crate::rules::rng::Rng;
use announcements::Announcements;
use broadcasts::Broadcasts;
pub use commands::ban_exchange::{BanExchange, BanExchanged};
pub use effects::{ClientOp, ConnId, Counted, Cx, DisconnectReason, Effect, OpwordCheck, Refusal};
use events::EventLog;
use last_reset::{FirstJoin, LastReset};
pub use listing::{ListedAt, ListingUpdate};
use member::FaultVerdict;
pub use member::{AuthenticatedClient, JoinRequest, Member};
use moderation::Moderation;
use operator_links::OperatorLinks;
pub use operator_links::{Asker, LinkHolder, LinkToken};
use persistence::Persistence;
use properties::Properties;
use resets::ResetEngine;
pub use restore::{ReadSoFar, RestoreRequest};
use restrictions::Restrictions;
pub use rollback::{Rollback, UndoRequest};
use roster::{MemberKey, Roster};
use space::SpaceUse;
use thumbnail::Thumbnail;
use timers::Timers;
use user_locks::UserLocks;
pub use write_batch::{FileDisposition, KeepGenerations, PasswordKind, WriteBatch};

use crate::config::{ServerSettings, Settings};
use crate::history::History;
use crate::log::{Level, Topic};
pub use crate::rules::metadata::Flags;
use crate::rules::time::Timestamp;
use crate::rules::undo::times::TimeMarks;

/// Maximum length of a title in UTF-16 code units.
pub const MAX_TITLE: usize = 100;
/// How long after a drawing command a user counts as actively drawing, in milliseconds.
const ACTIVE_DRAWING_MS: i64 = 5 * 60 * 1000;

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

/// The state machine of one session: its parts, each of which guards its own state. What concerns several of them is in
/// methods of the machine.
#[derive(Debug)]
pub struct SessionMachine {
    /// The server's settings.
    shared: ServerSettings,
    /// What the session is.
    properties: Properties,
    /// Its content. Messages enter it through inputs only.
    history: History,
    /// Who is in it.
    members: Roster,
    /// Who may do what, and who may not come.
    moderation: Moderation,
    /// Its state, uploads and resets.
    resets: ResetEngine,
    /// Undo by the server.
    rollback: Rollback,
    /// How long the history was at which time.
    times: TimeMarks,
    /// The last reset since it was loaded.
    last_reset: Option<LastReset>,
    /// Whether somebody has joined since the last reset.
    first_join: FirstJoin,
    /// Links with which operators undo what others drew.
    operator_links: OperatorLinks,
    /// What moderators of the server do not allow somebody for a time.
    restrictions: Restrictions,
    /// Who is locked in the history.
    locks: UserLocks,
    /// How much of its space who has used.
    space: SpaceUse,
    /// What is to be written.
    persistence: Persistence,
    /// What happens when.
    timers: Timers,
    /// List servers where it is announced.
    announcements: Announcements,
    /// Lists that its members are sent.
    broadcasts: Broadcasts,
    thumbnail: Thumbnail,
    /// The log that new members are sent.
    log: EventLog,
    /// An administrator in its chat.
    admin_chat: Option<admin::AdminChat>,
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
        let rollback = Rollback::new(protocol.layout());
        let mut machine = Self {
            properties: Properties::new(id, alias, protocol, founder, &shared.settings, now),
            history: History::default(),
            members: Roster::default(),
            moderation: Moderation::default(),
            resets: ResetEngine::new(now),
            rollback,
            times: TimeMarks::default(),
            last_reset: None,
            first_join: FirstJoin::default(),
            operator_links: OperatorLinks::default(),
            restrictions: Restrictions::default(),
            locks: UserLocks::default(),
            space: SpaceUse::default(),
            persistence: Persistence::default(),
            timers: Timers::new(now),
            announcements: Announcements::default(),
            broadcasts: Broadcasts::default(),
            thumbnail: Thumbnail::default(),
            log: EventLog::default(),
            admin_chat: None,
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
        self.properties.id()
    }

    /// Empty without an alias.
    pub fn alias(&self) -> &str {
        self.properties.alias()
    }

    /// Protocol version of the host; its namespace and server number decide who can join.
    pub fn protocol(&self) -> &ProtocolVersion {
        self.properties.protocol()
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
        self.properties.password(PasswordKind::Session).needs_slow_verify(&request.password)
    }

    /// The slow hash to verify such a password against, on the blocking pool.
    pub fn slow_hash(&self, kind: PasswordKind, given: &str) -> Option<&str> {
        self.properties.password(kind).needs_slow_verify(given)
    }

    /// Caches a password that was verified against one of the session's hashes.
    pub fn cache_verified_password(&mut self, kind: PasswordKind, hash: &str, password: &str) {
        self.properties.cache_verified(kind, hash, password);
    }

    /// Applies the options of the host command.
    pub fn set_up(&mut self, host: &Host, client: &AuthenticatedClient) {
        if !host.password.is_empty() {
            self.set_password(PasswordKind::Session, &host.password);
        }
        let settings = &self.shared.settings;
        let manages_web = client.flags.iter().any(|f| f == "WEBSESSION");
        let allow_web = match host.web {
            _ if client.browser => true,
            Some(web) if manages_web => web,
            _ if settings.password_dependent_web_session => self.properties.has_password(),
            _ => manages_web,
        };
        let policy = &settings.unlisted_host_policy;
        let flags = self.properties.flags_mut();
        flags.allow_web = allow_web;
        flags.invites = settings.invites;
        flags.unlisted = policy.contains("ALL") || (policy.contains("WEB") && client.browser);
    }

    fn apply_limits(&mut self) {
        self.history.set_limit(self.properties.size_limit(&self.shared.settings));
    }

    fn member_by_id(&self, id: u8) -> Option<&Member> {
        self.members.by_id(id)
    }

    fn member_mut(&mut self, id: u8) -> Option<&mut Member> {
        self.members.by_id_mut(id)
    }

    fn member_by_name(&self, name: &str) -> Option<&Member> {
        self.members.by_name(name)
    }

    /// Who has this user id, or had it last.
    pub fn identity_of_user(&self, id: u8) -> Option<&bans::Identity> {
        let present = self.member_by_id(id).map(|member| &member.client.identity);
        present.or_else(|| self.members.past_user(id).map(|past| &past.identity))
    }

    /// Whether there are no members but ghosts.
    pub fn is_empty(&self) -> bool {
        self.members.iter().all(Member::is_ghost)
    }

    fn is_closed(&self) -> bool {
        self.members.len() as u32 >= self.properties.max_users()
            || !matches!(self.resets.state(), SessionState::Initialization | SessionState::Running)
    }

    /// `<start id>:<index>:<session id>`; `None` unless running or `forced`. `back`: that many messages before the
    /// last.
    fn history_index(&self, forced: bool, back: i64) -> Option<String> {
        (forced || self.resets.is_running()).then(|| {
            format!(
                "{}:{}:{}",
                self.resets.start_ids().current(),
                self.history.last_index() - back,
                self.properties.id()
            )
        })
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
                cx.push(Effect::Count(Counted::Slowed));
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

    /// Handles expired deadlines.
    pub fn tick(&mut self, cx: &mut Cx<'_>) {
        self.autoreset_tick(cx);
        self.compaction_tick(cx);
        self.reset_tick(cx);
        self.resolve_stream("tick", cx);
        self.send_due_lists(cx);
    }

    /// Time of the next [`Self::tick`], monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        [self.resets.deadline(), self.broadcasts.due()].into_iter().flatten().min()
    }
}
