//! Parser of drawpile-srv's configuration file: INI-like sections, where each has its own line syntax. Source:
//! docs/spec/config.md#configuration-file.

use std::collections::BTreeSet;

use super::account::Account;
use super::bans::{Ban, BanAction, BanTerms};
use super::ip_range::IpRange;
use super::{Settings, canonical_key};
use crate::db;
use crate::rules::password;
use crate::rules::username;
use crate::text;

const SECTIONS: [&str; 6] = ["config", "ipbans", "systembans", "userbans", "announcewhitelist", "users"];

/// A parsed configuration file. A configuration database is converted to this type as well.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ConfigFile {
    pub settings: Settings,
    pub ip_bans: Vec<Ban<IpRange>>,
    pub system_bans: Vec<Ban<String>>,
    pub user_bans: Vec<Ban<i64>>,
    /// Bans of accounts of this server, by account id; only a database has them.
    pub account_bans: Vec<Ban<String>>,
    pub announce_whitelist: Vec<String>,
    pub users: Vec<Account>,
    /// Keys of the settings that the file sets explicitly; all others have their default.
    pub set: BTreeSet<String>,
    /// Sections of the admin API that are locked against changes. Only a database can lock them.
    pub locked_sections: BTreeSet<String>,
    /// Lines that were skipped, wholly or in part.
    pub errors: Vec<LineError>,
}

/// A problem with one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}: {text}")]
#[allow(missing_docs, reason = "the names say it")]
pub struct LineError {
    /// Line number, counted from 1.
    pub line: usize,
    pub reason: String,
    pub text: String,
}

/// Parses a configuration file. The encoding is that of the byte order mark, UTF-8 without one; invalid bytes become
/// U+FFFD. Invalid lines are reported in `errors` and skipped.
pub fn parse(bytes: &[u8]) -> ConfigFile {
    let text = text::decode(bytes);
    let mut file = ConfigFile::default();
    let mut section = "config";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            match SECTIONS.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(known) => section = known,
                None => file.bad_line(index, "unknown section", line),
            }
            continue;
        }
        if let Err(reason) = file.read_line(section, line) {
            file.bad_line(index, &reason, &redact(section, line));
        }
    }
    file
}

/// Hides what follows the user name in lines of `[users]`, so that no password hash gets into error messages.
fn redact(section: &str, line: &str) -> String {
    if section == "users" { format!("{}:...", line.split(':').next().unwrap_or("")) } else { line.to_owned() }
}

impl ConfigFile {
    fn bad_line(&mut self, index: usize, reason: &str, text: &str) {
        self.errors.push(LineError { line: index + 1, reason: reason.to_owned(), text: text.to_owned() });
    }

    fn read_line(&mut self, section: &str, line: &str) -> Result<(), String> {
        match section {
            "config" => {
                let (key, value) = line.split_once('=').ok_or("expected key=value")?;
                self.settings.set(key.trim(), value.trim()).map_err(|e| e.to_string())?;
                self.set.insert(canonical_key(key.trim()).to_owned());
            }
            "ipbans" => {
                let (range, prefix_ignored) =
                    IpRange::parse_ban(line).ok_or("expected address or address/prefix")?;
                self.ip_bans.push(Ban { subject: range, terms: BanTerms::default() });
                if prefix_ignored {
                    return Err("invalid prefix length, only the single address is banned".into());
                }
            }
            "systembans" => {
                let (sid, reaction) = with_reaction(line)?;
                self.system_bans.push(Ban { subject: sid.to_owned(), terms: reaction.into() });
            }
            "userbans" => {
                let (id, reaction) = with_reaction(line)?;
                let subject = id.parse().map_err(|_| "expected a user number")?;
                self.user_bans.push(Ban { subject, terms: reaction.into() });
            }
            "announcewhitelist" => self.announce_whitelist.push(line.to_owned()),
            "users" => {
                let account = account(line)?;
                let unknown = account.flags.iter().find(|flag| !db::Account::FLAGS.contains(&flag.as_str()));
                let unknown = unknown.cloned();
                self.users.push(account);
                if let Some(flag) = unknown {
                    return Err(format!("unknown flag '{flag}', which has no effect"));
                }
            }
            _ => return Err("line outside of all sections".into()),
        }
        Ok(())
    }
}

fn with_reaction(line: &str) -> Result<(&str, BanAction), String> {
    match line.split_once(':') {
        None => Ok((line, BanAction::Normal)),
        Some((subject, name)) => {
            let reaction =
                BanAction::parse(name.trim()).ok_or_else(|| format!("unknown reaction '{name}'"))?;
            Ok((subject.trim(), reaction))
        }
    }
}

/// Parses `name:hash:FLAG,FLAG`.
///
/// # Errors
/// The reason. As with drawpile-srv, a line without a usable hash does not reserve its name.
fn account(line: &str) -> Result<Account, &'static str> {
    let parts: Vec<&str> = line.split(':').collect();
    let [name, hash, flags] = parts[..] else { return Err("expected name:password:flags") };
    if name.is_empty() {
        return Err("the user name is empty");
    }
    if !username::is_valid(name) {
        return Err("invalid user name");
    }
    if !password::is_hash(hash) {
        return Err("invalid password hash; guests can use this name, * as the hash reserves it");
    }
    let flags = flags.split(',').map(str::trim);
    Ok(Account {
        name: name.to_owned(),
        hash: hash.to_owned(),
        flags: flags.filter(|f| !f.is_empty()).map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "\u{feff}clientTimeout = 2m\r\n# comment\n[Config]\nserverTitle=a=b\nnonsense=1\n\n\
        [ipbans]\n192.0.2.0/24\n2001:db8::1\nhere\n[SYSTEMBANS]\nabc:hang\nxyz\nq:what\n[userbans]\n7:timer\n\
        [announcewhitelist]\nhttps://example.org/\n[users]\nmod:plain;a:MOD, HOST\nbob:*x:\nbroken\nx:md5;y:\n[other]\na:b:c:d\n";

    #[test]
    fn every_section_has_its_own_syntax() {
        let file = parse(EXAMPLE.as_bytes());
        assert_eq!((file.settings.client_timeout.0, file.settings.server_title.as_str()), (120, "a=b"));
        assert_eq!(file.ip_bans.len(), 2);
        let hang = Ban { subject: "abc".to_owned(), terms: BanAction::Hang.into() };
        assert_eq!(file.system_bans[0], hang);
        assert_eq!(file.user_bans, [Ban { subject: 7, terms: BanAction::Timer.into() }]);
        assert_eq!(file.announce_whitelist, ["https://example.org/"]);
        let account =
            Account { name: "mod".into(), hash: "plain;a".into(), flags: vec!["MOD".into(), "HOST".into()] };
        assert_eq!(file.users, [account, Account { name: "bob".into(), hash: "*x".into(), flags: vec![] }]);
    }

    #[test]
    fn bad_lines_are_reported_with_number_and_text_but_no_password() {
        let errors: Vec<_> = parse(EXAMPLE.as_bytes()).errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "line 5: unknown setting 'nonsense': nonsense=1",
                "line 10: expected address or address/prefix: here",
                "line 14: unknown reaction 'what': q:what",
                "line 22: expected name:password:flags: broken:...",
                "line 23: invalid password hash; guests can use this name, * as the hash reserves it: x:...",
                "line 24: unknown section: [other]",
                "line 25: expected name:password:flags: a:...",
            ]
        );
    }

    #[test]
    fn accounts_need_a_visible_name_and_a_password_hash() {
        let lines = ["a :plain;x:", "\u{200b}a:plain;x:", "\u{202e}a:plain;x:", "a\"b:plain;x:"];
        for line in lines {
            let file = parse(format!("[users]\n{line}\n").as_bytes());
            assert!(file.users.is_empty() && file.errors.len() == 1, "{line:?}");
        }
        let long = format!("[users]\n{}:plain;x:\n", "x".repeat(23));
        assert!(parse(long.as_bytes()).users.is_empty());
        assert_eq!(parse("[users]\nzoë k:plain;x:\n名:plain;y:\n".as_bytes()).users.len(), 2);
    }

    #[test]
    fn an_unknown_flag_is_reported_and_the_account_is_kept() {
        let file = parse(b"[users]\nbob:plain;x:HOSTT,MOD\n");
        assert_eq!(file.users[0].flags, ["HOSTT", "MOD"]);
        assert_eq!(file.errors[0].to_string(), "line 2: unknown flag 'HOSTT', which has no effect: bob:...");
    }

    #[test]
    fn a_ban_with_an_invalid_prefix_is_of_the_single_address() {
        let file =
            parse(b"[ipbans]\n203.0.113.66/0\n2001:db8::5/ 0\n203.0.113.7/x\n203.0.113.8/\n203.0.113.9/99\n");
        let banned = |text: &str| file.ip_bans.iter().any(|ban| ban.subject.contains(text.parse().unwrap()));
        for address in ["203.0.113.66", "2001:db8::5", "203.0.113.7", "203.0.113.8"] {
            assert!(banned(address), "{address}");
        }
        for address in ["198.51.100.7", "2001:db8::6", "203.0.113.9"] {
            assert!(!banned(address), "{address}");
        }
        let reported =
            file.errors.iter().filter(|e| e.reason.contains("only the single address is banned")).count();
        assert_eq!((reported, file.errors.len()), (4, 5));
        assert!(IpRange::parse("::/0").is_some_and(|all| all.is_everything()), "networks are another matter");
    }

    #[test]
    fn the_byte_order_mark_selects_the_encoding() {
        let text = "serverTitle=Título\n[users]\nbob:plain;x:MOD\n";
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        for bytes in [[vec![0xff, 0xfe], utf16].concat(), [vec![0, 0, 0xfe, 0xff], utf32].concat()] {
            let file = parse(&bytes);
            assert_eq!((file.settings.server_title.as_str(), file.users.len()), ("Título", 1));
            assert!(file.errors.is_empty());
        }
    }

    #[test]
    fn ranges_contain_addresses_of_their_prefix() {
        let range = IpRange::parse("192.0.2.0/24").unwrap();
        assert!(range.contains("192.0.2.77".parse().unwrap()));
        assert!(range.contains("::ffff:192.0.2.77".parse().unwrap()));
        assert!(!range.contains("192.0.3.1".parse().unwrap()));
        assert!(!range.contains("2001:db8::1".parse().unwrap()));
        assert!(IpRange::parse("2001:db8::/32").unwrap().contains("2001:db8:1::1".parse().unwrap()));
        assert!(IpRange::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(IpRange::parse("::ffff:192.0.2.0/120").unwrap().contains("192.0.2.9".parse().unwrap()));
        assert_eq!([IpRange::parse("1.2.3.4/33"), IpRange::parse("x/8")], [None, None]);
    }

    proptest! {
        #[test]
        fn no_input_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            parse(&bytes);
        }
    }
}
