//! Roles: operators and trusted users. Source: docs/spec/session.md#sessionowner,
//! docs/spec/session.md#trustedusers, docs/spec/session.md#first-operator.

use drawhall_protocol::Frame;
use drawhall_protocol::message::{SessionOwner, TrustedUsers};

use super::broadcasts::List;
use super::invites::Invite;
use super::member::Member;
use super::{Cx, DisconnectReason, MemberKey, SessionMachine, SessionState};
use crate::log::{Level, Topic};

/// A role, with the wording of its changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Operator,
    Trusted,
}

impl SessionMachine {
    /// Replaces the operators by the list of an operator's client.
    pub(super) fn change_operators(&mut self, key: MemberKey, sender: u8, mut ids: Vec<u8>, cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let (id, by) = (member.id, member.name().to_owned());
        if !member.is_operator() {
            self.rule_break(key, "Tried to change session ownership", cx);
            return;
        }
        ids.push(id);
        let list = self.update_rank(Role::Operator, &ids, &by, None, true, cx);
        self.add_clients_list(key, Frame::new(SessionOwner::TYPE, sender, &list), cx);
    }

    /// Replaces the trusted users by the list of an operator's client.
    pub(super) fn change_trusted(&mut self, key: MemberKey, sender: u8, ids: &[u8], cx: &mut Cx<'_>) {
        let Some(member) = self.members.get(key) else { return };
        let by = member.name().to_owned();
        if !member.is_operator() {
            self.rule_break(key, "Tried to change trusted user list", cx);
            return;
        }
        let list = self.update_rank(Role::Trusted, ids, &by, None, true, cx);
        self.add_clients_list(key, Frame::new(TrustedUsers::TYPE, sender, &list), cx);
    }

    /// Writes a client's list, without invalid ids, to the history or, during an upload, to the reset image.
    fn add_clients_list<E>(&mut self, key: MemberKey, list: Result<Frame, E>, cx: &mut Cx<'_>) {
        if let Ok(frame) = list {
            self.client_message(key, frame.as_bytes(), cx);
        }
    }

    fn add_list(&mut self, kind: u8, user: u8, ids: &[u8], cx: &mut Cx<'_>) {
        if let Ok(frame) = Frame::new(kind, user, ids) {
            self.add_to_history(frame.as_bytes(), cx);
        }
    }

    /// Gives or takes operator status. Moderators stay operators.
    pub(super) fn set_operator(
        &mut self,
        id: u8,
        op: bool,
        by: &str,
        invite: Option<&Invite>,
        update: bool,
        cx: &mut Cx<'_>,
    ) {
        let others = self.members.iter().filter(|m| m.is_operator() && m.id != id).map(|m| m.id);
        let ids: Vec<u8> = others.chain(op.then_some(id)).collect();
        let list = self.update_rank(Role::Operator, &ids, by, invite, update, cx);
        self.add_list(SessionOwner::TYPE, 0, &list, cx);
    }

    /// Gives or takes trusted status.
    pub(super) fn set_trusted(
        &mut self,
        id: u8,
        trusted: bool,
        by: &str,
        invite: Option<&Invite>,
        update: bool,
        cx: &mut Cx<'_>,
    ) {
        let others = self.members.iter().filter(|m| m.trusted && m.id != id).map(|m| m.id);
        let ids: Vec<u8> = others.chain(trusted.then_some(id)).collect();
        let list = self.update_rank(Role::Trusted, &ids, by, invite, update, cx);
        self.add_list(TrustedUsers::TYPE, 0, &list, cx);
    }

    /// Sets the role of exactly these users (moderators stay operators); returns all that have it.
    fn update_rank(
        &mut self,
        role: Role,
        ids: &[u8],
        by: &str,
        invite: Option<&Invite>,
        update: bool,
        cx: &mut Cx<'_>,
    ) -> Vec<u8> {
        let holds = |m: &Member| if role == Role::Operator { m.is_operator() } else { m.trusted };
        let wanted = |m: &Member| ids.contains(&m.id) || (role == Role::Operator && m.is_moderator());
        let changes: Vec<(u8, bool)> =
            self.members.iter().filter(|m| holds(m) != wanted(m)).map(|m| (m.id, wanted(m))).collect();
        let mut resetter = None;
        for (id, gained) in &changes {
            if role == Role::Operator && !gained {
                self.deopped(*id, cx);
                if let Some(conn) = self.member_by_id(*id).map(Member::conn) {
                    self.operator_links.revoke(conn);
                }
                if self.resets.is_uploaded_by(*id) && self.resets.state() == SessionState::Reset {
                    resetter = self.member_by_id(*id).map(Member::key);
                }
            }
            let Some(member) = self.member_mut(*id) else { continue };
            match role {
                Role::Operator => member.operator = *gained,
                Role::Trusted => member.trusted = *gained,
            }
            self.announce_rank(role, *id, *gained, by, invite, cx);
        }
        let list = self.members.iter().filter(|m| holds(m)).map(|m| m.id).collect();
        if let Some(key) = resetter {
            let details = if by.is_empty() { "by the server".to_owned() } else { format!("by {by}") };
            let reason = DisconnectReason::Error;
            self.disconnect(key, reason, "De-opped while resetting", &details, cx);
        }
        if update && !changes.is_empty() {
            self.send_list(List::Accounts, cx);
            if role == Role::Operator {
                self.send_bans_anew(cx);
            }
            self.send_list(List::Invites, cx);
        }
        list
    }

    fn announce_rank(
        &mut self,
        role: Role,
        id: u8,
        gained: bool,
        by: &str,
        invite: Option<&Invite>,
        cx: &mut Cx<'_>,
    ) {
        let Some(member) = self.member_by_id(id) else { return };
        let (user, name, ghost) = (member.log_user(), member.name().to_owned(), member.is_ghost());
        let (auth_id, moderator) = (member.auth_id().to_owned(), member.is_moderator());
        let (topic, key, words) = match (role, gained, invite.is_some()) {
            (Role::Operator, true, false) => (Topic::Op, "opgive", "Made operator by "),
            (Role::Operator, true, true) => {
                (Topic::Op, "opgiveinvite", "Made operator via invite created by ")
            }
            (Role::Operator, false, _) => (Topic::Deop, "optake", "Operator status revoked by "),
            (Role::Trusted, true, false) => (Topic::Trust, "trustgive", "Trusted by "),
            (Role::Trusted, true, true) => {
                (Topic::Trust, "trustgiveinvite", "Trusted via invite created by ")
            }
            (Role::Trusted, false, _) => (Topic::Untrust, "trusttake", "Untrusted by "),
        };
        let nobody = if invite.is_some() { "a server administrator" } else { "the server" };
        let text = format!("{words}{}", if by.is_empty() { nobody } else { by });
        self.note_about(user, Level::Info, topic, text.clone(), cx);
        if !ghost {
            let mut params = vec![("target", name.as_str())];
            if !by.is_empty() {
                params.push((if invite.is_some() { "creator" } else { "by" }, by));
            }
            let lower = text[..1].to_lowercase() + &text[1..];
            self.notice(false, key, format!("{name} {lower}"), &params, "", cx);
        }
        // A ghost's role is for this visit only: remembered, it would be announced to everybody at the next one.
        match role {
            _ if auth_id.is_empty() || ghost => {}
            Role::Operator if moderator => {}
            Role::Operator => self.moderation.accounts.set_operator(&auth_id, gained),
            Role::Trusted => self.moderation.accounts.set_trusted(&auth_id, gained),
        }
    }

    /// Makes the first user operator if nobody is and nobody could become it by password or account.
    pub(super) fn ensure_operator(&mut self, cx: &mut Cx<'_>) {
        if self.properties.has_opword() || self.moderation.accounts.has_operators() {
            return;
        }
        let mut seen = self.members.iter().filter(|m| !m.is_ghost());
        if let Some(first) = seen.clone().next()
            && !seen.any(Member::is_operator)
        {
            let id = first.id;
            self.set_operator(id, true, "", None, true, cx);
        }
    }
}
