//! Commands of clients in a session, one file each: right, arguments, effect. Source: docs/spec/session.md#commands.

mod announce;
mod auth_list;
pub mod ban_exchange;
pub mod gain_op;
mod invite;
mod kick_user;
mod kill_session;
mod mute;
mod remove_ban;
pub(super) mod report;
mod reset_session;
mod sessionconf;
mod upload;

use drawhall_protocol::command::{CommandError, RawCommand, ServerCommand, UserRef};
use drawhall_protocol::reply::ServerReply;

use super::member::Member;
use super::{Effects, MemberKey, SessionMachine};
use crate::rules::time::Timestamp;

/// Reason of a refusal, shown to the user.
pub(super) type Refused = std::borrow::Cow<'static, str>;
/// Result of a command; a refusal is shown as `<command>: <reason>`.
pub(super) type CommandResult = Result<(), Refused>;

/// Maximum length of a command name in a refusal, in bytes.
const MAX_NAME: usize = 100;

/// The right to use a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Anybody,
    Deputy,
    Operator,
    Moderator,
}

fn right_of(command: &str) -> Option<Right> {
    Some(match command {
        "gain-op" | "report" | "thumbnail-error" => Right::Anybody,
        "kick-user" => Right::Deputy,
        "kill-session" => Right::Moderator,
        "ready-to-autoreset"
        | "init-begin"
        | "init-complete"
        | "init-cancel"
        | "sessionconf"
        | "reset-session"
        | "announce-session"
        | "unlist-session"
        | "remove-ban"
        | "mute"
        | "export-bans"
        | "import-bans"
        | "auth-list"
        | "stream-reset-start"
        | "stream-reset-abort"
        | "stream-reset-finish"
        | "invite-create"
        | "invite-remove" => Right::Operator,
        _ => return None,
    })
}

impl SessionMachine {
    /// Executes a command, or replies why not.
    pub(super) fn command(
        &mut self,
        key: MemberKey,
        raw: &RawCommand,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        if let Err(reason) = self.try_command(key, raw, now, effects) {
            // An unknown command can be as long as a message; the reply must not be.
            let name = &raw.cmd[..raw.cmd.floor_char_boundary(MAX_NAME)];
            self.refuse(key, name, &reason, effects);
        }
    }

    /// Replies why a command is refused, unless the command has disconnected the member.
    fn refuse(&self, key: MemberKey, command: &str, reason: &str, effects: &mut Effects) {
        if let Some(member) = self.members.get(key) {
            self.reply_to(member.conn(), &ServerReply::command_error(command, reason), effects);
        }
    }

    /// The member that sent the command.
    fn sender(&self, key: MemberKey) -> Result<&Member, Refused> {
        self.members.get(key).ok_or(Refused::from("You are not in the session any more"))
    }

    fn try_command(
        &mut self,
        key: MemberKey,
        raw: &RawCommand,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        self.check_right(self.sender(key)?, &raw.cmd)?;
        let command = ServerCommand::session(raw).map_err(|e| match e {
            CommandError::Unknown => Refused::from("Unknown command"),
            CommandError::Arguments(text) => Refused::from(text),
        })?;
        match command {
            ServerCommand::ReadyToAutoReset(ready) => {
                if self.sender(key)?.oldv {
                    return Err("Incompatible client".into());
                }
                self.ready_to_autoreset(key, &ready, now, effects);
                Ok(())
            }
            ServerCommand::InitBegin => self.init_begin(key, now, effects),
            ServerCommand::InitComplete => self.init_complete(key, now, effects),
            ServerCommand::InitCancel => self.init_cancel(key, now, effects),
            ServerCommand::SessionConf(conf) => self.sessionconf(key, &conf, now, effects),
            ServerCommand::KickUser { user, ban } => self.kick_user(key, &user, ban, now, effects),
            ServerCommand::GainOp { opword } => self.gain_op(key, &opword, now, effects),
            ServerCommand::ResetSession { kind } => self.reset_session(key, &kind, now, effects),
            ServerCommand::KillSession { reason } => self.kill_session(key, &reason, now, effects),
            ServerCommand::AnnounceSession { url, private } => {
                self.announce_session(url, private, now, effects)
            }
            ServerCommand::UnlistSession { url } => {
                effects.listing.push((url, false));
                Ok(())
            }
            ServerCommand::RemoveBan { id } => self.remove_ban(key, id, now, effects),
            ServerCommand::Mute { user, muted } => self.mute(key, &user, muted, now, effects),
            ServerCommand::Report { user, reason, .. } => self.report(key, user, &reason, now, effects),
            ServerCommand::ExportBans { plain } => self.export_bans(key, plain, effects),
            ServerCommand::ImportBans { text } => self.import_bans(key, &text, now, effects),
            ServerCommand::AuthList(list) => self.auth_list(key, list, now, effects),
            ServerCommand::StreamResetStart { correlator } => {
                self.start_stream(key, &correlator, now, effects).map_err(Refused::from)
            }
            ServerCommand::StreamResetAbort => self.abort_stream(key, now, effects).map_err(Refused::from),
            ServerCommand::StreamResetFinish { count } => {
                self.finish_stream(key, count, now, effects).map_err(Refused::from)
            }
            ServerCommand::InviteCreate { max_uses, trust, op } => {
                self.invite_create(key, max_uses, trust, op, now, effects)
            }
            ServerCommand::InviteRemove { secret } => self.invite_remove(key, &secret, now, effects),
            ServerCommand::ThumbnailError { correlator, error } => {
                self.thumbnail_failed(key, &correlator, &error, now, effects);
                Ok(())
            }
            _ => Err("Unknown command".into()),
        }
    }

    fn check_right(&self, member: &Member, command: &str) -> CommandResult {
        let refusal = match right_of(command) {
            None => "Unknown command",
            Some(Right::Moderator) if !member.is_moderator() => "Not a moderator",
            Some(Right::Operator) if !member.is_operator() => "Not a session owner",
            Some(Right::Deputy) if !member.is_operator() && !self.is_deputy(member) => {
                "Not a session owner or a deputy"
            }
            Some(_) => return Ok(()),
        };
        Err(refusal.into())
    }

    fn is_deputy(&self, member: &Member) -> bool {
        self.flags.deputies && member.trusted && !member.is_operator()
    }

    /// The user named by a command.
    fn named_user(&self, user: &UserRef) -> Result<MemberKey, Refused> {
        let found = match user {
            UserRef::Id(id) if !(1..=254).contains(id) => return Err(format!("invalid user id: {id}").into()),
            UserRef::Id(id) => self.members.iter().find(|m| i64::from(m.id) == *id),
            UserRef::Name(name) => self.member_by_name(name),
            UserRef::Invalid => return Err("invalid user ID or name".into()),
        };
        found.map(Member::key).ok_or("user not found".into())
    }
}
