//! Configuration sources: a file or a database, polled for changes while the server runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::bans::BanTerms;
use super::bans::{Ban, BanAction};
use super::extbans::{self, ExtBan};
use super::ini::{self, ConfigFile};
use super::ip_range::IpRange;
use super::white_list::WhiteList;
use super::{Millis, Profile, Rules, Settings, canonical_key};
use crate::db::{ClusterUrl, Database, Snapshot, SubjectBan, time_text};
use crate::rules::time::Timestamp;
use crate::rules::token;

mod open;

pub use open::SourceError;

/// Polling interval for a configuration file.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// Prefix of database settings that lock a section of the admin API; the section's name follows.
const LOCK_PREFIX: &str = "_lock_admin_section_";
/// Polling interval for a database. Short, so that manual changes apply to the next login.
const DATABASE_INTERVAL: Duration = Duration::from_millis(200);

/// A configuration source and command line options that override it. Without a file and a database, defaults apply.
#[derive(Debug, Clone, Default)]
pub struct RuleSource {
    /// Path of the configuration file.
    pub config: Option<PathBuf>,
    /// Path of the configuration database; takes precedence over `config`.
    pub database: Option<PathBuf>,
    /// Address of the configuration database if it is on PostgreSQL; takes precedence over `database`.
    pub cluster: Option<ClusterUrl>,
    /// Settings that the database begins with if it does not exist yet.
    pub initial_settings: &'static [(&'static str, &'static str)],
    /// Key of encrypted ban lists.
    pub crypt_key: Option<[u8; 32]>,
    /// The server's public host name, empty if unknown.
    pub local_host: String,
    /// URL of the auth server.
    pub extauth: Option<String>,
    /// URL that abuse reports are sent to.
    pub report_url: Option<String>,
    /// Public URL of the admin page.
    pub page_url: Option<String>,
    /// Whether the server listens for WebSocket connections.
    pub web_sockets: bool,
    /// Overrides the setting `syncInterval`.
    pub sync: Option<Duration>,
    /// Overrides the setting `profile`.
    pub profile: Option<Profile>,
}

/// An open source, with the state that is needed to detect changes.
#[derive(Debug)]
pub struct OpenSource {
    source: RuleSource,
    database: Option<Database>,
    /// Metadata of the file at the last successful read.
    file_stamp: Option<FileStamp>,
    version: i64,
    next_expiry: Option<String>,
    /// The configuration file was missing at the last poll.
    is_missing: bool,
    /// Messages that were logged at the last read, so that each is logged once.
    logged_errors: Vec<String>,
    /// The external bans that were fetched last, if there is no database to store them.
    fetched: Option<FetchedBans>,
    /// Settings changed at runtime, if there is no database to store them.
    runtime_settings: Vec<(String, String)>,
    /// The rules must be read again at the next poll, even if file or database did not change.
    reload_requested: bool,
}

/// Key and new value of a setting; without a value it has its default again.
pub type GivenSetting = (String, Option<String>);

/// A response with external bans.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct FetchedBans {
    pub url: String,
    /// The response's `ETag`.
    pub etag: String,
    /// Body of the response.
    pub answer: String,
}

impl OpenSource {
    /// Problems found by the last [`Self::read`]: lines and values that were left out.
    pub fn problems(&self) -> &[String] {
        &self.logged_errors
    }

    /// The configuration database; `None` if a file or nothing is used.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Polling interval; `None` if the source cannot change.
    pub fn interval(&self) -> Option<Duration> {
        match (&self.database, &self.source.config) {
            (Some(_), _) => Some(DATABASE_INTERVAL),
            (None, Some(_)) => Some(FILE_INTERVAL),
            (None, None) => None,
        }
    }

    /// Reads the rules and logs problems with the content. Blocking.
    ///
    /// # Errors
    /// When the file or the database cannot be read.
    pub fn read(&mut self) -> Result<Rules, SourceError> {
        let now = Timestamp::now().utc_ms;
        let Content { name, mut file, account_names, patterns, disabled, next_expiry, mut errors } =
            self.content(now)?;
        self.reload_requested = false;
        for (key, value) in &self.runtime_settings {
            // They were validated before they were stored.
            let _ = file.settings.set(key, value);
            file.set.insert(canonical_key(key).to_owned());
        }
        if let Some(profile) = self.source.profile {
            file.settings.profile = profile;
        }
        file.settings.profile.apply(&mut file);
        if let (None, Some(fetched)) = (&self.database, &self.fetched) {
            file.settings.ext_bans_cache_url.0.clone_from(&fetched.url);
            file.settings.ext_bans_cache_key.clone_from(&fetched.etag);
            file.settings.ext_bans_cache_response.clone_from(&fetched.answer);
        }
        let (ext_bans, skipped) = ext_bans(&file.settings, &disabled, &time_text(now));
        self.next_expiry = ext_bans.iter().map(|b| b.expires.clone()).chain(next_expiry).min();
        errors.extend(skipped);
        if let Some(sync) = self.source.sync {
            file.settings.sync_interval = Millis(sync.as_millis() as u64);
        }
        let (crypt_key, local_host) = (self.source.crypt_key, self.source.local_host.clone());
        let (mut rules, more) = Rules::new(file, crypt_key, local_host);
        if let Some(names) = account_names {
            rules.set_account_names(names.iter().map(String::as_str));
        }
        rules.ext_bans = ext_bans;
        rules.shared.web_sockets = self.source.web_sockets;
        rules.shared.report_url.clone_from(&self.source.report_url);
        rules.shared.page_url.clone_from(&self.source.page_url);
        let (white_list, faults) = WhiteList::new(patterns, rules.file());
        rules.white_list = white_list;
        errors.extend(faults);
        rules.database.clone_from(&self.database);
        rules.extauth_url.clone_from(&self.source.extauth);
        let settings = rules.settings();
        if settings.extauth
            && self.source.extauth.is_some()
            && token::public_key(&settings.extauth_key).is_none()
        {
            errors.push(
                "extauthkey is not a key (32 bytes in base64): accounts of the auth server cannot log in"
                    .into(),
            );
        }
        errors.extend(more);
        for error in errors.iter().filter(|e| !self.logged_errors.contains(e)) {
            tracing::warn!("{name}: {error}");
        }
        self.logged_errors = errors;
        Ok(rules)
    }

    /// Reads the content of the source. `now` is in milliseconds since 1970.
    fn content(&mut self, now: i64) -> Result<Content, SourceError> {
        match (&self.database, &self.source.config) {
            (Some(database), _) => {
                let version = database.version()?;
                let snapshot = database.snapshot(now)?;
                self.version = version;
                Ok(from_snapshot(snapshot, database.location()))
            }
            (None, Some(path)) => {
                let failed = |source| SourceError::Config { path: path.clone(), source };
                let file_stamp = file_stamp(path);
                let file = ini::parse(&std::fs::read(path).map_err(failed)?);
                // Set after the successful read only, so that a failed one is retried.
                self.file_stamp = file_stamp;
                let errors = file.errors.iter().map(ToString::to_string).collect();
                let name = path.display().to_string();
                Ok(Content { name, file, errors, ..Content::default() })
            }
            (None, None) => Ok(Content::default()),
        }
    }

    /// Makes the next poll read the rules even if the source did not change.
    pub fn read_at_next_look(&mut self) {
        self.reload_requested = true;
    }

    /// Stores fetched external bans; they apply from the next poll on. Blocking.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn keep_fetched(&mut self, fetched: FetchedBans) -> Result<(), SourceError> {
        if let Some(database) = &self.database {
            let FetchedBans { url, etag, answer } = &fetched;
            let settings =
                [("extBansCacheUrl", url), ("extBansCacheKey", etag), ("extBansCacheResponse", answer)];
            database.set_settings(&settings.map(|(k, v)| (k, v.as_str())))?;
        }
        self.fetched = Some(fetched);
        self.reload_requested = true;
        Ok(())
    }

    /// Stores settings, which the caller has validated; those without a value have their default again. Without a
    /// database they are lost when the server stops, and the default is what the configuration file says. They apply
    /// from the next poll on. Blocking.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn keep_settings(&mut self, settings: Vec<GivenSetting>) -> Result<(), SourceError> {
        match &self.database {
            Some(database) => {
                let settings: Vec<(&str, Option<&str>)> =
                    settings.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                database.change_settings(&settings)?;
            }
            None => {
                for (key, value) in settings {
                    self.runtime_settings.retain(|(known, _)| *known != key);
                    self.runtime_settings.extend(value.map(|value| (key, value)));
                }
            }
        }
        self.reload_requested = true;
        Ok(())
    }

    /// Reads the rules again if the source has changed or a ban has expired; `None` if not. Blocking.
    ///
    /// # Errors
    /// When the file or the database cannot be read.
    pub fn read_if_changed(&mut self) -> Result<Option<Rules>, SourceError> {
        let expired = self.next_expiry.as_ref().is_some_and(|e| *e <= time_text(Timestamp::now().utc_ms));
        let changed = match (&self.database, &self.source.config) {
            (Some(database), _) if !expired && database.may_have_changed() => {
                let version = database.version();
                // Until it can be read again, every look is a failure, and none says that nothing has changed.
                self.reload_requested |= version.is_err();
                version? != self.version
            }
            (Some(_), _) => expired,
            (None, Some(path)) => {
                let current = file_stamp(path);
                // A file that is being replaced may be missing for a moment: keep the rules.
                note_missing(&mut self.is_missing, path, current.is_none());
                current.is_some_and(|s| expired || Some(s) != self.file_stamp)
            }
            (None, None) => false,
        };
        if changed || self.reload_requested { self.read().map(Some) } else { Ok(None) }
    }
}

/// Logs once that the configuration file is missing, and once that it is back.
fn note_missing(was_missing: &mut bool, path: &Path, is_missing: bool) {
    match (std::mem::replace(was_missing, is_missing), is_missing) {
        (false, true) => tracing::warn!(
            "the configuration file {} is missing: the settings in force stay until it is back",
            path.display()
        ),
        (true, false) => tracing::info!("the configuration file {} is back", path.display()),
        _ => {}
    }
}

/// Content of a source, the same for files and databases.
#[derive(Default)]
struct Content {
    /// Path of the source, for log messages.
    name: String,
    file: ConfigFile,
    /// Account names in the database; `None` if the accounts are in the file.
    account_names: Option<Vec<String>>,
    /// Allowed list servers: regular expressions.
    patterns: Vec<String>,
    /// Ids of disabled external bans.
    disabled: Vec<i64>,
    /// When the next ban expires.
    next_expiry: Option<String>,
    /// Error messages about invalid content.
    errors: Vec<String>,
}

/// File metadata that changes with the content: modification time, size, inode.
type FileStamp = (SystemTime, u64, u64);

fn file_stamp(path: &Path) -> Option<FileStamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

/// Parses the cached external bans. Returns those that are enabled and not expired, and messages about skipped
/// entries.
fn ext_bans(settings: &Settings, disabled: &[i64], now: &str) -> (Vec<ExtBan>, Vec<String>) {
    let is_current =
        !settings.ext_bans_url.is_empty() && settings.ext_bans_cache_url == settings.ext_bans_url;
    if !is_current {
        return (Vec::new(), Vec::new());
    }
    match extbans::parse(&settings.ext_bans_cache_response) {
        Ok((mut bans, skipped)) => {
            bans.retain(|b| !disabled.contains(&b.id) && b.expires.as_str() > now);
            (bans, skipped)
        }
        Err(error) => (Vec::new(), vec![error]),
    }
}

/// Converts the content of a database to a configuration file.
fn from_snapshot(snapshot: Snapshot, name: String) -> Content {
    let (mut file, mut errors) = (ConfigFile::default(), Vec::new());
    for (key, value) in &snapshot.settings {
        if let Some(section) = key.strip_prefix(LOCK_PREFIX) {
            if value == "1" {
                file.locked_sections.insert(section.to_owned());
            }
            continue;
        }
        // Other keys with this prefix are internal, not settings.
        if key.starts_with('_') {
            continue;
        }
        match file.settings.set(key, value) {
            Ok(()) => drop(file.set.insert(canonical_key(key).to_owned())),
            Err(error) => errors.push(error.to_string()),
        }
    }
    for ban in snapshot.ip_bans {
        let text = if ban.subnet == 0 { ban.ip } else { format!("{}/{}", ban.ip, ban.subnet) };
        match IpRange::parse(&text) {
            Some(subject) => {
                let terms = BanTerms { expires: ban.expires, reason: ban.reason, ..BanTerms::default() };
                file.ip_bans.push(Ban { subject, terms });
            }
            None => errors.push(format!("invalid banned address '{text}'")),
        }
    }
    for ban in snapshot.system_bans {
        let (subject, terms) = terms_of(ban, &mut errors);
        file.system_bans.push(Ban { subject, terms });
    }
    for ban in snapshot.user_bans {
        match ban.subject.parse() {
            Ok(subject) => file.user_bans.push(Ban { subject, terms: terms_of(ban, &mut errors).1 }),
            Err(_) => errors.push(format!("invalid banned user id '{}'", ban.subject)),
        }
    }
    for ban in snapshot.account_bans {
        let (subject, terms) = terms_of(ban, &mut errors);
        file.account_bans.push(Ban { subject, terms });
    }
    Content {
        name,
        file,
        account_names: Some(snapshot.account_names),
        patterns: snapshot.listing_servers,
        disabled: snapshot.disabled_ext_bans,
        next_expiry: snapshot.next_expiry,
        errors,
    }
}

/// Subject and terms of a ban; an unknown action is reported and replaced with the normal one.
fn terms_of(ban: SubjectBan, errors: &mut Vec<String>) -> (String, BanTerms) {
    let SubjectBan { subject, reaction: name, expires, reason } = ban;
    let reaction = BanAction::parse(&name).unwrap_or_else(|| {
        errors.push(format!("unknown reaction '{name}', using normal"));
        BanAction::Normal
    });
    (subject, BanTerms { reaction, expires, reason })
}

#[cfg(test)]
mod tests;
