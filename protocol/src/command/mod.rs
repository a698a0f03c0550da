//! Commands of clients: the JSON of `ServerCommand` messages from client to server.
//!
//! `{"cmd": "...", "args": [...], "kwargs": {...}}`, parsed leniently: a missing or mistyped member is empty, 0 or
//! false. [`RawCommand`] is the JSON; [`LoginCommand`] and [`SessionCommand`] are the commands of the two phases.
//! Sources: docs/spec/login.md#commands-and-replies, docs/spec/session.md#commands.
//!
//! A new command is a file with a struct that implements [`Command`], and a line in the table of its phase. The
//! compiler names the rest: the declaration of the file, and every match on the phase's enum that handles commands.

mod announcement;
mod auth_list;
mod ban_exchange;
mod capabilities;
mod cinfo;
mod gain_op;
mod host;
mod ident;
mod init;
mod invite;
mod join;
mod kick_user;
mod kill_session;
mod lookup;
mod mute;
mod raw;
mod ready_to_autoreset;
mod remove_ban;
mod report;
mod reset_session;
mod sessionconf;
mod start_tls;
mod stream_reset;
mod thumbnail_error;
mod user_ref;

pub use announcement::{AnnounceSession, UnlistSession};
pub use auth_list::{AuthChange, AuthList, MAX_AUTH_LIST};
pub use ban_exchange::{ExportBans, ImportBans};
pub use capabilities::Capabilities;
pub use cinfo::{Cinfo, ClientInfo};
pub use gain_op::GainOp;
pub use host::Host;
pub use ident::Ident;
pub use init::{InitBegin, InitCancel, InitComplete};
pub use invite::{InviteCreate, InviteRemove};
pub use join::Join;
pub use kick_user::KickUser;
pub use kill_session::KillSession;
pub use lookup::Lookup;
pub use mute::Mute;
pub use raw::{CommandError, RawCommand};
pub use ready_to_autoreset::ReadyToAutoReset;
pub use remove_ban::RemoveBan;
pub use report::Report;
pub use reset_session::ResetSession;
pub use sessionconf::{SessionConf, SizeValue};
pub use start_tls::StartTls;
pub use stream_reset::{StreamResetAbort, StreamResetFinish, StreamResetStart};
pub use thumbnail_error::ThumbnailError;
pub use user_ref::UserRef;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A command with its arguments.
pub trait Command: Sized {
    /// The command's name on the wire.
    const NAME: &'static str;

    /// Parses the arguments of a command of this name.
    ///
    /// # Errors
    /// When the number or type of positional arguments is wrong.
    fn parse(raw: &RawCommand) -> Result<Self, CommandError>;

    /// Adds the arguments to a command of this name without any.
    fn write(&self, raw: &mut RawCommand);

    /// The command as it is on the wire.
    fn to_raw(&self) -> RawCommand {
        let mut raw = RawCommand { cmd: Self::NAME.into(), ..Default::default() };
        self.write(&mut raw);
        raw
    }
}

/// Declares the enum of a phase from the table of its commands.
macro_rules! phase {
    ($(#[$meta:meta])* $phase:ident { $( $command:ident, )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "commands are few and short-lived")]
        #[allow(missing_docs, reason = "each command is documented at its struct")]
        pub enum $phase {
            $( $command($command), )*
        }

        impl $phase {
            /// The names of the commands.
            pub const NAMES: &[&str] = &[$( <$command as Command>::NAME, )*];

            /// Parses a command.
            ///
            /// # Errors
            /// When the command is unknown or its positional arguments are wrong.
            pub fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
                match raw.cmd.as_str() {
                    $( <$command as Command>::NAME => Command::parse(raw).map(Self::$command), )*
                    _ => Err(CommandError::Unknown),
                }
            }

            /// The command's name on the wire.
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$command(_) => <$command as Command>::NAME, )*
                }
            }

            /// The command as it is on the wire.
            pub fn to_raw(&self) -> RawCommand {
                match self {
                    $( Self::$command(command) => command.to_raw(), )*
                }
            }
        }

        $(
            impl From<$command> for $phase {
                fn from(command: $command) -> Self {
                    Self::$command(command)
                }
            }
        )*

        impl Serialize for $phase {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_raw().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $phase {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = RawCommand::deserialize(deserializer)?;
                Self::parse(&raw).map_err(serde::de::Error::custom)
            }
        }
    };
}

phase! {
    /// A command of the login phase.
    LoginCommand {
        StartTls,
        Cinfo,
        Lookup,
        Ident,
        Host,
        Join,
        Report,
    }
}

phase! {
    /// A command of a session.
    SessionCommand {
        ReadyToAutoReset,
        InitBegin,
        InitComplete,
        InitCancel,
        SessionConf,
        KickUser,
        GainOp,
        ResetSession,
        KillSession,
        AnnounceSession,
        UnlistSession,
        RemoveBan,
        Mute,
        Report,
        ExportBans,
        ImportBans,
        AuthList,
        StreamResetStart,
        StreamResetAbort,
        StreamResetFinish,
        InviteCreate,
        InviteRemove,
        ThumbnailError,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses a command of the type's name.
    pub(super) fn parse<C: Command>(json: &str) -> Result<C, CommandError> {
        let raw = RawCommand::parse(json.as_bytes());
        assert_eq!(raw.cmd, C::NAME);
        C::parse(&raw)
    }

    /// Checks that a command is written as this JSON, and that this JSON is parsed as the command.
    pub(super) fn assert_round_trip<C: Command + PartialEq + std::fmt::Debug>(command: &C, json: &str) {
        assert_eq!(serde_json::to_string(&command.to_raw()).unwrap(), json);
        assert_eq!(parse::<C>(json).as_ref(), Ok(command));
    }

    #[test]
    fn commands_are_found_by_their_names() {
        let named = |name: &str| RawCommand { cmd: name.into(), ..Default::default() };
        for name in LoginCommand::NAMES {
            assert_ne!(LoginCommand::parse(&named(name)), Err(CommandError::Unknown), "{name}");
        }
        for name in SessionCommand::NAMES {
            assert_ne!(SessionCommand::parse(&named(name)), Err(CommandError::Unknown), "{name}");
        }
        assert_eq!(LoginCommand::parse(&named("mute")), Err(CommandError::Unknown));
        assert_eq!(SessionCommand::parse(&named("join")), Err(CommandError::Unknown));
        assert_eq!(SessionCommand::parse(&RawCommand::default()), Err(CommandError::Unknown));
    }

    #[test]
    fn a_phase_writes_and_parses_its_commands() {
        let join = LoginCommand::from(Join { session: "x".into(), ..Default::default() });
        assert_eq!((join.name(), join.to_raw().args), ("join", vec!["x".into()]));
        let text = serde_json::to_string(&join).unwrap();
        assert_eq!(serde_json::from_str::<LoginCommand>(&text).unwrap(), join);
        let mute = SessionCommand::from(Mute { user: UserRef::Id(3), muted: true });
        let text = serde_json::to_string(&mute).unwrap();
        assert_eq!(serde_json::from_str::<SessionCommand>(&text).unwrap(), mute);
        assert!(serde_json::from_str::<LoginCommand>(&text).is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            args in prop::collection::vec("null|0|-1\\.5|true|\"a\"|\\[7\\]|\\{\"a\":1\\}", 0..4),
        ) {
            let raw = RawCommand::parse(&bytes);
            let _ = (LoginCommand::parse(&raw), SessionCommand::parse(&raw));
            for name in LoginCommand::NAMES.iter().chain(SessionCommand::NAMES) {
                let json = format!(r#"{{"cmd":"{name}","args":[{}]}}"#, args.join(","));
                let raw = RawCommand::parse(json.as_bytes());
                prop_assert_eq!(&raw.cmd, name);
                let _ = (LoginCommand::parse(&raw), SessionCommand::parse(&raw));
            }
        }
    }
}
