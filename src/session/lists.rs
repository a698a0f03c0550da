//! Lists that members are sent directly, as partial `sessionconf`s. Source: `session.md`, Replies.

use drawhall_protocol::reply::{AnnouncementEntry, AuthEntry, ConfPart, ServerReply};

use super::actor::ListingNews;
use super::member::Member;
use super::{Effects, SessionMachine};
use crate::clock::Now;
use crate::log::{Level, Topic};
use crate::storage::journal::Entry;

/// Greatest number of absent accounts without a rank in the account list.
const MAX_BARE_ACCOUNTS: usize = 32;

impl SessionMachine {
    /// The ban list to operators; with `clear`, an empty one to everybody else.
    pub(super) fn send_ban_list(&self, clear: bool, fx: &mut Effects) {
        let list = |sensitive| ServerReply::part(ConfPart::BanList(self.bans.entries(sensitive))).to_frame();
        let plain = list(false).ok();
        // A list that is too long with addresses may fit without.
        let full = list(true).ok().or_else(|| plain.clone());
        let blank = ServerReply::part(ConfPart::BanList(vec![])).to_frame().ok();
        for member in &self.members {
            let frame = match member.is_operator() {
                true if member.is_moderator() || member.is_local() => &full,
                true => &plain,
                false if clear => &blank,
                false => continue,
            };
            if let Some(frame) = frame {
                fx.direct(member.conn(), frame.clone().into_bytes());
            }
        }
    }

    /// Who is muted, to everybody.
    pub(super) fn send_mute_list(&self, fx: &mut Effects) {
        let muted = self.members.iter().filter(|m| m.muted).map(|m| m.id).collect();
        self.to_all(&ServerReply::part(ConfPart::Muted(muted)), fx);
    }

    /// Where the session is announced, to everybody.
    pub(super) fn send_announcements(&self, fx: &mut Effects) {
        let entries = self.listed.iter().map(|l| AnnouncementEntry { url: l.url.clone() }).collect();
        self.to_all(&ServerReply::part(ConfPart::Announcements(entries)), fx);
    }

    /// Takes over what has become of the session's listings. Those that were made are stored until they are withdrawn on
    /// purpose, so that they are made again after a restart.
    pub fn listing_news(&mut self, news: ListingNews, fx: &mut Effects) {
        let ListingNews { text, listed, made, withdrawn } = news;
        if let Some(url) = made.filter(|url| !self.announcements.contains(url)) {
            self.announcements.push(url.clone());
            self.journal.push(Entry::Announce(url));
        }
        if let Some(at) = self.announcements.iter().position(|a| Some(a) == withdrawn.as_ref()) {
            self.journal.push(Entry::Unannounce(self.announcements.remove(at)));
        }
        let told = text.is_some();
        if let Some(text) = text {
            self.notice(false, "", text, &[], "", fx);
        }
        // Whoever asked for a listing learns from the list that nothing came of it.
        if told || listed != self.listed {
            self.listed = listed;
            self.send_announcements(fx);
        }
    }

    fn to_operators(&self, reply: &ServerReply, fx: &mut Effects) -> bool {
        let Ok(frame) = reply.to_frame() else { return false };
        let bytes = frame.into_bytes();
        for member in self.members.iter().filter(|m| m.is_operator()) {
            fx.direct(member.conn(), bytes.clone());
        }
        true
    }

    /// Accounts and their ranks, to operators. Absent ones of low rank are left out when the list gets too long.
    pub(super) fn send_auth_list(&mut self, now: Now, fx: &mut Effects) {
        for required in 0..4 {
            let list = ServerReply::part(ConfPart::Auth(self.auth_entries(required)));
            if self.to_operators(&list, fx) {
                return;
            }
            let text = format!("Auth list too large (level {required})");
            self.note(Level::Warn, Topic::Status, text, now, fx);
        }
    }

    fn auth_entries(&self, required: u8) -> Vec<AuthEntry> {
        let mut bare = 0;
        let mut entries = Vec::new();
        for (auth_id, username) in self.accounts.names() {
            let online: Option<&Member> = self.members.iter().find(|m| m.auth_id() == auth_id);
            let moderator = online.is_some_and(Member::is_moderator);
            let op = self.accounts.is_operator(auth_id);
            let trusted = self.accounts.is_trusted(auth_id);
            let level = if moderator {
                3
            } else if op {
                2
            } else {
                u8::from(trusted)
            };
            if online.is_none() {
                if level < required || (level == 0 && bare >= MAX_BARE_ACCOUNTS) {
                    continue;
                }
                bare += usize::from(level == 0);
            }
            let (auth_id, username) = (auth_id.clone(), username.clone());
            entries.push(AuthEntry { auth_id, username, op, trusted, moderator });
        }
        entries
    }

    /// Invites, to operators. The oldest go when the list gets too long.
    pub(super) fn send_invite_list(&mut self, now: Now, fx: &mut Effects) {
        while !self.to_operators(&ServerReply::part(ConfPart::InviteList(self.invites.entries())), fx) {
            let Some(secret) = self.invites.remove_oldest() else { return };
            let text = format!("Removed oldest invite {secret} to fit them into a message");
            self.note(Level::Warn, Topic::Invite, text, now, fx);
        }
    }
}
