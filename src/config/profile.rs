//! Profiles: other defaults for a kind of server. Whatever is set, wherever it stands, counts as ever.

use super::SettingValue;
use super::ini::ConfigFile;

/// A set of other defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// The defaults of drawpile-srv, where it has any.
    #[default]
    None,
    /// Strangers come from the open internet.
    Public,
}

/// What is another default on a server for strangers.
const PUBLIC: &[(&str, &str)] = &[
    // Places that somebody holds without using them come back.
    ("sessionLessClientLingerTime", "10m"),
    ("idleTimeLimit", "1d"),
    ("connectionsPerAddress", "20"),
    ("connectionRateLimit", "60"),
    ("loginRateLimit", "60"),
    ("sessionsPerAddress", "3"),
    ("hostRateLimit", "5"),
    ("reservedSessions", "20"),
    ("totalHistoryLimit", "4gb"),
    // Who loses its connection finds its session again.
    ("emptySessionLingerTime", "1m"),
    ("announceWhitelist", "true"),
    ("logpurgedays", "30"),
];

impl Profile {
    /// The settings that have another default, with that.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Profile::None => &[],
            Profile::Public => PUBLIC,
        }
    }

    /// Sets what has another default and was not set.
    pub fn apply(self, file: &mut ConfigFile) {
        for (key, value) in self.settings().iter().filter(|(key, _)| !file.set.contains(*key)) {
            // A test checks that each can be read.
            let _ = file.settings.set(key, value);
        }
    }
}

impl SettingValue for Profile {
    const KIND: &'static str = "profile";
    const RANGE: &'static str = "empty or public";

    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Profile::None),
            "public" => Some(Profile::Public),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Profile::None => String::new(),
            Profile::Public => "public".to_owned(),
        }
    }

    fn json(&self) -> serde_json::Value {
        self.write().into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, ini};
    use super::*;

    #[test]
    fn every_default_of_a_profile_can_be_read() {
        let mut settings = Settings::default();
        for (key, value) in PUBLIC {
            settings.set(key, value).unwrap();
        }
        assert_eq!((settings.connections_per_address.0, settings.idle_time_limit.0), (20, 86_400));
    }

    #[test]
    fn what_is_set_counts_before_the_profile() {
        let mut file = ini::parse(b"connectionsPerAddress=100\nprofile=public");
        assert_eq!(file.settings.profile, Profile::Public);
        file.settings.profile.apply(&mut file);
        let settings = &file.settings;
        assert_eq!((settings.connections_per_address.0, settings.log_purge_days.0), (100, 30));
        assert!(!ini::parse(b"profile=private").errors.is_empty());
    }
}
