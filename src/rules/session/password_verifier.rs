//! Verification of session passwords without hashing on the session's thread.
//!
//! Passwords that the process has seen are kept as keyed digests, so that a check costs nothing: many users join at
//! once, and Argon2 takes 64 MiB and a tenth of a second each time. (Whoever can read the memory of the process sees
//! passwords pass through it anyway.) Of a stored session only the hash is known at first; the first password is
//! verified against it on the blocking pool, and then cached as a digest.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::rules::password;

/// A password, or none.
#[derive(Debug, Clone, Default)]
pub(super) enum PasswordVerifier {
    #[default]
    None,
    Digest([u8; 32]),
    /// As it is stored; not yet verified.
    Hash(String),
}

impl PasswordVerifier {
    /// For a password in clear text; the empty one is none.
    pub(super) fn of(password: &str) -> PasswordVerifier {
        if password.is_empty() { PasswordVerifier::None } else { PasswordVerifier::Digest(digest(password)) }
    }

    /// For a stored hash; the empty one is none.
    pub(super) fn stored(hash: &str) -> PasswordVerifier {
        if hash.is_empty() { PasswordVerifier::None } else { PasswordVerifier::Hash(hash.to_owned()) }
    }

    pub(super) fn is_set(&self) -> bool {
        !matches!(self, PasswordVerifier::None)
    }

    /// Whether this is the password, in constant time. Without a password only the empty one is accepted. With a slow
    /// hash nothing is accepted until [`Self::cache_verified`].
    pub(super) fn accepts(&self, password: &str) -> bool {
        match self {
            PasswordVerifier::None => password.is_empty(),
            PasswordVerifier::Digest(expected) => expected.ct_eq(&digest(password)).into(),
            PasswordVerifier::Hash(hash) => !password::is_slow(hash) && password::verify(password, hash),
        }
    }

    /// The slow hash to verify a password against, on the blocking pool, before [`Self::accepts`] can tell.
    pub(super) fn needs_slow_verify(&self, password: &str) -> Option<&str> {
        match self {
            PasswordVerifier::Hash(hash) if password::is_slow(hash) && !password.is_empty() => Some(hash),
            _ => None,
        }
    }

    /// Caches a password that was verified against this hash.
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
        // Without randomness the key is zero; digests could then be compared between processes, no more.
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
    fn fast_hashes_are_verified_at_once() {
        let secret = PasswordVerifier::stored("plain;a b");
        assert!(secret.accepts("a b") && !secret.accepts("a"));
    }
}
