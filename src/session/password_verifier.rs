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
pub(super) enum PasswordVerifier {
    /// There is none.
    #[default]
    None,
    Digest([u8; 32]),
    /// As it is stored.
    Hash(String),
}

impl PasswordVerifier {
    /// Keeps a password; the empty one is none.
    pub(super) fn of(password: &str) -> PasswordVerifier {
        if password.is_empty() { PasswordVerifier::None } else { PasswordVerifier::Digest(digest(password)) }
    }

    /// A password of which the hash is known; the empty hash is none.
    pub(super) fn stored(hash: &str) -> PasswordVerifier {
        if hash.is_empty() { PasswordVerifier::None } else { PasswordVerifier::Hash(hash.to_owned()) }
    }

    /// Whether there is a password.
    pub(super) fn is_set(&self) -> bool {
        !matches!(self, PasswordVerifier::None)
    }

    /// Whether this is the password; only none will do when there is none. Takes the same time wherever it differs. Of a
    /// hash that takes long to check it is not the password until [`Self::cache_verified`] has said so.
    pub(super) fn accepts(&self, password: &str) -> bool {
        match self {
            PasswordVerifier::None => password.is_empty(),
            PasswordVerifier::Digest(expected) => expected.ct_eq(&digest(password)).into(),
            PasswordVerifier::Hash(hash) => !password::is_slow(hash) && password::verify(password, hash),
        }
    }

    /// The hash that a password must be checked against, away from here, before [`Self::accepts`] can tell.
    pub(super) fn needs_slow_verify(&self, password: &str) -> Option<&str> {
        match self {
            PasswordVerifier::Hash(hash) if password::is_slow(hash) && !password.is_empty() => Some(hash),
            _ => None,
        }
    }

    /// The password fits this hash.
    pub(super) fn cache_verified(&mut self, hash: &str, password: &str) {
        if matches!(self, PasswordVerifier::Hash(own) if own == hash) {
            *self = PasswordVerifier::of(password);
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
        let secret = PasswordVerifier::of("sesame");
        assert!(secret.is_set() && secret.accepts("sesame"));
        assert!(!secret.accepts("") && !secret.accepts("Sesame"));
        assert_eq!(secret.needs_slow_verify("x"), None);
    }

    #[test]
    fn without_a_password_none_is_accepted() {
        let none = PasswordVerifier::stored("");
        assert!(!none.is_set() && none.accepts("") && !none.accepts("x"));
    }

    #[test]
    fn a_stored_password_is_accepted_once_it_was_checked() {
        let hash = password::hash("sesame").unwrap();
        let mut secret = PasswordVerifier::stored(&hash);
        assert!(secret.is_set() && !secret.accepts("sesame") && !secret.accepts(""));
        assert_eq!(secret.needs_slow_verify("sesame"), Some(hash.as_str()));
        assert_eq!(secret.needs_slow_verify(""), None);
        secret.cache_verified("another", "evil");
        assert!(!secret.accepts("evil"));
        secret.cache_verified(&hash, "sesame");
        assert!(secret.accepts("sesame") && !secret.accepts("evil"));
        assert_eq!(secret.needs_slow_verify("evil"), None);
    }

    #[test]
    fn hashes_that_cost_nothing_are_checked_at_once() {
        let secret = PasswordVerifier::stored("plain;a b");
        assert!(secret.accepts("a b") && !secret.accepts("a"));
    }
}
