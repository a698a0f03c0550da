//! Replies of the server: the JSON of `ServerCommand` messages from server to client.
//!
//! Written exactly as clients expect it, without members that do not apply; parsed leniently. Sources:
//! docs/spec/login.md#commands-and-replies, docs/spec/session.md#replies.
//!
//! A new reply is a file with its members, and a variant of [`ServerReply`], by which its type is named.

/// Declares the members of a reply: each is parsed leniently.
macro_rules! members {
    ($(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $( $(#[$field_meta])* #[serde(default, deserialize_with = "crate::lenient::or_default")] pub $field: $ty, )*
        }
    };
}

mod autoreset;
mod banimpex;
mod catchup;
mod conf_entries;
mod error;
mod invitecreated;
mod log;
mod login;
mod notice;
mod outofspace;
mod passwordchange;
mod reset;
mod result;
mod session_description;
mod sessionconf;
mod sizelimit;
mod status;
mod stream_reset;
mod thumbnail;

pub use autoreset::AutoReset;
pub use banimpex::BanImpEx;
pub use catchup::{Catchup, CaughtUp};
pub use conf_entries::{AnnouncementEntry, AuthEntry, BanEntry, InviteEntry, InviteUse};
pub use error::ErrorReply;
pub use invitecreated::InviteCreated;
pub use log::LogReply;
pub use login::{LoginReply, Method, Methods};
pub use notice::Notice;
pub use outofspace::Empty;
pub use passwordchange::PasswordChange;
pub use reset::Reset;
pub use result::{ClientInfoResult, JoinResult, ResultReply};
pub use session_description::SessionDescription;
pub use sessionconf::{ConfPart, Config, FullConfig, SessionConfReply};
pub use sizelimit::SizeLimit;
pub use status::Status;
pub use stream_reset::{StreamProgress, StreamStart};
pub use thumbnail::Thumbnail;

use serde::{Deserialize, Serialize};

use crate::frame::{Frame, PayloadTooLong};
use crate::message::ServerCommand as ServerCommandMessage;

/// A reply of the login phase or of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServerReply {
    /// Greeting, welcome, and updates of the session list.
    Login(Box<LoginReply>),
    /// Success of a login command.
    Result(Box<ResultReply>),
    /// Failure of a login command, or refusal of a session command.
    Error(ErrorReply),
    /// A message for the user.
    Msg(Notice),
    /// A message that clients display prominently.
    Alert(Notice),
    /// An entry of the session's log.
    Log(LogReply),
    /// Session settings, all or some.
    SessionConf(SessionConfReply),
    /// Number of history messages that follow.
    Catchup(Catchup),
    /// End of the history messages that were announced.
    CaughtUp(CaughtUp),
    /// Size of the history.
    Status(Status),
    /// State of a reset.
    Reset(Reset),
    /// Query for clients that can perform an autoreset, or the request for one.
    AutoReset(AutoReset),
    /// The session exceeds its autoreset threshold (for 2.0 clients).
    SizeLimit(SizeLimit),
    /// A streamed reset has begun.
    SStart(StreamStart),
    /// Acknowledgement of a chunk of a streamed reset.
    SProgress(StreamProgress),
    /// The session has reached its size limit.
    OutOfSpace(Empty),
    /// The session password has changed.
    PasswordChange(PasswordChange),
    /// An invite was created.
    InviteCreated(InviteCreated),
    /// Result of a ban list export or import.
    BanImpEx(BanImpEx),
    /// Request for a thumbnail.
    Thumbnail(Thumbnail),
    /// A type that this crate does not know.
    #[serde(other)]
    Unknown,
}

impl ServerReply {
    /// Parses a payload. Anything invalid becomes [`ServerReply::Unknown`].
    pub fn parse(payload: &[u8]) -> ServerReply {
        crate::lenient::from_json(payload).unwrap_or(ServerReply::Unknown)
    }

    /// Encodes the reply as a frame from the server (user id 0).
    ///
    /// # Errors
    /// When the JSON is longer than 65535 bytes.
    pub fn to_frame(&self) -> Result<Frame, PayloadTooLong> {
        self.to_frame_of(0)
    }

    /// Encodes the reply as a frame with a user id, as for `sstart`.
    ///
    /// # Errors
    /// When the JSON is longer than 65535 bytes.
    pub fn to_frame_of(&self, user: u8) -> Result<Frame, PayloadTooLong> {
        // Serializing maps with text keys to memory cannot fail.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Frame::new(ServerCommandMessage::TYPE, user, &json)
    }

    /// The refusal of a session command.
    pub fn command_error(command: &str, reason: &str) -> ServerReply {
        Self::Error(ErrorReply { message: format!("{command}: {reason}"), code: String::new() })
    }

    /// A `sessionconf` with some settings.
    pub fn part(part: ConfPart) -> ServerReply {
        Self::SessionConf(SessionConfReply { config: Config::Part(part), hidx: None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Checks that a reply is written as this JSON, and that this JSON is parsed as the reply.
    pub(super) fn assert_round_trip(reply: &ServerReply, json: &str) {
        assert_eq!(serde_json::to_string(reply).unwrap(), json);
        assert_eq!(&ServerReply::parse(json.as_bytes()), reply);
    }

    #[test]
    fn members_that_are_missing_have_their_default() {
        let types = "login result error msg alert log catchup caughtup status sessionconf reset autoreset sizelimit \
             sstart sprogress outofspace passwordchange invitecreated banimpex thumbnail";
        for name in types.split_whitespace() {
            let found = ServerReply::parse(json!({ "type": name }).to_string().as_bytes());
            assert_ne!(found, ServerReply::Unknown, "{name}");
            assert_eq!(serde_json::to_value(found).unwrap()["type"], name);
        }
    }

    #[test]
    fn an_unknown_type_is_no_error() {
        assert_eq!(ServerReply::parse(br#"{"type":"newthing"}"#), ServerReply::Unknown);
        assert_eq!(ServerReply::parse(b"nonsense"), ServerReply::Unknown);
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerReply::parse(&bytes);
        }
    }
}
