//! The address of a PostgreSQL database, `postgres://user:password@host:port/database?sslmode=...`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// When a connection is encrypted, and whether the server's certificate is checked. The names are those of libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server can; its certificate is not checked.
    Prefer,
    /// Always; the certificate is checked only if there is an `sslrootcert`.
    Require,
    /// Always; the certificate must be valid for the host name.
    VerifyFull,
}

/// The address of a PostgreSQL database. Neither `Debug` nor `Display` shows its password.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterUrl {
    /// Without the parameters that are kept beside it.
    url: Url,
    ssl_mode: SslMode,
    ssl_root_cert: Option<PathBuf>,
}

impl ClusterUrl {
    /// Address for the client library, with the password.
    pub fn secret(&self) -> &str {
        self.url.as_str()
    }

    /// Name of this server among those that share the database: the parameter `application_name`, else that of the
    /// machine.
    pub fn node_name(&self) -> String {
        let given = self.url.query_pairs().find(|(key, _)| key == "application_name");
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        given.map_or_else(host, |(_, name)| name.into_owned())
    }

    /// How connections are encrypted.
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// File with the certificates (PEM) of the authorities that are trusted; `None`: those of the system.
    pub fn ssl_root_cert(&self) -> Option<&Path> {
        self.ssl_root_cert.as_deref()
    }
}

impl FromStr for ClusterUrl {
    type Err = String;

    // What is wrong is said without the address, which has the password.
    fn from_str(text: &str) -> Result<ClusterUrl, String> {
        let mut url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err("it must begin with postgres://".into());
        }
        if url.path().trim_matches('/').is_empty() {
            return Err("it must name a database, as in postgres://host/database".into());
        }
        let (mut ssl_mode, mut ssl_root_cert, mut others) = (None, None, Vec::new());
        for (key, value) in url.query_pairs() {
            match &*key {
                "sslmode" => {
                    ssl_mode = Some(match &*value {
                        "disable" => SslMode::Disable,
                        "prefer" => SslMode::Prefer,
                        "require" => SslMode::Require,
                        "verify-full" => SslMode::VerifyFull,
                        _ => return Err("sslmode must be disable, prefer, require or verify-full".into()),
                    });
                }
                "sslrootcert" => ssl_root_cert = Some(PathBuf::from(&*value)),
                _ => others.push((key.into_owned(), value.into_owned())),
            }
        }
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        Ok(ClusterUrl { url, ssl_mode: ssl_mode.unwrap_or(SslMode::Prefer), ssl_root_cert })
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        // Parameters may have a password, too.
        shown.set_query(None);
        if shown.password().is_some() {
            // Fails only for addresses without a host, which have no password.
            let _ = shown.set_password(None);
        }
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let text = "postgres://drawhall:se%20cret@db.example:5433/drawhall?sslmode=verify-full&password=other&\
                    sslrootcert=/etc/ca.pem&connect_timeout=3";
        let url: ClusterUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), "postgres://drawhall@db.example:5433/drawhall");
        assert_eq!(format!("{url:?}"), "ClusterUrl(postgres://drawhall@db.example:5433/drawhall)");
        assert_eq!(
            url.secret(),
            "postgres://drawhall:se%20cret@db.example:5433/drawhall?password=other&connect_timeout=3"
        );
        assert_eq!(
            (url.ssl_mode(), url.ssl_root_cert()),
            (SslMode::VerifyFull, Some(Path::new("/etc/ca.pem")))
        );
        let plain: ClusterUrl = "postgresql://%2Frun%2Fpostgresql/drawhall".parse().unwrap();
        assert_eq!((plain.ssl_mode(), plain.ssl_root_cert()), (SslMode::Prefer, None));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in [
            "mysql://u:secret@h/d",
            "postgres://u:secret@h",
            "postgres://u:secret@h/d?sslmode=allow",
            "postgres://u:secret@h:x/d",
            "secret",
        ] {
            let error = text.parse::<ClusterUrl>().unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
