//! Hosting and joining. Sources: `login.md` (join), `session.md` (Joining).

use drawhall_protocol::reply::{Catchup, CaughtUp, JoinResult, Notice, ResultReply, ServerReply, Status};

use super::events::Audience;
use super::invites::{Invite, InviteCheck};
use super::member::{JoinRequest, Member, Visitor};
use super::{ClientOp, DisconnectReason, Effects, Refusal, SessionMachine, State};
use crate::clock::Now;
use crate::log::{Level, Topic};
use crate::storage::journal::Entry;

const GHOST_TEXT: &str = "GHOST MODE. Your presence is not overtly announced, chat messages are treated as server \
    alerts. You are not hidden though, users can see your presence in the event log and taking administrative actions \
    will show your name in chat.";

impl SessionMachine {
    /// The host enters its new session under the user id that it chose.
    pub fn host(&mut self, visitor: Visitor, user: u8, now: Now, fx: &mut Effects) {
        let alias = if self.alias.is_empty() { String::new() } else { format!(" (AKA {})", self.alias) };
        let text = format!("Session{alias} created by {}", self.founder);
        self.note(Level::Info, Topic::Status, text, now, fx);
        let member = Member::new(visitor, user);
        self.join_result(&member, "host", "Starting new session!", None, fx);
        self.uploader = Some(user);
        self.enter(member, None, None, now, fx);
    }

    /// Somebody wants to join.
    pub fn join(&mut self, request: JoinRequest, now: Now, fx: &mut Effects) {
        let conn = request.visitor.conn;
        match self.admit(&request, now, fx) {
            Err(refusal) => fx.sends.push((conn, ClientOp::Refused(refusal))),
            Ok((id, invite)) => {
                let skip = self.skip_to(&request.hidx);
                let mut member = Member::new(request.visitor, id);
                member.oldv = request.oldv;
                member.invited = invite.is_some();
                if self.settings_are_outdated() {
                    self.send_settings(now, fx);
                }
                self.visited = true;
                self.join_result(&member, "join", "Joining a session!", Some(skip.is_some()), fx);
                self.enter(member, invite, Some(skip), now, fx);
            }
        }
    }

    /// Whether and under which user id somebody may join, and with which invite.
    fn admit(
        &mut self,
        r: &JoinRequest,
        now: Now,
        fx: &mut Effects,
    ) -> Result<(u8, Option<Invite>), Refusal> {
        let Visitor { person, moderator, browser, .. } = &r.visitor;
        if self.state == State::Shutdown {
            return Err(Refusal::not_found());
        }
        let invite = self.use_invite(r, now, fx)?;
        if invite.is_none() && *browser && !self.flags.allow_web {
            return Err(Refusal::error("noWebJoin", "This session does not allow joining from the web"));
        }
        if !moderator {
            if let Some(ban) = self.bans.matches(person) {
                let user = crate::log::LogUser { id: 0, address: person.address, name: person.name.clone() };
                let text = format!("Join prevented by ban {ban}");
                self.note_about(user, Level::Info, Topic::Ban, text, now, fx);
                let message = format!("You have been banned from this session (ban {ban})");
                return Err(Refusal::Error { code: "banned", message });
            }
            if invite.is_none() {
                self.check_open(r)?;
            }
        }
        let existing = self.member_by_name(&person.name).map(|m| (m.id, m.visitor.person.clone()));
        if let Some((_, other)) = &existing {
            let same_account = !person.auth_id.is_empty() && person.auth_id == other.auth_id;
            let same_system = !person.sid.is_empty() && person.sid == other.sid;
            if !same_account && !same_system {
                return Err(Refusal::error("nameInuse", "This username is already in use"));
            }
        }
        if r.server_ban {
            return Err(Refusal::ServerBan);
        }
        let taken = |id| self.members.iter().any(|m| m.id == id);
        let id = existing.map(|(id, _)| id).or_else(|| self.ids.assign(&person.name, taken));
        // Moderators and holders of invites enter full sessions too, but there are only 254 ids.
        let id = id.ok_or_else(|| Refusal::error("closed", "This session is closed"))?;
        Ok((id, invite))
    }

    /// What only moderators and holders of an invite may pass by.
    fn check_open(&self, r: &JoinRequest) -> Result<(), Refusal> {
        if self.is_closed() {
            Err(Refusal::error("closed", "This session is closed"))
        } else if self.flags.auth_only && r.visitor.person.auth_id.is_empty() {
            Err(Refusal::error("authOnly", "This session does not allow guest logins"))
        } else if !self.password.accepts(&r.password) {
            Err(Refusal::BadPassword)
        } else {
            Ok(())
        }
    }

    /// Whether an invite could be used, for a look-up.
    pub fn check_invite(&self, secret: &str, sid: &str) -> Result<(), Refusal> {
        match self.invites.check(secret, sid) {
            InviteCheck::NotFound => {
                Err(Refusal::error("inviteNotFound", "Invite is invalid or has been revoked"))
            }
            InviteCheck::LimitReached => {
                Err(Refusal::error("inviteLimitReached", "Invite has already been used up"))
            }
            // Without a system id there is nothing to count by yet; joining will need one.
            InviteCheck::NoClientKey | InviteCheck::Ok | InviteCheck::Used | InviteCheck::NameChanged => {
                Ok(())
            }
        }
    }

    fn use_invite(&mut self, r: &JoinRequest, now: Now, fx: &mut Effects) -> Result<Option<Invite>, Refusal> {
        let looked_up = !r.invite.is_empty();
        let secret = if looked_up { &r.invite } else { &r.password };
        if secret.is_empty() {
            return Ok(None);
        }
        let person = &r.visitor.person;
        let check = self.invites.apply(secret, &person.sid, &person.name, now);
        let invite = self.invites.find(secret).cloned();
        match check {
            InviteCheck::NoClientKey if looked_up => {
                return Err(Refusal::error("inviteNoClientKey", "No client key to use with invite"));
            }
            InviteCheck::NotFound if looked_up => {
                return Err(Refusal::error("inviteNotFound", "Invite is invalid or has been revoked"));
            }
            InviteCheck::LimitReached => {
                return Err(Refusal::error("inviteLimitReached", "Invite has already been used up"));
            }
            // The password is no invite, then.
            InviteCheck::NoClientKey | InviteCheck::NotFound => return Ok(None),
            InviteCheck::Used => {
                let creator = invite.as_ref().map_or("", |i| &i.creator);
                let creator = if creator.is_empty() { "a server administrator" } else { creator };
                let user = crate::log::LogUser { id: 0, address: person.address, name: person.name.clone() };
                let text = format!("Used invite created by {creator}");
                self.note_about(user, Level::Info, Topic::Invite, text, now, fx);
                self.send_invite_list(now, fx);
            }
            InviteCheck::NameChanged => self.send_invite_list(now, fx),
            InviteCheck::Ok => {}
        }
        Ok(invite)
    }

    /// The offset from which on a client with this history index needs the history.
    fn skip_to(&mut self, hidx: &str) -> Option<(i64, i64)> {
        let mut parts = hidx.splitn(3, ':');
        let start_id: i64 = parts.next()?.parse().ok()?;
        // Who has the first message only has nothing to skip.
        let index: i64 = parts.next()?.parse().ok().filter(|index| *index > 0)?;
        if start_id != self.start_id || parts.next()? != self.id {
            return None;
        }
        Some((index, self.history.offset_after(index)?))
    }

    fn join_result(&self, member: &Member, state: &str, message: &str, skip: Option<bool>, fx: &mut Effects) {
        fx.sends.push((member.conn(), ClientOp::Joined { user: member.id }));
        let reply = ServerReply::Result(Box::new(ResultReply {
            message: message.into(),
            state: state.into(),
            join: Some(JoinResult {
                id: self.alias_or_id().to_owned(),
                unique_id: self.id.clone(),
                user: member.id,
                flags: vec!["SKIP".into()],
                auth_id: member.auth_id().to_owned(),
                skip,
            }),
            ..ResultReply::default()
        }));
        self.reply_to(member.conn(), &reply, fx);
    }

    /// A host (`skip` is `None`) or somebody who joins comes in.
    fn enter(
        &mut self,
        member: Member,
        invite: Option<Invite>,
        skip: Option<Option<(i64, i64)>>,
        now: Now,
        fx: &mut Effects,
    ) {
        let (id, conn) = (member.id, member.conn());
        let replaced = self.member_by_id(id).map(Member::conn);
        self.members.push(member);
        if let Some(old) = replaced {
            let name = self.members[self.members.len() - 1].name().to_owned();
            self.disconnect(old, DisconnectReason::Kick, &name, "Replaced by rejoining", now, fx);
        }
        self.past_users.remove(&id);
        if let Some(skip) = skip {
            self.begin_catchup(conn, skip, now, fx);
        }
        let Some(at) = self.member_at(conn) else { return };
        if self.members[at].is_ghost() {
            let alert = Notice { message: GHOST_TEXT.into(), ..Notice::default() };
            self.reply_to(conn, &ServerReply::Alert(alert), fx);
        } else if let Some(join) = self.members[at].join_message(true) {
            self.add_to_history(join.as_bytes(), now, fx);
        }
        self.give_ranks(conn, invite.as_ref(), now, fx);
        self.ensure_operator(now, fx);
        self.send_past_log(conn, fx);
        self.send_welcome(conn, now, fx);
        self.send_announcements(fx);
        self.send_ban_list(false, fx);
        self.send_mute_list(fx);
        self.send_auth_list(now, fx);
        self.send_invite_list(now, fx);
        if let Some(member) = self.member_by_id(id) {
            let (name, user) = (member.name().to_owned(), member.log_user());
            let ghost = member.is_ghost();
            self.ids.remember(&name, id);
            self.journal.push(Entry::User { id, name });
            let text = if ghost { "Moderator in ghost mode joined session" } else { "Joined session" };
            self.note_about(user, Level::Info, Topic::Join, text, now, fx);
        }
        fx.changed = true;
    }

    /// Tells somebody who joins how much history will come, and lets it begin.
    fn begin_catchup(&mut self, conn: u64, skip: Option<(i64, i64)>, now: Now, fx: &mut Effects) {
        if let Some(at) = self.member_at(conn) {
            self.members[at].hold_locked = self.state == State::Initialization;
            self.members[at].begin_at = skip.map_or(self.history.start(), |(_, offset)| offset);
        }
        let key = self.next_catchup_key();
        let caught_up = ServerReply::CaughtUp(CaughtUp { key, hidx: self.history_index(false, 0) });
        let added = caught_up.to_frame().is_ok_and(|f| self.history.append(f.as_bytes(), 1).is_ok());
        if added {
            self.last_event = now;
            fx.stats = true;
        }
        let from = skip.map_or(self.history.first_index(), |(index, _)| index);
        let count = (self.history.last_index() - from).max(0) as u64;
        let catchup = ServerReply::Catchup(Catchup { count, key: added.then_some(key) });
        self.reply_to(conn, &catchup, fx);
        let status = ServerReply::Status(Status { size: self.history.size(), hidx: None });
        self.reply_to(conn, &status, fx);
        if self.state == State::Running {
            self.begin_history(fx);
        }
    }

    /// Lets the history begin for those who wait for it.
    pub(super) fn begin_history(&mut self, fx: &mut Effects) {
        for member in self.members.iter_mut().filter(|m| m.position.is_none()) {
            let cursor = self.history.cursor(member.begin_at);
            member.position = Some(cursor.position());
            fx.sends.push((member.visitor.conn, ClientOp::Attach(cursor)));
        }
    }

    /// Operator and trusted status by account, by invite, or from an earlier time.
    fn give_ranks(&mut self, conn: u64, invite: Option<&Invite>, now: Now, fx: &mut Effects) {
        let Some(at) = self.member_at(conn) else { return };
        let member = &self.members[at];
        let (id, auth_id) = (member.id, member.auth_id().to_owned());
        let remembered_op = self.accounts.is_operator(&auth_id);
        let remembered_trust = self.accounts.is_trusted(&auth_id);
        let operator = member.is_operator() || remembered_op;
        let trusted = member.has_flag("TRUSTED") || remembered_trust;
        // Ghosts are not named to others.
        if !auth_id.is_empty() && !member.is_ghost() {
            self.accounts.set_name(&auth_id, member.name());
        }
        if operator {
            self.set_operator(id, true, "", None, false, now, fx);
        } else if let Some(invite) = invite.filter(|i| i.op) {
            self.set_operator(id, true, &invite.creator, Some(invite), false, now, fx);
        }
        if trusted {
            self.set_trusted(id, true, "", None, false, now, fx);
        } else if let Some(invite) = invite.filter(|i| i.trust) {
            self.set_trusted(id, true, &invite.creator, Some(invite), false, now, fx);
        }
    }

    fn send_past_log(&self, conn: u64, fx: &mut Effects) {
        let Some(at) = self.member_at(conn) else { return };
        let audience = match &self.members[at] {
            m if m.is_moderator() => Audience::Moderator,
            m if m.is_operator() => Audience::Operator,
            _ => Audience::User,
        };
        for bytes in self.log.shown_to(audience) {
            fx.direct(conn, bytes);
        }
    }

    fn send_welcome(&mut self, conn: u64, now: Now, fx: &mut Effects) {
        let message = self.shared.settings.welcome_message.clone();
        if message.is_empty() {
            return;
        }
        let reply = ServerReply::Msg(Notice { message, ..Notice::default() });
        match reply.to_frame() {
            Ok(frame) => fx.direct(conn, frame.into_bytes()),
            Err(_) => self.note(Level::Error, Topic::Status, "Welcome message too long", now, fx),
        }
    }
}
