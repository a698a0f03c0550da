//! Entries of the lists among the session settings.

members! {
    /// A ban of the session.
    BanEntry {
        /// Id of the ban.
        id: u32,
        /// User name; empty if the ban does not match names.
        username: String,
        /// User who banned.
        #[serde(rename = "bannedBy")]
        banned_by: String,
        /// Address; shown to moderators and loopback clients only.
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<String>,
        /// Account id; shown to moderators and loopback clients only.
        #[serde(rename = "extauthid", skip_serializing_if = "Option::is_none")]
        auth_id: Option<String>,
        /// System id; shown to moderators and loopback clients only.
        #[serde(skip_serializing_if = "Option::is_none")]
        s: Option<String>,
    }
}

members! {
    /// An announcement at a list server.
    AnnouncementEntry {
        /// API URL of the list server.
        url: String,
    }
}

members! {
    /// An account that has been in the session.
    AuthEntry {
        /// Account id.
        #[serde(rename = "authId")]
        auth_id: String,
        /// Last known user name.
        username: String,
        /// Operator.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// Trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trusted: bool,
        /// A moderator who is online.
        #[serde(rename = "mod", skip_serializing_if = "std::ops::Not::not")]
        moderator: bool,
    }
}

members! {
    /// An invite.
    InviteEntry {
        /// Its secret.
        secret: String,
        /// Creation time, ISO 8601, UTC.
        at: String,
        /// User who created it; empty for an administrator.
        #[serde(skip_serializing_if = "String::is_empty")]
        creator: String,
        /// Maximum number of uses.
        #[serde(rename = "maxUses")]
        max_uses: u32,
        /// Users of the invite become operators.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        op: bool,
        /// Users of the invite become trusted.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        trust: bool,
        /// Uses so far.
        uses: Vec<InviteUse>,
    }
}

members! {
    /// A use of an invite.
    InviteUse {
        /// User name.
        name: String,
        /// Time of use, ISO 8601, UTC.
        at: String,
        /// System id; empty where it is not shown.
        s: String,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_round_trip;
    use super::super::{ConfPart, ServerReply};
    use super::*;

    #[test]
    fn what_only_moderators_may_see_is_left_out_of_a_ban() {
        let ban = BanEntry { id: 1, username: "u".into(), banned_by: "b".into(), ..Default::default() };
        let json = r#"{"type":"sessionconf","config":{"banlist":[{"id":1,"username":"u","bannedBy":"b"}]}}"#;
        assert_round_trip(&ServerReply::part(ConfPart::BanList(vec![ban])), json);
    }

    #[test]
    fn roles_that_an_account_or_invite_does_not_have_are_left_out() {
        let account = AuthEntry { auth_id: "a".into(), moderator: true, ..Default::default() };
        let json = r#"{"type":"sessionconf","config":{"auth":[{"authId":"a","username":"","mod":true}]}}"#;
        assert_round_trip(&ServerReply::part(ConfPart::Auth(vec![account])), json);
        let used = InviteUse { name: "n".into(), at: "t".into(), s: String::new() };
        let invite = InviteEntry {
            secret: "s".into(),
            at: "t".into(),
            max_uses: 1,
            op: true,
            uses: vec![used],
            ..Default::default()
        };
        let json = concat!(
            r#"{"type":"sessionconf","config":{"invitelist":[{"secret":"s","at":"t","maxUses":1,"#,
            r#""op":true,"uses":[{"name":"n","at":"t","s":""}]}]}}"#
        );
        assert_round_trip(&ServerReply::part(ConfPart::InviteList(vec![invite])), json);
    }

    #[test]
    fn an_announcement_is_the_list_server() {
        let entry = AnnouncementEntry { url: "u".into() };
        let json = r#"{"type":"sessionconf","config":{"announcements":[{"url":"u"}]}}"#;
        assert_round_trip(&ServerReply::part(ConfPart::Announcements(vec![entry])), json);
    }
}
