//! How a session is loaded, made from a template, and what is kept while it is unloaded.
//! Source: docs/spec/storage.md#what-survives-a-restart.

use std::sync::Arc;

use bytes::Bytes;
use drawhall_protocol::message::Leave;
use drawhall_protocol::reply::SessionDescription;
use drawhall_protocol::{Frame, ProtocolVersion};
use serde::{Deserialize, Serialize};

use crate::config::ServerSettings;
use crate::history::{Contents, EMERGENCY_BYTES, History, HistorySource};
use crate::log::{Level, Topic};
use crate::rules::history_indexes::{HistoryIndexes, StartIds};
use crate::rules::journal::Entry;
use crate::rules::metadata::{Metadata, SessionSummary};
use crate::rules::password;
use crate::rules::session::hand_over::StayingMembers;
use crate::rules::session::last_reset::FirstJoin;
use crate::rules::session::moderation::Moderation;
use crate::rules::session::password_verifier::PasswordVerifier;
use crate::rules::session::restrictions::Restrictions;
use crate::rules::session::thumbnail::Picture;
use crate::rules::session::timers::{Expiry, Occupancy};
use crate::rules::session::{Cx, PasswordKind, SessionMachine};
use crate::rules::template::{Messages, Template};
use crate::rules::time::Timestamp;
use crate::rules::undo::times::{OriginKind, TimeMarks};

/// State of an unloaded session that is not in its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Suspended {
    start_id: i64,
    /// With the earlier start ids; `None` in traces of before, and if there are none.
    #[serde(default)]
    start_ids: Option<StartIds>,
    first_index: i64,
    /// Clients may have seen what is not in the files.
    #[serde(default)]
    may_lack_messages: bool,
    reset_base: Option<u64>,
    started: Timestamp,
    #[serde(default, skip_serializing_if = "Restrictions::is_empty")]
    restrictions: Restrictions,
    /// Members who stay, though the session comes from another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staying: Option<Box<StayingMembers>>,
    #[serde(flatten)]
    expiry: Expiry,
}

/// A session as its files tell it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoredSession {
    pub id: String,
    pub metadata: Metadata,
    /// Index and summary of the history.
    pub contents: Contents,
    /// The history file; its first message is at position 0.
    pub history: Arc<dyn HistorySource>,
    pub protocol: ProtocolVersion,
    /// The time marks of the history; none if they are lost.
    pub times: TimeMarks,
    /// It is not known that somebody has joined since a reset: the history before it must stay.
    pub awaits_join: bool,
    /// The thumbnail, and its time in milliseconds since 1970.
    pub picture: Option<(Bytes, i64)>,
    /// What was repaired or ignored.
    pub warnings: Vec<String>,
}

impl SessionMachine {
    /// Restores a session from its files. `rest` is the state from before an unload.
    pub fn restored(
        shared: ServerSettings,
        stored: StoredSession,
        rest: Option<Suspended>,
        cx: &mut Cx<'_>,
    ) -> SessionMachine {
        let StoredSession { id, mut metadata, contents, history, protocol, .. } = stored;
        let StoredSession { times, awaits_join, picture, warnings, .. } = stored;
        let founder = metadata.founder.clone();
        let mut machine = Self::new(shared, id, metadata.alias.clone(), protocol, founder, cx.now);
        let known = metadata.indexes.take().filter(|known| !known.is_outdated(contents.start_id));
        let indexes = rest.as_ref().map(|rest| rest.indexes(known.as_ref(), contents.messages()));
        let first_index = indexes.as_ref().map_or(0, |indexes| indexes.first);
        machine.history = History::restored(&history, &contents.index, first_index);
        machine.persistence.indexes_written = known;
        machine.persistence.store();
        machine.resets.begin_running();
        for (id, name) in &metadata.users {
            machine.members.remember_id(name, *id);
        }
        for id in &contents.touched {
            machine.members.touch_id(*id);
        }
        machine.moderation = Moderation::restored(&mut metadata, cx.now);
        machine.restrictions = Restrictions::restored(std::mem::take(&mut metadata.restrictions), cx.now);
        machine.take_values(metadata);
        machine.apply_limits();
        let staying = rest.as_ref().and_then(|rest| rest.staying.clone()).unwrap_or_default();
        let has_left = |id: &u8| !staying.members.iter().any(|member| member.id == *id);
        for id in contents.present.into_iter().filter(has_left) {
            if let Ok(leave) = Frame::new(Leave::TYPE, id, &[]) {
                // `Leave` messages are as small as the emergency space is large.
                let _ = machine.history.append_emergency(leave.as_bytes(), 1, EMERGENCY_BYTES);
            }
            machine.members.touch_id(id);
        }
        machine.resets.set_base(machine.history.size());
        machine.restore_times(times, cx.now);
        machine.first_join = FirstJoin::restored(awaits_join);
        machine.timers.begin_empty();
        if let Some((rest, indexes)) = rest.zip(indexes) {
            machine.resets.go_on(indexes.starts, rest.reset_base);
            machine.properties.set_started(rest.started);
            machine.timers.go_on(rest.expiry);
            if !rest.restrictions.is_empty() {
                machine.restrictions = rest.restrictions;
            }
        }
        machine.take_staying(*staying);
        machine.persistence.settings_known = Some(contents.settings.unwrap_or_default());
        machine.thumbnail.restore(picture.map(|(data, made)| Picture { data, made }));
        for warning in warnings {
            machine.note(Level::Warn, Topic::Status, format!("While loading: {warning}"), cx);
        }
        if machine.properties.force_nsfm(&machine.shared.settings) {
            machine.note(Level::Info, Topic::Status, "Forced NSFM after loading", cx);
        }
        machine
    }

    /// Creates a running session from a template.
    pub fn from_template(
        shared: ServerSettings,
        id: String,
        template: &Template,
        messages: Messages,
        cx: &mut Cx<'_>,
    ) -> SessionMachine {
        let Template { alias, metadata, protocol, .. } = template.clone();
        let mut machine = Self::new(shared, id, alias.clone(), protocol, metadata.founder.clone(), cx.now);
        let (password, opword) = (metadata.password.clone(), metadata.opword.clone());
        machine.take_values(metadata);
        machine.properties.begin_journal();
        machine.properties.force_nsfm(&machine.shared.settings);
        machine.take_template_password(PasswordKind::Session, &password);
        machine.take_template_password(PasswordKind::Operator, &opword);
        let announced = machine.announcements.wanted().iter().cloned().map(Entry::Announce);
        machine.persistence.extend(announced);
        machine.history = History::default();
        machine.apply_limits();
        machine.history.set_publishing(true);
        machine.resets.begin_running();
        machine.timers.begin_empty();
        machine.send_settings(cx);
        if machine.history.append(&messages.bytes, messages.count).is_err() {
            machine.note(Level::Warn, Topic::Status, "The template is larger than the size limit", cx);
        }
        machine.resets.set_base(machine.history.size());
        machine.begin_times(OriginKind::Hosted, cx.now);
        for warning in messages.warnings {
            machine.note(Level::Warn, Topic::Status, format!("Template {alias}: {warning}"), cx);
        }
        let text = format!("Session instantiated from template {alias}");
        machine.note(Level::Info, Topic::Status, text, cx);
        machine
    }

    /// A template's password is a hash, or else clear text.
    fn take_template_password(&mut self, kind: PasswordKind, text: &str) {
        if text.is_empty() {
            return;
        }
        if !password::is_hash(text) {
            return self.set_password(kind, text);
        }
        self.properties.set_password(kind, PasswordVerifier::stored(text));
        self.persistence.push(match kind {
            PasswordKind::Session => Entry::Password(text.to_owned()),
            PasswordKind::Operator => Entry::Opword(text.to_owned()),
        });
    }

    fn take_values(&mut self, mut metadata: Metadata) {
        self.properties.restore(&mut metadata, &self.shared.settings);
        self.announcements.restore(metadata.announcements);
    }

    /// The state to keep while the session is unloaded.
    pub fn rest(&self) -> Suspended {
        Suspended {
            staying: None,
            start_id: self.resets.start_ids().current(),
            start_ids: Some(self.resets.start_ids().clone()),
            first_index: self.history.first_index(),
            may_lack_messages: false,
            reset_base: Some(self.resets.base()),
            started: self.properties.started(),
            restrictions: self.restrictions.clone(),
            expiry: self.timers.expiry().clone(),
        }
    }
}

impl Suspended {
    /// State of a session that was found at start; `created_ms` and `last_use_ms` in milliseconds since 1970. The
    /// downtime of the server counts as idle time. `random` is for [`StartIds::at_start`]:
    /// zeros if the system has no randomness.
    pub fn at_start(now: Timestamp, created_ms: i64, last_use_ms: i64, random: [u8; 2]) -> Suspended {
        let start_id = StartIds::at_start(now.utc_ms, random);
        Suspended {
            start_id,
            start_ids: None,
            first_index: 0,
            may_lack_messages: true,
            reset_base: None,
            started: now.earlier(created_ms),
            restrictions: Restrictions::default(),
            staying: None,
            expiry: Expiry::found(now, now.earlier(last_use_ms)),
        }
    }

    /// The same of a session that another server hands over, with the members who stay.
    pub fn with_staying(self, staying: StayingMembers) -> Suspended {
        Suspended { staying: (!staying.members.is_empty()).then(|| Box::new(staying)), ..self }
    }

    /// The same without members who stay.
    pub fn without_staying(self) -> Suspended {
        Suspended { staying: None, ..self }
    }

    /// Whether members stay, whom another server hands over.
    pub fn has_staying(&self) -> bool {
        self.staying.is_some()
    }

    /// State after the session's actor has crashed: it stays for the users who were in it.
    pub fn after_accident(self, now: Timestamp) -> Suspended {
        let start_id = self.start_id.saturating_add(1).max(now.utc_ms / 1000);
        let expiry = self.expiry.after_accident(now);
        Suspended { start_id, start_ids: None, may_lack_messages: true, expiry, ..self }
    }

    /// The indexes of the history that is loaded with this number of messages, of which the journal has `stored`.
    pub(in crate::rules::session) fn indexes(
        &self,
        stored: Option<&HistoryIndexes>,
        messages: u64,
    ) -> HistoryIndexes {
        match stored {
            // Nothing was sent that is not stored, and members who stay are not told of another start id.
            Some(stored) if self.staying.is_some() => stored.clone(),
            Some(stored) if self.may_lack_messages => stored.reloaded(self.start_id, messages),
            _ => {
                let starts = self.start_ids.clone().unwrap_or_else(|| StartIds::new(self.start_id));
                HistoryIndexes { first: self.first_index, starts }
            }
        }
    }

    /// Session expiry of an unloaded session.
    pub fn is_over(
        &self,
        persistent: bool,
        idle_override: bool,
        shared: &ServerSettings,
        now: Timestamp,
    ) -> bool {
        let occupancy = Occupancy::of(true, persistent);
        self.expiry.verdict(&shared.settings, occupancy, idle_override, now).is_some()
    }
}

/// The description of an unloaded session.
pub fn stored_description(
    listed: &SessionSummary,
    shared: &ServerSettings,
    started: Timestamp,
) -> SessionDescription {
    let SessionSummary { id, metadata, protocol, size, .. } = listed;
    let (settings, flags) = (Arc::clone(&shared.settings), metadata.flags);
    SessionDescription {
        id: id.clone(),
        alias: metadata.alias.clone(),
        protocol: protocol.to_string(),
        user_count: 0,
        active_drawing_user_count: 0,
        max_user_count: metadata.max_users,
        founder: metadata.founder.clone(),
        title: metadata.title.clone(),
        autotitle: flags.auto_title,
        has_password: !metadata.password.is_empty(),
        closed: false,
        auth_only: flags.auth_only,
        nsfm: flags.nsfm || settings.force_nsfm,
        start_time: started.iso(),
        size: *size,
        persistent: flags.persistent,
        invites: flags.invites,
        unlisted: flags.unlisted,
        idle_override: settings.allow_idle_override.then_some(flags.idle_override),
        allow_web: shared.web_sockets.then_some(flags.allow_web),
        prefer_web_sockets: shared.web_sockets && settings.prefer_web_sockets,
    }
}
