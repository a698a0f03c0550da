//! Restrictions of people for a time, by the moderators of the server: muted, may look but not draw, slowed down;
//! warnings, which are counted; and a session that is closed to newcomers for a time.
//!
//! A restriction is for a person (account or device) and holds when they come again. It also holds for guests who come
//! later from the same network or under the same name, as a ban would: it is easy to change the id of a device. When
//! many such guests have come, it holds for all guests of the person's network; a name alone is not enough then, as
//! anybody can take it. Drawing is prevented by the lock of a user (`UserACL`), which the server sends and clients
//! enforce; so the locks that operators set are followed here.

mod newcomers;
mod stored;

use std::iter;

use drawhall_protocol::reply::{Notice, ServerReply};
use serde::{Deserialize, Serialize};

use super::admin::answer::{
    Answered, RestrictionDetails, RestrictionList, SessionAnswer, WarningCount, time_text,
};
use super::admin::{ADMINISTRATOR, AdminError};
use super::bans::Identity;
use super::broadcasts::List;
use super::{ConnId, Cx, Member, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::journal::Entry;
use crate::rules::limits::DrawRate;
pub use crate::rules::stored_restrictions::RestrictionKind;
use crate::rules::stored_restrictions::{
    MAX_FOLLOWERS, MAX_RESTRICTIONS, RestrictionChange, add_follower, set_warnings,
};
use crate::rules::time::Timestamp;
use stored::ended;

/// Longest time of a restriction, in seconds: thirty days.
pub const MAX_SECONDS: u64 = 30 * 86_400;
/// Longest reason, in bytes.
const MAX_REASON: usize = 500;
/// Rate limit of drawing for a person who is slowed down.
const SLOW: DrawRate = DrawRate { messages: 10, bytes: 10 << 10 };

impl RestrictionKind {
    /// What the person is told.
    fn told(self) -> &'static str {
        match self {
            Self::Mute => "You may not chat here",
            Self::Nodraw => "You may look but not draw here",
            Self::Slow => "Your drawing is slowed down here",
        }
    }

    /// What the person is told at the end.
    fn ended(self) -> &'static str {
        match self {
            Self::Mute => "You may chat here again.",
            Self::Nodraw => "You may draw here again.",
            Self::Slow => "Your drawing is not slowed down any more.",
        }
    }

    /// What others and the log are told.
    fn done(self) -> &'static str {
        match self {
            Self::Mute => "Muted",
            Self::Nodraw => "Drawing locked",
            Self::Slow => "Slowed down",
        }
    }
}

/// What a member may not do at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Restricted {
    pub(super) muted: bool,
    pub(super) no_drawing: bool,
    pub(super) slow: bool,
}

impl Restricted {
    fn has(self, kind: RestrictionKind) -> bool {
        match kind {
            RestrictionKind::Mute => self.muted,
            RestrictionKind::Nodraw => self.no_drawing,
            RestrictionKind::Slow => self.slow,
        }
    }

    /// The rate limit with the restriction.
    pub(super) fn rate(self, rate: DrawRate) -> DrawRate {
        if self.slow { rate.stricter(SLOW) } else { rate }
    }
}

/// A restriction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Restriction {
    id: u64,
    kind: RestrictionKind,
    person: Identity,
    /// Guests who have come later and would be kept out by a ban of this person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    followers: Vec<Identity>,
    /// Monotonic milliseconds.
    ends: u64,
    /// The same in milliseconds since 1970, for the journal.
    #[serde(default)]
    ends_utc_ms: i64,
    reason: String,
}

impl Restriction {
    /// Whether this person, or a guest who has come later, is meant.
    fn has(&self, person: &Identity) -> bool {
        self.person.is_same_person(person)
            || self.followers.iter().any(|follower| follower.is_same_person(person))
    }

    /// Whether so many guests have come with other devices that it holds for all guests of the person's network.
    fn is_for_all_guests(&self) -> bool {
        self.followers.len() >= MAX_FOLLOWERS
    }

    fn is_for(&self, person: &Identity) -> bool {
        let is_guest_of_network = || person.auth_id.is_empty() && self.person.shares_network(person);
        self.has(person) || (self.is_for_all_guests() && is_guest_of_network())
    }

    fn time_and_reason(&self, now: Timestamp) -> String {
        let time = in_words(self.ends.saturating_sub(now.monotonic_ms).div_ceil(1000));
        if self.reason.is_empty() { time } else { format!("{time}: {}", self.reason) }
    }
}

/// Restrictions and warnings of a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Restrictions {
    list: Vec<Restriction>,
    last_id: u64,
    /// Who was warned how often.
    warned: Vec<(Identity, u32)>,
    /// Closed to newcomers until then, monotonic milliseconds.
    closed_until: u64,
    /// The same in milliseconds since 1970, for the journal.
    #[serde(default)]
    closed_until_utc_ms: i64,
    /// Who was there before others were restricted or the session was closed. After a restart nothing else is known of
    /// them but names, which anybody can take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    known: Vec<Identity>,
}

impl Restrictions {
    /// Whether there is none, so that nothing has to be kept.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.warned.is_empty() && self.closed_until == 0 && self.last_id == 0
    }

    pub(super) fn of(&self, person: &Identity) -> Restricted {
        let has = |kind| self.list.iter().any(|r| r.kind == kind && r.is_for(person));
        Restricted {
            muted: has(RestrictionKind::Mute),
            no_drawing: has(RestrictionKind::Nodraw),
            slow: has(RestrictionKind::Slow),
        }
    }

    /// A guest has come who was not there before: restrictions hold for whoever a ban would match. Returns the ids of
    /// those that the guest was added to. Others behind the same address who were there before the session was loaded
    /// stay out of it.
    fn follow(&mut self, guest: &Identity) -> Vec<u64> {
        if self.knows(guest) {
            return Vec::new();
        }
        let list = self.list.iter_mut().filter(|r| !r.has(guest) && r.person.shares_mark(guest));
        list.filter_map(|r| add_follower(&mut r.followers, guest.clone()).then_some(r.id)).collect()
    }

    fn warnings(&self, person: &Identity) -> u32 {
        self.warned.iter().find(|(warned, _)| warned.is_same_person(person)).map_or(0, |(_, count)| *count)
    }

    /// Counts a warning; returns how many there were.
    fn warn(&mut self, person: &Identity) -> u32 {
        let count = self.warnings(person).saturating_add(1);
        set_warnings(&mut self.warned, person.clone(), count);
        count
    }

    /// Removes what has ended.
    fn take_ended(&mut self, now_ms: u64) -> Vec<Restriction> {
        let (ended, left) = self.list.drain(..).partition(|r| now_ms >= r.ends);
        self.list = left;
        ended
    }
}

/// A time in words: "10 minutes".
fn in_words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds.div_ceil(60), "minute"),
        7200..172_800 => (seconds.div_ceil(3600), "hour"),
        _ => (seconds.div_ceil(86_400), "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

impl SessionMachine {
    /// Restricts a member for a time.
    ///
    /// # Errors
    /// When there is no such member, it is a moderator, or the time or reason is too long.
    pub(super) fn restrict(
        &mut self,
        id: u8,
        kind: RestrictionKind,
        seconds: u64,
        reason: &str,
        cx: &mut Cx<'_>,
    ) -> SessionAnswer {
        let member = self.member_by_id(id).ok_or(AdminError::NotFound)?;
        if member.is_moderator() {
            return Err(AdminError::NotPossible("moderators cannot be restricted".into()));
        }
        if reason.len() > MAX_REASON {
            return Err(AdminError::TextTooLong);
        }
        if seconds == 0 || seconds > MAX_SECONDS {
            return Err(AdminError::NotPossible(format!("the time must be 1 to {MAX_SECONDS} seconds")));
        }
        let (person, user, conn) = (member.client.identity.clone(), member.log_user(), member.conn());
        let is_renewed = member.restricted.has(kind);
        self.note_known();
        let restrictions = &mut self.restrictions;
        // The same person may have had another device.
        let replaced = restrictions.list.extract_if(.., |r| r.kind == kind && r.has(&person));
        let replaced: Vec<Restriction> = replaced.collect();
        self.persistence.extend(replaced.iter().map(|r| ended(r.id)));
        let known = replaced.into_iter().flat_map(|r| iter::once(r.person).chain(r.followers));
        let known = known.filter(|known| !known.is_same_person(&person));
        let followers = known.take(MAX_FOLLOWERS).collect();
        if restrictions.list.len() >= MAX_RESTRICTIONS {
            return Err(AdminError::NotPossible("there are too many restrictions in this session".into()));
        }
        restrictions.last_id += 1;
        let ends = cx.now.monotonic_ms + seconds * 1000;
        let ends_utc_ms = cx.now.utc_ms + seconds as i64 * 1000;
        let (id, reason) = (restrictions.last_id, reason.to_owned());
        let restriction = Restriction { id, kind, person, followers, ends, ends_utc_ms, reason };
        self.persistence.extend(restriction.entries());
        let details = self.restriction_details(&restriction, cx.now);
        self.restrictions.list.push(restriction.clone());
        self.apply_restrictions(cx);
        let text = format!("{} by {ADMINISTRATOR} for {}", kind.done(), restriction.time_and_reason(cx.now));
        self.note_about(user, Level::Info, Topic::Mute, text, cx);
        if is_renewed {
            self.tell_restricted(conn, &restriction, cx);
        }
        Ok(Answered::Restriction(details))
    }

    fn tell_restricted(&self, conn: ConnId, restriction: &Restriction, cx: &mut Cx<'_>) {
        let message = format!("{} for {}", restriction.kind.told(), restriction.time_and_reason(cx.now));
        self.reply_to(conn, &ServerReply::Alert(Notice { message, ..Notice::default() }), cx);
    }

    /// Ends a restriction early.
    ///
    /// # Errors
    /// When there is none with this id.
    pub(super) fn lift_restriction(&mut self, id: u64, cx: &mut Cx<'_>) -> SessionAnswer {
        let at = self.restrictions.list.iter().position(|r| r.id == id).ok_or(AdminError::NotFound)?;
        let lifted = self.restrictions.list.remove(at);
        let details = self.restriction_details(&lifted, cx.now);
        self.persistence.push(ended(id));
        self.tell_end(&lifted, &format!("lifted by {ADMINISTRATOR}"), cx);
        self.apply_restrictions(cx);
        Ok(Answered::Restriction(details))
    }

    /// Warns a member, and counts that.
    ///
    /// # Errors
    /// When there is no such member, or the text is empty or too long.
    pub(super) fn warn(&mut self, id: u8, message: &str, cx: &mut Cx<'_>) -> SessionAnswer {
        let member = self.member_by_id(id).ok_or(AdminError::NotFound)?;
        if message.is_empty() {
            return Err(AdminError::NotPossible("the message is empty".into()));
        }
        if message.len() > MAX_REASON {
            return Err(AdminError::TextTooLong);
        }
        let (person, user, conn) = (member.client.identity.clone(), member.log_user(), member.conn());
        let warnings = self.restrictions.warn(&person);
        self.persistence.push(Entry::Restriction(RestrictionChange::Warned { person, count: warnings }));
        let text = format!("Warned by {ADMINISTRATOR} ({warnings}): {message}");
        self.note_about(user, Level::Info, Topic::Mute, text, cx);
        let message = format!("Warning from {ADMINISTRATOR}: {message}");
        self.reply_to(conn, &ServerReply::Alert(Notice { message, ..Notice::default() }), cx);
        Ok(Answered::Warned(WarningCount { status: "ok".into(), warnings }))
    }

    /// All restrictions, for the admin API.
    pub(super) fn list_restrictions(&self, now: Timestamp) -> Answered {
        let list = self.restrictions.list.iter().map(|r| self.restriction_details(r, now)).collect();
        let closed_for = self.restrictions.closed_for(now.monotonic_ms);
        Answered::Restrictions(RestrictionList {
            restrictions: list,
            closed_until: (closed_for > 0).then(|| time_text(now.utc_ms + closed_for as i64)),
        })
    }

    fn restriction_details(&self, restriction: &Restriction, now: Timestamp) -> RestrictionDetails {
        let Restriction { id, kind, person, ends, reason, .. } = restriction;
        let member = self.members.iter().find(|m| restriction.has(&m.client.identity));
        let left = ends.saturating_sub(now.monotonic_ms);
        RestrictionDetails {
            id: *id,
            kind: *kind,
            name: member.map_or(&person.name, |m| &m.client.identity.name).clone(),
            user: member.map(|m| m.id),
            until: time_text(now.utc_ms + left as i64),
            reason: reason.clone(),
        }
    }

    /// How often a member was warned.
    pub(super) fn warnings_of(&self, member: &Member) -> u32 {
        self.restrictions.warnings(&member.client.identity)
    }

    /// Whether somebody is or was in the session, since it was loaded.
    pub(super) fn was_here(&self, person: &Identity) -> bool {
        self.members.iter().any(|m| m.client.identity.is_same_person(person))
            || self.members.past_identities().any(|past| past.is_same_person(person))
    }

    /// Ends restrictions whose time is over, and tries again to send locks for which there was no space. Called every
    /// 15 s.
    pub(super) fn expire_restrictions(&mut self, cx: &mut Cx<'_>) {
        if self.restrictions.open_when_over(cx.now.monotonic_ms) {
            self.persistence.push(Entry::Restriction(RestrictionChange::Closed(0)));
        }
        if self.restrictions.list.is_empty() && !self.holds_locks() {
            return;
        }
        for over in self.restrictions.take_ended(cx.now.monotonic_ms) {
            self.persistence.push(ended(over.id));
            self.tell_end(&over, "over", cx);
        }
        self.apply_restrictions(cx);
    }

    fn tell_end(&mut self, restriction: &Restriction, how: &str, cx: &mut Cx<'_>) {
        let found = self.members.iter().find(|m| restriction.has(&m.client.identity));
        let Some(member) = found else { return };
        let (user, conn) = (member.log_user(), member.conn());
        let text = format!("{}: {how}", restriction.kind.done());
        self.note_about(user, Level::Info, Topic::Unmute, text, cx);
        let message = restriction.kind.ended().to_owned();
        self.reply_to(conn, &ServerReply::Msg(Notice { message, ..Notice::default() }), cx);
    }

    /// Applies the restrictions to the members who are there. Tells those who are newly restricted.
    pub(super) fn apply_restrictions(&mut self, cx: &mut Cx<'_>) {
        let (mut mutes_changed, mut begun) = (false, Vec::new());
        for member in &mut self.members {
            let (person, before) = (&member.client.identity, member.restricted);
            let restricted = self.restrictions.of(person);
            let new = self.restrictions.list.iter().filter(|r| !before.has(r.kind) && r.is_for(person));
            begun.extend(new.map(|restriction| (member.conn(), restriction.clone())));
            mutes_changed |= before.muted != restricted.muted;
            member.restricted = restricted;
        }
        for (conn, restriction) in begun {
            self.tell_restricted(conn, &restriction, cx);
        }
        if mutes_changed {
            self.send_list(List::Muted, cx);
        }
        self.enforce_locks(cx);
    }

    /// Applies the restrictions to somebody who has come.
    pub(super) fn restrict_newcomer(&mut self, id: u8, was_here: bool, cx: &mut Cx<'_>) {
        if self.restrictions.closed_for(cx.now.monotonic_ms) > 0 {
            self.note_known();
        }
        if self.restrictions.list.is_empty() {
            return;
        }
        let guest = self.member_by_id(id).filter(|m| !was_here && !m.is_authenticated() && !m.is_moderator());
        if let Some(guest) = guest.map(|m| m.client.identity.clone()) {
            for id in self.restrictions.follow(&guest) {
                let guest = guest.clone();
                self.persistence.push(Entry::Restriction(RestrictionChange::Followed { id, guest }));
            }
        }
        self.apply_restrictions(cx);
    }
}
