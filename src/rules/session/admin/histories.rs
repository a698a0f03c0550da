//! What requests about undo and other histories are answered: the fields are those of the admin API. Source:
//! docs/spec/session.md#undo-by-the-server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::time::iso_of;
use crate::rules::undo::cut::CutReport;
use crate::rules::undo::outline::Oddity;
use crate::rules::undo::rebuild::RemovalReport;
use crate::rules::undo::times::TimeMark;
use crate::rules::undo::{self, UndoMachine};

/// Somebody who drew lately.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Who it is.
    #[serde(flatten)]
    pub who: Somebody,
    /// How many of the newest actions can be undone.
    pub undoable: u64,
    /// How many undone actions can be redone.
    pub redoable: u64,
    /// Why nothing can be undone; empty if something can.
    pub reason: String,
}

/// Somebody who was in a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Somebody {
    /// Identifies the person in this session.
    pub person: i64,
    /// User id; after a leave somebody else may get it.
    pub id: u8,
    /// Name; empty if unknown.
    pub name: String,
    /// An account.
    pub auth: bool,
    /// Still there.
    pub online: bool,
    /// Actions since the last reset.
    pub actions: u64,
}

/// Who drew lately.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct People {
    /// Who is there, and who left and drew lately.
    pub people: Vec<Person>,
    /// How many of the newest actions of everybody can be undone.
    pub undo_depth: u64,
    /// The canvas is locked.
    pub canvas_locked: bool,
}

/// What was undone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Undone {
    /// ok.
    pub status: String,
    /// Actions that were undone or redone.
    pub count: u64,
    /// Actions that still can be.
    pub left: u64,
}

/// Somebody who was in a session: when, and how much they drew.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// Who it is.
    #[serde(flatten)]
    pub who: Somebody,
    /// When they came; UTC, empty if unknown.
    pub from: String,
    /// When they left; UTC, empty if unknown or still there.
    pub until: String,
    /// Size of what they drew, in bytes.
    pub bytes: u64,
    /// Actions before the last reset, as far as they can be removed too.
    pub before_reset: u64,
    /// How many of the newest actions can be undone.
    pub undoable: u64,
}

/// Everybody in the history.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Everybody {
    /// In the order of joining.
    pub people: Vec<Presence>,
    /// The list begins before the last reset.
    pub across_reset: bool,
    /// Why it does not; empty if it does, or there was no reset.
    pub reason: String,
    /// Who was there in earlier histories that are kept, in the last 24 hours, newest history first; the 1,000 who left
    /// last of more. What they drew can only be taken back by going back to before a reset.
    #[serde(default)]
    pub earlier: Vec<EarlierPresence>,
    /// How far back both lists reach; UTC, empty if unknown.
    #[serde(default)]
    pub since: String,
}

/// Somebody who was in an earlier history of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierPresence {
    /// User id then.
    pub id: u8,
    /// Name; empty if unknown.
    pub name: String,
    /// An account.
    pub auth: bool,
    /// When they came, or the history began; UTC, empty if unknown.
    pub from: String,
    /// When they left, or a reset ended the history; UTC.
    pub until: String,
    /// What they did, in actions.
    pub actions: u64,
    /// Size of what they drew, in bytes.
    pub bytes: u64,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// ok.
    pub status: String,
    /// Name of the person.
    pub name: String,
    /// What goes, and what that means.
    pub report: RemovalReport,
    /// Also what was drawn before the last reset goes.
    pub across_reset: bool,
    /// Why earlier drawings stay; empty if there are none that could be meant.
    pub reason: String,
    /// The session is stored: one can go back to before it.
    pub stored: bool,
    /// What everybody is sent in bytes; not in a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A time that the history can be cut back to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Time {
    /// UTC.
    pub at: String,
    /// Size of the history then, in bytes.
    pub size: u64,
    /// Number of messages then.
    pub messages: u64,
}

/// The times that a history can be cut back to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Oldest first: where the history begins, and at most 199 of the seconds in which something came. All times since
    /// the first are possible.
    pub times: Vec<Time>,
    /// The same of the history before the last reset, if it is kept; `size` and `messages` are those of that history.
    pub earlier: Vec<Time>,
    /// The session is stored: one can go back to before a cut.
    pub stored: bool,
}

/// What was cut off, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CutBack {
    /// ok.
    pub status: String,
    /// The time; UTC.
    pub until: String,
    /// What goes.
    pub report: CutReport,
    /// The time is before the last reset.
    pub across_reset: bool,
    /// The session is stored: one can go back to before it.
    pub stored: bool,
    /// What everybody is sent in bytes; not in a report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// An earlier history.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Number.
    pub generation: u32,
    /// Size in bytes.
    pub size: u64,
    /// When it began; UTC, empty if unknown.
    pub from: String,
    /// When it was last written, which is when a reset replaced it; UTC.
    pub until: String,
}

/// The last reset since the session was loaded.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastReset {
    /// UTC.
    pub at: String,
    /// Name of whoever made it.
    pub by: String,
    /// streamed, current, past, external, reset (unknown), or restored: made by the server.
    pub kind: String,
    /// What looks wrong about it.
    pub looks_wrong: Vec<Oddity>,
    /// The same in words; empty if nothing does.
    pub reason: String,
}

/// Earlier histories.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Generations {
    /// Newest first.
    pub generations: Vec<Generation>,
    /// The session is stored; others have no earlier histories.
    pub stored: bool,
    /// The last reset, if there was one since the session was loaded.
    #[serde(rename = "lastReset")]
    pub last_reset: Option<LastReset>,
}

/// An earlier history is in place.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// ok.
    pub status: String,
    /// Size in bytes.
    pub size: u64,
}

impl Somebody {
    /// Describes a person of the history.
    pub fn new(person: &undo::Person) -> Somebody {
        Somebody {
            person: person.index,
            id: person.user,
            name: person.name.clone(),
            auth: person.account,
            online: person.left.is_none(),
            actions: person.actions,
        }
    }
}

impl Person {
    /// Describes a person of the history, and what can be undone.
    pub fn new(machine: &UndoMachine, person: &undo::Person) -> Person {
        let undoable = machine.undoable(person.index);
        Person {
            who: Somebody::new(person),
            undoable: undoable.as_ref().map_or(0, |count| *count as u64),
            redoable: machine.redoable(person.index).unwrap_or(0) as u64,
            reason: undoable.err().map_or(String::new(), |reason| reason.to_string()),
        }
    }
}

impl Time {
    /// Describes a mark.
    pub fn new(mark: &TimeMark) -> Time {
        Time { at: iso_of(mark.utc_ms), size: mark.size, messages: mark.messages }
    }
}
