//! Passwords of a session, kept as keyed digests for as long as the process lives.
//!
//! Who can read this process's memory sees passwords pass through it anyway, so what matters here is that checking
//! costs nothing: many join at once, and Argon2 takes 64 MiB and a tenth of a second each time.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A password or the absence of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Secret(Option<[u8; 32]>);

impl Secret {
    /// Keeps a password; the empty one is none.
    pub(super) fn of(password: &str) -> Secret {
        Secret((!password.is_empty()).then(|| digest(password)))
    }

    /// Whether there is a password.
    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this is the password; any will do when there is none. Takes the same time wherever it differs.
    pub(super) fn accepts(&self, password: &str) -> bool {
        self.0.is_none_or(|expected| expected.ct_eq(&digest(password)).into())
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
    }

    #[test]
    fn without_a_password_anything_is_accepted() {
        let none = Secret::of("");
        assert!(!none.is_set() && none.accepts("") && none.accepts("x"));
    }
}
