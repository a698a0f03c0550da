//! `lookup`: what the client is going to do.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `lookup`: what the client is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Host a session.
    Host {
        /// The session will be not safe for minors.
        nsfm: bool,
        /// The session will have a password.
        password: bool,
        /// Alias of the session.
        alias: String,
    },
    /// Join a session.
    Join {
        /// Session id or alias; empty if the client has not chosen a session yet.
        session: String,
        /// Invite secret; empty for none. On the wire it follows the last colon.
        invite: String,
    },
}

impl Command for Lookup {
    const NAME: &'static str = "lookup";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        match raw.args.as_slice() {
            [] => Ok(Self::Host {
                nsfm: raw.kwarg("nsfm").boolean(),
                password: raw.kwarg("password").boolean(),
                alias: raw.kwarg("alias").text(),
            }),
            [target] => {
                let text = target.text();
                let (session, invite) = text.rsplit_once(':').unwrap_or((&text, ""));
                Ok(Self::Join { session: session.into(), invite: invite.into() })
            }
            _ => Err(CommandError::Arguments("Expected optional session id or alias")),
        }
    }

    fn write(&self, raw: &mut RawCommand) {
        match self {
            Self::Host { nsfm, password, alias } => {
                raw.put("nsfm", *nsfm);
                raw.put("password", *password);
                raw.put("alias", alias.as_str());
            }
            Self::Join { session, invite } if invite.is_empty() && !session.contains(':') => {
                raw.push(session.as_str());
            }
            Self::Join { session, invite } => raw.push(format!("{session}:{invite}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    fn join(session: &str, invite: &str) -> Lookup {
        Lookup::Join { session: session.into(), invite: invite.into() }
    }

    #[test]
    fn a_lookup_to_join_is_split_at_the_last_colon() {
        assert_round_trip(&join("a:b", "c"), r#"{"cmd":"lookup","args":["a:b:c"]}"#);
        assert_round_trip(&join("a:b", ""), r#"{"cmd":"lookup","args":["a:b:"]}"#);
        assert_round_trip(&join("a", ""), r#"{"cmd":"lookup","args":["a"]}"#);
        assert_round_trip(&join("", ""), r#"{"cmd":"lookup","args":[""]}"#);
    }

    #[test]
    fn a_lookup_without_arguments_is_to_host() {
        let host = Lookup::Host { nsfm: true, password: false, alias: "a".into() };
        let text = r#"{"cmd":"lookup","kwargs":{"alias":"a","nsfm":true,"password":false}}"#;
        assert_round_trip(&host, text);
        let empty = Lookup::Host { nsfm: false, password: false, alias: String::new() };
        assert_eq!(parse(r#"{"cmd":"lookup"}"#), Ok(empty));
    }

    #[test]
    fn two_arguments_are_refused() {
        let found = parse::<Lookup>(r#"{"cmd":"lookup","args":[1,2]}"#);
        assert!(matches!(found, Err(CommandError::Arguments(_))));
    }
}
