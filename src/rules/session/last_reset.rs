//! The last reset: whether it looks wrong, and whether somebody has joined from what it left. Source:
//! docs/spec/session.md#resets-that-look-wrong.

use drawhall_protocol::frame::frames;
use drawhall_protocol::message::Layout;
use drawhall_protocol::reply::{Notice, ServerReply};

use super::admin::histories;
use super::space::SpaceUse;
use super::{Cx, Member, MemberKey, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::time::iso_of;
use crate::rules::undo::outline::{Oddity, Outline};
use crate::rules::undo::times::OriginKind;

/// Histories below this size are soon drawn again: resets of them are not looked at, in bytes.
const MIN_HISTORY: u64 = 64 << 10;
/// A client that has not been sent this much of the history yet makes an outdated image, in bytes.
const OUTDATED_BYTES: i64 = 64 << 10;

/// The last reset since the session was loaded.
#[derive(Debug, Clone)]
pub(super) struct LastReset {
    at_ms: i64,
    /// Name of whoever made it.
    by: String,
    kind: OriginKind,
    oddities: Vec<Oddity>,
}

/// Whether somebody has joined since the last reset. Until then the history before it stays, whatever the disk is like.
#[derive(Debug, Default)]
pub(super) struct FirstJoin {
    is_awaited: bool,
    /// It was just now: earlier histories may be removed.
    is_new: bool,
}

impl FirstJoin {
    /// As it was before the session was unloaded, or the server stopped.
    pub(super) fn restored(is_awaited: bool) -> FirstJoin {
        FirstJoin { is_awaited, is_new: false }
    }
}

/// The outline of an image.
pub(super) fn outline_of(image: &[u8], layout: Layout) -> Outline {
    let mut outline = Outline::default();
    frames(image).for_each(|frame| outline.add(frame, layout));
    outline
}

fn kind_text(kind: OriginKind) -> &'static str {
    match kind {
        OriginKind::Streamed => "streamed",
        OriginKind::Current => "current",
        OriginKind::Past => "past",
        OriginKind::External => "external",
        OriginKind::Restored => "restored",
        OriginKind::Unknown | OriginKind::Hosted | OriginKind::Reset => "reset",
    }
}

impl SessionMachine {
    /// Whether a member has not been sent everything yet, so that an image of its canvas is outdated.
    pub(super) fn is_outdated(&self, user: u8) -> bool {
        let position = self.member_by_id(user).and_then(|member| member.observed);
        position.is_some_and(|position| position + OUTDATED_BYTES < self.history.end())
    }

    /// What is suspicious about an image that is to replace the history. Nothing, if that is short or was not followed
    /// so far.
    pub(super) fn oddities_of(&mut self, image: &[u8]) -> Vec<Oddity> {
        if self.history.size() < MIN_HISTORY {
            return Vec::new();
        }
        self.follow_history();
        let Some(old) = self.followed_outline() else { return Vec::new() };
        let new = outline_of(image, self.protocol().layout());
        old.oddities(&new, self.resets.base(), image.len() as u64)
    }

    /// A reset has taken effect. Operators are told if it looks wrong.
    pub(super) fn note_reset(&mut self, by: &str, kind: OriginKind, oddities: Vec<Oddity>, cx: &mut Cx<'_>) {
        let (at_ms, by) = (cx.now.utc_ms, by.to_owned());
        let reset = LastReset { at_ms, by, kind, oddities };
        self.first_join = FirstJoin::restored(true);
        self.space = SpaceUse::default();
        if !reset.oddities.is_empty() {
            self.warn_of_reset(&reset, cx);
        }
        self.last_reset = Some(reset);
    }

    fn warn_of_reset(&mut self, reset: &LastReset, cx: &mut Cx<'_>) {
        let texts: Vec<&str> = reset.oddities.iter().map(|oddity| oddity.text()).collect();
        let (by, what) = (reset.by.as_str(), texts.join(", "));
        let text = format!("The reset by {by} looks wrong: {what}");
        self.note(Level::Warn, Topic::Status, text.clone(), cx);
        let is_kept = self.keeps_generations();
        let operators: Vec<MemberKey> =
            self.members.iter().filter(|m| m.is_operator()).map(Member::key).collect();
        for key in operators {
            let link = if is_kept { self.link_for(key, cx) } else { None };
            let way_back = match &link {
                Some(link) => format!(
                    "With this link you can go back to before it; it is for you only and valid for 15 minutes: {link}"
                ),
                None if is_kept => "Whoever runs this server can go back to before it.".to_owned(),
                None => "Earlier histories of this session are not kept: an operator can only reset it to an older \
                         canvas."
                    .to_owned(),
            };
            let message = format!("{text}. {way_back}");
            let params = [("name", by), ("what", what.as_str())]
                .into_iter()
                .chain(link.as_deref().map(|l| ("link", l)));
            let params = params.map(|(key, value)| (key.to_owned(), value.into())).collect();
            let notice = Notice { message, key: "resetlookswrong".into(), params, reset: String::new() };
            if let Ok(frame) = ServerReply::Alert(notice).to_frame()
                && let Some(member) = self.members.get(key)
                && member.takes_direct(frame.as_bytes())
            {
                cx.direct(member.conn(), frame.into_bytes());
            }
        }
    }

    fn keeps_generations(&self) -> bool {
        self.is_stored() && self.shared.settings.keep_generations.0 > 0
    }

    /// Somebody joins, and is sent the present history.
    pub(super) fn note_join(&mut self) {
        let FirstJoin { is_awaited, is_new } = &mut self.first_join;
        *is_new |= std::mem::take(is_awaited);
    }

    /// Whether earlier histories that were only kept because nobody had joined may be removed now; once.
    pub(super) fn take_prunes(&mut self) -> bool {
        std::mem::take(&mut self.first_join.is_new)
    }

    /// Nobody has joined since the last reset: the history before it must stay.
    pub(super) fn needs_previous_history(&self) -> bool {
        self.first_join.is_awaited
    }

    /// The last reset, for the admin API; `None` if there was none since the session was loaded.
    pub fn last_reset(&self) -> Option<histories::LastReset> {
        let reset = self.last_reset.as_ref()?;
        let texts: Vec<&str> = reset.oddities.iter().map(|oddity| oddity.text()).collect();
        Some(histories::LastReset {
            at: iso_of(reset.at_ms),
            by: reset.by.clone(),
            kind: kind_text(reset.kind).into(),
            looks_wrong: reset.oddities.clone(),
            reason: texts.join(", "),
        })
    }
}
