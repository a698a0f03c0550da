//! `ident`: user name and credentials.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `ident`: user name and credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ident {
    /// User name.
    pub name: String,
    /// Password; empty for none.
    pub password: String,
    /// Intended login method: empty, `guest`, `auth` or `extauth`.
    pub intent: String,
    /// Avatar picture in base64.
    pub avatar: Option<String>,
    /// Ext-auth token.
    pub extauth: Option<String>,
}

impl Command for Ident {
    const NAME: &'static str = "ident";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        if !(1..=2).contains(&raw.args.len()) {
            return Err(CommandError::Arguments("Expected username and (optional) password"));
        }
        Ok(Self {
            name: raw.arg(0).text(),
            password: raw.arg(1).text(),
            intent: raw.kwarg("intent").text(),
            avatar: raw.given("avatar").map(Lenient::text),
            extauth: raw.given("extauth").map(Lenient::text),
        })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.name.as_str());
        if !self.password.is_empty() {
            raw.push(self.password.as_str());
        }
        if !self.intent.is_empty() {
            raw.put("intent", self.intent.as_str());
        }
        raw.put("avatar", self.avatar.as_deref());
        raw.put("extauth", self.extauth.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn what_is_not_given_is_left_out() {
        let name = Ident { name: "n".into(), ..Default::default() };
        assert_round_trip(&name, r#"{"cmd":"ident","args":["n"]}"#);
        let all = Ident {
            name: "n".into(),
            password: "p".into(),
            intent: "extauth".into(),
            avatar: Some("YQ==".into()),
            extauth: Some("1.x".into()),
        };
        let kwargs = r#"{"avatar":"YQ==","extauth":"1.x","intent":"extauth"}"#;
        assert_round_trip(&all, &format!(r#"{{"cmd":"ident","args":["n","p"],"kwargs":{kwargs}}}"#));
    }

    #[test]
    fn a_mistyped_token_is_given_and_empty() {
        let found = parse::<Ident>(r#"{"cmd":"ident","args":["n"],"kwargs":{"extauth":5}}"#).unwrap();
        assert_eq!((found.extauth, found.avatar), (Some(String::new()), None));
    }

    #[test]
    fn a_name_and_at_most_a_password_are_expected() {
        for args in ["[]", r#"["a","b","c"]"#] {
            let text = format!(r#"{{"cmd":"ident","args":{args}}}"#);
            assert!(matches!(parse::<Ident>(&text), Err(CommandError::Arguments(_))), "{text}");
        }
    }
}
