//! Passwords of a session, kept as keyed digests for as long as the process lives.
//!
//! Who can read this process's memory sees passwords pass through it anyway, so what matters here is that checking
//! costs nothing: many join at once, and Argon2 takes 64 MiB and a tenth of a second each time. Of a stored session
//! only the hash is known at first; whoever shows the password then has it checked against that, away from the
//! session's thread, and from then on the digest of it is known, too.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::auth::password;

/// A password or the absence of one.
#[derive(Debug, Clone, Default)]
pub(super) enum Secret {
    /// There is none.
    #[default]
    None,
    Digest([u8; 32]),
    /// As it is stored.
    Hash(String),
}

impl Secret {
    /// Keeps a password; the empty one is none.
    pub(super) fn of(password: &str) -> Secret {
        if password.is_empty() { Secret::None } else { Secret::Digest(digest(password)) }
    }

    /// A password of which the hash is known; the empty hash is none.
    pub(super) fn stored(hash: &str) -> Secret {
        if hash.is_empty() { Secret::None } else { Secret::Hash(hash.to_owned()) }
    }

    /// Whether there is a password.
    pub(super) fn is_set(&self) -> bool {
        !matches!(self, Secret::None)
    }

    /// Whether this is the password; only none will do when there is none. Takes the same time wherever it differs. Of a
    /// hash that takes long to check it is not the password until [`Self::learn`] has said so.
    pub(super) fn accepts(&self, password: &str) -> bool {
        match self {
            Secret::None => password.is_empty(),
            Secret::Digest(expected) => expected.ct_eq(&digest(password)).into(),
            Secret::Hash(hash) => !password::is_slow(hash) && password::verify(password, hash),
        }
    }

    /// The hash that a password must be checked against, away from here, before [`Self::accepts`] can tell.
    pub(super) fn slow_check(&self, password: &str) -> Option<&str> {
        match self {
            Secret::Hash(hash) if password::is_slow(hash) && !password.is_empty() => Some(hash),
            _ => None,
        }
    }

    /// The password fits this hash.
    pub(super) fn learn(&mut self, hash: &str, password: &str) {
        if matches!(self, Secret::Hash(own) if own == hash) {
            *self = Secret::of(password);
        }
    }
}

fn digest(password: &str) -> [u8; 32] {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        // Without randomness the digest is still one; it only could be compared between processes.
        let _ = getrandom::fill(&mut key);
        key
    });
    Sha256::new().chain_update(key).chain_update(password).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_accepted() {
        let secret = Secret::of("sesame");
        assert!(secret.is_set() && secret.accepts("sesame"));
        assert!(!secret.accepts("") && !secret.accepts("Sesame"));
        assert_eq!(secret.slow_check("x"), None);
    }

    #[test]
    fn without_a_password_none_is_accepted() {
        let none = Secret::stored("");
        assert!(!none.is_set() && none.accepts("") && !none.accepts("x"));
    }

    #[test]
    fn a_stored_password_is_accepted_once_it_was_checked() {
        let hash = password::hash("sesame").unwrap();
        let mut secret = Secret::stored(&hash);
        assert!(secret.is_set() && !secret.accepts("sesame") && !secret.accepts(""));
        assert_eq!(secret.slow_check("sesame"), Some(hash.as_str()));
        assert_eq!(secret.slow_check(""), None);
        secret.learn("another", "evil");
        assert!(!secret.accepts("evil"));
        secret.learn(&hash, "sesame");
        assert!(secret.accepts("sesame") && !secret.accepts("evil"));
        assert_eq!(secret.slow_check("evil"), None);
    }

    #[test]
    fn hashes_that_cost_nothing_are_checked_at_once() {
        let secret = Secret::stored("plain;a b");
        assert!(secret.accepts("a b") && !secret.accepts("a"));
    }
}
