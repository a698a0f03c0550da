//! Bans of the server: action, expiry, and the message to a banned client. Ban matching itself is in
//! [`Rules`](super::Rules). Source: docs/spec/login.md#bans-at-login.

use serde::{Deserialize, Serialize};

use crate::db::time_text;

/// A ban that expires this many years from now, or later, is announced as permanent.
const PERMANENT_YEARS: u32 = 99;
/// Maximum length of the contact in the message, in characters.
const MAX_CONTACT: usize = 300;

/// What the server does with a banned client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BanAction {
    /// The login is refused with an error message when the client hosts or joins.
    #[default]
    Normal,
    /// Disconnect at once, so that it looks like a network error.
    NetError,
    /// Send garbage, then stop answering.
    Garbage,
    /// Stop answering.
    Hang,
    /// Disconnect after a few seconds.
    Timer,
}

impl BanAction {
    /// Parses the name that configuration files, databases and ban lists use.
    pub fn parse(name: &str) -> Option<BanAction> {
        Some(match name {
            "normal" => Self::Normal,
            "neterror" => Self::NetError,
            "garbage" => Self::Garbage,
            "hang" => Self::Hang,
            "timer" => Self::Timer,
            _ => return None,
        })
    }
}

/// A ban. Ban matching compares the client with its subject: an address range
/// ([`IpRange`](super::ip_range::IpRange)), a system id (text) or an ext-auth user id (number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Ban<T> {
    pub subject: T,
    pub terms: BanTerms,
}

/// Action, expiry and reason of a ban.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct BanTerms {
    pub reaction: BanAction,
    /// Expiry in UTC: `yyyy-MM-dd HH:mm:ss`, or a prefix of that with at least the date; empty for a permanent ban.
    pub expires: String,
    /// Shown to the banned user; may be empty.
    pub reason: String,
}

impl From<BanAction> for BanTerms {
    /// A permanent ban without a reason.
    fn from(reaction: BanAction) -> BanTerms {
        BanTerms { reaction, ..BanTerms::default() }
    }
}

impl BanTerms {
    /// The message to the banned user. `utc_ms` is the current time in milliseconds since 1970, `contact` the setting
    /// `banContact`. Without a contact it is in the words of drawpile-srv; with one it also has the time of day.
    pub fn message(&self, utc_ms: i64, contact: &str) -> String {
        let contact = contact.trim();
        let end = self.expiry_date(utc_ms);
        if contact.is_empty() {
            let text = match end {
                Some(day) => format!("Banned from this server until {day}"),
                None => "Permanently banned from this server".to_owned(),
            };
            return if self.reason.is_empty() { text } else { format!("{text}: {}", self.reason) };
        }
        let mut text = match end {
            Some(day) => format!("You are banned from this server until {day}{}.", self.time_of_day()),
            None => "You are permanently banned from this server.".to_owned(),
        };
        if !self.reason.is_empty() {
            text.push_str(" Reason: ");
            text.push_str(self.reason.trim_end_matches('.'));
            text.push('.');
        }
        let shortened: String = contact.chars().take(MAX_CONTACT).collect();
        text.push_str(" If this is a mistake, contact: ");
        text.push_str(&shortened);
        text
    }

    /// Whether it is announced as permanent.
    pub fn is_permanent(&self, utc_ms: i64) -> bool {
        self.expiry_date(utc_ms).is_none()
    }

    /// Hours and minutes of the end, with a blank before them; empty if only the day is known.
    fn time_of_day(&self) -> String {
        let time = self.expires.get(11..16).filter(|time| time.as_bytes().get(2) == Some(&b':'));
        time.map_or_else(String::new, |time| format!(" {time} UTC"))
    }

    fn expiry_date(&self, utc_ms: i64) -> Option<&str> {
        let day = self.expires.get(..10).filter(|day| day.parse::<jiff::civil::Date>().is_ok())?;
        let now = time_text(utc_ms);
        let (year, rest) = now.split_once('-')?;
        let permanent_from = format!("{:04}-{rest}", year.parse::<u32>().ok()? + PERMANENT_YEARS);
        (self.expires < permanent_from).then_some(day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 06:12:52
    const NOW: i64 = 1_795_241_572_000;

    #[test]
    fn ban_messages_have_expiry_date_and_reason() {
        let forever = "Permanently banned from this server";
        for (expires, reason, text) in [
            ("2031-01-01 00:00:00", "", "Banned from this server until 2031-01-01"),
            ("2031-01-01 00:00:00", "Because", "Banned from this server until 2031-01-01: Because"),
            ("2026-11-21 06:12:53", "", "Banned from this server until 2026-11-21"),
            ("2031-01-01", "", "Banned from this server until 2031-01-01"),
            ("2031-01-01T00:00:00Z", "", "Banned from this server until 2031-01-01"),
            ("2125-11-21 06:12:51", "", "Banned from this server until 2125-11-21"),
            ("2125-11-21 06:12:52", "", forever),
            ("9999-12-31 23:59:59", "Trolling", "Permanently banned from this server: Trolling"),
            ("9999-12-31 23:59:59", "", forever),
            ("", "", forever),
            ("", "Because", "Permanently banned from this server: Because"),
            ("never", "", forever),
            ("2031-13-01 00:00:00", "", forever),
            ("203\u{e9}-01-01", "", forever),
        ] {
            let terms = BanTerms { expires: expires.into(), reason: reason.into(), ..BanTerms::default() };
            assert_eq!(terms.message(NOW, ""), text, "{expires}");
        }
    }

    #[test]
    fn with_a_contact_the_message_has_time_reason_and_contact() {
        let told = |expires: &str, reason: &str| {
            let terms = BanTerms { expires: expires.into(), reason: reason.into(), ..BanTerms::default() };
            terms.message(NOW, " mods@example.com ")
        };
        let contact = "If this is a mistake, contact: mods@example.com";
        assert_eq!(
            told("2026-11-28 06:12:52", "Scribbling."),
            format!(
                "You are banned from this server until 2026-11-28 06:12 UTC. Reason: Scribbling. {contact}"
            )
        );
        assert_eq!(
            told("2031-01-01", ""),
            format!("You are banned from this server until 2031-01-01. {contact}")
        );
        assert_eq!(
            told("", "Because"),
            format!("You are permanently banned from this server. Reason: Because. {contact}")
        );
        let long = BanTerms::default().message(NOW, &"x".repeat(10_000));
        assert!(long.len() < 400, "it fits into a message");
    }
}
