//! Lists that are broadcast to members as partial `sessionconf` replies. Source: docs/spec/session.md#session-lists.
//!
//! The first change of a list is sent at once. Further changes within [`GATHER_MS`], or above [`RATE`], are coalesced
//! and only the final state is sent: one member's commands must not become many long messages for everybody.

use std::collections::HashMap;

use drawhall_protocol::reply::{AnnouncementEntry, AuthEntry, BanEntry, ConfPart, ServerReply};
use serde::Serialize;

use super::ListingUpdate;
use super::member::Member;
use super::{ConnId, Cx, SessionMachine};
use crate::log::{Level, Topic};
use crate::rules::limits::{Bucket, Rate};
use crate::rules::time::Timestamp;

/// Maximum number of absent accounts without a role in the account list.
const MAX_BARE_ACCOUNTS: usize = 32;
/// Maximum length of a message's payload in bytes.
const MAX_PAYLOAD: usize = u16::MAX as usize;
/// Maximum length of a list server's text that is shown in the session, in bytes.
const MAX_TEXT: usize = 10_000;
/// Rate limit for each list, in bytes.
const RATE: Rate = Rate { per_second: 256.0 * 1024.0, burst: 1024.0 * 1024.0 };
/// Minimum cost of sending a list, in bytes.
const MIN_COST: u64 = 32 << 10;
/// How long changes are coalesced after a list was sent, in milliseconds.
const GATHER_MS: u64 = 20;

/// A list that is broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rules::session) enum List {
    /// List servers where the session is announced; for everybody.
    Announcements,
    /// Session bans; for operators.
    Bans,
    /// Muted users; for everybody.
    Muted,
    /// Accounts with their roles; for operators.
    Accounts,
    /// Invites; for operators.
    Invites,
}

impl List {
    /// In the order in which new members get them.
    const ALL: [List; 5] = [Self::Announcements, Self::Bans, Self::Muted, Self::Accounts, Self::Invites];
}

/// Send state of one list.
#[derive(Debug, Default)]
struct Broadcast {
    bucket: Bucket,
    /// Step in which it was last sent.
    step: Option<u64>,
    /// The list has changed since it was sent; time of the next send, monotonic milliseconds.
    due: Option<u64>,
}

/// Send state of all lists.
#[derive(Debug, Default)]
pub(in crate::rules::session) struct Broadcasts {
    lists: [Broadcast; 5],
    /// Counts inputs; each message of a batch is a step of its own.
    step: u64,
    /// First step of the batch that is being handled.
    batch: Option<u64>,
    /// Members that are no longer operators must be sent an empty ban list.
    blank_bans: bool,
    /// Number of bans that did not fit into the list: without and with addresses.
    bans_left_out: (usize, usize),
    /// Lowest role that is in the account list; raised when the list gets too long.
    account_level: u8,
}

impl Broadcasts {
    /// Begins a step.
    pub(in crate::rules::session) fn next_step(&mut self) {
        self.step += 1;
    }

    /// Begins a batch. Returns the outer batch, if it is nested.
    pub(in crate::rules::session) fn begin_batch(&mut self) -> Option<u64> {
        self.step += 1;
        let outer = self.batch;
        self.batch = outer.or(Some(self.step));
        outer
    }

    /// Ends a batch.
    pub(in crate::rules::session) fn end_batch(&mut self, outer: Option<u64>) {
        self.step += 1;
        self.batch = outer;
    }

    /// Time of the next list to send, monotonic milliseconds.
    pub(in crate::rules::session) fn due(&self) -> Option<u64> {
        self.lists.iter().filter_map(|broadcast| broadcast.due).min()
    }

    fn may_send(&mut self, list: List, now: Timestamp) -> bool {
        let broadcast = &mut self.lists[list as usize];
        match (broadcast.step, self.batch) {
            // Lists of the same step belong together.
            (Some(step), _) if step == self.step => true,
            (Some(step), Some(batch)) if step >= batch => false,
            _ => broadcast.bucket.overdraw(RATE, now.monotonic_ms, 0) == 0,
        }
    }

    fn sent(&mut self, list: List, bytes: usize, now: Timestamp) {
        let broadcast = &mut self.lists[list as usize];
        if broadcast.step != Some(self.step) {
            broadcast.bucket.overdraw(RATE, now.monotonic_ms, (bytes as u64).max(MIN_COST));
        }
        broadcast.step = Some(self.step);
        broadcast.due = None;
    }

    fn delay(&mut self, list: List, now: Timestamp) {
        let broadcast = &mut self.lists[list as usize];
        let wait = broadcast.bucket.overdraw(RATE, now.monotonic_ms, 0).max(GATHER_MS);
        broadcast.due.get_or_insert(now.monotonic_ms + wait);
    }
}

impl SessionMachine {
    /// Sends a changed list to those who may see it, now or coalesced.
    pub(super) fn send_list(&mut self, list: List, cx: &mut Cx<'_>) {
        if !self.broadcasts.may_send(list, cx.now) {
            return self.broadcasts.delay(list, cx.now);
        }
        let bytes = self.deliver_list(list, None, cx);
        self.broadcasts.sent(list, bytes, cx.now);
    }

    /// Sends all lists to a new member at once, and changed ones to everybody.
    pub(super) fn send_lists_with(&mut self, newcomer: ConnId, cx: &mut Cx<'_>) {
        let operator = self.members.iter().any(|m| m.conn() == newcomer && m.is_operator());
        for list in List::ALL {
            let visible = operator || matches!(list, List::Announcements | List::Muted);
            if visible && !self.broadcasts.may_send(list, cx.now) {
                self.deliver_list(list, Some(newcomer), cx);
            }
            self.send_list(list, cx);
        }
    }

    /// Operators have changed: they are sent the bans, everybody else an empty list.
    pub(super) fn send_bans_anew(&mut self, cx: &mut Cx<'_>) {
        self.broadcasts.blank_bans = true;
        self.send_list(List::Bans, cx);
    }

    /// Sends lists that are due.
    pub(super) fn send_due_lists(&mut self, cx: &mut Cx<'_>) {
        for list in List::ALL {
            if self.broadcasts.lists[list as usize].due.is_some_and(|due| cx.now.monotonic_ms >= due) {
                self.send_list(list, cx);
            }
        }
    }

    /// Sends a list to one member, or to all who may see it; returns its length in bytes.
    fn deliver_list(&mut self, list: List, only: Option<ConnId>, cx: &mut Cx<'_>) -> usize {
        match list {
            List::Announcements => {
                let entries = self
                    .announcements
                    .listed()
                    .iter()
                    .map(|l| AnnouncementEntry { url: l.url.clone() })
                    .collect();
                self.deliver(ConfPart::Announcements(entries), only, |_| true, cx)
            }
            List::Bans => self.deliver_bans(only, cx),
            List::Muted => {
                let muted = self.members.iter().filter(|m| m.is_muted()).map(|m| m.id).collect();
                self.deliver(ConfPart::Muted(muted), only, |_| true, cx)
            }
            List::Accounts => {
                let entries = self.account_entries(cx);
                self.deliver(ConfPart::Auth(entries), only, Member::is_operator, cx)
            }
            List::Invites => {
                self.shorten_invites(cx);
                let entries = self.moderation.invites.entries();
                self.deliver(ConfPart::InviteList(entries), only, Member::is_operator, cx)
            }
        }
    }

    fn deliver(
        &self,
        part: ConfPart,
        only: Option<ConnId>,
        sees: impl Fn(&Member) -> bool,
        cx: &mut Cx<'_>,
    ) -> usize {
        // Too long texts were left out before.
        let Ok(frame) = ServerReply::part(part).to_frame() else { return 0 };
        let bytes = frame.into_bytes();
        let shown = |m: &&Member| sees(m) && only.is_none_or(|conn| conn == m.conn());
        for member in self.members.iter().filter(shown) {
            cx.direct(member.conn(), bytes.clone());
        }
        bytes.len()
    }

    fn deliver_bans(&mut self, only: Option<ConnId>, cx: &mut Cx<'_>) -> usize {
        let (plain, plain_left_out) = newest_that_fit(self.moderation.bans.entries(false));
        let (full, full_left_out) = newest_that_fit(self.moderation.bans.entries(true));
        let left_out = (plain_left_out, full_left_out);
        let before = std::mem::replace(&mut self.broadcasts.bans_left_out, left_out);
        if (before.0 == 0 && left_out.0 > 0) || (before.1 == 0 && left_out.1 > 0) {
            let text = bans_left_out_text(plain_left_out, full_left_out);
            self.note(Level::Warn, Topic::Status, text, cx);
        }
        let sees_all = |m: &Member| m.is_operator() && (m.is_moderator() || m.is_local());
        let sees_some = |m: &Member| m.is_operator() && !sees_all(m);
        let blank = if only.is_none() { std::mem::take(&mut self.broadcasts.blank_bans) } else { false };
        let blank = blank.then(Vec::new);
        let bytes = self.deliver(ConfPart::BanList(full), only, sees_all, cx);
        self.deliver(ConfPart::BanList(plain), only, sees_some, cx);
        if let Some(none) = blank {
            self.deliver(ConfPart::BanList(none), only, |m| !m.is_operator(), cx);
        }
        bytes
    }

    /// Accounts with their roles. Absent accounts of low role are left out when the list gets too long.
    fn account_entries(&mut self, cx: &mut Cx<'_>) -> Vec<AuthEntry> {
        let mut online: HashMap<&str, &Member> = HashMap::new();
        for member in self.members.iter().filter(|m| m.is_authenticated()) {
            online.entry(member.auth_id()).or_insert(member);
        }
        let mut bare = 0;
        let mut entries = Vec::new();
        let mut sizes = [0; 4];
        for (auth_id, account) in self.moderation.accounts.all() {
            let Some(username) = account.name.clone() else { continue };
            let member = online.get(auth_id.as_str());
            let moderator = member.is_some_and(|m| m.is_moderator());
            let (op, trusted) = (account.operator, account.trusted);
            let level: u8 = match (member, op, trusted) {
                (Some(_), ..) => 3,
                (None, true, _) => 2,
                (None, false, true) => 1,
                (None, false, false) => 0,
            };
            if level == 0 {
                bare += 1;
                if bare > MAX_BARE_ACCOUNTS {
                    continue;
                }
            }
            let entry = AuthEntry { auth_id: auth_id.clone(), username, op, trusted, moderator };
            sizes[usize::from(level)] += json_len(&entry) + 1;
            entries.push(((level, account.age), entry));
        }
        let space = MAX_PAYLOAD - empty_len(ConfPart::Auth(vec![]));
        let fits = |level: &u8| sizes[usize::from(*level)..].iter().sum::<usize>() <= space;
        let required = (0..3).find(fits).unwrap_or(3);
        let before = std::mem::replace(&mut self.broadcasts.account_level, required);
        for level in before..required {
            let text = format!("Auth list too large (level {level})");
            self.note(Level::Warn, Topic::Status, text, cx);
        }
        if required > 0 {
            // Highest role first; within a role the most recently used account.
            entries.sort_unstable_by_key(|(role, _)| std::cmp::Reverse(*role));
        }
        let mut shown = first_that_fit(entries.into_iter().map(|(_, entry)| entry).collect(), space);
        shown.sort_unstable_by(|a, b| a.auth_id.cmp(&b.auth_id));
        shown
    }

    /// Removes the oldest invites while the list is too long for a message.
    fn shorten_invites(&mut self, cx: &mut Cx<'_>) {
        let sizes: Vec<usize> =
            self.moderation.invites.entries().iter().map(|entry| json_len(entry) + 1).collect();
        let space = MAX_PAYLOAD - empty_len(ConfPart::InviteList(vec![]));
        let mut size: usize = sizes.iter().sum();
        for oldest in sizes {
            if size <= space {
                return;
            }
            size -= oldest;
            let Some(secret) = self.moderation.invites.remove_oldest() else { return };
            let text = format!("Removed oldest invite {secret} to fit them into a message");
            self.note(Level::Warn, Topic::Invite, text, cx);
        }
    }

    /// Applies the state of the session's listings.
    pub fn listing_news(&mut self, news: ListingUpdate, cx: &mut Cx<'_>) {
        let text = news.text.clone();
        let (entries, changed) = self.announcements.update(news);
        self.persistence.extend(entries);
        let told = text.is_some();
        if let Some(text) = text {
            // The text may come from a list server.
            let text = text[..text.floor_char_boundary(MAX_TEXT)].to_owned();
            self.notice(false, "", text, &[], "", cx);
        }
        // The client that asked for a listing sees in the list that it failed.
        if told || changed {
            self.send_list(List::Announcements, cx);
        }
    }
}

fn json_len(value: &impl Serialize) -> usize {
    // Serializing maps with text keys into memory cannot fail.
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

/// Length of the payload without entries.
fn empty_len(part: ConfPart) -> usize {
    json_len(&ServerReply::part(part))
}

/// The longest prefix of the entries that fits.
fn first_that_fit<T: Serialize>(mut entries: Vec<T>, space: usize) -> Vec<T> {
    let mut size = 0;
    let fitting = entries.iter().take_while(|entry| {
        size += json_len(*entry) + 1;
        size <= space
    });
    let count = fitting.count();
    entries.truncate(count);
    entries
}

/// What everybody is told of bans that a message has no room for. Entries for those who see addresses are longer, so more
/// of them may be left out; a number of 0 is not mentioned.
fn bans_left_out_text(plain: usize, full: usize) -> String {
    let mut parts = Vec::new();
    if plain > 0 {
        parts.push(format!("the oldest {plain} bans are not shown"));
    }
    if full > 0 {
        parts.push(format!("the oldest {full} bans are not shown to those who see addresses"));
    }
    format!("Ban list too long for a message: {}", parts.join(", "))
}

/// The newest bans that fit into a message, and how many older ones are left out.
fn newest_that_fit(mut bans: Vec<BanEntry>) -> (Vec<BanEntry>, usize) {
    let total = bans.len();
    bans.reverse();
    let mut bans = first_that_fit(bans, MAX_PAYLOAD - empty_len(ConfPart::BanList(vec![])));
    bans.reverse();
    let left_out = total - bans.len();
    (bans, left_out)
}
