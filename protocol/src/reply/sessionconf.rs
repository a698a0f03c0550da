//! `sessionconf`: session settings, all or some.

use serde::{Deserialize, Serialize};

use super::{AnnouncementEntry, AuthEntry, BanEntry, InviteEntry};

/// `sessionconf`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionConfReply {
    /// The settings.
    #[serde(default)]
    pub config: Config,
    /// History index; only in the stored history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidx: Option<String>,
}

/// Settings of a session, all or some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Config {
    /// One list or value, sent to single clients.
    Part(ConfPart),
    /// All settings, stored in the history.
    Full(Box<FullConfig>),
}

impl Default for Config {
    fn default() -> Config {
        Config::Full(Box::default())
    }
}

members! {
    /// All settings of a session.
    FullConfig {
        /// Always null: no longer supported.
        closed: (),
        /// Only accounts may join.
        #[serde(rename = "authOnly")]
        auth_only: bool,
        /// Kept when empty.
        persistent: bool,
        /// Title.
        title: String,
        /// The title is updated with the founder's name.
        autotitle: bool,
        /// Maximum number of users.
        #[serde(rename = "maxUserCount")]
        max_user_count: u32,
        /// Autoreset threshold in bytes, 0 for never.
        #[serde(rename = "resetThreshold")]
        reset_threshold: u64,
        /// Size of the history after the last reset in bytes.
        #[serde(rename = "resetThresholdBase")]
        reset_threshold_base: u64,
        /// Minimum autoreset threshold in bytes.
        #[serde(rename = "resetThresholdMin")]
        reset_threshold_min: u64,
        /// Chat is stored in the history.
        #[serde(rename = "preserveChat")]
        preserve_chat: bool,
        /// Not safe for minors.
        nsfm: bool,
        /// Trusted users may kick.
        deputies: bool,
        /// The session has a password.
        #[serde(rename = "hasPassword")]
        has_password: bool,
        /// The session has an operator password.
        #[serde(rename = "hasOpword")]
        has_opword: bool,
        /// Exempt from the idle limit.
        #[serde(rename = "idleOverride")]
        idle_override: bool,
        /// Operators may create invites.
        invites: bool,
        /// The server enforces `nsfm`.
        #[serde(rename = "forceNsfm")]
        force_nsfm: bool,
        /// Idle limit in seconds, 0 for none.
        #[serde(rename = "idleTimeLimit")]
        idle_time_limit: u64,
        /// Moderators may set `idleOverride`.
        #[serde(rename = "allowIdleOverride")]
        allow_idle_override: bool,
        /// Size limit in bytes, 0 for none.
        #[serde(rename = "maxSize")]
        max_size: u64,
        /// Browsers may join; left out without WebSockets.
        #[serde(rename = "allowWeb", skip_serializing_if = "Option::is_none")]
        allow_web: Option<bool>,
        /// WebSockets are preferred; left out without WebSockets.
        #[serde(rename = "preferWebSockets", skip_serializing_if = "Option::is_none")]
        prefer_web_sockets: Option<bool>,
    }
}

/// One list or value of a session's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfPart {
    /// Bans; sent to operators only.
    BanList(Vec<BanEntry>),
    /// Ids of muted users.
    Muted(Vec<u8>),
    /// Announcements at list servers.
    Announcements(Vec<AnnouncementEntry>),
    /// Accounts and their roles; sent to operators only.
    Auth(Vec<AuthEntry>),
    /// Invites; sent to operators only.
    InviteList(Vec<InviteEntry>),
    /// Answer to an attempt to close the session.
    Closed(Option<bool>),
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn partial_settings_have_one_member() {
        let muted = ServerReply::part(ConfPart::Muted(vec![3]));
        assert_round_trip(&muted, r#"{"type":"sessionconf","config":{"muted":[3]}}"#);
        let closed = ServerReply::part(ConfPart::Closed(None));
        assert_round_trip(&closed, r#"{"type":"sessionconf","config":{"closed":null}}"#);
    }

    #[test]
    fn all_settings_are_written_with_closed_null() {
        let full = ServerReply::SessionConf(SessionConfReply {
            config: Config::Full(Box::default()),
            hidx: Some("1:2:x".into()),
        });
        let value = serde_json::to_value(&full).unwrap();
        assert_eq!(value["config"].as_object().unwrap().len(), 20);
        assert_eq!(value["config"].get("closed"), Some(&Value::Null));
        assert_eq!(serde_json::from_value::<ServerReply>(value).unwrap(), full);
    }
}
