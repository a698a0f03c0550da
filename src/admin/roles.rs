//! Roles: who may ask what of the API.
//!
//! What is not named here is for administrators.

use actix_web::http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Settings;

/// The flag of an administrator's account.
pub(super) const ADMIN: &str = "ADMIN";
/// The flag of a moderator's account.
pub(super) const MODERATOR: &str = "ADMINMOD";
/// The flag of an account that may only read.
pub(super) const READER: &str = "ADMINREAD";
/// The flag of moderators in Drawpile, who are moderators here if the setting `moderatorsUsePage` is on.
const DRAWPILE_MODERATOR: &str = "MOD";

/// What somebody may do over the API. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum Role {
    /// See who is there and what happens.
    Reader,
    /// People, sessions, reports, and bans for a limited time.
    Moderator,
    /// Everything.
    Administrator,
}

impl Role {
    /// All roles, that which may least first.
    pub(super) const ALL: [Role; 3] = [Role::Reader, Role::Moderator, Role::Administrator];

    /// The role of an account with these flags; `None` if it has none.
    pub(super) fn of(flags: &[String], settings: &Settings) -> Option<Role> {
        let has = |flag: &str| flags.iter().any(|one| one == flag);
        if has(ADMIN) {
            Some(Role::Administrator)
        } else if has(MODERATOR) || (settings.moderators_use_page && has(DRAWPILE_MODERATOR)) {
            Some(Role::Moderator)
        } else {
            has(READER).then_some(Role::Reader)
        }
    }

    /// The role with this name.
    pub(super) fn parse(name: &str) -> Option<Role> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Its name in the API and in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Moderator => "moderator",
            Role::Administrator => "administrator",
        }
    }

    /// The flag of an account that has this role.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Role::Reader => READER,
            Role::Moderator => MODERATOR,
            Role::Administrator => ADMIN,
        }
    }

    /// The role that a request needs. `path` is below `/api/`, with placeholders.
    pub(super) fn needed(method: &Method, path: &str) -> Role {
        let part = path.split('/').next().unwrap_or_default();
        let reads = *method == Method::GET;
        match (part, reads) {
            // Invites let people in; reading the chat enters it.
            ("sessions", true) if path.ends_with("/invites/{secret}") || path.ends_with("/invites") => {
                Role::Moderator
            }
            ("sessions", true) if path.ends_with("/chat") => Role::Moderator,
            // It keeps a program busy for minutes.
            ("sessions" | "ended" | "recordings", true)
                if path.ends_with("/picture") || path.ends_with("/timelapse") =>
            {
                Role::Moderator
            }
            ("people", false) if path == "people/{person}" => Role::Administrator,
            (
                "whoami" | "openapi.json" | "status" | "overview" | "users" | "sessions" | "ended"
                | "recordings" | "bans" | "people" | "reports" | "log" | "events" | "timeline",
                true,
            ) => Role::Reader,
            ("users" | "sessions" | "ended" | "bans" | "people" | "reports", false) => Role::Moderator,
            ("banlist" | "systembans" | "userbans" | "extbans", true) => Role::Moderator,
            _ => Role::Administrator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_of_an_account_are_its_role() {
        let role = |flags: &str, settings: &Settings| {
            Role::of(&flags.split(',').map(str::to_owned).collect::<Vec<_>>(), settings)
        };
        let (default, mut open) = (Settings::default(), Settings::default());
        open.moderators_use_page = true;
        for (flags, by_default, if_open) in [
            ("MOD,ADMIN", Some(Role::Administrator), Some(Role::Administrator)),
            ("ADMINMOD", Some(Role::Moderator), Some(Role::Moderator)),
            ("ADMINREAD,HOST", Some(Role::Reader), Some(Role::Reader)),
            ("MOD,HOST", None, Some(Role::Moderator)),
            ("MOD,ADMINREAD", Some(Role::Reader), Some(Role::Moderator)),
            ("HOST", None, None),
        ] {
            assert_eq!((role(flags, &default), role(flags, &open)), (by_default, if_open), "{flags}");
        }
    }

    #[test]
    fn a_role_has_one_name() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(Role::parse(role.name()), Some(role));
        }
    }

    #[test]
    fn settings_and_accounts_are_for_administrators_only() {
        for (method, path, role) in [
            (Method::GET, "server", Role::Administrator),
            (Method::GET, "settings", Role::Administrator),
            (Method::GET, "accounts", Role::Administrator),
            (Method::POST, "stop", Role::Administrator),
            (Method::POST, "banlist", Role::Administrator),
            (Method::DELETE, "people/{person}", Role::Administrator),
            (Method::POST, "invitations", Role::Administrator),
            (Method::GET, "sessions/{session}/invites", Role::Moderator),
            (Method::DELETE, "users/{uid}", Role::Moderator),
            (Method::POST, "bans/preview", Role::Moderator),
            (Method::POST, "people/{person}/notes", Role::Moderator),
            (Method::GET, "sessions/{session}", Role::Reader),
            (Method::GET, "sessions/{session}/picture", Role::Moderator),
            (Method::GET, "ended/{session}/picture", Role::Moderator),
            (Method::GET, "sessions/{session}/timelapse", Role::Moderator),
            (Method::GET, "recordings", Role::Reader),
            (Method::GET, "recordings/{recording}/picture", Role::Moderator),
            (Method::GET, "recordings/{recording}/timelapse", Role::Moderator),
            (Method::POST, "sessions/{session}/compact", Role::Moderator),
            (Method::GET, "people/{person}", Role::Reader),
        ] {
            assert_eq!(Role::needed(&method, path), role, "{method} {path}");
        }
        assert!(Role::Reader < Role::Moderator && Role::Moderator < Role::Administrator);
    }
}
