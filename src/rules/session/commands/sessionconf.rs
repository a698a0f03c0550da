//! `sessionconf`: changes session settings. Each has a right of its own.

use drawhall_protocol::command::{SessionConf, SizeValue};
use drawhall_protocol::reply::{ConfPart, PasswordChange, ServerReply};

use super::{CommandResult, Cx, MemberKey, Perform, Right, SessionMachine};
use crate::config::{MAX_USER_LIMIT, MIN_USER_LIMIT, parse_size};
use crate::log::{Level, LogUser, Topic};
use crate::rules::session::PasswordKind;
use crate::rules::session::admin::{ADMINISTRATOR, AdminError};
use crate::rules::session::member::Member;
use crate::rules::session::{ConnId, DisconnectReason, MAX_TITLE};
use crate::rules::username;

/// Maximum length of a password in bytes.
const MAX_PASSWORD: usize = 10_000;

/// Changes, for the log.
type Changes = Vec<String>;

/// Who changes settings, with the rights that matter.
struct Editor {
    /// `None` for an administrator.
    key: Option<MemberKey>,
    user: Option<LogUser>,
    name: String,
    moderator: bool,
    authenticated: bool,
    /// May make sessions persistent.
    persists: bool,
    browser: bool,
    /// May open sessions to browsers.
    manages_web: bool,
}

impl Perform for SessionConf {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.sessionconf(sender, &self, cx)
    }
}

impl SessionMachine {
    pub(super) fn sessionconf(
        &mut self,
        key: MemberKey,
        conf: &SessionConf,
        cx: &mut Cx<'_>,
    ) -> CommandResult {
        let member = self.sender(key)?;
        let editor = Editor {
            key: Some(key),
            user: Some(member.log_user()),
            name: member.name().to_owned(),
            moderator: member.is_moderator(),
            authenticated: member.is_authenticated(),
            persists: member.is_moderator() || member.has_flag("PERSIST") || self.shared.settings.persistence,
            browser: member.client.browser,
            manages_web: member.has_flag("WEBSESSION"),
        };
        if password_too_long(conf) {
            return Err("Password too long".into());
        }
        if conf.closed == Some(true) {
            self.refuse_closing(member.conn(), cx);
        }
        self.edit(&editor, conf, cx);
        Ok(())
    }

    /// Changes settings for an administrator.
    ///
    /// # Errors
    /// When a password does not fit into a message.
    pub(in crate::rules::session) fn configure(
        &mut self,
        conf: &SessionConf,
        cx: &mut Cx<'_>,
    ) -> Result<(), AdminError> {
        if password_too_long(conf) {
            return Err(AdminError::PasswordTooLong);
        }
        let editor = Editor {
            key: None,
            user: None,
            name: ADMINISTRATOR.into(),
            moderator: true,
            authenticated: true,
            persists: true,
            browser: false,
            manages_web: true,
        };
        self.edit(&editor, conf, cx);
        Ok(())
    }

    fn edit(&mut self, editor: &Editor, conf: &SessionConf, cx: &mut Cx<'_>) {
        let moderator = editor.moderator;
        if let Some(archive) = conf.archive.filter(|_| moderator) {
            self.conf_archive(editor, archive, cx);
        }
        let mut changes = Changes::new();
        self.conf_access(editor, conf, &mut changes);
        self.conf_names(editor, conf, &mut changes, cx);
        self.conf_limits(conf, moderator, &mut changes);
        self.conf_switches(conf, moderator, &mut changes);
        let password = self.conf_web_and_password(editor, conf, &mut changes, cx);
        if changes.is_empty() {
            return;
        }
        self.send_settings(cx);
        if let Some(password) = password {
            let change = ServerReply::PasswordChange(PasswordChange { password });
            for member in self.members.iter().filter(|m| !m.invited) {
                self.reply_to(member.conn(), &change, cx);
            }
        }
        let mut text = changes.join(", ");
        text[..1].make_ascii_uppercase();
        self.note_by(editor.user.clone(), Level::Info, text, cx);
    }

    fn conf_archive(&mut self, editor: &Editor, archive: Option<bool>, cx: &mut Cx<'_>) {
        if archive == self.properties.archive() {
            return;
        }
        self.properties.set_archive(archive);
        let mode = match archive {
            Some(true) => "enabled",
            Some(false) => "disabled",
            None => "default",
        };
        self.note_by(editor.user.clone(), Level::Info, format!("Set archive mode {mode}"), cx);
    }

    fn note_by(&mut self, user: Option<LogUser>, level: Level, text: String, cx: &mut Cx<'_>) {
        match user {
            Some(user) => self.note_about(user, level, Topic::Status, text, cx),
            None => self.note(level, Topic::Status, text, cx),
        }
    }

    /// Sessions can no longer be closed; the client's switch is reset.
    fn refuse_closing(&self, conn: ConnId, cx: &mut Cx<'_>) {
        let message = "Blocking new joins is not supported by this server. Set or change the session password \
                       instead.";
        let notice = drawhall_protocol::reply::Notice {
            message: message.into(),
            key: "closeunsupported".into(),
            ..Default::default()
        };
        self.reply_to(conn, &ServerReply::Alert(notice), cx);
        self.reply_to(conn, &ServerReply::part(ConfPart::Closed(Some(true))), cx);
        self.reply_to(conn, &ServerReply::part(ConfPart::Closed(None)), cx);
    }

    fn conf_access(&mut self, editor: &Editor, conf: &SessionConf, changes: &mut Changes) {
        if let Some(on) = conf.auth_only
            && (!on || editor.authenticated)
        {
            self.properties.flags_mut().auth_only = on;
            changes.push(if on { "blocked guest logins" } else { "permitted guest logins" }.into());
        }
        if let Some(on) = conf.persistent
            && editor.persists
        {
            self.properties.flags_mut().persistent = on;
            changes.push(if on { "made persistent" } else { "made nonpersistent" }.into());
        }
    }

    fn conf_names(&mut self, editor: &Editor, conf: &SessionConf, changes: &mut Changes, cx: &mut Cx<'_>) {
        let moderator = editor.moderator;
        let founder = conf.founder.as_ref().filter(|_| moderator);
        if let Some(founder) = founder {
            self.properties.set_founder(cut(&username::clean(founder)));
            changes.push("changed founder".into());
        }
        let was_auto = self.properties.flags().auto_title;
        if (founder.is_some() && was_auto) || conf.autotitle == Some(true) {
            self.properties.flags_mut().auto_title = true;
            let title = self.automatic_title();
            if self.properties.set_title(title) {
                changes.push(format!("changed autotitle to '{}'", self.properties.title()));
            } else if !was_auto {
                changes.push("enabled autotitle".into());
            }
            return;
        }
        let Some(title) = &conf.title else { return };
        let title = cut(&without_controls(title));
        if moderator || !self.shared.names.forbids(&title) {
            self.properties.flags_mut().auto_title = false;
            if self.properties.set_title(title) {
                changes.push(format!("changed title to '{}'", self.properties.title()));
            } else if was_auto {
                changes.push("disabled autotitle".into());
            }
            return;
        }
        if let Some(key) = editor.key {
            self.rule_break(key, format!("Attempt to set forbidden name '{title}'"), cx);
        }
        if !was_auto {
            self.properties.flags_mut().auto_title = true;
            let title = self.automatic_title();
            if self.properties.set_title(title) {
                changes.push(format!(
                    "changed autotitle to '{}' due to forbidden title",
                    self.properties.title()
                ));
            } else {
                changes.push("enabled autotitle due to forbidden title".into());
            }
        }
    }

    fn automatic_title(&self) -> String {
        let title = cut(&format!("{} Drawpile", self.properties.founder()));
        if self.shared.names.forbids(&title) { "Drawpile".into() } else { title }
    }

    fn conf_limits(&mut self, conf: &SessionConf, moderator: bool, changes: &mut Changes) {
        if let Some(count) = conf.max_user_count {
            let wanted = count.clamp(MIN_USER_LIMIT.into(), MAX_USER_LIMIT.into()) as u32;
            let highest = self.properties.max_users().max(self.shared.settings.session_user_limit);
            self.properties.set_max_users(if moderator { wanted } else { wanted.min(highest) });
            changes.push("changed max. user count".into());
        }
        if let Some(bytes) = conf.reset_threshold.as_ref().and_then(bytes_of) {
            self.properties.set_autoreset_threshold(bytes, &self.shared.settings);
            changes.push("changed autoreset threshold".into());
        }
        if let Some(size) = conf.override_size.as_ref().filter(|_| moderator) {
            self.properties.set_override_size(bytes_of(size).unwrap_or(0));
            self.apply_limits();
            changes.push("changed override size limit".into());
        }
    }

    fn conf_switches(&mut self, conf: &SessionConf, moderator: bool, changes: &mut Changes) {
        if let Some(opword) = &conf.opword {
            self.set_password(PasswordKind::Operator, opword);
            changes.push("changed opword".into());
        }
        let settings = &self.shared.settings;
        let flags = self.properties.flags_mut();
        let mut switch = |flag: &mut bool, value: Option<bool>, on: &str, off: &str| {
            if let Some(value) = value {
                *flag = value;
                changes.push(if value { on } else { off }.to_owned());
            }
        };
        switch(&mut flags.preserve_chat, conf.preserve_chat, "preserve chat", "don't preserve chat");
        if settings.force_nsfm {
            let forced = (!flags.nsfm).then_some(true);
            switch(&mut flags.nsfm, forced, "forced NSFM", "");
        } else {
            switch(&mut flags.nsfm, conf.nsfm, "tagged NSFM", "removed NSFM tag");
        }
        switch(&mut flags.deputies, conf.deputies, "enabled deputies", "disabled deputies");
        if !moderator {
            return;
        }
        let idle = conf.idle_override.filter(|_| settings.allow_idle_override);
        switch(&mut flags.idle_override, idle, "enabled idle override", "disabled idle override");
        switch(&mut flags.invites, conf.invites, "enabled invites", "disabled invites");
        let unlisted = conf.unlisted.filter(|on| *on != flags.unlisted);
        switch(&mut flags.unlisted, unlisted, "unlisted", "listed");
    }

    /// Returns the new password, if changed.
    fn conf_web_and_password(
        &mut self,
        editor: &Editor,
        conf: &SessionConf,
        changes: &mut Changes,
        cx: &mut Cx<'_>,
    ) -> Option<String> {
        let (browser, manages) = (editor.browser, editor.manages_web);
        let allow_web = conf.allow_web.filter(|_| manages);
        if let Some(on) = allow_web
            && (on || !browser)
        {
            self.properties.flags_mut().allow_web = on;
            changes
                .push(if on { "enabled browser connections" } else { "disabled browser connections" }.into());
        }
        let password = conf.password.clone()?;
        if allow_web.is_none() && self.shared.settings.password_dependent_web_session {
            let removed = password.is_empty();
            if !removed && !self.properties.flags().allow_web {
                self.properties.flags_mut().allow_web = true;
                changes.push("enabled browser connections because password is set".into());
            } else if removed && self.properties.flags().allow_web && !manages {
                if browser {
                    return None;
                }
                self.properties.flags_mut().allow_web = false;
                self.kick_browsers(editor, cx);
                changes.push("disabled browser connections because no password is set".into());
            }
        }
        self.set_password(PasswordKind::Session, &password);
        changes.push("changed password".into());
        Some(password)
    }

    /// Disconnects browser users without an invite: a session without a password is closed to them.
    fn kick_browsers(&mut self, by: &Editor, cx: &mut Cx<'_>) {
        let name = &by.name;
        let kicked =
            |m: &&Member| Some(m.key()) != by.key && !m.is_moderator() && m.client.browser && !m.invited;
        let keys: Vec<MemberKey> = self.members.iter().filter(kicked).map(Member::key).collect();
        if keys.is_empty() {
            return;
        }
        let text = format!(
            "Session password removed by {name}. This server doesn't allow web browsers in public sessions, they \
             will be disconnected."
        );
        self.notice(true, "kickwebusers", text, &[("by", name)], "", cx);
        let text = format!(
            "Web browser clients are only allowed on sessions with a password, but {name} removed it."
        );
        for key in keys {
            self.disconnect(key, DisconnectReason::Shutdown, &text, "", cx);
        }
    }
}

/// Whether a password does not fit into the message that tells it to members.
fn password_too_long(conf: &SessionConf) -> bool {
    [&conf.password, &conf.opword].into_iter().flatten().any(|password| password.len() > MAX_PASSWORD)
}

fn bytes_of(size: &SizeValue) -> Option<u64> {
    match size {
        SizeValue::Bytes(bytes) => u64::try_from(*bytes).ok(),
        SizeValue::Text(text) => parse_size(text),
        SizeValue::Invalid => None,
    }
    .map(|bytes| bytes.min(i32::MAX as u64))
}

/// Removes control characters, which could forge entries of journals and logs.
fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn cut(title: &str) -> String {
    let mut units = 0;
    let fits = |c: &char| {
        units += c.len_utf16();
        units <= MAX_TITLE
    };
    title.chars().take_while(fits).collect()
}
