//! The picture that stands for a session in lists, made by a client that is asked for it. Source:
//! docs/spec/session.md#thumbnail.

use bytes::Bytes;
use drawhall_protocol::reply::{self, ServerReply};
use serde::{Deserialize, Serialize};

use super::{Effects, MemberKey, SessionMachine};
use crate::clock::Timestamp;
use crate::log::{Level, Topic};

/// A picture as the client made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// WebP or JPEG.
    pub data: Bytes,
    /// When it came, milliseconds since 1970.
    pub made: i64,
}

/// What the picture should be like; the client decides where nothing is said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PictureWish {
    /// Greatest width in pixels.
    pub max_width: Option<u32>,
    /// Greatest height in pixels.
    pub max_height: Option<u32>,
    /// Quality in percent.
    pub quality: Option<u32>,
    /// `webp` or `jpeg`.
    pub format: Option<String>,
    /// Why it is wanted, for the log; may be empty.
    pub reason: String,
}

/// Why a user is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// No such user in the session.
    NoUser,
    /// The user's client makes no thumbnails.
    Incapable,
    /// The user has been asked and has not answered yet.
    Already,
    /// What is wanted does not fit into a message.
    TooLong,
}

/// The picture and who is making the next one.
#[derive(Debug, Default)]
pub(super) struct Thumbnail {
    picture: Option<Picture>,
    /// User id and correlator.
    asked: Option<(u8, String)>,
    requests: u32,
    /// The picture has changed and is to be stored.
    changed: bool,
}

impl Thumbnail {
    /// The picture that was stored.
    pub(super) fn restore(&mut self, picture: Option<Picture>) {
        self.picture = picture;
    }

    /// The new picture, or that there is none any more, if that has changed since the last call.
    pub(super) fn take_change(&mut self) -> Option<Option<Bytes>> {
        let picture = || self.picture.as_ref().map(|p| p.data.clone());
        std::mem::take(&mut self.changed).then(picture)
    }
}

impl SessionMachine {
    /// The newest picture.
    pub fn thumbnail(&self) -> Option<&Picture> {
        self.thumbnail.picture.as_ref()
    }

    /// Who has been asked, and the correlator of that request.
    pub fn thumbnail_request(&self) -> Option<(u8, &str)> {
        self.thumbnail.asked.as_ref().map(|(id, correlator)| (*id, correlator.as_str()))
    }

    /// Asks a user's client for a picture, in place of any other that was asked. Returns the correlator.
    ///
    /// # Errors
    ///
    /// If the user is not there, cannot make one or is making one.
    pub fn ask_thumbnail(
        &mut self,
        user: u8,
        wish: PictureWish,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Result<String, NotAsked> {
        let member = self.members.iter().find(|m| m.id == user).ok_or(NotAsked::NoUser)?;
        if !member.client.capabilities.thumbnail {
            return Err(NotAsked::Incapable);
        }
        if self.thumbnail_request().is_some_and(|(id, _)| id == user) {
            return Err(NotAsked::Already);
        }
        let (conn, log_user) = (member.conn(), member.log_user());
        let correlator = format!("{:x}:{:x}", self.thumbnail.requests, now.utc_ms);
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
        self.note_about(log_user, Level::Info, Topic::Status, text, now, effects);
        effects.direct(conn, request.into_bytes());
        Ok(correlator)
    }

    /// Waits no longer for the picture of a user, or of anybody. Returns whether one was awaited.
    pub fn cancel_thumbnail(&mut self, user: Option<u8>) -> bool {
        self.thumbnail.asked.take_if(|(id, _)| user.is_none_or(|user| user == *id)).is_some()
    }

    /// Throws the picture away.
    pub fn forget_thumbnail(&mut self) {
        self.thumbnail.changed |= self.thumbnail.picture.take().is_some();
    }

    /// A client sends a picture.
    pub(super) fn thumbnail_made(
        &mut self,
        key: MemberKey,
        data: &[u8],
        now: Timestamp,
        effects: &mut Effects,
    ) {
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
                    let data = Bytes::copy_from_slice(picture);
                    self.thumbnail.picture = Some(Picture { data, made: now.utc_ms });
                    self.thumbnail.asked = None;
                    self.thumbnail.changed = true;
                    return self.note_about(user, Level::Info, Topic::Status, "Thumbnail set", now, effects);
                }
            },
            _ => "Got thumbnail from user we didn't want it from",
        };
        self.fault(key, Topic::Status, text, now, effects);
    }

    /// A client could not make the picture.
    pub(super) fn thumbnail_failed(
        &mut self,
        key: MemberKey,
        correlator: &str,
        error: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(member) = self.members.get(key) else { return };
        let (id, user) = (member.id, member.log_user());
        if self.thumbnail_request() == Some((id, correlator)) {
            self.thumbnail.asked = None;
            let text = format!("Thumbnail generation failed: {error}");
            self.note_about(user, Level::Warn, Topic::Status, text, now, effects);
        }
    }
}
