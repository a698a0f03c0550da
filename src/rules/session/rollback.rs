//! Undo by the server: taking back what somebody drew, also when they have left.
//!
//! The server appends `Undo` messages for their user id, with user id 0, which clients obey like those of the user.
//! What these would reach is known from an [`UndoMachine`] that follows the history. It is fed when somebody asks and
//! every 15 seconds, not for each message: drawing costs nothing more. Source: docs/spec/session.md#undo-by-the-server.

use std::io;

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::{LayerACL, Layout, Message, Undo};
use drawhall_protocol::reply::{Notice, ServerReply};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::AdminError;
use super::admin::histories::{self, People, Undone};
use super::persistence::{StoredSession, Suspended};
use super::{Cx, LinkToken, Member, MemberKey, SessionMachine};
use crate::history::{EMERGENCY_BYTES, History};
use crate::log::{Level, LogUser, Topic};
use crate::rules::undo::UndoMachine;
use crate::rules::undo::outline::Outline;
use crate::rules::undo::permissions::LOCKED;

/// How much of the history the session's thread reads at once without an administrator's request, in bytes: some
/// milliseconds of work. A reset or a flood may have put more than that into the history.
pub(super) const MAX_AT_ONCE: usize = 2 << 20;

/// A request to undo or redo actions of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRequest {
    /// The person, by the index in the list of people.
    pub person: i64,
    /// The person's name as the list had it: another one means that the list was outdated.
    pub name: Option<String>,
    /// How many of the newest actions that can be reached; `None` for all of them.
    pub count: Option<usize>,
    /// Redo what was undone.
    pub redo: bool,
    /// Who asks, for the log.
    pub by: String,
    /// The link that it came by.
    #[serde(skip)]
    pub link: Option<LinkToken>,
}

/// Follows the history with an undo machine.
///
/// **Invariant:** the machine has got every message from `first_index` to `position` of the content with this `epoch`.
#[derive(Debug, Clone)]
pub struct Rollback {
    machine: UndoMachine,
    /// What the canvas has.
    outline: Outline,
    /// `None` before the first message.
    epoch: Option<u64>,
    first_index: i64,
    position: i64,
    /// Index of the next message.
    index: i64,
}

impl Rollback {
    pub(super) fn new(layout: Layout) -> Rollback {
        let (machine, outline) = (UndoMachine::new(layout), Outline::default());
        Rollback { machine, outline, epoch: None, first_index: 0, position: 0, index: 0 }
    }

    /// Reads the history of a stored session that is being loaded; blocks. If it cannot be read, that is tried again
    /// when somebody asks.
    pub fn of_stored(stored: &StoredSession, rest: &Suspended) -> Rollback {
        let mut rollback = Rollback::new(stored.protocol.layout());
        let indexes = rest.indexes(stored.metadata.indexes.as_ref(), stored.contents.messages());
        let mut history = History::restored(&stored.history, &stored.contents.index, indexes.first);
        let _ = rollback.follow(&mut history, usize::MAX);
        rollback
    }

    /// Reads what is new in the history, about `limit` bytes at most. Blocks if that is in the file only.
    fn follow(&mut self, history: &mut History, limit: usize) -> io::Result<&UndoMachine> {
        if !self.is_of(history) {
            self.begin_again(history);
        }
        history.visit_from(self.position, limit, |bytes| self.feed(bytes))?;
        Ok(&self.machine)
    }

    /// Whether it follows the present content. A streamed reset replaces the beginning, and indices count from there.
    fn is_of(&self, history: &History) -> bool {
        self.epoch == Some(history.epoch()) && self.first_index == history.first_index()
    }

    fn begin_again(&mut self, history: &History) {
        *self = Rollback::new(self.machine.layout());
        (self.epoch, self.first_index) = (Some(history.epoch()), history.first_index());
        (self.position, self.index) = (history.start(), self.first_index);
    }

    /// Takes the next messages of the history.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let layout = self.machine.layout();
        for frame in frames(bytes) {
            self.machine.feed(frame, self.index);
            self.outline.add(frame, layout);
            self.index += 1;
        }
        self.position += bytes.len() as i64;
    }

    /// Offset behind what was read.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// A copy that follows the present content.
    pub(super) fn for_history(&self, history: &History) -> Rollback {
        let mut rollback = self.clone();
        if !rollback.is_of(history) {
            rollback.begin_again(history);
        }
        rollback
    }

    /// Size of what was not read yet, in bytes.
    pub(super) fn bytes_to_follow(&self, history: &History) -> u64 {
        let read = if self.is_of(history) { self.position - history.start() } else { 0 };
        history.size().saturating_sub(read.max(0) as u64)
    }

    /// Whether everything in the history was read.
    fn has_followed(&self, history: &History) -> bool {
        self.is_of(history) && self.position == history.end()
    }
}

impl SessionMachine {
    /// Uses what was read of the history while it was loaded.
    pub fn adopt_rollback(&mut self, rollback: Rollback) {
        self.rollback = rollback;
    }

    /// Reads what is new in the history, so that a request need not read much; of a long history only a part, and
    /// the rest the next times. An error will be met again there.
    pub(super) fn follow_history(&mut self) {
        let _ = self.rollback.follow(&mut self.history, MAX_AT_ONCE);
    }

    /// What the canvas has, if everything was followed.
    pub(super) fn followed_outline(&self) -> Option<Outline> {
        self.rollback.has_followed(&self.history).then_some(self.rollback.outline)
    }

    pub(super) fn undo_machine(&mut self) -> Result<&UndoMachine, AdminError> {
        let followed = self.rollback.follow(&mut self.history, usize::MAX);
        followed.map_err(|error| AdminError::HistoryUnreadable(error.to_string()))
    }

    /// The people of the history: who is there, and who has left and drew something that can be reached.
    pub(super) fn people(&mut self) -> Result<People, AdminError> {
        let machine = self.undo_machine()?;
        Ok(People {
            people: machine.people().iter().map(|person| histories::Person::new(machine, person)).collect(),
            undo_depth: u64::from(machine.points().depth()),
            canvas_locked: machine.permissions().canvas_locked(),
        })
    }

    /// Undoes or redoes the newest actions of a person.
    pub(super) fn undo_person(
        &mut self,
        request: &UndoRequest,
        cx: &mut Cx<'_>,
    ) -> Result<Undone, AdminError> {
        if !self.resets.is_running() {
            return Err(AdminError::NotRunning);
        }
        let layout = self.properties.protocol().layout();
        let machine = self.undo_machine()?;
        let reachable =
            if request.redo { machine.redoable(request.person) } else { machine.undoable(request.person) };
        let reachable = reachable.map_err(|reason| AdminError::NotPossible(reason.to_string()))?;
        let person = machine.people().get(request.person).cloned().ok_or(AdminError::NotFound)?;
        if request.name.as_ref().is_some_and(|name| *name != person.name) {
            return Err(AdminError::PeopleOutdated);
        }
        let count = request.count.unwrap_or(reachable).min(reachable);
        let is_locked = machine.permissions().canvas_locked();
        let (bytes, messages) = undo_messages(person.user, count, request.redo, is_locked, layout)?;
        let appended = self.history.append(&bytes, messages);
        let appended = appended.or_else(|_| self.history.append_emergency(&bytes, messages, EMERGENCY_BYTES));
        appended.map_err(|_| AdminError::NotPossible("the session is out of space".into()))?;
        self.appended(&bytes, cx);
        self.thumbnail.outdated();
        let (did, actions) =
            (if request.redo { "Redid" } else { "Undid" }, if count == 1 { "action" } else { "actions" });
        let text = format!("{did} {count} {actions} of {}, by {}", person.name, request.by);
        let user = LogUser { id: person.user, address: None, name: person.name };
        self.note_about(user, Level::Info, Topic::Status, text, cx);
        Ok(Undone { status: "ok".into(), count: count as u64, left: (reachable - count) as u64 })
    }

    /// Tells operators what can be undone of somebody who was kicked or banned, each with a link of their own if the
    /// admin page has a public address.
    pub(super) fn offer_undo(&mut self, user: u8, cx: &mut Cx<'_>) {
        let Some(past) = self.members.past_user(user) else { return };
        let (name, drew) = (past.identity.name.clone(), past.drew);
        let count = self.undoable_at_once(user);
        let operators: Vec<MemberKey> =
            self.members.iter().filter(|m| m.is_operator()).map(Member::key).collect();
        for key in operators {
            let link = if drew || count > 0 { self.link_for(key, cx) } else { None };
            if let Some(notice) = undo_offer(&name, count, link)
                && let Some(member) = self.members.get(key)
                && let Ok(frame) = ServerReply::Alert(notice).to_frame()
                && member.takes_direct(frame.as_bytes())
            {
                cx.direct(member.conn(), frame.into_bytes());
            }
        }
    }

    /// How many actions of the last person with this id can be undone; 0 if that is not known without reading much.
    fn undoable_at_once(&mut self, user: u8) -> usize {
        // Whoever kicks must not have others wait while a long history is read.
        self.follow_history();
        if !self.rollback.has_followed(&self.history) {
            return 0;
        }
        let machine = &self.rollback.machine;
        let person = machine.people().iter().filter(|person| person.user == user).last();
        person.and_then(|person| machine.undoable(person.index).ok()).unwrap_or(0)
    }
}

/// The alert for an operator; `None` if there is nothing to offer.
fn undo_offer(name: &str, count: usize, link: Option<String>) -> Option<Notice> {
    let actions = if count == 1 { "action" } else { "actions" };
    let reachable = format!("{count} {actions} of {name} can still be undone");
    let message = match &link {
        None if count == 0 => return None,
        None => {
            format!("{reachable}: one by one in the event log, or all at once by whoever runs this server.")
        }
        Some(link) => {
            let what = if count == 0 { format!("{name} has drawn in this session") } else { reachable };
            let validity = "which is for you only and valid for 15 minutes";
            format!("{what}. Undo or remove it with this link, {validity}: {link}")
        }
    };
    let mut params = Map::new();
    params.insert("target".into(), name.into());
    params.insert("count".into(), count.into());
    params.extend(link.map(|link| ("link".to_owned(), Value::from(link))));
    Some(Notice { message, key: "undopossible".into(), params, reset: String::new() })
}

/// Messages that undo or redo a user's newest actions. Clients ignore commands of everybody, the server included,
/// while the canvas is locked, so it is unlocked for them.
fn undo_messages(
    user: u8,
    count: usize,
    redo: bool,
    is_locked: bool,
    layout: Layout,
) -> Result<(Vec<u8>, u64), AdminError> {
    let lock = |flags| Message::from(LayerACL { id: 0, flags, exclusive: Vec::new() });
    let undo = Message::from(Undo { override_user: user, redo });
    let mut messages: Vec<Message> = is_locked.then(|| lock(0)).into_iter().collect();
    messages.extend(std::iter::repeat_n(undo, count));
    messages.extend(is_locked.then(|| lock(LOCKED)));
    let mut bytes = Vec::new();
    for message in &messages {
        let frame =
            message.to_frame(0, layout).map_err(|error| AdminError::HistoryUnreadable(error.to_string()))?;
        bytes.extend_from_slice(frame.as_bytes());
    }
    Ok((bytes, messages.len() as u64))
}
