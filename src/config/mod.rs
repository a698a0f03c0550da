//! Configuration: the table of settings (key, type, unit, default, help), and the parsers of files and databases.
//!
//! [`Settings`] is an immutable snapshot of all values. Every setting is defined once, in the `settings!` table
//! below. Source: docs/spec/config.md#settings.

pub mod account;
pub mod bans;
pub mod extbans;
pub mod ini;
pub mod ip_range;
pub mod names;
pub mod profile;
pub mod rules;
pub mod source;
mod values;
pub mod white_list;

pub use profile::Profile;
pub use rules::{Rules, fault_of};
pub use source::{FetchedBans, OpenSource, RuleSource, SourceError};
pub use values::{LargeSize, Millis, Percent, Seconds, SettingError, SettingValue, parse_size};

/// Minimum of `sessionUserLimit` and of a session's `maxUserCount`.
pub const MIN_USER_LIMIT: u32 = 2;
/// Maximum of `sessionUserLimit` and of a session's `maxUserCount`: the number of user ids.
pub const MAX_USER_LIMIT: u32 = 254;

/// One row of the table of settings.
#[derive(Debug, Clone, Copy)]
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
    /// One sentence for the documentation and the admin page.
    pub help: &'static str,
}

/// Heading under which the documentation and the admin page list a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
            Group::Access => "Who may come",
            Group::Browsers => "Browsers",
            Group::ExtAuth => "Accounts elsewhere",
            Group::Services => "Lists, reports, external bans",
            Group::Storage => "Storage and speed",
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
         numbers with `b`, `kb`, `mb` or `gb` (1024-based). Decimals are allowed. Without a unit, the unit of the table counts.\n\
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
    client_timeout, "clientTimeout": Seconds = "60", Limits, "A connection from which nothing was received for so long is ended.";
    session_size_limit, "sessionSizeLimit": Size = "99mb", Sessions, "Largest history of a session, 0 for no limit.";
    session_count_limit, "sessionCountLimit": Count = "25", Sessions, "Greatest number of sessions at once.";
    persistence, "persistence": Bool = "false", Sessions, "Operators may make sessions persistent: they stay when everybody has left.";
    allow_guest_hosts, "allowGuestHosts": Bool = "true", Access, "Everybody may host, not only accounts with the flag HOST.";
    allow_guests, "allowGuests": Bool = "true", Access, "People without an account may log in.";
    idle_time_limit, "idleTimeLimit": Seconds = "0", Sessions, "A session in which nothing happened for so long ends, 0 for never.";
    server_title, "serverTitle": Text = "", General, "Title that clients show above the session list.";
    welcome_message, "welcomeMessage": Text = "", General, "Message to everybody who joins a session.";
    announce_whitelist, "announceWhitelist": Bool = "true", Services, "Only list servers of the white list may be used; while this is not set, also the public one at pub.drawpile.net.";
    profile, "profile": Profile = "", General, "Other defaults for a kind of server: public for one that strangers come to. What is set counts all the same.";
    private_user_list, "privateUserList": Bool = "false", General, "Accepted for old configurations; user lists are no longer announced.";
    archive, "archive": Bool = "false", Sessions, "Files of ended sessions are renamed instead of deleted.";
    extauth, "extauth": Bool = "false", ExtAuth, "Accounts of an ext-auth server may log in.";
    extauth_key, "extauthkey": Text = "", ExtAuth, "Public key of the ext-auth server, base64.";
    extauth_group, "extauthgroup": Text = "", ExtAuth, "Group that ext-auth accounts must be in.";
    extauth_fallback, "extauthfallback": Bool = "true", ExtAuth, "Guests may log in while the ext-auth server is down.";
    extauth_mod, "extauthmod": Bool = "true", ExtAuth, "The flag MOD of ext-auth accounts counts.";
    extauth_host, "extauthhost": Bool = "true", ExtAuth, "The flag HOST of ext-auth accounts counts.";
    extauth_avatars, "extAuthAvatars": Bool = "true", ExtAuth, "Avatars of ext-auth accounts are used.";
    abuse_report, "abusereport": Bool = "false", Services, "Abuse reports are sent to the report URL.";
    report_token, "reporttoken": Text = "", Services, "Token that is sent with abuse reports.";
    log_purge_days, "logpurgedays": Count = "0", General, "Log entries are deleted after so many days, 0 for never.";
    log_max_size, "logMaxSize": Size = "1gb", General, "Largest log in the database, 0 for no limit: the oldest entries are deleted.";
    autoreset_threshold, "autoResetThreshold": Size = "15mb", Sessions, "Size at which new sessions ask for a reset, 0 for never.";
    custom_avatars, "customAvatars": Bool = "true", Access, "Users may bring an avatar picture.";
    force_nsfm, "forceNsfm": Bool = "false", Sessions, "Every session counts as not safe for minors.";
    ext_bans_url, "extBansUrl": Text = "", Services, "Where to fetch external bans.";
    ext_bans_check_interval, "extBansCheckInterval": Seconds = "900", Services, "How often to fetch external bans, 60 at least.";
    ext_bans_cache_url, "extBansCacheUrl": Text = "", Services, "URL of the cached external bans (internal).";
    ext_bans_cache_key, "extBansCacheKey": Text = "", Services, "ETag of the cached external bans (internal).";
    ext_bans_cache_response, "extBansCacheResponse": Text = "", Services, "The cached external bans (internal).";
    extauth_ban_exempt, "extauthbanexempt": Bool = "false", ExtAuth, "The flag BANEXEMPT of ext-auth accounts counts.";
    extauth_ghosts, "extauthghosts": Bool = "false", ExtAuth, "The flag GHOST of ext-auth accounts counts.";
    extauth_web, "extauthweb": Bool = "false", ExtAuth, "The flag WEB of ext-auth accounts counts.";
    extauth_web_session, "extauthwebsession": Bool = "false", ExtAuth, "The flag WEBSESSION of ext-auth accounts counts.";
    extauth_web_host, "extauthwebhost": Bool = "false", ExtAuth, "The flag WEBHOST of ext-auth accounts counts.";
    extauth_persist, "extauthpersist": Bool = "false", ExtAuth, "The flag PERSIST of ext-auth accounts counts.";
    allow_idle_override, "allowIdleOverride": Bool = "true", Sessions, "Moderators may exempt sessions from the idle limit.";
    login_info_url, "loginInfoUrl": Text = "", General, "Page that clients link to while logging in.";
    rule_text, "ruleText": Text = "", General, "Rules that users must agree to.";
    enable_ghosts, "enableGhosts": Bool = "false", Access, "Moderators with the flag GHOST may join unseen.";
    minimum_protocol_version, "minimumProtocolVersion": Text = "", General, "Oldest protocol version that may host, such as dp:4.24.0.";
    mandatory_lookup, "mandatoryLookup": Bool = "false", Sessions, "Sessions can only be joined through a direct link; no list is shown.";
    require_matching_host, "requireMatchingHost": Bool = "false", General, "Clients must have connected to the name given by --local-host.";
    allow_guest_web, "allowGuestWeb": Bool = "true", Browsers, "Everybody may connect from a browser, not only accounts with the flag WEB.";
    allow_guest_web_session, "allowGuestWebSession": Bool = "true", Browsers, "Everybody may open sessions to browsers, not only accounts with the flag WEBSESSION.";
    allow_guest_web_hosts, "allowGuestWebHosts": Bool = "true", Browsers, "Everybody may host from a browser, not only accounts with the flag WEBHOST.";
    session_user_limit, "sessionUserLimit": UserLimit = "254", Sessions, "Greatest number of users in a session, 2 to 254.";
    password_dependent_web_session, "passwordDependentWebSession": Bool = "false", Browsers, "Sessions are open to browsers only while they have a password.";
    empty_session_linger_time, "emptySessionLingerTime": Seconds = "0", Sessions, "How long a session that is not persistent stays when it is empty.";
    invites, "invites": Bool = "true", Sessions, "Operators of new sessions may make invites.";
    prefer_web_sockets, "preferWebSockets": Bool = "false", Browsers, "Clients are told to prefer WebSockets.";
    forbidden_name_regex, "forbiddenNameRegex": Text = "", Access, "Names and titles that match are refused.";
    filter_name_regex, "filterNameRegex": Text = "", Access, "Parts of names that are left out before forbiddenNameRegex looks at them.";
    unlisted_host_policy, "unlistedHostPolicy": Text = "", Sessions, "Sessions that are not listed: ALL, or WEB for those hosted from browsers.";
    minimum_autoreset_threshold, "minimumAutoResetThreshold": Size = "0", Sessions, "Least autoreset threshold that operators can set.";
    sync_interval, "syncInterval": Millis = "1s", Storage, "How long what is written to stored sessions may not be on the disk yet; 0 forces every batch before it is sent.";
    session_unload_time, "sessionUnloadTime": Seconds = "60", Storage, "How long nobody is in a stored session before it leaves memory; it is loaded again when somebody asks for it.";
    gather_time, "gatherTime": Millis = "3ms", Storage, "How long small messages of a busy session are gathered before they are sent, 0 to 50ms.";
    handshake_time_limit, "handshakeTimeLimit": Seconds = "10", Limits, "How long a client may take to encrypt its connection or to upgrade it to WebSocket, 0 for no limit.";
    login_time_limit, "loginTimeLimit": Seconds = "600", Limits, "How long a client may take to say who it is, 0 for no limit.";
    connection_limit, "connectionLimit": Count = "10000", Limits, "Greatest number of connections at once, 0 for no limit.";
    connections_per_address, "connectionsPerAddress": Count = "100", Limits, "Greatest number of connections from one address (IPv6: a network of 64 bits) at once, 0 for no limit.";
    connection_rate_limit, "connectionRateLimit": Count = "300", Limits, "New connections from one address a minute, 0 for no limit.";
    login_rate_limit, "loginRateLimit": Count = "120", Limits, "Logins from one address a minute, 0 for no limit.";
    password_rate_limit, "passwordRateLimit": Count = "30", Limits, "Passwords given from one address a minute, 0 for no limit.";
    restrict_undo, "restrictUndo": Bool = "false", Sessions, "Only operators may undo what others have drawn; such messages of other people are dropped.";
    chat_rate_limit, "chatRateLimit": Count = "10", Limits, "Chat messages of one client a second, those of ten seconds at once, 0 for no limit.";
    message_rate_limit, "messageRateLimit": Count = "100000", Limits, "Messages of one client a second, those of twenty seconds at once, 0 for no limit.";
    command_rate_limit, "commandRateLimit": Count = "10", Limits, "Messages of one client that the server acts on, without chat, a second, those of five seconds at once, and five times that of an address, 0 for no limit.";
    lag_time_limit, "lagTimeLimit": Seconds = "120", Limits, "How long a client may take nothing of what it is sent, 0 for no limit.";
    lag_size_limit, "lagSizeLimit": Size = "256mb", Limits, "How far a client may be behind what was drawn since it joined, 0 for no limit.";
    disk_space_alarm, "diskSpaceAlarm": Size = "500mb", Storage, "Free space of a disk with sessions or settings below which an alarm is raised, 0 for never.";
    sessions_per_address, "sessionsPerAddress": Count = "5", Limits, "Greatest number of sessions that were hosted from one address, not counting accounts with HOST or MOD; 0 for no limit.";
    host_rate_limit, "hostRateLimit": Count = "10", Limits, "New sessions from one address a minute, 0 for no limit.";
    reserved_sessions, "reservedSessions": Percent = "10", Limits, "Share of sessionCountLimit in percent that is kept for accounts with HOST or MOD; nothing while there are no accounts.";
    total_history_limit, "totalHistoryLimit": LargeSize = "8gb", Limits, "What the histories of all sessions may hold together, in memory or in files, 0 for no limit.";
    session_less_client_linger_time, "sessionLessClientLingerTime": Seconds = "0", Limits, "A client that does not join a session for so long is kicked, 0 for never.";
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
