//! Profiles: alternative defaults for one kind of server. A setting that is set explicitly, anywhere, takes
//! precedence.

use super::SettingValue;
use super::ini::ConfigFile;

/// A set of alternative defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// The normal defaults (those of drawpile-srv, where it has the setting).
    #[default]
    None,
    /// A public server on the internet.
    Public,
}

/// Defaults of the profile `public`.
const PUBLIC: &[(&str, &str)] = &[
    // Free the slots of idle clients and sessions.
    ("sessionLessClientLingerTime", "10m"),
    ("idleTimeLimit", "1d"),
    ("connectionsPerAddress", "20"),
    ("connectionRateLimit", "60"),
    ("loginRateLimit", "60"),
    ("sessionsPerAddress", "3"),
    ("hostRateLimit", "5"),
    ("reservedSessions", "20"),
    ("totalHistoryLimit", "4gb"),
    // Keep a session while its only user reconnects.
    ("emptySessionLingerTime", "1m"),
    ("logpurgedays", "30"),
    ("reportInbox", "true"),
];

impl Profile {
    /// Keys and values of the alternative defaults.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Profile::None => &[],
            Profile::Public => PUBLIC,
        }
    }

    /// Applies the alternative defaults to all settings that are not set explicitly.
    pub fn apply(self, file: &mut ConfigFile) {
        for (key, value) in self.settings().iter().filter(|(key, _)| !file.set.contains(*key)) {
            // A test checks that all values are valid.
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
    fn every_default_of_a_profile_is_valid() {
        let mut settings = Settings::default();
        for (key, value) in PUBLIC {
            settings.set(key, value).unwrap();
        }
        assert_eq!((settings.connections_per_address.0, settings.idle_time_limit.0), (20, 86_400));
    }

    #[test]
    fn explicit_settings_override_the_profile() {
        let mut file = ini::parse(b"connectionsPerAddress=100\nprofile=public");
        assert_eq!(file.settings.profile, Profile::Public);
        file.settings.profile.apply(&mut file);
        let settings = &file.settings;
        assert_eq!((settings.connections_per_address.0, settings.log_purge_days.0), (100, 30));
        assert!(!ini::parse(b"profile=private").errors.is_empty());
    }
}
