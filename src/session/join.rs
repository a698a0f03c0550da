//! Hosting and joining. Sources: `login.md` (join), `session.md` (Joining).

use drawhall_protocol::reply::{Catchup, CaughtUp, JoinResult, Notice, ResultReply, ServerReply, Status};

use super::events::Audience;
use super::invites::{Invite, InviteCheck};
use super::lists::List;
use super::member::{Feed, JoinRequest, Member, Visitor};
use super::{ClientOp, Effects, MemberKey, Refusal, SessionMachine, State};
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
                let seen = !request.visitor.ghost;
                let mut member = Member::new(request.visitor, id);
                member.oldv = request.oldv;
                member.invited = invite.is_some();
                if self.settings_are_outdated() {
                    self.send_settings(now, fx);
                }
                self.visited |= seen;
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
                self.send_list(List::Invites, now, fx);
            }
            InviteCheck::NameChanged => self.send_list(List::Invites, now, fx),
            InviteCheck::Ok => {}
        }
        Ok(invite)
    }

    /// The index behind which a client with this history index needs the history.
    fn skip_to(&mut self, hidx: &str) -> Option<i64> {
        let mut parts = hidx.splitn(3, ':');
        let start_id: i64 = parts.next()?.parse().ok()?;
        // Who has the first message only has nothing to skip.
        let index: i64 = parts.next()?.parse().ok().filter(|index| *index > 0)?;
        if start_id != self.start_id || parts.next()? != self.id {
            return None;
        }
        self.history.offset_after(index).map(|_| index)
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
        skip: Option<Option<i64>>,
        now: Now,
        fx: &mut Effects,
    ) {
        let (id, conn) = (member.id, member.conn());
        let (ghost, name) = (member.is_ghost(), member.name().to_owned());
        let replaced = self.member_by_id(id).map(Member::key);
        let key = self.members.push(member);
        if let Some(old) = replaced {
            self.replace(old, &name, now, fx);
        }
        self.past_users.remove(&id);
        match skip {
            Some(skip) => self.begin_catchup(key, skip, now, fx),
            None => self.begin_at(key, Feed::Beginning),
        }
        if ghost {
            let alert = Notice { message: GHOST_TEXT.into(), ..Notice::default() };
            self.reply_to(conn, &ServerReply::Alert(alert), fx);
        } else if let Some(join) = self.members.get(key).and_then(|m| m.join_message(true)) {
            self.add_to_history(join.as_bytes(), now, fx);
        }
        self.give_ranks(key, invite.as_ref(), now, fx);
        self.ensure_operator(now, fx);
        self.send_past_log(key, fx);
        self.send_welcome(conn, now, fx);
        self.send_lists_with(conn, now, fx);
        if let Some(member) = self.member_by_id(id) {
            let (name, user) = (member.name().to_owned(), member.log_user());
            let ghost = member.is_ghost();
            let taken = |id| self.members.iter().any(|m| m.id == id);
            if self.ids.remember(&name, id, taken) {
                self.journal.push(Entry::User { id, name });
            }
            let text = if ghost { "Moderator in ghost mode joined session" } else { "Joined session" };
            self.note_about(user, Level::Info, Topic::Join, text, now, fx);
        }
        fx.changed = true;
        // It may be all that a streamed reset has waited for.
        self.resolve_stream("join", now, fx);
    }

    /// Notes where the history begins for a member, once the session runs.
    fn begin_at(&mut self, key: MemberKey, feed: Feed) {
        if let Some(member) = self.members.get_mut(key) {
            member.feed = feed;
        }
    }

    /// Tells somebody who joins how much history will come, and lets it begin.
    fn begin_catchup(&mut self, member: MemberKey, skip: Option<i64>, now: Now, fx: &mut Effects) {
        self.begin_at(member, skip.map_or(Feed::Beginning, Feed::Behind));
        let Some(member) = self.members.get_mut(member) else { return };
        member.hold_locked = self.state == State::Initialization;
        let conn = member.conn();
        let key = self.next_catchup_key();
        let caught_up = ServerReply::CaughtUp(CaughtUp { key, hidx: self.history_index(false, 0) });
        let added = caught_up.to_frame().is_ok_and(|f| self.history.append(f.as_bytes(), 1).is_ok());
        if added {
            self.last_event = now;
            fx.stats = true;
        }
        let from = skip.unwrap_or(self.history.first_index());
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
        for member in &mut self.members {
            let from = match member.feed {
                Feed::NotYet | Feed::Reading(_) => continue,
                Feed::Beginning => self.history.start(),
                // What came in between may have been replaced by a reset.
                Feed::Behind(index) => self.history.offset_after(index).unwrap_or(self.history.start()),
            };
            let cursor = self.history.cursor(from);
            member.feed = Feed::Reading(cursor.position());
            fx.sends.push((member.visitor.conn, ClientOp::Attach(cursor)));
        }
    }

    /// Operator and trusted status by account, by invite, or from an earlier time.
    fn give_ranks(&mut self, key: MemberKey, invite: Option<&Invite>, now: Now, fx: &mut Effects) {
        let Some(member) = self.members.get(key) else { return };
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

    fn send_past_log(&self, key: MemberKey, fx: &mut Effects) {
        let Some(member) = self.members.get(key) else { return };
        let conn = member.conn();
        let audience = match member {
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
