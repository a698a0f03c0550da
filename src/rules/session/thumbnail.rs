//! Thumbnail of a session, made by a client on request. Source: docs/spec/session.md#thumbnail.

use bytes::Bytes;
use drawhall_protocol::reply::{self, ServerReply};
use serde::{Deserialize, Serialize};

use super::{Cx, MemberKey, SessionMachine};
use crate::log::{Level, Topic};

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

/// The thumbnail and a pending request.
#[derive(Debug, Default)]
pub(super) struct Thumbnail {
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
        self.picture = picture;
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
                    let data = Bytes::copy_from_slice(picture);
                    self.thumbnail.picture = Some(Picture { data, made: cx.now.utc_ms });
                    self.thumbnail.asked = None;
                    self.thumbnail.changed = true;
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
}
