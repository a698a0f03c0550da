//! What the admin API asks of a session.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rules::session::ConnId;
use crate::rules::session::UndoRequest;
use crate::rules::session::restrictions::RestrictionKind;
use crate::rules::session::thumbnail::PictureWish;

/// An operation of the admin API on a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AdminRequest {
    /// Full description.
    Describe,
    /// Settings by key as in `sessionconf`, optionally with `message` and `alert`.
    Configure(Map<String, Value>),
    /// Message or alert to everybody; empty ones are not sent.
    Tell {
        message: String,
        /// Shown as an alert.
        alert: String,
    },
    /// End the session.
    End {
        /// Reason for users, empty without.
        reason: String,
        /// End silently: users are not told and keep their connections.
        quiet: bool,
    },
    Invites,
    CreateInvite {
        max_uses: i64,
        /// Users who join with it are trusted.
        trust: bool,
        /// Users who join with it become operator.
        op: bool,
    },
    Invite(String),
    RemoveInvite(String),
    User(u8),
    /// Role of a user, and messages to it.
    ChangeUser(u8, Map<String, Value>),
    /// Kick by user id, with a message.
    KickUser(u8, String),
    /// Kick by connection, with a message.
    KickConnection(ConnId, String),
    /// Disconnect somebody who was banned from the server, with the message to the banned.
    DisconnectBanned(ConnId, String),
    /// Checks the session password or the operator password.
    CheckPassword {
        opword: bool,
        password: String,
    },
    Thumbnail,
    /// Deletes the thumbnail, or cancels the pending request for one.
    ForgetThumbnail {
        picture: bool,
        generation: bool,
    },
    /// Requests a thumbnail from a user's client.
    AskThumbnail(u8, PictureWish),
    /// Cancels the request to a user's client.
    CancelThumbnail(u8),
    /// Joins the chat.
    JoinChat {
        /// First message, empty for none.
        message: String,
        /// Leaves the chat after this time without a read, in milliseconds.
        timeout_ms: u64,
    },
    /// Messages from an offset on.
    ReadChat(u64),
    /// Sends a message, then reads from an offset on.
    Say(String, u64),
    /// Leaves the chat with a last message (empty for none), then reads from an offset on.
    LeaveChat(String, u64),
    /// The people of the history, with what can be undone of each.
    People,
    /// Undoes or redoes what somebody drew.
    Undo(UndoRequest),
    /// How much of its space who has used.
    Space,
    /// What people may not do for a time.
    Restrictions,
    /// Restricts a user for a time.
    Restrict {
        user: u8,
        kind: RestrictionKind,
        seconds: u64,
        /// Told to the user, may be empty.
        reason: String,
    },
    /// Ends a restriction, by its id.
    LiftRestriction(u64),
    /// Warns a user.
    Warn {
        user: u8,
        message: String,
    },
    /// Closes the session to newcomers for so many seconds; 0 opens it.
    CloseToNewcomers(u64),
}
