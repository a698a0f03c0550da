//! Configuration: the table of settings (key, type, unit, default, help), and the parsers of files and databases.
//!
//! [`Settings`] is an immutable snapshot of all values. Every setting is defined once, in the `settings!` table
//! below. Source: docs/spec/config.md#settings.

pub mod account;
pub mod bans;
pub mod extauth;
pub mod extbans;
pub mod ini;
pub mod ip_range;
pub mod name_rules;
pub mod profile;
pub mod rules;
mod server_settings;
pub mod source;
mod values;
pub mod white_list;

pub use profile::Profile;
pub use rules::{Rules, fault_of};
pub use server_settings::ServerSettings;
pub use source::{FetchedBans, GivenSetting, OpenSource, RuleSource, SourceError};
pub(crate) use values::portable_text;
pub use values::{LargeSize, Millis, Percent, Seconds, Secret, SettingError, SettingValue, parse_size};

/// Minimum of `sessionUserLimit` and of a session's `maxUserCount`.
pub const MIN_USER_LIMIT: u32 = 2;
/// Maximum of `sessionUserLimit` and of a session's `maxUserCount`: the number of user ids.
pub const MAX_USER_LIMIT: u32 = 254;

/// One row of the table of settings.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SettingInfo {
    /// Key in configuration files, databases and the admin API.
    pub key: &'static str,
    /// Type: `bool`, `int`, `text`, `time` or `size`.
    pub kind: &'static str,
    /// Unit of a number that is given without one; empty if the type has no unit.
    pub unit: &'static str,
    /// Valid values in words; empty if everything is valid.
    pub range: &'static str,
    /// Default value, as it is written in a configuration file.
    pub default: &'static str,
    pub group: Group,
    /// Whether values are or contain secrets, which are not logged.
    pub is_secret: bool,
    /// One sentence for the documentation and the admin page.
    pub help: &'static str,
}

/// Heading under which the documentation and the admin page list a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Group {
    General,
    Sessions,
    /// Who may log in, and user names.
    Access,
    /// Clients that run in browsers.
    Browsers,
    /// Accounts of an external auth server (ext-auth).
    ExtAuth,
    /// List servers, abuse reports, external bans.
    Services,
    /// Storage, fsync, memory and batching.
    Storage,
    /// Rate limits, timeouts and quotas.
    Limits,
}

impl Group {
    /// Heading in the documentation and on the admin page.
    pub fn title(self) -> &'static str {
        match self {
            Group::General => "General",
            Group::Sessions => "Sessions",
            Group::Access => "Access",
            Group::Browsers => "Browsers",
            Group::ExtAuth => "External accounts (ext-auth)",
            Group::Services => "List servers, reports, external bans",
            Group::Storage => "Storage and performance",
            Group::Limits => "Limits",
        }
    }
}

macro_rules! settings {
    ($( $field:ident, $key:literal : $ty:ident = $default:literal, $group:ident, $help:literal; )*) => {
        /// A snapshot of all settings.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $( #[doc = $help] pub $field: values::$ty, )*
        }

        /// The table of settings.
        pub const SETTINGS: &[SettingInfo] = &[
            $( SettingInfo {
                key: $key,
                kind: <values::$ty as SettingValue>::KIND,
                unit: <values::$ty as SettingValue>::UNIT,
                range: <values::$ty as SettingValue>::RANGE,
                default: $default,
                group: Group::$group,
                is_secret: <values::$ty as SettingValue>::IS_SECRET,
                help: $help,
            }, )*
        ];

        impl Default for Settings {
            fn default() -> Self {
                // A test checks that every default is valid.
                Self { $( $field: SettingValue::read($default).unwrap_or_default(), )* }
            }
        }

        impl Settings {
            /// All values as they are written in a configuration file, in the order of the table.
            pub fn values(&self) -> Vec<(&'static str, String)> {
                vec![ $( ($key, self.$field.write()), )* ]
            }

            /// All values as JSON, in the order of the table. Times are seconds, sizes are bytes.
            pub fn json_values(&self) -> Vec<(&'static str, serde_json::Value)> {
                vec![ $( ($key, self.$field.json()), )* ]
            }

            /// Sets one setting from its text form.
            ///
            /// # Errors
            /// When the key is unknown or the value invalid; the setting keeps its value.
            pub fn set(&mut self, key: &str, text: &str) -> Result<(), SettingError> {
                match canonical_key(key) {
                    $( $key => self.$field = SettingValue::read(text)
                        .ok_or_else(|| SettingError::BadValue { key: $key, kind: <values::$ty as SettingValue>::KIND, text: text.into() })?, )*
                    _ => return Err(SettingError::UnknownKey(key.into())),
                }
                Ok(())
            }
        }
    };
}

/// Maps former names of settings to the current ones.
pub(crate) fn canonical_key(key: &str) -> &str {
    match key {
        "title" => "serverTitle",
        "archiveMode" => "archive",
        "announceWhiteList" => "announceWhitelist",
        other => other,
    }
}

/// The table of settings in Markdown, as in `docs/SETTINGS.md`.
pub fn settings_page() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Times are numbers with `s`, `m`, `h` or `d` (those in milliseconds also with `ms`, and without `d`), sizes are\n\
         numbers with `b`, `kb`, `mb` or `gb` (1024-based); `30 days` and `1 GiB` are read, too, but in a configuration\n\
         file drawpile-srv knows only the short forms. Decimals are allowed. Without a unit, the unit of the table counts.\n\
         `drawhall settings` prints this page, `drawhall config` the values in force.\n\n\
         | key | type, unit | default | range | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for SettingInfo { key, kind, unit, range, default, help, .. } in SETTINGS {
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        page.push_str(&format!("| `{key}` | {kind}{unit} | {default} | {range} | {help} |\n"));
    }
    page
}

settings! {
    client_timeout, "clientTimeout": Seconds = "60", Limits, "Idle timeout of a connection: the server disconnects a client that sends nothing for this long.";
    session_size_limit, "sessionSizeLimit": Size = "99mb", Sessions, "Maximum size of a session's history, 0 for no limit.";
    session_count_limit, "sessionCountLimit": Count = "25", Sessions, "Maximum number of sessions.";
    persistence, "persistence": Bool = "false", Sessions, "Operators may make sessions persistent, so that they are kept when they are empty.";
    allow_guest_hosts, "allowGuestHosts": Bool = "true", Access, "Everybody may host sessions, not only accounts with the flag HOST.";
    allow_guests, "allowGuests": Bool = "true", Access, "Users without an account may log in.";
    idle_time_limit, "idleTimeLimit": Seconds = "0", Sessions, "Session expiry: a session is ended when nothing happens in it for this long, 0 for never.";
    lone_session_time_limit, "loneSessionTimeLimit": Seconds = "0", Sessions, "A session in which only one user is and nothing happens for this long ends, after a warning; 0 for never. Persistent sessions, and those exempt from the idle limit, stay.";
    event_keep_time, "eventKeepTime": Seconds = "1d", Sessions, "How long chat and events of sessions are kept for moderators, 0 for not at all; only in Drawhall's own data directory.";
    server_title, "serverTitle": Text = "", General, "Title that clients show above the session list.";
    welcome_message, "welcomeMessage": Text = "", General, "Message to everybody who joins a session.";
    announce_whitelist, "announceWhitelist": Bool = "true", Services, "Only list servers on the white list may be used. Unless this is set explicitly, the public one at pub.drawpile.net is allowed as well.";
    profile, "profile": Profile = "", General, "Alternative defaults: public for a server on the internet. Settings that are set explicitly take precedence.";
    private_user_list, "privateUserList": Bool = "false", General, "Accepted for old configurations without effect: user lists are never announced.";
    archive, "archive": Bool = "false", Sessions, "Files of ended sessions are renamed instead of deleted.";
    extauth, "extauth": Bool = "false", ExtAuth, "Accounts of an external auth server (ext-auth) may log in.";
    extauth_key, "extauthkey": Text = "", ExtAuth, "Public key of the ext-auth server, base64.";
    extauth_group, "extauthgroup": Text = "", ExtAuth, "Group that ext-auth accounts must be in.";
    extauth_fallback, "extauthfallback": Bool = "true", ExtAuth, "Guests may log in while the ext-auth server is down.";
    extauth_mod, "extauthmod": Bool = "true", ExtAuth, "Ext-auth accounts may have the flag MOD.";
    extauth_host, "extauthhost": Bool = "true", ExtAuth, "Ext-auth accounts may have the flag HOST.";
    extauth_avatars, "extAuthAvatars": Bool = "true", ExtAuth, "Avatars of ext-auth accounts are used.";
    abuse_report, "abusereport": Bool = "false", Services, "Abuse reports are sent to the report URL.";
    report_inbox, "reportInbox": Bool = "false", Services, "Users may send abuse reports although no report URL is set: moderators find them on the admin page. Those who report are thanked.";
    report_thanks, "reportThanks": Text = "Thank you. The moderators of this server have got your report.", Services, "What users are told who have sent an abuse report, if reportInbox is on; empty for nothing.";
    report_webhook, "reportWebhook": Secret = "", Services, "URL that is told of each abuse report; empty for none.";
    report_webhook_discord, "reportWebhookDiscord": Bool = "false", Services, "The webhook takes messages as Discord does, instead of the report as JSON.";
    report_webhook_private, "reportWebhookPrivate": Bool = "false", Services, "The webhook may be at an address of a private network.";
    report_token, "reporttoken": Secret = "", Services, "Authorization token for abuse reports.";
    log_purge_days, "logpurgedays": Count = "0", General, "Log entries are deleted after this many days, 0 for never.";
    people_days, "peopleDays": Count = "30", General, "How many days the server remembers who was in which session, by device, account, name and address, for moderators; 0 for not at all.";
    log_address_days, "logAddressDays": Count = "0", General, "Addresses in log entries are shortened to their network (24 bits of IPv4, 48 of IPv6) after this many days, 0 for never.";
    log_max_size, "logMaxSize": Size = "1gb", General, "Maximum size of the log in the database, 0 for no limit. The oldest entries are deleted.";
    autoreset_threshold, "autoResetThreshold": Size = "15mb", Sessions, "Autoreset threshold of new sessions: size at which a reset is requested, 0 for never.";
    compact_at_threshold, "compactAtThreshold": Bool = "false", Sessions, "At its autoreset threshold the server replaces the history of a session by an image of its canvas, if no client does, also with nobody there; needs --canvas-renderer.";
    thumbnail_interval, "thumbnailInterval": Seconds = "0", Sessions, "How often the server makes a thumbnail of each session in which somebody has drawn since the last, also with nobody there; 0 for never. Needs --canvas-renderer.";
    custom_avatars, "customAvatars": Bool = "true", Access, "Users may have an avatar picture.";
    force_nsfm, "forceNsfm": Bool = "false", Sessions, "All sessions are marked as not safe for minors.";
    ext_bans_url, "extBansUrl": Secret = "", Services, "URL of the external ban list.";
    ext_bans_check_interval, "extBansCheckInterval": Seconds = "900", Services, "Polling interval for external bans, at least 60.";
    ext_bans_cache_url, "extBansCacheUrl": Secret = "", Services, "URL of the cached external bans (internal).";
    ext_bans_cache_key, "extBansCacheKey": Text = "", Services, "ETag of the cached external bans (internal).";
    ext_bans_cache_response, "extBansCacheResponse": Text = "", Services, "The cached external bans (internal).";
    extauth_ban_exempt, "extauthbanexempt": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag BANEXEMPT.";
    extauth_ghosts, "extauthghosts": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag GHOST.";
    extauth_web, "extauthweb": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag WEB.";
    extauth_web_session, "extauthwebsession": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag WEBSESSION.";
    extauth_web_host, "extauthwebhost": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag WEBHOST.";
    extauth_persist, "extauthpersist": Bool = "false", ExtAuth, "Ext-auth accounts may have the flag PERSIST.";
    allow_idle_override, "allowIdleOverride": Bool = "true", Sessions, "Moderators may exempt sessions from the idle limit.";
    ban_contact, "banContact": Text = "", Access, "How to reach the people who run the server, such as an e-mail address. People who are banned are told it, with the end and the reason of the ban.";
    moderators_use_page, "moderatorsUsePage": Bool = "false", Access, "Accounts with the flag MOD may use the admin page and API as moderators, as those with ADMINMOD.";
    login_info_url, "loginInfoUrl": Text = "", General, "URL of a page that clients link to during login.";
    rule_text, "ruleText": Text = "", General, "Rules that users must agree to.";
    enable_ghosts, "enableGhosts": Bool = "false", Access, "Moderators with the flag GHOST may join invisibly.";
    minimum_protocol_version, "minimumProtocolVersion": Text = "", General, "Oldest protocol version that may host, such as dp:4.24.0.";
    mandatory_lookup, "mandatoryLookup": Bool = "false", Sessions, "Sessions can only be joined by a direct link; the session list is hidden.";
    require_matching_host, "requireMatchingHost": Bool = "false", General, "Clients must connect to the host name given by --local-host.";
    allow_guest_web, "allowGuestWeb": Bool = "true", Browsers, "Everybody may connect from a browser, not only accounts with the flag WEB.";
    allow_guest_web_session, "allowGuestWebSession": Bool = "true", Browsers, "Everybody may allow browsers in sessions, not only accounts with the flag WEBSESSION.";
    allow_guest_web_hosts, "allowGuestWebHosts": Bool = "true", Browsers, "Everybody may host from a browser, not only accounts with the flag WEBHOST.";
    session_user_limit, "sessionUserLimit": UserLimit = "254", Sessions, "Maximum number of users in a session, 2 to 254.";
    password_dependent_web_session, "passwordDependentWebSession": Bool = "false", Browsers, "Browsers may join only sessions that have a password.";
    empty_session_linger_time, "emptySessionLingerTime": Seconds = "0", Sessions, "How long an empty session is kept if it is not persistent.";
    invites, "invites": Bool = "true", Sessions, "Operators of new sessions may create invites.";
    prefer_web_sockets, "preferWebSockets": Bool = "false", Browsers, "Clients are asked to prefer WebSockets.";
    forbidden_name_regex, "forbiddenNameRegex": Text = "", Access, "User names and session titles that match this regular expression are refused.";
    filter_name_regex, "filterNameRegex": Text = "", Access, "Regular expression for parts of names that are removed before forbiddenNameRegex is matched.";
    unlisted_host_policy, "unlistedHostPolicy": Text = "", Sessions, "Which sessions are hidden from the session list: ALL, or WEB for those hosted from browsers.";
    minimum_autoreset_threshold, "minimumAutoResetThreshold": Size = "0", Sessions, "Minimum autoreset threshold that operators can set.";
    sync_interval, "syncInterval": Millis = "1s", Storage, "Fsync interval: how long data of stored sessions may be unsynced; 0 for an fsync of every batch before it is sent to clients.";
    session_unload_time, "sessionUnloadTime": Seconds = "60", Storage, "How long a stored session stays in memory when it is empty, before it is unloaded. It is loaded again on demand.";
    gather_time, "gatherTime": Millis = "3ms", Storage, "Longest batching delay for small messages in busy sessions, 0 to 50ms.";
    handshake_time_limit, "handshakeTimeLimit": Seconds = "10", Limits, "Timeout for the TLS handshake and the WebSocket upgrade, 0 for no limit.";
    login_time_limit, "loginTimeLimit": Seconds = "600", Limits, "Timeout for logging in, 0 for no limit.";
    connection_limit, "connectionLimit": Count = "10000", Limits, "Maximum number of connections, 0 for no limit.";
    connections_per_address, "connectionsPerAddress": Count = "100", Limits, "Maximum number of connections from one address (IPv6: a /64 network), 0 for no limit.";
    connection_rate_limit, "connectionRateLimit": Count = "300", Limits, "Rate limit for new connections from one address, per minute, 0 for no limit.";
    login_rate_limit, "loginRateLimit": Count = "120", Limits, "Rate limit for logins from one address, per minute, 0 for no limit.";
    password_rate_limit, "passwordRateLimit": Count = "30", Limits, "Rate limit for passwords from one address, per minute, 0 for no limit.";
    operator_chat_commands, "operatorChatCommands": Bool = "false", Sessions, "Operators may write commands in the chat: !undo NAME, !redo NAME, !link (to the page for undo) and !help. Others do not see these lines.";
    restrict_undo, "restrictUndo": Bool = "false", Sessions, "Only operators may undo what others have drawn; such messages of other users are dropped.";
    chat_rate_limit, "chatRateLimit": Count = "10", Limits, "Rate limit for chat messages of one client, per second, with a burst of ten seconds' worth; 0 for no limit.";
    message_rate_limit, "messageRateLimit": Count = "100000", Limits, "Rate limit for messages of one client, per second, with a burst of twenty seconds' worth; 0 for no limit.";
    guest_draw_rate_limit, "guestDrawRateLimit": Count = "6000", Limits, "Rate limit for drawing messages of a guest, per second, with a burst of a minute's worth; 0 for no limit.";
    guest_draw_byte_rate_limit, "guestDrawByteRateLimit": Size = "4mb", Limits, "Rate limit for what a guest draws, in bytes per second, with a burst of five seconds' worth; 0 for no limit.";
    registered_draw_rate_limit, "registeredDrawRateLimit": Count = "12000", Limits, "Rate limit for drawing messages of a user with an account, per second, with a burst of a minute's worth; 0 for no limit.";
    registered_draw_byte_rate_limit, "registeredDrawByteRateLimit": Size = "8mb", Limits, "Rate limit for what a user with an account draws, in bytes per second, with a burst of five seconds' worth; 0 for no limit.";
    trusted_draw_rate_limit, "trustedDrawRateLimit": Count = "24000", Limits, "Rate limit for drawing messages of a trusted user, per second, with a burst of a minute's worth; 0 for no limit.";
    trusted_draw_byte_rate_limit, "trustedDrawByteRateLimit": Size = "16mb", Limits, "Rate limit for what a trusted user draws, in bytes per second, with a burst of five seconds' worth; 0 for no limit.";
    operator_draw_rate_limit, "operatorDrawRateLimit": Count = "0", Limits, "Rate limit for drawing messages of an operator or moderator, per second, with a burst of a minute's worth; 0 for no limit.";
    operator_draw_byte_rate_limit, "operatorDrawByteRateLimit": Size = "0", Limits, "Rate limit for what an operator or moderator draws, in bytes per second, with a burst of five seconds' worth; 0 for no limit.";
    command_rate_limit, "commandRateLimit": Count = "10", Limits, "Rate limit for messages of one client that the server acts on, without chat, per second, with a burst of five seconds' worth; five times that for one address; 0 for no limit.";
    lag_time_limit, "lagTimeLimit": Seconds = "120", Limits, "Slow client timeout: a client that receives nothing of what is sent to it for this long is disconnected, 0 for no limit.";
    lag_size_limit, "lagSizeLimit": Size = "256mb", Limits, "Maximum backlog of a client: how far it may be behind what was drawn since it joined, 0 for no limit.";
    keep_generations, "keepGenerations": Count = "3", Storage, "How many earlier histories of a stored session are kept at resets, to go back to; none while less than diskSpaceAlarm is free.";
    ended_session_days, "endedSessionDays": Count = "7", Storage, "How many days a session that has ended can be restored, 0 for not at all; only in Drawhall's own data directory.";
    ended_session_size, "endedSessionSize": LargeSize = "1gb", Storage, "Maximum size of all ended sessions that can be restored, 0 for no limit; the oldest are removed.";
    disk_space_alarm, "diskSpaceAlarm": Size = "500mb", Storage, "Free disk space for sessions or settings below which an alarm is raised, 0 for never.";
    disk_space_reserve, "diskSpaceReserve": Size = "50mb", Storage, "Free disk space for sessions below which no new sessions are hosted and no pictures made, 0 for no reserve. Sessions that exist go on.";
    reclaim_disk_space, "reclaimDiskSpace": Bool = "false", Storage, "Below diskSpaceReserve, ended sessions, archived files and complete recordings are removed, the oldest first, until it is free again.";
    sessions_per_address, "sessionsPerAddress": Count = "5", Limits, "Maximum number of sessions hosted from one address, except by accounts with HOST or MOD; 0 for no limit.";
    host_rate_limit, "hostRateLimit": Count = "10", Limits, "Rate limit for new sessions from one address, per minute, 0 for no limit.";
    reserved_sessions, "reservedSessions": Percent = "10", Limits, "Percentage of sessionCountLimit that is reserved for accounts with HOST or MOD; not applied if there are no accounts.";
    total_history_limit, "totalHistoryLimit": LargeSize = "8gb", Limits, "Maximum size of all session histories together, in memory and in files, 0 for no limit.";
    session_less_client_linger_time, "sessionLessClientLingerTime": Seconds = "0", Limits, "A client that does not join a session for this long is disconnected, 0 for never.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_settings_have_the_defaults_of_the_table() {
        let mut settings = Settings::default();
        for info in SETTINGS {
            settings.set(info.key, info.default).unwrap();
        }
        assert_eq!(settings, Settings::default());
        assert_eq!((settings.session_size_limit, settings.session_user_limit), (99 << 20, 254));
    }

    #[test]
    fn the_page_of_settings_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SETTINGS.md");
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            settings_page(),
            "drawhall settings > docs/SETTINGS.md"
        );
    }

    #[test]
    fn values_survive_formatting_and_parsing() {
        let mut settings = Settings { server_title: "T".into(), ..Settings::default() };
        settings.set("clientTimeout", "90").unwrap();
        let mut again = Settings::default();
        for (key, value) in settings.values() {
            again.set(key, &value).unwrap();
        }
        assert_eq!(again, settings);
    }

    #[test]
    fn an_invalid_value_does_not_change_the_setting() {
        let mut settings = Settings::default();
        let error = settings.set("clientTimeout", "soon").unwrap_err();
        assert_eq!(error.to_string(), "clientTimeout: 'soon' is no time");
        assert_eq!(settings, Settings::default());
        assert!(matches!(settings.set("nonsense", "1"), Err(SettingError::UnknownKey(_))));
    }

    #[test]
    fn former_names_of_settings_are_accepted() {
        let mut settings = Settings::default();
        settings.set("title", "T").unwrap();
        settings.set("archiveMode", "true").unwrap();
        assert_eq!((settings.server_title.as_str(), settings.archive), ("T", true));
    }
}
