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

use drawhall_protocol::command::{
    AnnounceSession, CommandError, ExportBans, GainOp, ImportBans, InviteCreate, InviteRemove, KickUser,
    KillSession, Mute, RawCommand, RemoveBan, Report, ResetSession, SessionCommand, StreamResetFinish,
    StreamResetStart, ThumbnailError, UnlistSession, UserRef,
};
use drawhall_protocol::reply::ServerReply;

use super::member::Member;
use super::{Cx, Effect, MemberKey, SessionMachine};

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
    pub(super) fn command(&mut self, key: MemberKey, raw: &RawCommand, cx: &mut Cx<'_>) {
        if let Err(reason) = self.try_command(key, raw, cx) {
            // An unknown command can be as long as a message; the reply must not be.
            let name = &raw.cmd[..raw.cmd.floor_char_boundary(MAX_NAME)];
            self.refuse(key, name, &reason, cx);
        }
    }

    /// Replies why a command is refused, unless the command has disconnected the member.
    fn refuse(&self, key: MemberKey, command: &str, reason: &str, cx: &mut Cx<'_>) {
        if let Some(member) = self.members.get(key) {
            self.reply_to(member.conn(), &ServerReply::command_error(command, reason), cx);
        }
    }

    /// The member that sent the command.
    fn sender(&self, key: MemberKey) -> Result<&Member, Refused> {
        self.members.get(key).ok_or(Refused::from("You are not in the session any more"))
    }

    fn try_command(&mut self, key: MemberKey, raw: &RawCommand, cx: &mut Cx<'_>) -> CommandResult {
        self.check_right(self.sender(key)?, &raw.cmd)?;
        let command = SessionCommand::parse(raw).map_err(|e| match e {
            CommandError::Unknown => Refused::from("Unknown command"),
            CommandError::Arguments(text) => Refused::from(text),
        })?;
        match command {
            SessionCommand::ReadyToAutoReset(ready) => {
                if self.sender(key)?.oldv {
                    return Err("Incompatible client".into());
                }
                self.ready_to_autoreset(key, &ready, cx);
                Ok(())
            }
            SessionCommand::InitBegin(_) => self.init_begin(key, cx),
            SessionCommand::InitComplete(_) => self.init_complete(key, cx),
            SessionCommand::InitCancel(_) => self.init_cancel(key, cx),
            SessionCommand::SessionConf(conf) => self.sessionconf(key, &conf, cx),
            SessionCommand::KickUser(KickUser { user, ban }) => self.kick_user(key, &user, ban, cx),
            SessionCommand::GainOp(GainOp { opword }) => self.gain_op(key, &opword, cx),
            SessionCommand::ResetSession(ResetSession { kind }) => self.reset_session(key, &kind, cx),
            SessionCommand::KillSession(KillSession { reason }) => self.kill_session(key, &reason, cx),
            SessionCommand::AnnounceSession(AnnounceSession { url, private }) => {
                self.announce_session(url, private, cx)
            }
            SessionCommand::UnlistSession(UnlistSession { url }) => {
                cx.push(Effect::Unlist { url });
                Ok(())
            }
            SessionCommand::RemoveBan(RemoveBan { id }) => self.remove_ban(key, id, cx),
            SessionCommand::Mute(Mute { user, muted }) => self.mute(key, &user, muted, cx),
            SessionCommand::Report(Report { user, reason, .. }) => self.report(key, user, &reason, cx),
            SessionCommand::ExportBans(ExportBans { plain }) => self.export_bans(key, plain, cx),
            SessionCommand::ImportBans(ImportBans { text }) => self.import_bans(key, &text, cx),
            SessionCommand::AuthList(list) => self.auth_list(key, list.changes, cx),
            SessionCommand::StreamResetStart(StreamResetStart { correlator }) => {
                self.start_stream(key, &correlator, cx).map_err(Refused::from)
            }
            SessionCommand::StreamResetAbort(_) => self.abort_stream(key, cx).map_err(Refused::from),
            SessionCommand::StreamResetFinish(StreamResetFinish { count }) => {
                self.finish_stream(key, count, cx).map_err(Refused::from)
            }
            SessionCommand::InviteCreate(InviteCreate { max_uses, trust, op }) => {
                self.invite_create(key, max_uses, trust, op, cx)
            }
            SessionCommand::InviteRemove(InviteRemove { secret }) => self.invite_remove(key, &secret, cx),
            SessionCommand::ThumbnailError(ThumbnailError { correlator, error }) => {
                self.thumbnail_failed(key, &correlator, &error, cx);
                Ok(())
            }
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
