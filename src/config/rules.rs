//! [`Rules`]: settings, bans and account names in force, as one immutable snapshot that all actors share.
//! Ban matching at login is here.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Settings;
use super::bans::Ban;
use super::bans::BanTerms;
use super::extbans::ExtBan;
use super::ini::ConfigFile;
use super::ip_range::IpRange;
use super::name_rules::NameRules;
use super::white_list::WhiteList;
use crate::config::ServerSettings;
use crate::config::extauth::ExtAuth;
use crate::db::Database;
use crate::rules::username;

/// The settings, bans, account names and allowed list servers in force.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rules {
    /// What sessions need as well: settings, forbidden names, keys.
    pub shared: ServerSettings,
    pub has_accounts: bool,
    /// Skeletons of the account names ([`username::skeleton`]), to recognize lookalikes.
    account_skeletons: Arc<HashSet<String>>,
    /// The database with the accounts; `None` if they are in the configuration file.
    pub database: Option<Database>,
    /// Allowed list servers.
    pub white_list: WhiteList,
    /// External bans that are enabled and not expired.
    pub ext_bans: Vec<ExtBan>,
    /// URL of the auth server, if one is configured.
    pub extauth_url: Option<String>,
    /// The server's public host name; empty if unknown.
    pub local_host: String,
    file: Arc<ConfigFile>,
}

/// The part of the rules that logins need, for traces. Accounts and list servers are not in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct RulesRecord {
    shared: ServerSettings,
    has_accounts: bool,
    ip_bans: Vec<Ban<IpRange>>,
    system_bans: Vec<Ban<String>>,
    user_bans: Vec<Ban<i64>>,
    #[serde(default)]
    account_bans: Vec<Ban<String>>,
    ext_bans: Vec<ExtBan>,
    extauth_url: Option<String>,
    local_host: String,
}

/// Maximum length, as JSON, of one text in the greeting or welcome message. The message (64 KiB) holds other fields
/// as well.
const MAX_SENT_TEXT: usize = 48 << 10;

/// Clears texts that would make the greeting or welcome message too long, because nobody could log in. Returns error
/// messages.
fn clear_long_texts(settings: &mut Settings) -> Vec<String> {
    let texts = [
        ("serverTitle", &mut settings.server_title),
        ("loginInfoUrl", &mut settings.login_info_url),
        ("ruleText", &mut settings.rule_text),
        ("extauthgroup", &mut settings.extauth_group),
        ("welcomeMessage", &mut settings.welcome_message),
    ];
    let mut faults = Vec::new();
    for (key, text) in texts {
        let length = serde_json::Value::from(text.as_str()).to_string().len();
        if length > MAX_SENT_TEXT {
            faults.push(format!("{key}: too long for a message ({length} bytes, {MAX_SENT_TEXT} at most)"));
            text.clear();
        }
    }
    faults
}

fn version_fault(settings: &Settings) -> Option<String> {
    let minimum = &settings.minimum_protocol_version;
    let read = minimum.parse::<drawhall_protocol::ProtocolVersion>();
    (!minimum.is_empty() && read.is_err())
        .then(|| format!("minimumProtocolVersion: '{minimum}' is no protocol version"))
}

/// Validates settings whose type is text but that have a syntax or a maximum length. Returns what is wrong with
/// `key`.
pub fn fault_of(settings: &Settings, key: &str) -> Option<String> {
    let (_, errors) = NameRules::new(settings);
    let long = clear_long_texts(&mut settings.clone());
    let mut faults = errors.into_iter().chain(version_fault(settings)).chain(long);
    faults.find_map(|fault| Some(fault.strip_prefix(key)?.strip_prefix(": ")?.to_owned()))
}

impl Rules {
    /// Creates the rules from a configuration file. Also returns error messages about invalid values.
    pub fn new(file: ConfigFile, crypt_key: Option<[u8; 32]>, local_host: String) -> (Rules, Vec<String>) {
        let (names, mut errors) = NameRules::new(&file.settings);
        errors.extend(version_fault(&file.settings));
        let mut settings = file.settings.clone();
        errors.extend(clear_long_texts(&mut settings));
        let shared = ServerSettings {
            settings: Arc::new(settings),
            names: Arc::new(names),
            crypt_key,
            web_sockets: false,
            report_url: None,
            page_url: None,
        };
        let mut rules = Rules {
            shared,
            has_accounts: false,
            account_skeletons: Arc::default(),
            database: None,
            extauth_url: None,
            ext_bans: Vec::new(),
            white_list: WhiteList::default(),
            local_host,
            file: Arc::new(file),
        };
        let file = rules.file.clone();
        rules.set_account_names(file.users.iter().map(|user| user.name.as_str()));
        (rules, errors)
    }

    /// Replaces the set of account names.
    pub fn set_account_names<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let skeletons: HashSet<String> = names.map(username::skeleton).collect();
        self.has_accounts = !skeletons.is_empty();
        self.account_skeletons = Arc::new(skeletons);
    }

    /// The record of these rules in traces.
    pub fn record(&self) -> RulesRecord {
        RulesRecord {
            shared: self.shared.clone(),
            has_accounts: self.has_accounts,
            ip_bans: self.file.ip_bans.clone(),
            system_bans: self.file.system_bans.clone(),
            user_bans: self.file.user_bans.clone(),
            account_bans: self.file.account_bans.clone(),
            ext_bans: self.ext_bans.clone(),
            extauth_url: self.extauth_url.clone(),
            local_host: self.local_host.clone(),
        }
    }

    /// Restores rules from a trace. They are good for logins only.
    pub fn from_record(record: RulesRecord) -> Rules {
        let RulesRecord { shared, has_accounts, ip_bans, system_bans, user_bans, .. } = record;
        let RulesRecord { account_bans, ext_bans, extauth_url, local_host, .. } = record;
        let file = ConfigFile { ip_bans, system_bans, user_bans, account_bans, ..ConfigFile::default() };
        let file = Arc::new(file);
        Rules { shared, has_accounts, ext_bans, extauth_url, local_host, file, ..Rules::default() }
    }

    /// Settings in force, with the defaults of the profile.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Whether the name is visually the same as that of an account ([`username::skeleton`]).
    pub fn resembles_account(&self, name: &str) -> bool {
        self.has_accounts && self.account_skeletons.contains(&username::skeleton(name))
    }

    /// The ban of a client's address: bans of the server first, then external bans. `None` if it is not banned.
    pub fn address_ban(&self, address: IpAddr) -> Option<BanTerms> {
        let own = self.file.ip_bans.iter().find(|b| b.subject.contains(address)).map(|b| b.terms.clone());
        own.or_else(|| self.ext_bans.iter().find_map(|b| b.address(address)))
    }

    /// The ban of a system id: bans of the server first, then external bans. `None` if it is not banned.
    pub fn system_ban(&self, sid: &str) -> Option<BanTerms> {
        let own = self.file.system_bans.iter().find(|b| b.subject == sid).map(|b| b.terms.clone());
        own.or_else(|| self.ext_bans.iter().find_map(|b| b.system(sid)))
    }

    /// The ban of an ext-auth user id: bans of the server first, then external bans. `None` if it is not banned.
    pub fn user_ban(&self, uid: i64) -> Option<BanTerms> {
        let own = self.file.user_bans.iter().find(|b| b.subject == uid).map(|b| b.terms.clone());
        own.or_else(|| self.ext_bans.iter().find_map(|b| b.user(uid)))
    }

    /// The ban of an account of this server. `None` if it is not banned.
    pub fn account_ban(&self, auth_id: &str) -> Option<BanTerms> {
        let found = self.file.account_bans.iter().find(|b| b.subject == auth_id);
        found.map(|b| b.terms.clone())
    }

    /// The auth server, if one is configured and enabled by the setting `extauth`.
    pub fn extauth(&self) -> Option<ExtAuth> {
        ExtAuth::of(self.extauth_url.as_deref(), self.settings())
    }

    /// The configuration file or database that the rules were created from.
    pub fn file(&self) -> &ConfigFile {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_too_long_for_a_message_are_cleared_and_reported() {
        let set = |key: &str, text: &str| {
            let mut file = ConfigFile::default();
            file.settings.set(key, text).unwrap();
            let fault = fault_of(&file.settings, key);
            let (rules, errors) = Rules::new(file, None, String::new());
            (rules.settings().clone(), errors, fault)
        };
        for key in ["serverTitle", "loginInfoUrl", "ruleText", "extauthgroup"] {
            let (settings, errors, fault) = set(key, &"\u{1}".repeat(10_000));
            assert_eq!(settings, Settings::default(), "{key}: as JSON it is six times as long");
            assert!(errors[0].starts_with(&format!("{key}: too long")), "{errors:?}");
            assert!(fault.unwrap().starts_with("too long"));
            let (settings, errors, fault) = set(key, &"x".repeat(10_000));
            assert!(settings != Settings::default() && errors.is_empty() && fault.is_none());
        }
    }
}
