//! Going back to an earlier history by a reset that the server makes. Source: docs/spec/session.md#going-back.

use drawhall_protocol::Frame;
use drawhall_protocol::frame::{FIRST_COMMAND, frames};
use drawhall_protocol::message::{Chat, Join, Layout, Leave, Message, SessionOwner, TrustedUsers, Undo};
use serde::{Deserialize, Serialize};

use super::admin::AdminError;
use super::admin::histories::Restored;
use super::resets::human_size;
use super::{Cx, Effect, Member, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::undo::restored_image::{ImageBuilder, Present, RestoredImage};
use crate::rules::undo::times::{OriginKind, TimeMark};

/// What was read of the present history to make an image: what follows is appended to it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ReadSoFar {
    /// Number of resets when it was read.
    pub epoch: u64,
    /// Index of the first message when it was read; a streamed reset changes it.
    pub first_index: i64,
    /// Offset behind the last message that was read.
    pub end: i64,
    /// User id whose messages are left out of what follows, until it is somebody else's.
    pub without: Option<u8>,
    /// Nothing of what follows is kept but pinned messages: the history is cut back to a time.
    #[serde(default)]
    pub cuts: bool,
    /// It is replaced by an image of the same canvas, before which nothing can be undone: the size in bytes of what
    /// was read.
    #[serde(default)]
    pub compacts: Option<u64>,
}

/// Bytes that may come while an image of the canvas is made, which takes minutes: they are followed at once, and other
/// sessions of the thread wait for that.
const MAX_MEANWHILE: i64 = 8 << 20;

/// An earlier history to be put in place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The image made from it.
    pub image: RestoredImage,
    /// What it is, for the log, such as "went back to generation 3".
    pub what: String,
    /// It was made from the present history.
    pub read: Option<ReadSoFar>,
    /// Who asks, for the log and the users.
    pub by: String,
}

impl SessionMachine {
    /// Puts an earlier history in place of the present one. Everybody is sent it like any reset.
    pub(super) fn restore(
        &mut self,
        request: RestoreRequest,
        cx: &mut Cx<'_>,
    ) -> Result<Restored, AdminError> {
        if !self.resets.is_running() {
            return Err(AdminError::NotRunning);
        }
        let RestoreRequest { mut image, what, read, by } = request;
        if image.messages == 0 {
            return Err(AdminError::NotPossible("there is nothing in it".into()));
        }
        let compacts = read.and_then(|read| read.compacts);
        let (messages, size) = (image.messages, image.bytes.len() as u64);
        let image_end = TimeMark { utc_ms: cx.now.utc_ms, messages, size };
        if let Some(read) = read {
            self.append_since(&mut image, read)?;
        }
        for frame in self.messages_of_now(&image) {
            image.push(frame.as_bytes());
        }
        if let Some(locks) = self.locks_of_now(&mut image) {
            image.push(locks.as_bytes());
        }
        let (size, before) = (image.bytes.len() as u64, self.history.size());
        let (key, text) = notice_of(&by, compacts.is_some());
        if self.history.reset(&image.bytes, image.messages).is_err() {
            return Err(AdminError::NotPossible("it exceeds the session's size limit".into()));
        }
        self.notice(true, key, text, &[("name", &by)], "prepare", cx);
        self.announce_new_history(cx);
        self.locks_are_of_now();
        let kind = match compacts {
            // What came while the image was made follows it.
            Some(image_of) => self.begin_times_behind(image_end, image_of),
            None => {
                // Compacted, the canvas would be the same.
                self.thumbnail.outdated();
                self.begin_times(OriginKind::Restored, cx.now);
                OriginKind::Restored
            }
        };
        self.note_reset(&by, kind, Vec::new(), cx);
        let text = format!("{what} for {by} (size {} => {})", human_size(before), human_size(size));
        self.note(Level::Info, Topic::Status, text, cx);
        cx.push(Effect::NumbersChanged);
        Ok(Restored { status: "ok".into(), size })
    }

    /// Appends what was drawn since the present history was read. Undo there reaches the same actions; redo of what
    /// was undone before does nothing.
    fn append_since(&mut self, image: &mut RestoredImage, read: ReadSoFar) -> Result<(), AdminError> {
        if self.history.epoch() != read.epoch
            || self.history.first_index() != read.first_index
            || self.history.end() < read.end
        {
            return Err(AdminError::ResetMeanwhile);
        }
        if read.compacts.is_some() && self.history.end() - read.end > MAX_MEANWHILE {
            return Err(AdminError::NotPossible("too much was drawn while the image was made".to_owned()));
        }
        let mut builder = ImageBuilder::going_on(std::mem::take(image), self.properties.protocol().layout());
        let mut without = read.without;
        let mut undoes = false;
        let visited = self.history.visit_from(read.end, usize::MAX, |bytes| {
            for frame in frames(bytes) {
                let is_theirs = without == Some(frame.header.user);
                if is_theirs && matches!(frame.header.kind, Join::TYPE | Leave::TYPE) {
                    without = None;
                }
                let kind = frame.header.kind;
                undoes |= kind == Undo::TYPE;
                let stays = if read.cuts { kind == Chat::TYPE } else { kind < FIRST_COMMAND || !is_theirs };
                if stays {
                    builder.add(frame);
                }
            }
        });
        visited.map_err(|error| AdminError::HistoryUnreadable(error.to_string()))?;
        if undoes && read.compacts.is_some() {
            // It may have undone what is in the image.
            return Err(AdminError::ResetMeanwhile);
        }
        *image = builder.finish();
        Ok(())
    }

    /// Messages that follow an earlier history: who has left and come since, and who is what now.
    fn messages_of_now(&self, image: &RestoredImage) -> Vec<Frame> {
        let seen = || self.members.iter().filter(|m| !m.is_ghost());
        let stayed = |id: u8, then: &Present| seen().any(|m| m.id == id && is_same(m, then));
        let left = image.present.iter().filter(|(id, then)| !stayed(**id, then));
        let mut messages: Vec<Frame> =
            left.filter_map(|(id, _)| Frame::new(Leave::TYPE, *id, &[]).ok()).collect();
        let came = seen().filter(|m| !image.present.get(&m.id).is_some_and(|then| is_same(m, then)));
        messages.extend(came.filter_map(|m| m.join_message(true)));
        let ids = |is: fn(&Member) -> bool| {
            self.members.iter().filter(|m| is(m)).map(|m| m.id).collect::<Vec<u8>>()
        };
        messages.extend(Frame::new(SessionOwner::TYPE, 0, &ids(Member::is_operator)).ok());
        messages.extend(Frame::new(TrustedUsers::TYPE, 0, &ids(|m| m.trusted)).ok());
        messages
    }
}

/// Key and text of what users are told.
fn notice_of(by: &str, compacts: bool) -> (&'static str, String) {
    let (key, doing) = if compacts {
        ("resetpreparecurrent", "compressing the canvas")
    } else {
        ("resetpreparepast", "reverting the canvas to a previous state")
    };
    let wait = "Please wait, the session should be available again shortly\u{2026}";
    (key, format!("{by} is {doing}! {wait}"))
}

/// Whether a member has joined under the same name and with the same flags.
fn is_same(member: &Member, then: &Present) -> bool {
    let join = member.join_message(false);
    let join = join.and_then(|frame| Message::from_bytes(frame.as_bytes(), Layout::V4_25).ok());
    matches!(join, Some((_, Message::Join(Join { name, flags, .. }))) if name == then.name && flags == then.flags)
}
