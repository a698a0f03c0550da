//! Which ended sessions go when there are too many, so that nobody displaces those of others: who hosted a session is
//! noted in its directory when it ends.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::super::SessionDir;
use super::EndedSession;
use crate::rules::metadata::Metadata;

/// Name of the file in the directory of an ended session.
pub(super) const HOST_FILE: &str = "host.json";
/// A session that lived for less is a short one.
const SHORT: Duration = Duration::from_secs(600);

/// Who hosted a session, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct SessionHost {
    /// Account id, or network of the address.
    host: String,
    /// When it was hosted.
    since: SystemTime,
}

/// What there is too much of, with the most that all sessions together may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quota {
    Bytes(u64),
    Number(u64),
}

impl Quota {
    /// What a session uses of it.
    fn used_by(self, session: &EndedSession) -> u64 {
        match self {
            Quota::Bytes(_) => session.size,
            Quota::Number(_) => 1,
        }
    }

    fn limit(self) -> u64 {
        match self {
            Quota::Bytes(limit) | Quota::Number(limit) => limit,
        }
    }
}

impl SessionHost {
    pub(super) fn read(directory: &Path) -> Option<SessionHost> {
        serde_json::from_slice(&fs::read(directory.join(HOST_FILE)).ok()?).ok()
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join(HOST_FILE), serde_json::to_vec(self)?)
    }

    /// Account id, or network of the address.
    pub(super) fn name(&self) -> &str {
        &self.host
    }

    /// Whether the session had ended soon after it was hosted; in seconds since 1970.
    fn was_short(&self, ended: u64) -> bool {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(ended);
        ended.duration_since(self.since).unwrap_or_default() < SHORT
    }
}

/// Whether nobody but the host was in a session, or it was short: others can do without it.
pub(super) fn is_slight(metadata: &Metadata, host: Option<&SessionHost>, ended: u64) -> bool {
    metadata.users.len() <= 1 || host.is_some_and(|host| host.was_short(ended))
}

/// What the sessions of a host use.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    all: u64,
    /// By the largest session.
    largest: u64,
}

impl Used {
    /// What is beyond the host's fair share. One session is always fair: it may be large because many drew in it.
    fn beyond(self, fair_share: u64) -> u64 {
        self.all.saturating_sub(fair_share.max(self.largest))
    }
}

/// The host of a session. Sessions of unknown hosts are of one each.
fn host_of(session: &EndedSession) -> String {
    if session.host.is_empty() { format!("session {}", session.id) } else { session.host.clone() }
}

/// What hosts use with these sessions.
fn used_by_host<'a>(sessions: impl Iterator<Item = &'a EndedSession>, quota: Quota) -> HashMap<String, Used> {
    let mut used: HashMap<String, Used> = HashMap::new();
    for session in sessions {
        let size = quota.used_by(session);
        let of_host = used.entry(host_of(session)).or_default();
        of_host.all += size;
        of_host.largest = of_host.largest.max(size);
    }
    used
}

/// The session that goes next, by its place in the list. The first of the list, which ended last, stays.
pub(super) fn next_to_go(sessions: &[EndedSession], quota: Quota) -> Option<usize> {
    next_slight_to_go(sessions, quota).or_else(|| next_of_all_to_go(sessions, quota))
}

/// If slight sessions have more than half of the limit: the oldest of them of the host who has most of them. Whoever can
/// host from many addresses displaces no more than that half.
fn next_slight_to_go(sessions: &[EndedSession], quota: Quota) -> Option<usize> {
    let used = used_by_host(sessions.iter().filter(|session| session.is_slight), quota);
    if used.values().map(|used| used.all).sum::<u64>() <= quota.limit() / 2 {
        return None;
    }
    let rank = |(_, session): &(usize, &EndedSession)| {
        (used.get(&host_of(session)).map(|used| used.all), Reverse(session.ended))
    };
    let slight = sessions.iter().enumerate().skip(1).filter(|(_, session)| session.is_slight);
    slight.max_by_key(rank).map(|(place, _)| place)
}

/// Of the host who is most beyond a fair share (what all use, divided by the number of hosts); if nobody is, of those
/// that are slight; of these the oldest of the host who has most.
fn next_of_all_to_go(sessions: &[EndedSession], quota: Quota) -> Option<usize> {
    let used = used_by_host(sessions.iter(), quota);
    let total: u64 = used.values().map(|used| used.all).sum();
    let fair_share = total / used.len().max(1) as u64;
    let rank = |(_, session): &(usize, &EndedSession)| {
        let used = used.get(&host_of(session)).copied().unwrap_or_default();
        (used.beyond(fair_share), session.is_slight, used.all, Reverse(session.ended))
    };
    sessions.iter().enumerate().skip(1).max_by_key(rank).map(|(place, _)| place)
}

impl SessionDir {
    /// Notes who hosted a session, by account or else address. It is stored when the session ends.
    pub fn set_host(&self, id: &str, host: String) {
        self.hosts.lock().insert(id.to_owned(), SessionHost { host, since: SystemTime::now() });
    }

    /// The session is over.
    pub(in crate::storage) fn forget_host(&self, id: &str) {
        self.hosts.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, host: &str, ended: u64, size: u64, is_slight: bool) -> EndedSession {
        EndedSession {
            id: id.into(),
            alias: String::new(),
            title: String::new(),
            founder: String::new(),
            ended,
            size,
            host: host.into(),
            is_slight,
            directory: id.into(),
            journal: String::new(),
        }
    }

    /// Ids in the order in which they go.
    fn order(mut sessions: Vec<EndedSession>, quota: Quota) -> Vec<String> {
        let mut gone = Vec::new();
        while let Some(place) = next_to_go(&sessions, quota) {
            gone.push(sessions.remove(place).id);
        }
        gone
    }

    #[test]
    fn who_has_most_makes_room_before_others_do() {
        let sessions = vec![
            session("troll3", "troll", 9, 60, false),
            session("troll2", "troll", 8, 60, false),
            session("unknown", "", 7, 70, false),
            session("club2", "club", 6, 50, false),
            session("troll1", "troll", 5, 60, false),
            session("club1", "club", 4, 50, false),
        ];
        assert_eq!(order(sessions, Quota::Bytes(300)), ["troll1", "troll2", "club1", "unknown", "club2"]);
    }

    #[test]
    fn slight_sessions_go_first_and_many_small_ones_displace_no_large_one() {
        let mut sessions =
            vec![session("last", "troll", 99, 1, true), session("club", "club", 1, 900, false)];
        sessions.extend((2..5).map(|n| session(&format!("troll{n}"), "troll", n, 1, true)));
        let all = ["troll2", "troll3", "troll4", "club"];
        assert_eq!(order(sessions.clone(), Quota::Bytes(900)), all);
        sessions.iter_mut().for_each(|session| session.is_slight = false);
        assert_eq!(order(sessions, Quota::Number(4)), all);
    }

    #[test]
    fn a_second_connection_and_ten_minutes_displace_nobody_who_draws_alone() {
        let mut sessions =
            vec![session("troll2", "troll", 9, 100, false), session("troll1", "troll", 8, 100, false)];
        sessions.extend((1..4).map(|n| session(&format!("solo{n}"), &format!("artist{n}"), n, 50, true)));
        for quota in [Quota::Bytes(400), Quota::Number(8)] {
            let mut sessions = sessions.clone();
            sessions.insert(0, session("last", "artist9", 99, 50, true));
            assert_eq!(order(sessions, quota)[0], "troll1");
        }
    }

    #[test]
    fn slight_sessions_from_many_addresses_displace_others_up_to_half_of_the_limit_only() {
        for (size, quota) in [(3, Quota::Bytes(20)), (900, Quota::Number(6))] {
            let mut sessions: Vec<EndedSession> =
                (0..5).rev().map(|n| session(&format!("club{n}"), "club", n, size, false)).collect();
            for n in 5..50 {
                sessions.insert(0, session(&format!("troll{n}"), &format!("address{n}"), n, size, true));
                while sessions.iter().map(|session| quota.used_by(session)).sum::<u64>() > quota.limit() {
                    sessions.remove(next_to_go(&sessions, quota).unwrap());
                }
            }
            let ids: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
            assert_eq!(ids, ["troll49", "troll48", "troll47", "club4", "club3", "club2"], "{quota:?}");
        }
    }

    #[test]
    fn a_session_is_slight_if_it_was_short_or_nobody_joined_the_host() {
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let host = SessionHost { host: "192.0.2.1".into(), since };
        let with = |count: u8| Metadata {
            users: (0..count).map(|id| (id, id.to_string())).collect(),
            ..Metadata::default()
        };
        assert!(is_slight(&with(2), Some(&host), 1500) && is_slight(&with(1), Some(&host), 99_000));
        assert!(!is_slight(&with(2), Some(&host), 1600) && !is_slight(&with(2), None, 1001));
    }
}
