//! The white list of list servers: where sessions may be announced. Source:
//! docs/spec/services.md#white-list-of-list-servers.

use regex::Regex;
use url::{Position, Url};

use super::ini::ConfigFile;

/// The setting that enables the white list.
const SETTING: &str = "announceWhitelist";
/// The public list server that clients know. It is allowed unless the setting is set explicitly.
pub const PUBLIC_LIST_SERVER: &str = r"^https://pub\.drawpile\.net/listing/";

/// Allowed list servers.
#[derive(Debug, Clone)]
pub struct WhiteList {
    /// The white list is disabled: all are allowed.
    disabled: bool,
    /// Regular expressions that must match the URL from its start.
    patterns: Vec<Regex>,
    /// Allowed URLs, normalized.
    urls: Vec<String>,
    /// The setting has its default, so the public list server is allowed.
    by_default: bool,
}

/// The white list before a configuration was read.
impl Default for WhiteList {
    fn default() -> Self {
        WhiteList { disabled: false, patterns: public().collect(), urls: Vec::new(), by_default: true }
    }
}

fn public() -> impl Iterator<Item = Regex> {
    Regex::new(PUBLIC_LIST_SERVER).into_iter()
}

/// Parses the URL of a list server. `None` if it is not HTTP(S), or has a user, query or fragment (which can make it
/// look like another).
pub fn list_server(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let plain = plain && url.query().is_none() && url.fragment().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    (plain && is_http).then_some(url)
}

/// Why a pattern would match more than it seems to.
fn fault(pattern: &str) -> Option<&'static str> {
    let rest = pattern.strip_prefix('^').and_then(|p| p.split_once("://"));
    match rest.and_then(|(_, rest)| rest.split_once('/')) {
        None => Some("should start with ^https:// and a host name with a slash after it"),
        Some((host, _)) if host.contains(".*") || host.contains(".+") => {
            Some("matches any server: '.' also matches a slash, [^/] does not")
        }
        Some(_) => None,
    }
}

impl WhiteList {
    /// Creates the white list from the expressions of a database and the URLs of a configuration file. Also returns
    /// error messages and warnings.
    pub fn new(patterns: Vec<String>, file: &ConfigFile) -> (WhiteList, Vec<String>) {
        let by_default = !file.set.contains(SETTING);
        let mut faults = Vec::new();
        let mut report = |what: String| faults.push(format!("white list of list servers: {what}"));
        let mut list = WhiteList {
            disabled: !file.settings.announce_whitelist,
            patterns: Vec::new(),
            urls: Vec::new(),
            by_default,
        };
        for pattern in &patterns {
            match Regex::new(pattern) {
                Ok(regex) => list.patterns.push(regex),
                Err(error) => report(error.to_string()),
            }
            if let Some(fault) = fault(pattern).filter(|_| pattern != ".*") {
                report(format!("'{pattern}' {fault}"));
            }
        }
        for text in &file.announce_whitelist {
            match list_server(text) {
                Some(url) => list.urls.push(url.into()),
                None => report(format!("'{text}' is not a URL of a list server")),
            }
        }
        if by_default {
            list.patterns.extend(public());
        }
        (list, faults)
    }

    /// Whether the setting has its default, so that the public list server is allowed.
    pub fn is_by_default(&self) -> bool {
        self.by_default
    }

    /// Whether a list server is on the white list. Always false while the white list is disabled.
    pub fn names(&self, url: &Url) -> bool {
        !self.disabled
            && (self.urls.iter().any(|named| named == url.as_str())
                || self.patterns.iter().any(|pattern| matches_from_start(pattern, url)))
    }

    /// Whether sessions may be announced at a list server.
    pub fn allows(&self, url: &Url) -> bool {
        self.disabled || self.names(url)
    }
}

/// Whether an expression matches a URL from its start. A match must not end inside the host name:
/// `^https://pub\.drawpile\.net` must not match `https://pub.drawpile.net.example/`.
fn matches_from_start(pattern: &Regex, url: &Url) -> bool {
    let host = url[..Position::BeforeHost].len()..url[..Position::AfterHost].len();
    let inside = |at: usize| host.start < at && at < host.end;
    pattern.find(url.as_str()).is_some_and(|found| found.start() == 0 && !inside(found.end()))
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;

    fn list(config: &str, patterns: &[&str]) -> (WhiteList, Vec<String>) {
        WhiteList::new(patterns.iter().map(|p| (*p).to_owned()).collect(), &ini::parse(config.as_bytes()))
    }

    fn allows(list: &WhiteList, text: &str) -> bool {
        list_server(text).is_some_and(|url| list.allows(&url))
    }

    #[test]
    fn by_default_the_public_list_server_may_be_used_and_no_other() {
        for list in [list("", &[]).0, WhiteList::default()] {
            assert!(allows(&list, "https://pub.drawpile.net/listing/"));
            assert!(allows(&list, "HTTPS://PUB.drawpile.net:443/listing/"), "normalized");
            for bad in [
                "http://pub.drawpile.net/listing/",
                "https://pub.drawpile.net/",
                "https://pub.drawpile.net/listing/../admin/",
                "https://pub.drawpile.net:8443/listing/",
                "https://list.example/",
            ] {
                assert!(!allows(&list, bad), "{bad}");
            }
        }
        let (with_own, _) = list("", &["^https://list\\.example/"]);
        assert!(allows(&with_own, "https://list.example/x"));
        assert!(allows(&with_own, "https://pub.drawpile.net/listing/"));
    }

    #[test]
    fn explicit_settings_replace_the_default() {
        let (off, _) = list("announceWhitelist=false", &[]);
        assert!(
            allows(&off, "https://list.example/")
                && !off.names(&list_server("https://list.example/").unwrap())
        );
        let (empty, _) = list("announceWhitelist=true", &[]);
        assert!(!allows(&empty, "https://pub.drawpile.net/listing/"), "none may be used");
        let (own, faults) =
            list("announceWhitelist=true\n[announcewhitelist]\nhttps://list.example/api/\nnonsense\n", &[]);
        assert!(allows(&own, "https://list.example/api/") && allows(&own, "https://LIST.example:443/api/"));
        assert!(!allows(&own, "https://list.example/api"), "a file names URLs, not beginnings");
        assert_eq!(faults, ["white list of list servers: 'nonsense' is not a URL of a list server"]);
    }

    #[test]
    fn a_pattern_cannot_be_evaded() {
        let on = "announceWhitelist=true";
        let (loose, _) = list(on, &[r"https://pub\.drawpile\.net/listing/"]);
        assert!(allows(&loose, "https://pub.drawpile.net/listing/"));
        let (no_slash, _) = list(on, &[r"^https://pub\.drawpile\.net"]);
        assert!(allows(&no_slash, "https://pub.drawpile.net/listing/"));
        for bad in [
            "http://127.0.0.1:9/?https://pub.drawpile.net/listing/",
            "http://127.0.0.1:9/#https://pub.drawpile.net/listing/",
            "http://127.0.0.1:9/https://pub.drawpile.net/listing/",
            "https://pub.drawpile.net@evil.example/listing/",
            "https://pub.drawpile.net:x@evil.example/listing/",
            "https://pub.drawpile.net.evil.example/listing/",
            "https://pub.drawpile.network/listing/",
            "https://pub.drawpile.net/listing/?a",
            "https://pub.drawpile.net/listing/#a",
            "ftp://pub.drawpile.net/listing/",
            "https:\\\\evil.example\\https://pub.drawpile.net/listing/",
        ] {
            assert!(!allows(&loose, bad) && !allows(&no_slash, bad), "{bad}");
        }
    }

    #[test]
    fn patterns_that_match_too_much_are_reported() {
        for (pattern, words) in [
            (r"https://pub\.drawpile\.net/", "should start with ^"),
            (r"^https://pub\.drawpile\.net", "a slash after it"),
            (r"^https://.*\.example\.org/", "'.' also matches a slash"),
            ("(", "unclosed"),
        ] {
            let (_, faults) = list("", &[pattern]);
            assert!(faults.iter().any(|f| f.contains(words)), "{pattern}: {faults:?}");
        }
        for good in [r"^https://pub\.drawpile\.net/listing/", r"^https?://([^/]*\.)?example\.org/", ".*"] {
            assert_eq!(list("", &[good]).1, Vec::<String>::new(), "{good}");
        }
    }
}
