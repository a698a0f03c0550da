//! Thumbnail of a session, made by a client on request or by the server at intervals. Source:
//! docs/spec/session.md#thumbnail.

use bytes::Bytes;
use drawhall_protocol::reply::{self, ServerReply};
use serde::{Deserialize, Serialize};

use super::{Cx, Effect, MemberKey, SessionMachine};
use crate::log::{Level, Topic};

/// Delay before the next attempt after one that found the program busy or the disk full, in milliseconds.
pub(super) const BUSY_MS: u64 = 60_000;
/// Minimum time between two attempts with nobody there in milliseconds, if the interval is not shorter: whoever joins,
/// draws and leaves again and again keeps the program busy no longer.
const LEFT_MS: u64 = 60_000;
/// Maximum delay after failures in milliseconds, if the interval is not longer.
const MAX_DELAY_MS: u64 = 86_400_000;
/// Failures that are counted.
const MAX_FAILURES: u32 = 16;

/// A thumbnail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// WebP or JPEG, as the client made it.
    pub data: Bytes,
    /// When it arrived, milliseconds since 1970.
    pub made: i64,
}

/// Requested properties; absent ones are up to the client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PictureWish {
    /// Pixels.
    pub max_width: Option<u32>,
    /// Pixels.
    pub max_height: Option<u32>,
    /// Percent.
    pub quality: Option<u32>,
    /// `webp` or `jpeg`.
    pub format: Option<String>,
    /// Reason for the log, may be empty.
    pub reason: String,
}

/// Why a thumbnail is not requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NotAsked {
    NoUser,
    /// The client cannot make thumbnails.
    Incapable,
    /// A request to this user is pending.
    Already,
    /// The request does not fit into a message.
    TooLong,
}

/// What became of something that the external program was to make without anybody asking.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Rendered<T> {
    /// It is made.
    Made(T),
    /// The program is busy; try again after a minute.
    Busy,
    /// The disk is nearly full; try again after a minute, but nothing should wait for that.
    NoSpace,
    /// It failed, with the reason.
    Failed(String),
}

/// A JPEG picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Jpeg(#[serde(with = "crate::rules::serde_base64")] pub Vec<u8>);

/// When the server makes a thumbnail itself (`thumbnailInterval`).
#[derive(Debug, Default)]
struct Schedule {
    /// Nothing was drawn since the last attempt began, unless that found the program busy or the disk full.
    is_current: bool,
    is_rendering: bool,
    /// Failures since the last thumbnail.
    failures: u32,
    /// Time of the next one, monotonic milliseconds.
    due: Option<u64>,
    /// Time of the last attempt, monotonic milliseconds.
    begun: Option<u64>,
    /// The last attempt found the disk full.
    lacks_space: bool,
}

impl Schedule {
    /// Time between two attempts in milliseconds: each failure doubles it, up to a day. A history that the program
    /// cannot render in time would keep it from others otherwise.
    fn delay(&self, interval: u64) -> u64 {
        (interval << self.failures).min(MAX_DELAY_MS.max(interval))
    }

    /// Time of the next attempt at the latest, monotonic milliseconds. With nobody there it is soon: the session is to be
    /// unloaded afterwards.
    fn latest(&self, interval: u64, is_empty: bool, now: u64) -> u64 {
        if is_empty && self.failures == 0 {
            self.begun.map_or(now, |begun| now.max(begun + LEFT_MS.min(interval)))
        } else {
            now + self.delay(interval)
        }
    }
}

/// The thumbnail and a pending request.
#[derive(Debug, Default)]
pub(super) struct Thumbnail {
    schedule: Schedule,
    picture: Option<Picture>,
    /// User id and correlator of the pending request.
    asked: Option<(u8, String)>,
    requests: u32,
    /// Must be persisted.
    changed: bool,
}

impl Thumbnail {
    /// Restores a stored thumbnail.
    pub(super) fn restore(&mut self, picture: Option<Picture>) {
        self.schedule.is_current = picture.is_some();
        self.picture = picture;
    }

    /// Something was drawn.
    pub(super) fn outdated(&mut self) {
        self.schedule.is_current = false;
    }

    /// There is a new one, which must be persisted.
    fn set(&mut self, data: Bytes, made: i64) {
        self.picture = Some(Picture { data, made });
        self.changed = true;
    }

    /// Drains a change to be persisted: the new thumbnail, or `None` if it was deleted.
    pub(super) fn take_change(&mut self) -> Option<Option<Bytes>> {
        let picture = || self.picture.as_ref().map(|p| p.data.clone());
        std::mem::take(&mut self.changed).then(picture)
    }
}

impl SessionMachine {
    /// The newest thumbnail.
    pub fn thumbnail(&self) -> Option<&Picture> {
        self.thumbnail.picture.as_ref()
    }

    /// User id and correlator of the pending request.
    pub fn thumbnail_request(&self) -> Option<(u8, &str)> {
        self.thumbnail.asked.as_ref().map(|(id, correlator)| (*id, correlator.as_str()))
    }

    /// Requests a thumbnail from a user's client, replacing a pending request. Returns the correlator.
    ///
    /// # Errors
    /// If the user is not in the session, its client cannot make one, or a request to it is pending.
    pub fn ask_thumbnail(
        &mut self,
        user: u8,
        wish: PictureWish,
        cx: &mut Cx<'_>,
    ) -> Result<String, NotAsked> {
        let member = self.members.iter().find(|m| m.id == user).ok_or(NotAsked::NoUser)?;
        if !member.client.capabilities.thumbnail {
            return Err(NotAsked::Incapable);
        }
        if self.thumbnail_request().is_some_and(|(id, _)| id == user) {
            return Err(NotAsked::Already);
        }
        let (conn, log_user) = (member.conn(), member.log_user());
        let correlator = format!("{:x}:{:x}", self.thumbnail.requests, cx.now.utc_ms);
        let request = reply::Thumbnail {
            correlator: correlator.clone(),
            max_width: wish.max_width,
            max_height: wish.max_height,
            quality: wish.quality,
            format: wish.format,
        };
        let request = ServerReply::Thumbnail(request).to_frame().map_err(|_| NotAsked::TooLong)?;
        self.thumbnail.requests = self.thumbnail.requests.wrapping_add(1);
        self.thumbnail.asked = Some((user, correlator.clone()));
        let text = match wish.reason.as_str() {
            "" => "Thumbnail generation started (no reason given)".to_owned(),
            reason => format!("Thumbnail generation started, reason: {reason}"),
        };
        self.note_about(log_user, Level::Info, Topic::Status, text, cx);
        cx.direct(conn, request.into_bytes());
        Ok(correlator)
    }

    /// Cancels the pending request to a user, or to anybody. Returns whether there was one.
    pub fn cancel_thumbnail(&mut self, user: Option<u8>) -> bool {
        self.thumbnail.asked.take_if(|(id, _)| user.is_none_or(|user| user == *id)).is_some()
    }

    /// Deletes the thumbnail.
    pub fn forget_thumbnail(&mut self) {
        self.thumbnail.changed |= self.thumbnail.picture.take().is_some();
    }

    /// A client has sent a thumbnail.
    pub(super) fn thumbnail_made(&mut self, key: MemberKey, data: &[u8], cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let (id, user) = (member.id, member.log_user());
        let text = match &self.thumbnail.asked {
            Some((asked, correlator)) if *asked == id => match data.strip_prefix(correlator.as_bytes()) {
                None => "Got thumbnail with correlator we weren't waiting for",
                Some([]) => {
                    self.thumbnail.asked = None;
                    "Got thumbnail with no data"
                }
                Some(picture) => {
                    self.thumbnail.set(Bytes::copy_from_slice(picture), cx.now.utc_ms);
                    self.thumbnail.asked = None;
                    let is_rendering = self.thumbnail.schedule.is_rendering;
                    self.thumbnail.schedule =
                        Schedule { is_current: true, is_rendering, ..Schedule::default() };
                    return self.note_about(user, Level::Info, Topic::Status, "Thumbnail set", cx);
                }
            },
            _ => "Got thumbnail from user we didn't want it from",
        };
        self.fault(key, Topic::Status, text, cx);
    }

    /// A client could not make a thumbnail.
    pub(super) fn thumbnail_failed(
        &mut self,
        key: MemberKey,
        correlator: &str,
        error: &str,
        cx: &mut Cx<'_>,
    ) {
        let Some(member) = self.members.get(key) else { return };
        let (id, user) = (member.id, member.log_user());
        if self.thumbnail_request() == Some((id, correlator)) {
            self.thumbnail.asked = None;
            let text = format!("Thumbnail generation failed: {error}");
            self.note_about(user, Level::Warn, Topic::Status, text, cx);
        }
    }

    /// Whether the server is to make a new thumbnail at the interval.
    pub(super) fn wants_thumbnail(&self) -> bool {
        let is_on = self.shared.settings.thumbnail_interval.0 > 0;
        is_on && self.resets.is_running() && !self.thumbnail.schedule.is_current
    }

    /// Whether the server will soon make a thumbnail, which the session should stay loaded for.
    pub fn awaits_thumbnail(&self) -> bool {
        let schedule = &self.thumbnail.schedule;
        self.wants_thumbnail() && schedule.failures == 0 && !schedule.lacks_space
    }

    /// Has the server make a thumbnail when it is due. Called every 15 s, and when the last user leaves.
    pub(super) fn make_due_thumbnail(&mut self, cx: &mut Cx<'_>) {
        if !self.wants_thumbnail() || self.thumbnail.schedule.is_rendering {
            return;
        }
        let (now, is_empty) = (cx.now.monotonic_ms, self.is_empty());
        let schedule = &mut self.thumbnail.schedule;
        let interval = self.shared.settings.thumbnail_interval.millis();
        let latest = schedule.latest(interval, is_empty, now);
        // The interval may be shorter by now, and everybody gone.
        let due = schedule.due.map_or(latest, |due| due.min(latest));
        schedule.due = Some(due);
        if now >= due {
            (schedule.is_current, schedule.is_rendering) = (true, true);
            (schedule.due, schedule.begun) = (Some(now + schedule.delay(interval)), Some(now));
            cx.push(Effect::MakeThumbnail);
        }
    }

    /// The server has made a thumbnail, or could not.
    pub(super) fn thumbnail_rendered(&mut self, rendered: Rendered<Jpeg>, cx: &mut Cx<'_>) {
        let interval = self.shared.settings.thumbnail_interval.millis();
        let schedule = &mut self.thumbnail.schedule;
        schedule.is_rendering = false;
        schedule.lacks_space = matches!(rendered, Rendered::NoSpace);
        match rendered {
            Rendered::Made(Jpeg(data)) => {
                schedule.failures = 0;
                self.thumbnail.set(data.into(), cx.now.utc_ms);
                self.note(Level::Info, Topic::Status, "Thumbnail set by the server", cx);
            }
            Rendered::Busy | Rendered::NoSpace => {
                schedule.is_current = false;
                schedule.due = Some(cx.now.monotonic_ms + BUSY_MS);
            }
            Rendered::Failed(error) => {
                schedule.failures = (schedule.failures + 1).min(MAX_FAILURES);
                schedule.due = Some(cx.now.monotonic_ms + schedule.delay(interval));
                let text = format!("Thumbnail generation by the server failed: {error}");
                self.note(Level::Warn, Topic::Status, text, cx);
            }
        }
    }
}
