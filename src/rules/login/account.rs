//! Answers about accounts: of this server's own, and of an external auth server.

use serde::{Deserialize, Serialize};

use crate::config::Settings;

/// Whether name and password of an account are right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AccountCheck {
    NotFound,
    /// There is none, but one whose name looks the same to people.
    Similar,
    /// Too many password checks are queued, or the check failed.
    Busy,
    Locked,
    BadPassword,
    Ok {
        auth_id: String,
        flags: Vec<String>,
    },
}

/// The auth server's answer about a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum NameAnswer {
    /// An account that has to authenticate.
    Account,
    /// Not an account.
    Guest,
    /// An account, but not in the required group.
    OutGroup,
    Banned,
    /// An unknown status.
    Other(String),
    /// No readable answer; the setting `extauthfallback` decides what follows.
    Unavailable,
}

/// The flags of a token that the settings allow.
pub fn permitted(flags: Vec<String>, settings: &Settings) -> Vec<String> {
    let is_permitted = |flag: &String| match flag.as_str() {
        "MOD" => settings.extauth_mod,
        "GHOST" => settings.extauth_ghosts && settings.enable_ghosts,
        "HOST" => settings.extauth_host,
        "BANEXEMPT" => settings.extauth_ban_exempt,
        "WEB" => settings.extauth_web,
        "WEBHOST" => settings.extauth_web_host,
        "WEBSESSION" => settings.extauth_web_session,
        "PERSIST" => settings.extauth_persist,
        _ => true,
    };
    flags.into_iter().filter(is_permitted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_of_a_token_needs_its_setting() {
        let all = ["MOD", "GHOST", "HOST", "BANEXEMPT", "WEB", "WEBHOST", "WEBSESSION", "PERSIST", "OTHER"];
        let flags_with = |settings: &Settings| permitted(all.map(str::to_owned).to_vec(), settings);
        let mut settings = Settings::default();
        for key in [
            "extauthmod",
            "extauthghosts",
            "enableGhosts",
            "extauthhost",
            "extauthbanexempt",
            "extauthweb",
            "extauthwebhost",
            "extauthwebsession",
            "extauthpersist",
        ] {
            settings.set(key, "false").unwrap();
        }
        assert_eq!(flags_with(&settings), ["OTHER"], "flags without a setting are permitted");
        for (key, flag) in [
            ("extauthmod", "MOD"),
            ("extauthhost", "HOST"),
            ("extauthbanexempt", "BANEXEMPT"),
            ("extauthweb", "WEB"),
            ("extauthwebhost", "WEBHOST"),
            ("extauthwebsession", "WEBSESSION"),
            ("extauthpersist", "PERSIST"),
        ] {
            let mut one = settings.clone();
            one.set(key, "true").unwrap();
            assert_eq!(flags_with(&one), [flag, "OTHER"], "{key}");
        }
        settings.set("extauthghosts", "true").unwrap();
        assert_eq!(flags_with(&settings), ["OTHER"], "ghosts need two settings");
        settings.set("enableGhosts", "true").unwrap();
        assert_eq!(flags_with(&settings), ["GHOST", "OTHER"]);
    }
}
