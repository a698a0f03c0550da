//! A session's description for lists, its settings, and its log as members see it.

use bytes::Bytes;
use drawhall_protocol::reply::{
    Config, FullConfig, LogReply, ServerReply, SessionConfReply, SessionDescription, Status,
};

use super::{ACTIVE_DRAWING_MS, Cx, Effect, SessionMachine};
use crate::log::LogEntry;
use crate::rules::time::{Timestamp, iso_of};

/// Maximum length of a log entry's text for members, in bytes.
const MAX_SHOWN: usize = 1000;

/// A log entry as a reply, without the user's address and truncated to [`MAX_SHOWN`].
pub(super) fn log_frame(entry: &LogEntry) -> Option<Bytes> {
    let shown = &entry.message[..entry.message.floor_char_boundary(MAX_SHOWN)];
    let reply = ServerReply::Log(LogReply {
        timestamp: iso_of(entry.utc_ms),
        level: format!("{:?}", entry.level),
        topic: entry.topic.name().into(),
        user: entry.user.as_ref().map_or(String::new(), |u| format!("{};{}", u.id, u.name)),
        message: if shown.len() < entry.message.len() { format!("{shown}...") } else { shown.to_owned() },
    });
    reply.to_frame().ok().map(drawhall_protocol::Frame::into_bytes)
}

impl SessionMachine {
    /// The description for session lists. `invited`: as a client with an invite sees it.
    pub fn description(&self, invited: bool, now: Timestamp) -> SessionDescription {
        let settings = &self.shared.settings;
        let flags = self.properties.flags();
        let drawing = |at: i64| now.utc_ms - at <= ACTIVE_DRAWING_MS;
        let active = self.members.iter().filter(|m| m.last_drawing.is_some_and(drawing)).count();
        SessionDescription {
            id: self.properties.id().to_owned(),
            alias: self.properties.alias().to_owned(),
            protocol: self.properties.protocol().to_string(),
            user_count: self.members.len() as u32,
            active_drawing_user_count: active as u32,
            max_user_count: self.properties.max_users(),
            founder: self.properties.founder().to_owned(),
            title: self.properties.title().to_owned(),
            autotitle: flags.auto_title,
            has_password: !invited && self.properties.has_password(),
            closed: self.is_closed(),
            auth_only: !invited && flags.auth_only,
            nsfm: flags.nsfm,
            start_time: self.properties.started().iso(),
            size: self.history.size(),
            persistent: flags.persistent,
            invites: flags.invites,
            unlisted: flags.unlisted,
            idle_override: settings.allow_idle_override.then_some(flags.idle_override),
            allow_web: self.shared.web_sockets.then_some(invited || flags.allow_web),
            prefer_web_sockets: self.shared.web_sockets && settings.prefer_web_sockets,
        }
    }

    /// Writes all settings to the history and updates session lists.
    pub(super) fn send_settings(&mut self, cx: &mut Cx<'_>) {
        let config = Config::Full(Box::new(self.full_config()));
        let reply = ServerReply::SessionConf(SessionConfReply { config, hidx: self.history_index(false, 0) });
        self.reply_to_history(&reply, cx);
        cx.push(Effect::DescriptionChanged);
    }

    pub(super) fn full_config(&self) -> FullConfig {
        let settings = &self.shared.settings;
        let flags = self.properties.flags();
        FullConfig {
            closed: (),
            auth_only: flags.auth_only,
            persistent: flags.persistent,
            title: self.properties.title().to_owned(),
            autotitle: flags.auto_title,
            max_user_count: self.properties.max_users(),
            reset_threshold: self.properties.autoreset_threshold(),
            reset_threshold_base: self.resets.base(),
            reset_threshold_min: settings.minimum_autoreset_threshold,
            preserve_chat: flags.preserve_chat,
            nsfm: flags.nsfm,
            deputies: flags.deputies,
            has_password: self.properties.has_password(),
            has_opword: self.properties.has_opword(),
            idle_override: flags.idle_override,
            invites: flags.invites,
            force_nsfm: settings.force_nsfm,
            idle_time_limit: settings.idle_time_limit.0,
            allow_idle_override: settings.allow_idle_override,
            max_size: self.history.limit(),
            allow_web: self.shared.web_sockets.then_some(flags.allow_web),
            prefer_web_sockets: self.shared.web_sockets.then_some(settings.prefer_web_sockets),
        }
    }

    /// Tells members the size of the history.
    pub(super) fn send_status(&mut self, forced_index: bool, cx: &mut Cx<'_>) {
        let hidx = self.history_index(forced_index, 1);
        self.to_all(&ServerReply::Status(Status { size: self.history.size(), hidx }), cx);
        self.timers.status_sent(cx.now);
    }
}
