//! The space of a session: who has used how much of its size limit since the last reset, or since the session was
//! loaded, and how long the rest lasts.

use super::admin::answer::{Answered, SpaceDetails, SpaceShare};
use super::resets::human_size;
use super::{Cx, SessionMachine};
use crate::rules::disk_space::SpaceTrend;
use crate::rules::time::Timestamp;

/// Percentages of the size limit at which operators are told, once each until a reset.
const TOLD_AT: [u64; 2] = [80, 95];

/// How much of its space a session has used.
#[derive(Debug, Default)]
pub(super) struct SpaceUse {
    /// User ids and the bytes of their messages, by user id.
    by_user: Vec<(u8, u64)>,
    trend: SpaceTrend,
    /// How many of [`TOLD_AT`] operators were told.
    told: usize,
}

impl SpaceUse {
    /// A user has sent so many bytes that are kept.
    pub(super) fn add(&mut self, user: u8, bytes: usize) {
        match self.by_user.binary_search_by_key(&user, |(id, _)| *id) {
            Ok(at) => self.by_user[at].1 += bytes as u64,
            Err(at) => self.by_user.insert(at, (user, bytes as u64)),
        }
    }

    /// Looks at the size. Returns the percentage that operators are to be told, if there is a new one.
    fn look(&mut self, now_ms: u64, size: u64, limit: u64) -> Option<u64> {
        self.trend.add(now_ms, limit.saturating_sub(size));
        let percent = size.saturating_mul(100) / limit;
        let reached = TOLD_AT.iter().filter(|at| percent >= **at).count();
        (reached > self.told).then(|| {
            self.told = reached;
            percent
        })
    }

    /// User ids and bytes, the most first.
    fn shares(&self) -> Vec<(u8, u64)> {
        let mut shares = self.by_user.clone();
        shares.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        shares
    }
}

impl SessionMachine {
    /// Looks at the space, and tells operators when it becomes scarce. Called every 15 s.
    pub(super) fn watch_space(&mut self, cx: &mut Cx<'_>) {
        let (size, limit) = (self.history.size(), self.history.limit());
        if limit == 0 || !self.resets.is_running() {
            return;
        }
        let Some(percent) = self.space.look(cx.now.monotonic_ms, size, limit) else { return };
        let mut message = format!(
            "{percent} % of the space of this session is used ({} of {}).",
            human_size(size),
            human_size(limit)
        );
        if let Some(seconds) = self.space.trend.seconds_left(cx.now.monotonic_ms, limit.saturating_sub(size))
        {
            message.push_str(&format!(" It is full in about {} min at this rate.", seconds.div_ceil(60)));
        }
        let shares = self.space.shares();
        let sum: u64 = shares.iter().map(|(_, bytes)| bytes).sum();
        let most: Vec<String> = shares
            .iter()
            .take(3)
            .map(|(id, bytes)| format!("{} {} %", self.name_of(*id), bytes * 100 / sum.max(1)))
            .collect();
        if !most.is_empty() {
            message.push_str(&format!(" Most of it is by {}.", most.join(", ")));
        }
        message.push_str(" A reset (Session > Reset) makes room.");
        self.tell_operators(message, cx);
    }

    /// The space, for the admin API.
    pub(super) fn space_details(&self, now: Timestamp) -> Answered {
        let (size, limit) = (self.history.size(), self.history.limit());
        let left = limit.saturating_sub(size);
        let share = |(id, bytes): (u8, u64)| SpaceShare { id, name: self.name_of(id), bytes };
        Answered::Space(SpaceDetails {
            size,
            limit,
            seconds_left: if limit == 0 {
                None
            } else {
                self.space.trend.seconds_left(now.monotonic_ms, left)
            },
            shares: self.space.shares().into_iter().map(share).collect(),
        })
    }

    /// Name of a user who is or was there; empty if it is not known.
    fn name_of(&self, id: u8) -> String {
        let present = self.member_by_id(id).map(|m| m.name().to_owned());
        present.or_else(|| Some(self.members.past_user(id)?.identity.name.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_by_user() {
        let mut space = SpaceUse::default();
        assert!(space.shares().is_empty());
        space.add(3, 10);
        space.add(255, 50);
        space.add(3, 5);
        assert_eq!(space.shares(), [(255, 50), (3, 15)]);
    }

    #[test]
    fn each_mark_is_told_once() {
        let mut space = SpaceUse::default();
        let told = [790, 800, 850, 950, 960, 100, 810].map(|size| space.look(0, size, 1000));
        assert_eq!(told, [None, Some(80), None, Some(95), None, None, None]);
        let mut at_once = SpaceUse::default();
        assert_eq!(at_once.look(0, 990, 1000), Some(99));
        assert_eq!(at_once.look(0, 995, 1000), None);
    }
}
