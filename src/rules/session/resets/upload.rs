//! States of a session: initial content, manual resets. Sources: docs/spec/session.md#states, docs/spec/session.md#reset.

use std::collections::VecDeque;

use drawhall_protocol::Frame;
use drawhall_protocol::message::{SessionOwner, TrustedUsers};
use drawhall_protocol::reply::{Catchup, CaughtUp, Reset, ServerReply};

use super::image::ImageSource;
use super::{ResetEngine, ResetImage};
use crate::log::{Level, Topic};
use crate::rules::batch::Batch;
use crate::rules::history_indexes::StartIds;
use crate::rules::session::user_locks::locked_in;
use crate::rules::session::{
    ClientOp, Cx, DisconnectReason, Effect, Member, MemberKey, SessionMachine, SessionState,
};
use crate::rules::time::Timestamp;
use crate::rules::undo::outline::Oddity;
use crate::rules::undo::times::OriginKind;

impl ResetEngine {
    /// An operator begins to upload a reset image.
    fn begin_upload(&mut self, user: u8, source: ImageSource, now: Timestamp) {
        self.image = ResetImage::begun(source, now);
        self.uploader = Some(user);
    }

    /// The upload has ended; returns the image.
    fn end_upload(&mut self) -> ResetImage {
        self.uploader = None;
        std::mem::take(&mut self.image)
    }

    /// Adds messages to the reset image. Returns its size in bytes.
    pub(in crate::rules::session) fn add_to_image(
        &mut self,
        bytes: &[u8],
        messages: u64,
        now: Timestamp,
    ) -> u64 {
        self.image.add(bytes, messages, now)
    }

    /// Drops what was uploaded of the reset image; returns the number of messages.
    pub(in crate::rules::session) fn clear_image(&mut self) -> u64 {
        self.image.clear()
    }
}

impl SessionMachine {
    /// Messages that recreate the server's state of the session: joins and roles. Ghosts have roles but no join
    /// message.
    pub(in crate::rules::session) fn server_side_state(&self) -> (Vec<u8>, u64) {
        let members = &self.members;
        let owners: Vec<u8> = members.iter().filter(|m| m.is_operator()).map(|m| m.id).collect();
        let trusted: Vec<u8> = members.iter().filter(|m| m.trusted).map(|m| m.id).collect();
        let seen = members.iter().filter(|m| !m.is_ghost());
        let mut messages: Vec<Frame> = seen.filter_map(|m| m.join_message(true)).collect();
        messages.extend(Frame::new(SessionOwner::TYPE, 0, &owners).ok());
        if !trusted.is_empty() {
            messages.extend(Frame::new(TrustedUsers::TYPE, 0, &trusted).ok());
        }
        let count = messages.len() as u64;
        (messages.iter().map(Frame::as_bytes).collect::<Vec<_>>().concat(), count)
    }

    /// Begins a reset by an operator.
    pub(in crate::rules::session) fn begin_reset(&mut self, key: MemberKey, kind: &str, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let (id, conn, name) = (member.id, member.conn(), member.name().to_owned());
        let origin = OriginKind::of_reset(kind);
        let is_outdated = origin == OriginKind::Current && self.is_outdated(id);
        let source =
            ImageSource { by: name.clone(), kind: origin, size_before: self.history.size(), is_outdated };
        self.resets.begin_upload(id, source, cx.now);
        // What others draw from now on is discarded, so it is not published.
        self.history.set_publishing(false);
        self.change_state(SessionState::Reset, cx);
        let (key, what) = match kind {
            "current" => ("resetpreparecurrent", format!("{name} is compressing the canvas!")),
            "past" => ("resetpreparepast", format!("{name} is reverting the canvas to a previous state!")),
            "external" => ("resetprepareexternal", format!("{name} is replacing the canvas!")),
            _ => ("resetprepareby", format!("Preparing for session reset by {name}!")),
        };
        let text = format!("{what} Please wait, the session should be available again shortly\u{2026}");
        self.notice(true, key, text, &[("name", &name)], "prepare", cx);
        let message = "Prepared to receive session data".to_owned();
        self.reply_to(conn, &ServerReply::Reset(Reset { message, state: "init".into() }), cx);
    }

    /// The upload is complete.
    pub(in crate::rules::session) fn complete_upload(&mut self, cx: &mut Cx<'_>) {
        let image = self.resets.end_upload();
        match self.resets.state() {
            SessionState::Initialization => self.complete_initialization(cx),
            SessionState::Reset => self.complete_reset(&image, cx),
            SessionState::Running | SessionState::Shutdown => {}
        }
        self.run(cx);
    }

    fn complete_initialization(&mut self, cx: &mut Cx<'_>) {
        self.resets.base = self.history.size();
        self.begin_times(OriginKind::Hosted, cx.now);
        let text = format!("Session initialized with size {}", human_size(self.history.size()));
        self.note(Level::Info, Topic::Status, text, cx);
        self.clear_autoreset(0, cx.now);
        self.send_status(true, cx);
    }

    fn complete_reset(&mut self, image: &ResetImage, cx: &mut Cx<'_>) {
        if image.messages() == 0 {
            return;
        }
        let mut oddities = self.oddities_of(image.bytes());
        let source = image.source();
        oddities.extend(source.is_outdated.then_some(Oddity::Outdated));
        let (mut bytes, mut messages) = self.server_side_state();
        bytes.extend_from_slice(image.bytes());
        messages += image.messages();
        if self.history.reset(&bytes, messages).is_err() {
            self.notice(true, "resetfailed", "Session reset failed!".into(), &[], "failed", cx);
            return;
        }
        let layout = self.properties.protocol().layout();
        self.locks.reset_to(locked_in(&bytes, layout));
        self.announce_new_history(cx);
        self.begin_times_from(source.kind, source.size_before, cx.now);
        self.thumbnail.outdated();
        self.note_reset(&source.by, source.kind, oddities, cx);
    }

    /// The history has been replaced: everybody is sent the new one.
    pub(in crate::rules::session) fn announce_new_history(&mut self, cx: &mut Cx<'_>) {
        self.resets.staged = None;
        self.persistence.restart_recording();
        self.resets.start_ids = StartIds::new(cx.now.utc_ms);
        self.resets.base = self.history.size();
        let message = "Session reset!".to_owned();
        self.to_all(&ServerReply::Reset(Reset { message, state: "reset".into() }), cx);
        self.clear_autoreset(0, cx.now);
        let count = (self.history.last_index() - self.history.first_index()).max(0) as u64;
        self.to_all(&ServerReply::Catchup(Catchup { count, key: Some(0) }), cx);
        self.send_status(false, cx);
        let epoch = self.history.epoch();
        for member in &self.members {
            cx.client(member.conn(), ClientOp::FollowReset { epoch });
        }
        let caught_up = ServerReply::CaughtUp(CaughtUp { key: 0, hidx: self.history_index(true, 0) });
        if let Ok(frame) = caught_up.to_frame() {
            // If it does not fit, the reset is complete without it.
            let _ = self.history.append(frame.as_bytes(), 1);
        }
        self.send_settings(cx);
    }

    /// Aborts a reset, or ends the host's upload early.
    pub(in crate::rules::session) fn abort_upload(&mut self, cx: &mut Cx<'_>) {
        self.resets.end_upload();
        self.run(cx);
        self.notice(true, "resetcancel", "Session reset cancelled.".into(), &[], "cancel", cx);
    }

    /// Enters the running state and handles held messages.
    fn run(&mut self, cx: &mut Cx<'_>) {
        self.history.set_publishing(true);
        self.begin_history(cx);
        let held: VecDeque<(u64, Batch)> = self
            .members
            .iter_mut()
            .filter_map(|m| {
                let held = std::mem::take(&mut m.hold_locked);
                held.then(|| (m.conn(), std::mem::take(&mut m.held)))
            })
            .collect();
        self.change_state(SessionState::Running, cx);
        for (conn, batch) in held {
            self.batch(conn, batch, cx);
            cx.client(conn, ClientOp::Released);
        }
    }

    /// Aborts a reset that has timed out.
    pub(in crate::rules::session) fn reset_tick(&mut self, cx: &mut Cx<'_>) {
        if self.resets.state() != SessionState::Reset || cx.now.monotonic_ms < self.resets.image.due() {
            return;
        }
        match self.resets.uploader().and_then(|id| self.member_by_id(id)).map(Member::key) {
            // The rest of its image would otherwise be drawn into the session.
            Some(key) => {
                self.disconnect(key, DisconnectReason::Error, "The reset took too long", "", cx);
            }
            None => self.abort_upload(cx),
        }
    }

    fn change_state(&mut self, state: SessionState, cx: &mut Cx<'_>) {
        self.resets.state = state;
        self.clear_autoreset(0, cx.now);
        // Whether clients can join has changed.
        cx.push(Effect::NumbersChanged);
    }

    /// Whether all members have read up to an offset.
    pub(in crate::rules::session) fn all_passed(&self, offset: i64) -> bool {
        let position = |m: &Member| m.observed.or_else(|| m.position());
        self.members.iter().filter_map(position).all(|position| position >= offset)
    }
}

/// A size for people: two decimals from kB on.
pub(in crate::rules::session) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut unit = "";
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = name;
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(
            [human_size(498), human_size(2048), human_size(15 << 20)],
            ["498 bytes", "2.00 KiB", "15.00 MiB"]
        );
    }
}
