//! How many bytes may be written to the file of an hour, so that one session or one sender does not displace the
//! events of others.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::{CHAT, MAX_HOUR_BYTES, SessionEvent};
use crate::rules::network::networks;

/// What one session may add in an hour, in bytes of each [`Kind`].
pub(super) const MAX_SESSION_BYTES: u64 = MAX_HOUR_BYTES / 32;
/// What one address may add in an hour, in bytes of each [`Kind`]; IPv6 networks have multiples ([`networks`]).
pub(super) const MAX_SENDER_BYTES: u64 = MAX_HOUR_BYTES / 64;
/// What one address may add to the chat of one session. The networks around it have at most twice as much.
pub(super) const MAX_SENDER_IN_SESSION: u64 = MAX_SESSION_BYTES / 4;
/// A session that has written less chat than this in the hour is small, in bytes.
pub(super) const SMALL_SESSION: u64 = 64 << 10;
/// How full the file may be for chat of sessions that are not small, in bytes.
pub(super) const MAX_CHAT: u64 = MAX_HOUR_BYTES / 2;
/// How full it may be for everything but moderation, in bytes.
pub(super) const MAX_ROUTINE: u64 = MAX_HOUR_BYTES / 8 * 7;

/// Topics of what moderators and operators do, and of reports.
const MODERATION: [&str; 9] = ["Kick", "Ban", "Unban", "Mute", "Unmute", "Op", "Deop", "Report", "RuleBreak"];

/// Events that are counted together: chat must not displace the kick that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Chat,
    /// Joins, settings and the like.
    Routine,
    Moderation,
}

impl Kind {
    fn of(event: &SessionEvent) -> Kind {
        match event.topic.as_str() {
            CHAT => Kind::Chat,
            topic if MODERATION.contains(&topic) => Kind::Moderation,
            _ => Kind::Routine,
        }
    }
}

/// Whose events of an hour were not all kept.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    hour: i64,
    /// Some of any session.
    of_all: bool,
    sessions: HashSet<String>,
}

impl Dropped {
    /// Begins anew with an hour.
    fn begin(&mut self, hour: i64) {
        if hour > self.hour {
            *self = Dropped { hour, ..Dropped::default() };
        }
    }

    /// Notes that events of any session were dropped. Returns whether that is new in this hour.
    pub(super) fn note_all(&mut self, hour: i64) -> bool {
        self.begin(hour);
        !std::mem::replace(&mut self.of_all, true)
    }

    /// Notes that events of a session were dropped. Returns whether that is new in this hour.
    fn note(&mut self, hour: i64, session: &str) -> bool {
        self.begin(hour);
        !self.sessions.contains(session) && self.sessions.insert(session.to_owned())
    }

    /// Whether events of this session, or with an empty name of any, were dropped in this hour.
    pub(super) fn is_noted(&self, hour: i64, session: &str) -> bool {
        let is_of_session =
            if session.is_empty() { !self.sessions.is_empty() } else { self.sessions.contains(session) };
        self.hour == hour && (self.of_all || is_of_session)
    }
}

/// What was written to the newest hour. Events of the hour before, of which a few may come late, count for it.
#[derive(Debug, Default)]
pub(super) struct HourBudget {
    hour: i64,
    /// Bytes of the file of `hour`.
    total: Option<u64>,
    sessions: HashMap<(String, Kind), u64>,
    /// By network.
    senders: HashMap<(IpAddr, Kind), u64>,
    /// Chat of a session, by network.
    senders_in_session: HashMap<(String, IpAddr), u64>,
}

impl HourBudget {
    /// Whether an event of so many bytes may be added to the file of an hour; they count then. `written` is the
    /// present size of the file, for one that is new here.
    pub(super) fn take(
        &mut self,
        hour: i64,
        event: &SessionEvent,
        bytes: u64,
        dropped: &mut Dropped,
        written: impl FnOnce() -> u64,
    ) -> bool {
        if hour > self.hour || self.total.is_none() {
            *self = HourBudget { hour, total: Some(written()), ..HourBudget::default() };
        }
        let kind = Kind::of(event);
        if self.total.unwrap_or_default() + bytes > self.limit_of_all(event, kind) {
            if dropped.note_all(self.hour) {
                tracing::warn!("the file of this hour is full: chat and events of sessions are not all kept");
            }
            return false;
        }
        if !self.session_fits(event, kind, bytes) || !self.sender_fits(event, kind, bytes) {
            if dropped.note(self.hour, &event.session) {
                let session = &event.session;
                tracing::warn!(
                    "chat or events of session {session} are too much to be all kept in this hour"
                );
            }
            return false;
        }
        self.count(event, kind, bytes);
        true
    }

    /// How full the file may be for this event: a part of it is for small sessions, and the last for moderation.
    fn limit_of_all(&self, event: &SessionEvent, kind: Kind) -> u64 {
        let is_small = || self.of_session(event, kind) < SMALL_SESSION;
        match kind {
            Kind::Moderation => MAX_HOUR_BYTES,
            Kind::Chat if !is_small() => MAX_CHAT,
            Kind::Chat | Kind::Routine => MAX_ROUTINE,
        }
    }

    fn of_session(&self, event: &SessionEvent, kind: Kind) -> u64 {
        self.sessions.get(&(event.session.clone(), kind)).copied().unwrap_or_default()
    }

    fn session_fits(&self, event: &SessionEvent, kind: Kind, bytes: u64) -> bool {
        self.of_session(event, kind) + bytes <= MAX_SESSION_BYTES
    }

    fn sender_fits(&self, event: &SessionEvent, kind: Kind, bytes: u64) -> bool {
        let Ok(address) = event.ip.parse::<IpAddr>() else { return true };
        networks(address).all(|network| {
            let used = self.senders.get(&(network.key, kind)).copied().unwrap_or_default();
            let in_session = (event.session.clone(), network.key);
            let used_in_session = self.senders_in_session.get(&in_session).copied().unwrap_or_default();
            used + bytes <= MAX_SENDER_BYTES * u64::from(network.factor)
                && (kind != Kind::Chat
                    || used_in_session + bytes <= MAX_SENDER_IN_SESSION * u64::from(network.factor.min(2)))
        })
    }

    fn count(&mut self, event: &SessionEvent, kind: Kind, bytes: u64) {
        *self.total.get_or_insert_default() += bytes;
        *self.sessions.entry((event.session.clone(), kind)).or_default() += bytes;
        let Ok(address) = event.ip.parse::<IpAddr>() else { return };
        for network in networks(address) {
            *self.senders.entry((network.key, kind)).or_default() += bytes;
            if kind == Kind::Chat {
                *self.senders_in_session.entry((event.session.clone(), network.key)).or_default() += bytes;
            }
        }
    }
}
