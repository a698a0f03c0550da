//! What a session is: its ids, names, settings and passwords, and which of them the journal has.
//! Source: docs/spec/session.md#sessionconf.

use drawhall_protocol::ProtocolVersion;

use super::password_verifier::PasswordVerifier;
use super::{Flags, PasswordKind, Settings};
use crate::rules::journal::Entry;
use crate::rules::metadata::{FIRST_CATCHUP_KEY, Metadata};
use crate::rules::time::Timestamp;

/// Default of `maxUserCount` in the journal.
const DEFAULT_MAX_USERS: u32 = 254;
/// Maximum catch-up key.
const MAX_CATCHUP_KEY: u32 = 999_999_999;

/// The properties that the journal records, each by an entry of its own.
#[derive(Debug, Clone, PartialEq)]
struct Journaled {
    alias: String,
    founder: String,
    max_users: u32,
    /// `None` only in a journal that has none: a session always has a threshold.
    autoreset: Option<u64>,
    title: String,
    archive: Option<bool>,
    limit: u64,
    flags: Flags,
    catchup: u32,
}

impl Default for Journaled {
    fn default() -> Self {
        let none = String::new;
        Self {
            alias: none(),
            founder: none(),
            max_users: DEFAULT_MAX_USERS,
            autoreset: None,
            title: none(),
            archive: None,
            limit: 0,
            flags: Flags::default(),
            catchup: FIRST_CATCHUP_KEY,
        }
    }
}

impl Journaled {
    /// Entries that make `before` of a journal what this is.
    fn changes(self, before: &Journaled) -> Vec<Entry> {
        let threshold = self.autoreset.unwrap_or_default();
        let entries = [
            (before.alias != self.alias).then_some(Entry::Alias(self.alias)),
            (before.founder != self.founder).then_some(Entry::Founder(self.founder)),
            (before.max_users != self.max_users).then_some(Entry::MaxUsers(self.max_users)),
            (before.autoreset != self.autoreset).then_some(Entry::AutoReset(threshold)),
            (before.title != self.title).then_some(Entry::Title(self.title)),
            (before.archive != self.archive).then_some(Entry::Archive(self.archive)),
            (before.limit != self.limit).then_some(Entry::Limit(self.limit)),
            (before.flags != self.flags).then_some(Entry::Flags(self.flags)),
            (before.catchup != self.catchup).then_some(Entry::Catchup(self.catchup)),
        ];
        entries.into_iter().flatten().collect()
    }
}

/// The properties of a session.
///
/// **Invariants:** id, protocol version and time of beginning never change. Each change of what the journal records is
/// drained once, by [`Self::drain_changes`].
#[derive(Debug)]
pub(super) struct Properties {
    id: String,
    protocol: ProtocolVersion,
    started: Timestamp,
    password: PasswordVerifier,
    opword: PasswordVerifier,
    present: Journaled,
    /// What the journal says.
    written: Journaled,
}

impl Properties {
    /// Of a new session. `alias` is empty for none.
    pub(super) fn new(
        id: String,
        alias: String,
        protocol: ProtocolVersion,
        founder: String,
        settings: &Settings,
        now: Timestamp,
    ) -> Properties {
        let present = Journaled {
            alias,
            founder,
            max_users: settings.session_user_limit,
            autoreset: Some(settings.autoreset_threshold),
            flags: Flags { nsfm: settings.force_nsfm, ..Flags::default() },
            ..Journaled::default()
        };
        Properties {
            id,
            protocol,
            started: now,
            password: PasswordVerifier::default(),
            opword: PasswordVerifier::default(),
            present,
            written: Journaled::default(),
        }
    }

    /// Takes the values of a journal, which has them already.
    pub(super) fn restore(&mut self, metadata: &mut Metadata, settings: &Settings) {
        let present = &mut self.present;
        present.title = std::mem::take(&mut metadata.title);
        present.flags = metadata.flags;
        present.max_users = metadata.max_users;
        present.limit = metadata.limit;
        present.archive = metadata.archive;
        present.catchup = metadata.catchup;
        self.password = PasswordVerifier::stored(&metadata.password);
        self.opword = PasswordVerifier::stored(&metadata.opword);
        if let Some(threshold) = metadata.autoreset {
            self.set_autoreset_threshold(threshold, settings);
        }
        self.written = Journaled { autoreset: metadata.autoreset, ..self.present.clone() };
    }

    /// It began at another time: it was loaded again.
    pub(super) fn set_started(&mut self, started: Timestamp) {
        self.started = started;
    }

    /// The session has a new journal, which has nothing yet.
    pub(super) fn begin_journal(&mut self) {
        self.written = Journaled::default();
    }

    /// Session id, a ULID in lower case or a UUID.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Empty without an alias.
    pub(super) fn alias(&self) -> &str {
        &self.present.alias
    }

    /// How users call the session in links.
    pub(super) fn alias_or_id(&self) -> &str {
        if self.present.alias.is_empty() { &self.id } else { &self.present.alias }
    }

    pub(super) fn protocol(&self) -> &ProtocolVersion {
        &self.protocol
    }

    /// When it began.
    pub(super) fn started(&self) -> Timestamp {
        self.started
    }

    pub(super) fn founder(&self) -> &str {
        &self.present.founder
    }

    pub(super) fn set_founder(&mut self, founder: String) {
        self.present.founder = founder;
    }

    pub(super) fn title(&self) -> &str {
        &self.present.title
    }

    /// Sets the title; whether it is another.
    pub(super) fn set_title(&mut self, title: String) -> bool {
        let changed = title != self.present.title;
        self.present.title = title;
        changed
    }

    pub(super) fn flags(&self) -> Flags {
        self.present.flags
    }

    pub(super) fn flags_mut(&mut self) -> &mut Flags {
        &mut self.present.flags
    }

    /// Marks the session as not safe for minors if the server's settings demand it; whether it was not marked before.
    pub(super) fn force_nsfm(&mut self, settings: &Settings) -> bool {
        settings.force_nsfm && !std::mem::replace(&mut self.present.flags.nsfm, true)
    }

    /// Maximum number of users.
    pub(super) fn max_users(&self) -> u32 {
        self.present.max_users
    }

    pub(super) fn set_max_users(&mut self, max_users: u32) {
        self.present.max_users = max_users;
    }

    /// The session's autoreset threshold in bytes, 0 for never.
    pub(super) fn autoreset_threshold(&self) -> u64 {
        self.present.autoreset.unwrap_or_default()
    }

    /// The same, at least the server's minimum.
    pub(super) fn raised_autoreset_threshold(&self, settings: &Settings) -> u64 {
        raised(self.autoreset_threshold(), settings)
    }

    /// Sets the autoreset threshold in bytes, or the server's minimum if that is more; 0 for never.
    pub(super) fn set_autoreset_threshold(&mut self, threshold: u64, settings: &Settings) {
        self.present.autoreset = Some(raised(threshold, settings));
    }

    /// Size limit of this session in bytes, instead of the server's; 0 for none of its own.
    pub(super) fn override_size(&self) -> u64 {
        self.present.limit
    }

    pub(super) fn set_override_size(&mut self, bytes: u64) {
        self.present.limit = bytes;
    }

    /// Size limit in force, in bytes; 0 for none.
    pub(super) fn size_limit(&self, settings: &Settings) -> u64 {
        let of_server = settings.session_size_limit.min(i32::MAX as u64);
        if self.present.limit > 0 { self.present.limit } else { of_server }
    }

    /// Archive the files at the end; `None` follows the server's setting.
    pub(super) fn archive(&self) -> Option<bool> {
        self.present.archive
    }

    pub(super) fn set_archive(&mut self, archive: Option<bool>) {
        self.present.archive = archive;
    }

    /// A key for a new member's catch-up.
    pub(super) fn next_catchup_key(&mut self) -> u32 {
        let key = self.present.catchup;
        self.present.catchup = if key < MAX_CATCHUP_KEY { key + 1 } else { 1 };
        key
    }

    pub(super) fn password(&self, kind: PasswordKind) -> &PasswordVerifier {
        match kind {
            PasswordKind::Session => &self.password,
            PasswordKind::Operator => &self.opword,
        }
    }

    pub(super) fn has_password(&self) -> bool {
        self.password.is_set()
    }

    pub(super) fn has_opword(&self) -> bool {
        self.opword.is_set()
    }

    pub(super) fn set_password(&mut self, kind: PasswordKind, password: PasswordVerifier) {
        *self.password_mut(kind) = password;
    }

    /// Caches a password that was verified against this hash.
    pub(super) fn cache_verified(&mut self, kind: PasswordKind, hash: &str, password: &str) {
        self.password_mut(kind).cache_verified(hash, password);
    }

    fn password_mut(&mut self, kind: PasswordKind) -> &mut PasswordVerifier {
        match kind {
            PasswordKind::Session => &mut self.password,
            PasswordKind::Operator => &mut self.opword,
        }
    }

    /// Drains what the journal does not have yet.
    pub(super) fn drain_changes(&mut self) -> Vec<Entry> {
        if self.present == self.written {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.written, self.present.clone());
        self.present.clone().changes(&before)
    }

    /// All entries of a new journal. Those are left out that have the value of a journal without them.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let present = &self.present;
        let values = [
            (!present.alias.is_empty()).then(|| Entry::Alias(present.alias.clone())),
            Some(Entry::Founder(present.founder.clone())),
            Some(Entry::MaxUsers(present.max_users)),
            Some(Entry::AutoReset(self.autoreset_threshold())),
            (!present.title.is_empty()).then(|| Entry::Title(present.title.clone())),
            present.archive.is_some().then_some(Entry::Archive(present.archive)),
            (present.limit > 0).then_some(Entry::Limit(present.limit)),
            Some(Entry::Flags(present.flags)),
            Some(Entry::Catchup(present.catchup)),
        ];
        values.into_iter().flatten().collect()
    }
}

/// A threshold, raised to the server's minimum unless it is 0 (off).
fn raised(threshold: u64, settings: &Settings) -> u64 {
    if threshold == 0 { 0 } else { threshold.max(settings.minimum_autoreset_threshold) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { monotonic_ms: 0, utc_ms: 1_795_241_572_000 };

    fn properties(settings: &Settings) -> Properties {
        Properties::new("id".into(), String::new(), ProtocolVersion::dp(4, 24, 0), "A".into(), settings, NOW)
    }

    fn journal(entries: &[Entry]) -> Metadata {
        let mut text = String::new();
        entries.iter().for_each(|entry| entry.write(&mut text));
        Metadata::replay(text.as_bytes()).metadata
    }

    #[test]
    fn each_change_is_journaled_once() {
        let mut properties = properties(&Settings::default());
        assert!(properties.drain_changes().contains(&Entry::Founder("A".into())));
        assert!(properties.drain_changes().is_empty());
        assert!(properties.set_title("T".into()));
        assert!(!properties.set_title("T".into()), "that is no other title");
        properties.flags_mut().persistent = true;
        let flags = Flags { persistent: true, ..Flags::default() };
        assert_eq!(properties.drain_changes(), [Entry::Title("T".into()), Entry::Flags(flags)]);
        assert!(properties.drain_changes().is_empty());
    }

    #[test]
    fn a_snapshot_restores_the_same_and_leaves_nothing_to_journal() {
        let settings = Settings::default();
        let mut before = properties(&settings);
        before.set_title("T".into());
        before.set_override_size(70_000);
        before.set_archive(Some(false));
        before.set_max_users(7);
        before.next_catchup_key();
        let mut after = properties(&settings);
        after.restore(&mut journal(&before.snapshot()), &settings);
        assert_eq!(after.present, before.present);
        assert!(after.drain_changes().is_empty());
        after.begin_journal();
        assert!(!after.drain_changes().is_empty(), "a new journal gets all of it");
    }

    #[test]
    fn a_threshold_is_raised_to_the_minimum_unless_it_is_off() {
        let settings =
            Settings { minimum_autoreset_threshold: 1000, autoreset_threshold: 10, ..Settings::default() };
        let mut properties = properties(&settings);
        assert_eq!(
            (properties.autoreset_threshold(), properties.raised_autoreset_threshold(&settings)),
            (10, 1000)
        );
        for (wanted, set) in [(5, 1000), (2000, 2000), (0, 0)] {
            properties.set_autoreset_threshold(wanted, &settings);
            assert_eq!(properties.autoreset_threshold(), set);
        }
    }

    #[test]
    fn catch_up_keys_begin_again_at_one() {
        let settings = Settings::default();
        let mut properties = properties(&settings);
        assert_eq!(properties.next_catchup_key(), FIRST_CATCHUP_KEY);
        properties.present.catchup = MAX_CATCHUP_KEY;
        assert_eq!([(); 3].map(|()| properties.next_catchup_key()), [MAX_CATCHUP_KEY, 1, 2]);
    }

    #[test]
    fn a_limit_of_its_own_replaces_the_servers() {
        let mut settings = Settings { session_size_limit: u64::MAX, ..Settings::default() };
        let mut properties = properties(&settings);
        assert_eq!(properties.size_limit(&settings), i32::MAX as u64);
        properties.set_override_size(5);
        assert_eq!(properties.size_limit(&settings), 5);
        properties.set_override_size(0);
        settings.session_size_limit = 0;
        assert_eq!(properties.size_limit(&settings), 0);
    }

    #[test]
    fn a_forced_mark_is_new_once() {
        let mut settings = Settings::default();
        let mut properties = properties(&settings);
        assert!(!properties.force_nsfm(&settings) && !properties.flags().nsfm);
        settings.force_nsfm = true;
        assert!(properties.force_nsfm(&settings) && properties.flags().nsfm);
        assert!(!properties.force_nsfm(&settings));
    }
}
