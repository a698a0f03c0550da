//! Commands of clients in a session, one file each: right, arguments, effect. Source: docs/spec/session.md#commands.

mod announce;
mod auth_list;
pub mod ban_exchange;
pub mod gain_op;
mod invite;
mod kick_user;
mod kill_session;
mod mute;
mod ready_to_autoreset;
mod remove_ban;
pub(super) mod report;
mod reset_session;
mod sessionconf;
mod stream_reset;
mod thumbnail_error;
mod upload;

use drawhall_protocol::command::{
    AnnounceSession, AuthList, Command, CommandError, ExportBans, GainOp, ImportBans, InitBegin, InitCancel,
    InitComplete, InviteCreate, InviteRemove, KickUser, KillSession, Mute, RawCommand, ReadyToAutoReset,
    RemoveBan, Report, ResetSession, SessionCommand, SessionConf, StreamResetAbort, StreamResetFinish,
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

/// What a command of a session does, and who may use it.
trait Perform: Command {
    /// Checked before the arguments are.
    const RIGHT: Right;

    /// Does it, for a member that has the right.
    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult;
}

/// Declares what is known of all commands.
macro_rules! table {
    ($( $command:ident, )*) => {
        /// The right to use the command of this name; `None` if there is none.
        fn right_of(name: &str) -> Option<Right> {
            match name {
                $( $command::NAME => Some($command::RIGHT), )*
                _ => None,
            }
        }

        fn perform(
            command: SessionCommand,
            session: &mut SessionMachine,
            sender: MemberKey,
            cx: &mut Cx<'_>,
        ) -> CommandResult {
            match command {
                $( SessionCommand::$command(command) => command.perform(session, sender, cx), )*
            }
        }
    };
}

table! {
    AnnounceSession,
    AuthList,
    ExportBans,
    GainOp,
    ImportBans,
    InitBegin,
    InitCancel,
    InitComplete,
    InviteCreate,
    InviteRemove,
    KickUser,
    KillSession,
    Mute,
    ReadyToAutoReset,
    RemoveBan,
    Report,
    ResetSession,
    SessionConf,
    StreamResetAbort,
    StreamResetFinish,
    StreamResetStart,
    ThumbnailError,
    UnlistSession,
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
        perform(command, self, key, cx)
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
        self.properties.flags().deputies && member.trusted && !member.is_operator()
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
