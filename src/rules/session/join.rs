//! Hosting and joining. Sources: docs/spec/login.md#join, docs/spec/session.md#joining.

use drawhall_protocol::reply::{Catchup, CaughtUp, JoinResult, Notice, ResultReply, ServerReply, Status};

use super::broadcasts::List;
use super::events::Audience;
use super::invites::{Invite, InviteCheck};
use super::member::{AuthenticatedClient, Feed, JoinRequest, Member};
use super::{ClientOp, Cx, Effect, MemberKey, PasswordKind, Refusal, SessionMachine, SessionState};
use crate::log::{Level, Topic};
use crate::rules::journal::Entry;
use crate::rules::time::Timestamp;

const GHOST_TEXT: &str = "GHOST MODE. Your presence is not overtly announced, chat messages are treated as server \
    alerts. You are not hidden though, users can see your presence in the event log and taking administrative actions \
    will show your name in chat.";

impl SessionMachine {
    /// Lets the host into its new session under the user id that it chose.
    pub fn host(&mut self, client: AuthenticatedClient, user: u8, cx: &mut Cx<'_>) {
        let alias = if self.properties.alias().is_empty() {
            String::new()
        } else {
            format!(" (AKA {})", self.properties.alias())
        };
        let text = format!("Session{alias} created by {}", self.properties.founder());
        self.note(Level::Info, Topic::Status, text, cx);
        let member = Member::new(client, user);
        self.join_result(&member, "host", "Starting new session!", None, cx);
        self.resets.begin_initial_upload(user);
        self.enter(member, None, None, cx);
    }

    /// A client asks to join.
    pub fn join(&mut self, request: JoinRequest, cx: &mut Cx<'_>) {
        let conn = request.client.conn;
        match self.admit(&request, cx) {
            Err(refusal) => cx.client(conn, ClientOp::Refused(refusal)),
            Ok((id, invite)) => {
                let skip = self.skip_to(&request.hidx);
                let seen = !request.client.ghost;
                let mut member = Member::new(request.client, id);
                member.oldv = request.oldv;
                member.invited = invite.is_some();
                if self.settings_are_outdated() {
                    self.send_settings(cx);
                }
                if seen {
                    self.timers.visited();
                }
                self.join_result(&member, "join", "Joining a session!", Some(skip.is_some()), cx);
                self.enter(member, invite, Some(skip), cx);
            }
        }
    }

    /// Decides whether a client may join, under which user id, and with which invite.
    fn admit(&mut self, r: &JoinRequest, cx: &mut Cx<'_>) -> Result<(u8, Option<Invite>), Refusal> {
        let AuthenticatedClient { identity, moderator, browser, .. } = &r.client;
        if self.resets.has_ended() {
            return Err(Refusal::not_found());
        }
        let invite = self.use_invite(r, cx)?;
        if invite.is_none() && *browser && !self.properties.flags().allow_web {
            return Err(Refusal::error("noWebJoin", "This session does not allow joining from the web"));
        }
        if !moderator {
            if let Some(ban) = self.moderation.bans.matches(identity) {
                let text = format!("Join prevented by ban {ban}");
                self.note_about(identity.into(), Level::Info, Topic::Ban, text, cx);
                let message = format!("You have been banned from this session (ban {ban})");
                return Err(Refusal::Error { code: "banned", message });
            }
            if invite.is_none() {
                self.check_open(r, cx.now)?;
            }
        }
        let existing = self.member_by_name(&identity.name).map(|m| (m.id, m.client.identity.clone()));
        if let Some((_, other)) = &existing {
            let same_account = !identity.auth_id.is_empty() && identity.auth_id == other.auth_id;
            let same_system = !identity.sid.is_empty() && identity.sid == other.sid;
            if !same_account && !same_system {
                return Err(Refusal::error("nameInuse", "This username is already in use"));
            }
        }
        if r.server_ban {
            return Err(Refusal::ServerBan);
        }
        let id = existing.map(|(id, _)| id).or_else(|| self.members.assign_id(&identity.name));
        // Moderators and clients with an invite may join full sessions, but there are only 254 user ids.
        let id = id.ok_or_else(|| Refusal::error("closed", "This session is closed"))?;
        Ok((id, invite))
    }

    /// Checks that moderators and holders of an invite bypass.
    fn check_open(&self, r: &JoinRequest, now: Timestamp) -> Result<(), Refusal> {
        if self.is_closed() {
            Err(Refusal::error("closed", "This session is closed"))
        } else if let Some(time) = self.is_closed_to(&r.client.identity, now) {
            let message = format!("This session is closed to newcomers. Try again in {time}.");
            Err(Refusal::Error { code: "closed", message })
        } else if self.properties.flags().auth_only && r.client.identity.auth_id.is_empty() {
            Err(Refusal::error("authOnly", "This session does not allow guest logins"))
        } else if !self.properties.password(PasswordKind::Session).accepts(&r.password) {
            Err(Refusal::BadPassword)
        } else {
            Ok(())
        }
    }

    /// Checks whether an invite could be used, without using it (for a look-up).
    pub fn check_invite(&self, secret: &str, sid: &str) -> Result<(), Refusal> {
        match self.moderation.invites.check(secret, sid) {
            InviteCheck::NotFound => {
                Err(Refusal::error("inviteNotFound", "Invite is invalid or has been revoked"))
            }
            InviteCheck::LimitReached => {
                Err(Refusal::error("inviteLimitReached", "Invite has already been used up"))
            }
            // Without a system id uses cannot be counted yet; joining requires one.
            InviteCheck::NoClientKey | InviteCheck::Ok | InviteCheck::Used | InviteCheck::NameChanged => {
                Ok(())
            }
        }
    }

    fn use_invite(&mut self, r: &JoinRequest, cx: &mut Cx<'_>) -> Result<Option<Invite>, Refusal> {
        let looked_up = !r.invite.is_empty();
        let secret = if looked_up { &r.invite } else { &r.password };
        if secret.is_empty() {
            return Ok(None);
        }
        let identity = &r.client.identity;
        let check = self.moderation.invites.apply(secret, &identity.sid, &identity.name, cx.now);
        let invite = self.moderation.invites.find(secret).cloned();
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
            // Then the password is not an invite secret.
            InviteCheck::NoClientKey | InviteCheck::NotFound => return Ok(None),
            InviteCheck::Used => {
                let creator = invite.as_ref().map_or("", |i| &i.creator);
                let creator = if creator.is_empty() { "a server administrator" } else { creator };
                let text = format!("Used invite created by {creator}");
                self.note_about(identity.into(), Level::Info, Topic::Invite, text, cx);
                self.send_list(List::Invites, cx);
            }
            InviteCheck::NameChanged => self.send_list(List::Invites, cx),
            InviteCheck::Ok => {}
        }
        Ok(invite)
    }

    /// Index after which a client with this history index needs the history.
    pub(super) fn skip_to(&mut self, hidx: &str) -> Option<i64> {
        let mut parts = hidx.splitn(3, ':');
        let start_id: i64 = parts.next()?.parse().ok()?;
        // A client that has only the first message has nothing to skip.
        let index: i64 = parts.next()?.parse().ok().filter(|index| *index > 0)?;
        if !self.resets.start_ids().accept(start_id, index) || parts.next()? != self.properties.id() {
            return None;
        }
        self.history.offset_after(index).map(|_| index)
    }

    fn join_result(&self, member: &Member, state: &str, message: &str, skip: Option<bool>, cx: &mut Cx<'_>) {
        cx.client(member.conn(), ClientOp::Joined { user: member.id });
        let reply = ServerReply::Result(Box::new(ResultReply {
            message: message.into(),
            state: state.into(),
            join: Some(JoinResult {
                id: self.properties.alias_or_id().to_owned(),
                unique_id: self.properties.id().to_owned(),
                user: member.id,
                flags: vec!["SKIP".into()],
                auth_id: member.auth_id().to_owned(),
                skip,
            }),
            ..ResultReply::default()
        }));
        self.reply_to(member.conn(), &reply, cx);
    }

    /// Adds a member: the host (`skip` is `None`), or a client that joins.
    fn enter(&mut self, member: Member, invite: Option<Invite>, skip: Option<Option<i64>>, cx: &mut Cx<'_>) {
        let (id, conn) = (member.id, member.conn());
        let (ghost, name) = (member.is_ghost(), member.name().to_owned());
        let person = member.client.identity.clone();
        let was_here = self.was_here(&person);
        let replaced = self.member_by_id(id).map(Member::key);
        let key = self.members.push(member);
        if let Some(old) = replaced {
            self.replace(old, &name, cx);
        }
        self.members.replace_past_user(id, &person);
        match skip {
            Some(skip) => self.begin_catchup(key, skip, cx),
            None => self.begin_at(key, Feed::FromStart),
        }
        if ghost {
            let alert = Notice { message: GHOST_TEXT.into(), ..Notice::default() };
            self.reply_to(conn, &ServerReply::Alert(alert), cx);
        } else if let Some(join) = self.members.get(key).and_then(|m| m.join_message(true)) {
            self.add_to_history(join.as_bytes(), cx);
        }
        self.give_roles(key, invite.as_ref(), cx);
        self.ensure_operator(cx);
        self.send_past_log(key, cx);
        self.send_welcome(conn, cx);
        self.send_lists_with(conn, cx);
        if let Some(member) = self.member_by_id(id) {
            let (name, user) = (member.name().to_owned(), member.log_user());
            let ghost = member.is_ghost();
            if self.members.remember_id(&name, id) {
                self.persistence.push(Entry::User { id, name });
            }
            let text = if ghost { "Moderator in ghost mode joined session" } else { "Joined session" };
            self.note_about(user, Level::Info, Topic::Join, text, cx);
        }
        cx.push(Effect::DescriptionChanged);
        self.restrict_newcomer(id, was_here, cx);
        self.note_join();
        // A streamed reset may have waited only for this member.
        self.resolve_stream("join", cx);
    }

    /// Sets where the history begins for a member, once the session runs.
    fn begin_at(&mut self, key: MemberKey, feed: Feed) {
        if let Some(member) = self.members.get_mut(key) {
            member.feed = feed;
        }
    }

    /// Tells a new member the size of its catch-up and attaches it to the history.
    fn begin_catchup(&mut self, member: MemberKey, skip: Option<i64>, cx: &mut Cx<'_>) {
        self.begin_at(member, skip.map_or(Feed::FromStart, Feed::Behind));
        let Some(member) = self.members.get_mut(member) else { return };
        member.hold_locked = self.resets.state() == SessionState::Initialization;
        let conn = member.conn();
        let key = self.properties.next_catchup_key();
        let caught_up = ServerReply::CaughtUp(CaughtUp { key, hidx: self.history_index(false, 0) });
        let added = caught_up.to_frame().is_ok_and(|f| self.history.append(f.as_bytes(), 1).is_ok());
        if added {
            self.timers.used(cx.now);
            cx.push(Effect::NumbersChanged);
        }
        let from = skip.unwrap_or(self.history.first_index());
        let count = (self.history.last_index() - from).max(0) as u64;
        let catchup = ServerReply::Catchup(Catchup { count, key: added.then_some(key) });
        self.reply_to(conn, &catchup, cx);
        let status = ServerReply::Status(Status { size: self.history.size(), hidx: None });
        self.reply_to(conn, &status, cx);
        if self.resets.is_running() {
            self.begin_history(cx);
        }
    }

    /// Attaches all members that wait for the session to run.
    pub(super) fn begin_history(&mut self, cx: &mut Cx<'_>) {
        for member in &mut self.members {
            let from = match member.feed {
                Feed::NotYet | Feed::Reading(_) => continue,
                Feed::FromStart => self.history.start(),
                // A reset may have replaced the messages meanwhile.
                Feed::Behind(index) => self.history.offset_after(index).unwrap_or(self.history.start()),
            };
            let cursor = self.history.cursor(from);
            member.feed = Feed::Reading(cursor.position());
            cx.client(member.client.conn, ClientOp::Attach(cursor));
        }
    }

    /// Gives operator and trusted status by account, invite, or as remembered from an earlier visit.
    fn give_roles(&mut self, key: MemberKey, invite: Option<&Invite>, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let (id, auth_id) = (member.id, member.auth_id().to_owned());
        let remembered_op = self.moderation.accounts.is_operator(&auth_id);
        let remembered_trust = self.moderation.accounts.is_trusted(&auth_id);
        let operator = member.is_operator() || remembered_op;
        let trusted = member.has_flag("TRUSTED") || remembered_trust;
        // Others must not learn of ghosts.
        if !auth_id.is_empty() && !member.is_ghost() {
            self.moderation.accounts.set_name(&auth_id, member.name());
        }
        if operator {
            self.set_operator(id, true, "", None, false, cx);
        } else if let Some(invite) = invite.filter(|i| i.op) {
            self.set_operator(id, true, &invite.creator, Some(invite), false, cx);
        }
        if trusted {
            self.set_trusted(id, true, "", None, false, cx);
        } else if let Some(invite) = invite.filter(|i| i.trust) {
            self.set_trusted(id, true, &invite.creator, Some(invite), false, cx);
        }
    }

    fn send_past_log(&self, key: MemberKey, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let conn = member.conn();
        let audience = match member {
            m if m.is_moderator() => Audience::Moderator,
            m if m.is_operator() => Audience::Operator,
            _ => Audience::User,
        };
        for bytes in self.log.shown_to(audience) {
            cx.direct(conn, bytes);
        }
    }

    fn send_welcome(&mut self, conn: u64, cx: &mut Cx<'_>) {
        let message = self.shared.settings.welcome_message.clone();
        if message.is_empty() {
            return;
        }
        let reply = ServerReply::Msg(Notice { message, ..Notice::default() });
        match reply.to_frame() {
            Ok(frame) => cx.direct(conn, frame.into_bytes()),
            Err(_) => self.note(Level::Error, Topic::Status, "Welcome message too long", cx),
        }
    }
}
