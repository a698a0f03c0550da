//! The first administrator: a one-time link makes an account with the flag ADMIN, as long as there is none.
//!
//! The link is printed at the start, and stands in a file that only the owner of the data directory can read. Its
//! token is behind the `#` of the URL, which browsers send to nobody; the page puts it into the request.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, MutexGuard};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::AdminState;
use super::endpoint::{Api, Call, Nothing};
use super::error::{ApiError, bad, forbidden};
use super::login::{WhoIs, WithCookie};
use super::request::audit;
use super::roles::ADMIN;
use super::value::Text;
use crate::db::{Account, DbError};
use crate::rules::login::is_valid_name;
use crate::rules::time::Timestamp;

/// How long a link is valid.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
/// Name of requests with an invalid link in the metrics.
const REFUSED: &str = "firstAdminLink";

pub(super) fn endpoints(api: &mut Api) {
    api.post(
        "first-admin",
        "Makes the first account with the flag ADMIN, with the token of the one-time link; sets the cookie of a login.",
        AdminState::make_first_admin,
    )
    .locked_by("accounts")
    .is_for_login();
}

/// A one-time link. Times are on the monotonic clock, in milliseconds.
#[derive(Debug)]
pub(crate) struct FirstAdminLink {
    url: String,
    digest: [u8; 32],
    expires_at: u64,
    /// Holds the link; removed when it is over.
    file: Option<PathBuf>,
    state: Mutex<LinkState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Unused,
    /// A request is making the account.
    InUse,
    /// It was used, has expired, or there is an administrator by other means.
    Over,
}

/// The right of one request to make the account. If it is dropped without [`Claim::finish`], the link can be used again.
#[derive(Debug)]
struct Claim(Arc<FirstAdminLink>);

impl FirstAdminLink {
    /// Makes a link to a page, and writes it to a file if one is named.
    ///
    /// # Errors
    /// When the system provides no randomness, or the file cannot be written.
    pub(crate) fn create(page: &str, file: Option<&Path>, now_ms: u64) -> io::Result<FirstAdminLink> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let url = format!("{page}#/first-admin/{token}");
        if let Some(file) = file {
            remove_file(file)?;
            let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
            writeln!(created, "{url}")?;
        }
        Ok(FirstAdminLink {
            url,
            digest: Sha256::digest(&token).into(),
            expires_at: now_ms + LIFETIME.as_millis() as u64,
            file: file.map(Path::to_owned),
            state: Mutex::new(LinkState::Unused),
        })
    }

    /// The URL of the page with the token.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock()
    }

    /// Ends the link and removes its file.
    pub(crate) fn end(&self) {
        let before = std::mem::replace(&mut *self.lock(), LinkState::Over);
        if let (Some(file), true) = (&self.file, before != LinkState::Over)
            && let Err(error) = remove_file(file)
        {
            tracing::warn!("cannot remove {}: {error}; the link in it is over", file.display());
        }
    }

    /// Takes the right to make the account. `None` if the token is wrong, the link is over, or another request has it.
    fn claim(self: &Arc<Self>, token: &str, now_ms: u64) -> Option<Claim> {
        let is_token = bool::from(Sha256::digest(token).as_slice().ct_eq(&self.digest));
        let mut state = self.lock();
        if !is_token || *state != LinkState::Unused || now_ms >= self.expires_at {
            return None;
        }
        *state = LinkState::InUse;
        Some(Claim(self.clone()))
    }
}

impl Claim {
    fn finish(self) {
        self.0.end();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if *state == LinkState::InUse {
            *state = LinkState::Unused;
        }
    }
}

/// Removes a file if it is there.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove_file(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an account may administer the server.
pub(crate) fn is_admin(account: &Account) -> bool {
    account.flags.iter().any(|flag| flag == ADMIN)
}

/// The token of the link, and the account to make.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["token", "username", "password"]))]
struct FirstAdmin {
    /// The part of the link behind `first-admin/`.
    token: Text,
    /// User name.
    #[schemars(with = "String", length(min = 1, max = 22))]
    username: Text,
    /// Password.
    #[schemars(with = "String", length(min = 1))]
    password: Text,
}

impl AdminState {
    async fn make_first_admin(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, FirstAdmin>,
    ) -> Result<WithCookie<WhoIs>, ApiError> {
        let name = call.body.username.0.clone();
        let made = self.first_account(&call).await;
        // The name is not logged unless the account was made: it may be a password typed into the wrong field.
        let mut who = call.who.source.ip().to_string();
        if made.is_ok() {
            // Writing to a string does not fail.
            let _ = write!(who, ", account {name}");
        }
        let error = made.as_ref().err();
        if error.is_none_or(|error| error.status != StatusCode::TOO_MANY_REQUESTS) {
            audit("POST /first-admin", &who, error);
        }
        made?;
        self.log_in_new_account(name, &call.http).await
    }

    /// Checks the token and makes the account.
    async fn first_account(&self, call: &Call<Nothing, Nothing, FirstAdmin>) -> Result<(), ApiError> {
        let FirstAdmin { token, username, password } = &call.body;
        let refused = |message: &str| {
            self.metrics.limits_hit.count(REFUSED);
            Err(forbidden(message))
        };
        let attempt = self.access.begin_attempt(call.who.source).await?;
        // HTTP/1.0 today means a proxy that sends no headers.
        if !call.who.source.is_direct() || call.http.version() == Version::HTTP_10 {
            return refused("The link works without a proxy only, such as on the machine itself");
        }
        let link = self.first_admin.as_ref();
        let Some(claim) = link.and_then(|link| link.claim(token, Timestamp::now().monotonic_ms)) else {
            return refused(
                "The link is wrong, or it was used, or it is over; a restart of the server makes another",
            );
        };
        attempt.refund();
        if !is_valid_name(username) {
            return Err(bad(if username.is_empty() { "Username required" } else { "Invalid username" }));
        }
        let hash = self.hash_password(password.0.clone()).await?;
        // They could give themselves the other flags anyway.
        let flags = [ADMIN, "MOD", "HOST"].map(str::to_owned).to_vec();
        let account = Account { id: 0, name: username.0.clone(), hash, locked: false, flags };
        let added = self.query_db(move |db| {
            if db.accounts()?.iter().any(is_admin) {
                return Ok(Err(None));
            }
            match db.add_account(&account) {
                Err(DbError::AccountExists(name)) => Ok(Err(Some(name))),
                done => done.map(|_| Ok(())),
            }
        });
        match added.await? {
            Ok(()) => claim.finish(),
            Err(Some(name)) => return Err(bad(format!("There is an account '{name}' already"))),
            Err(None) => {
                claim.finish();
                return refused("There is an administrator already");
            }
        }
        self.apply_db_changes().await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn link(file: Option<&Path>) -> (Arc<FirstAdminLink>, String) {
        let link = FirstAdminLink::create("http://localhost/", file, 1000).unwrap();
        let token = link.url().strip_prefix("http://localhost/#/first-admin/").unwrap().to_owned();
        (Arc::new(link), token)
    }

    #[test]
    fn a_link_works_once_and_for_an_hour() {
        let (first, token) = link(None);
        assert_eq!(URL_SAFE_NO_PAD.decode(&token).unwrap().len(), 32, "256 bits");
        assert_ne!(link(None).1, token);
        let end = 1000 + 3_600_000;
        assert!(first.claim("", 1000).is_none() && first.claim(&token[1..], 1000).is_none());
        assert!(first.claim(&token, end).is_none(), "expired");
        let claim = first.claim(&token, end - 1).unwrap();
        assert!(first.claim(&token, 1000).is_none(), "another request has it");
        drop(claim);
        first.claim(&token, 1000).unwrap().finish();
        assert!(first.claim(&token, 1000).is_none(), "used");
    }

    #[test]
    fn the_file_is_private_and_goes_with_the_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, elsewhere) = (folder.path().join("link"), folder.path().join("elsewhere"));
        // What is there already is not written to.
        fs::write(&elsewhere, "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        let (link, token) = link(Some(&file));
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("http://localhost/#/first-admin/{token}\n"));
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
        link.claim(&token, 1000).unwrap().finish();
        assert!(!file.exists());
        fs::write(&file, "of a later start").unwrap();
        link.end();
        assert!(file.exists(), "it removes its file once");
    }
}
