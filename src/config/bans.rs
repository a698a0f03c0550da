//! What becomes of somebody who is banned from the server, and what is said. Source: docs/spec/login.md#bans-at-login.

use serde::{Deserialize, Serialize};

use crate::db::time_text;

/// A ban that ends in so many years does not end.
const PERMANENT_YEARS: u32 = 99;

/// What happens to somebody who is banned from the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BanAction {
    /// Told so when hosting or joining.
    #[default]
    Normal,
    /// Disconnected with what looks like a network error.
    NetError,
    /// An answer that means nothing, then silence.
    Garbage,
    /// Silence.
    Hang,
    /// Cut off some seconds later.
    Timer,
}

impl BanAction {
    /// Reads a reaction's name.
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

/// A ban of addresses (`T` = range), a system id (text) or ext-auth user (number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban<T> {
    /// Who is banned.
    pub subject: T,
    /// What happens to them.
    pub terms: BanTerms,
}

/// What becomes of somebody who is banned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanTerms {
    /// What happens.
    pub reaction: BanAction,
    /// When the ban ends, UTC, `yyyy-MM-dd HH:mm:ss` or the beginning of it; empty for never.
    pub expires: String,
    /// Why, for who is banned; may be empty.
    pub reason: String,
}

impl From<BanAction> for BanTerms {
    /// For ever, without a reason.
    fn from(reaction: BanAction) -> BanTerms {
        BanTerms { reaction, ..BanTerms::default() }
    }
}

impl BanTerms {
    /// What who is banned is told at this time, milliseconds since 1970.
    pub fn message(&self, utc_ms: i64) -> String {
        let text = match self.last_day(utc_ms) {
            Some(day) => format!("Banned from this server until {day}"),
            None => "Permanently banned from this server".to_owned(),
        };
        if self.reason.is_empty() { text } else { format!("{text}: {}", self.reason) }
    }

    fn last_day(&self, utc_ms: i64) -> Option<&str> {
        let day = self.expires.get(..10).filter(|day| day.parse::<jiff::civil::Date>().is_ok())?;
        let now = time_text(utc_ms);
        let (year, rest) = now.split_once('-')?;
        let never = format!("{:04}-{rest}", year.parse::<u32>().ok()? + PERMANENT_YEARS);
        (self.expires < never).then_some(day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 06:12:52
    const NOW: i64 = 1_795_241_572_000;

    #[test]
    fn who_is_banned_is_told_until_when_and_why() {
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
            assert_eq!(terms.message(NOW), text, "{expires}");
        }
    }
}
