//! Origins of web pages: normalization and allowlists.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use url::Url;

/// In an allowlist: any origin.
pub const ANY: &str = "*";
/// Distinct refused origins that are logged; further ones are not.
const MAX_REFUSED: usize = 50;
/// Maximum length of an origin in the log, in characters.
const MAX_SHOWN: usize = 100;

/// Normalizes an origin to the form of the `Origin` header: lower-case scheme and host, no default port, no path. `*`
/// stays.
///
/// # Errors
/// When it is not an origin.
pub fn normalize(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == ANY {
        return Ok(ANY.to_owned());
    }
    let error = || format!("'{text}' is no origin such as https://example.org");
    let url = Url::parse(text).map_err(|_| error())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(error)?;
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    // Wildcards within a name are not supported: such an entry would never match.
    if !is_bare || host.contains('*') || !url.username().is_empty() || url.password().is_some() {
        return Err(error());
    }
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    Ok(format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase()))
}

/// Whether an origin is in an allowlist. Both are normalized.
pub fn is_allowed(allowed: &[String], origin: &str) -> bool {
    let origin = normalize(origin);
    let matches = |one: &String| normalize(one).is_ok_and(|one| one == ANY || origin.as_ref() == Ok(&one));
    allowed.iter().any(matches)
}

/// Origins that were refused, so that each is logged once.
#[derive(Debug, Default)]
pub struct RefusedOrigins(Mutex<BTreeSet<String>>);

impl RefusedOrigins {
    /// Logs that an origin is refused, unless it was logged before. `option` sets the allowlist.
    pub fn log(&self, origin: &str, option: &str) {
        let shown: String = origin.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
        if self.is_new(&shown) {
            tracing::warn!("refused pages of '{shown}'; {option} sets which may connect; logged once");
        }
    }

    fn is_new(&self, shown: &str) -> bool {
        let mut refused = self.0.lock();
        refused.len() < MAX_REFUSED && refused.insert(shown.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_normalized() {
        for (text, expected) in [
            ("https://web.example.org", Some("https://web.example.org")),
            ("https://web.example.org/", Some("https://web.example.org")),
            ("https://Web.Example.org", Some("https://web.example.org")),
            ("HTTPS://web.example.org", Some("https://web.example.org")),
            ("https://web.example.org:443", Some("https://web.example.org")),
            ("http://web.example.org:80/", Some("http://web.example.org")),
            ("https://web.example.org:8443", Some("https://web.example.org:8443")),
            (" https://web.example.org ", Some("https://web.example.org")),
            ("http://[2001:db8::1]:8080", Some("http://[2001:db8::1]:8080")),
            ("https://bücher.example", Some("https://xn--bcher-kva.example")),
            ("moz-extension://Abc-1", Some("moz-extension://abc-1")),
            ("*", Some("*")),
            (" * ", Some("*")),
            ("web.example.org", None),
            ("https://", None),
            ("https://web.example.org/page", None),
            ("https://web.example.org?x", None),
            ("https://web.example.org/#x", None),
            ("https://me@web.example.org", None),
            ("https://*.example.org/", None),
            ("null", None),
            ("file:///tmp/x", None),
            ("", None),
        ] {
            assert_eq!(normalize(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_refused_origin_is_logged_once_by_each_server() {
        let (one, other) = (RefusedOrigins::default(), RefusedOrigins::default());
        assert!(one.is_new("https://a.example") && !one.is_new("https://a.example"));
        assert!(other.is_new("https://a.example"));
        assert_eq!((0..1000).filter(|n| one.is_new(&n.to_string())).count(), MAX_REFUSED - 1);
    }

    #[test]
    fn allowed_origins_match_in_any_spelling() {
        let allowed = |list: &[&str], origin: &str| {
            let list: Vec<String> = list.iter().map(|one| (*one).to_owned()).collect();
            is_allowed(&list, origin)
        };
        let page = "https://web.example.org";
        for written in ["https://Web.Example.org/", "https://web.example.org:443", " https://web.example.org"]
        {
            assert!(allowed(&["https://other.example", written], page), "{written}");
        }
        assert!(allowed(&["*"], page) && allowed(&["*"], "null") && allowed(&["*"], "rubbish"));
        for other in [
            "http://web.example.org",
            "https://web.example.org:444",
            "https://web.example.org.evil",
            "null",
            "",
        ] {
            assert!(!allowed(&[page], other), "{other}");
        }
        assert!(!allowed(&["rubbish"], "rubbish") && !allowed(&["null"], "null"));
    }
}
