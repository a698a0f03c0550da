//! Verifies and creates password hashes. Source: docs/spec/config.md#password-hashes.
//!
//! | format | meaning |
//! | --- | --- |
//! | `plain;text` | the password itself |
//! | `s+sha1;<salt hex>;<hex>` | SHA-1 of salt and password |
//! | `pbkdf2;1;<salt base64>;<base64>` | PBKDF2-HMAC-SHA-512, 20000 rounds, 64 bytes |
//! | `sodium;<Argon2id string>` | libsodium's `crypto_pwhash_str` |
//! | `*...` | never matches |

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use drawhall_protocol::qt_base64;
use sha1::Digest as _;
use subtle::ConstantTimeEq as _;

/// Wrong passwords after which a connection is closed.
pub const MAX_PASSWORD_ATTEMPTS: u32 = 10;
/// Error text for clients when too many password checks are queued.
pub const BUSY_TEXT: &str = "The server has too many passwords to check, try again in a minute";

const PBKDF2_ROUNDS: u32 = 20_000;

/// Whether `password` matches `hash`. The empty password matches nothing, nor does anything match an empty hash or
/// one of an unknown format.
pub fn verify(password: &str, hash: &str) -> bool {
    if password.is_empty() {
        return false;
    }
    let Some((format, rest)) = hash.split_once(';') else { return false };
    match format {
        "plain" => bool::from(password.as_bytes().ct_eq(rest.as_bytes())),
        "s+sha1" => verify_sha1(password, rest).unwrap_or(false),
        "pbkdf2" => verify_pbkdf2(password, rest).unwrap_or(false),
        "sodium" => verify_argon2(password, rest),
        _ => false,
    }
}

/// Whether a text has the format of a password hash.
pub fn is_hash(text: &str) -> bool {
    let Some((format, rest)) = text.split_once(';') else { return text.starts_with('*') };
    let parts = rest.split(';').count();
    match format {
        "plain" => !rest.is_empty(),
        "s+sha1" => parts == 2,
        "pbkdf2" => parts == 3,
        "sodium" => argon2::PasswordHash::new(rest).is_ok(),
        format => format.starts_with('*'),
    }
}

/// Whether verifying against this hash takes so long that it must not run on an actor's thread.
pub fn is_slow(hash: &str) -> bool {
    hash.starts_with("sodium;") || hash.starts_with("pbkdf2;")
}

/// Creates a hash: Argon2id with libsodium's interactive limits (64 MiB, about 0.1 s). `None` if the system provides
/// no randomness.
pub fn hash(password: &str) -> Option<String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok()?;
    let params = argon2::Params::new(64 << 10, 2, 1, None).ok()?;
    let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon.hash_password_with_salt(password.as_bytes(), &salt).ok()?;
    Some(format!("sodium;{hash}"))
}

fn verify_sha1(password: &str, rest: &str) -> Option<bool> {
    let (salt, expected) = rest.split_once(';')?;
    let mut hasher = sha1::Sha1::new();
    hasher.update(unhex(salt)?);
    hasher.update(password);
    Some(hasher.finalize().as_slice().ct_eq(&unhex(expected)?).into())
}

fn verify_pbkdf2(password: &str, rest: &str) -> Option<bool> {
    let mut parts = rest.split(';');
    if parts.next()? != "1" {
        return None;
    }
    let salt = qt_base64::decode(parts.next()?);
    let expected = qt_base64::decode(parts.next()?);
    let mut key = [0; 64];
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(password.as_bytes(), &salt, PBKDF2_ROUNDS, &mut key);
    Some(key.as_slice().ct_eq(&expected).into())
}

fn verify_argon2(password: &str, hash: &str) -> bool {
    let Ok(hash) = argon2::PasswordHash::new(hash) else { return false };
    // The parameters come from the hash. More than 1 GiB is a mistake or an attack.
    let memory = argon2::Params::try_from(&hash).map(|p| p.m_cost());
    memory.is_ok_and(|kib| kib <= 1 << 20)
        && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_format_matches_its_password_only() {
        // Created with Python's hashlib and argon2-cffi from the password "pässword".
        let hashes = [
            "plain;pässword",
            "s+sha1;73616c74;659300c06fd0790609170cc728ce169cab66f3fd",
            "pbkdf2;1;c2FsdA==;jqvcmPte6vdDtB7YRhMojyDZilmjHWDAtOxaek1cABdqNLh8rzXdS7UFbP7KYWkq7LUPIwkA0aB5CQ7afHjSzQ==",
            "pbkdf2;1;c2FsdA;jqvcmPte6vdDtB7YRhMojyDZilmjHWDAtOxaek1cABdqNLh8rzXdS7UFbP7KYWkq7LUPIwkA0aB5CQ7afHjSzQ",
            "sodium;$argon2id$v=19$m=8192,t=2,p=1$NzWI4rW4mEY0IjpFWApmVQ$Zs/AT+QbXQnlhdgCTV38IXlTmK0jz5RyUywdNJ4JoFc",
        ];
        for hash in hashes {
            assert!(verify("pässword", hash), "{hash}");
            assert!(!verify("password", hash), "{hash}");
            assert!(!verify("", hash), "{hash}");
        }
    }

    #[test]
    fn recorded_hashes_match_their_passwords() {
        let Some(golden) = std::env::var_os("DRAWHALL_GOLDEN") else {
            return crate::skip::skip("golden", "DRAWHALL_GOLDEN is not set");
        };
        let file = std::path::Path::new(&golden).join("auth/vectors.json");
        let vectors: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let hashes = vectors["passwords"].as_array().unwrap();
        assert!(!hashes.is_empty());
        for vector in hashes {
            let (hash, password) = (vector["hash"].as_str().unwrap(), vector["password"].as_str().unwrap());
            assert!(verify(password, hash), "{hash}");
            assert!(!verify(&format!("{password}x"), hash), "{hash}");
        }
        for hash in vectors["disabled"].as_array().unwrap() {
            assert!(!verify("x", hash.as_str().unwrap()), "{hash}");
        }
    }

    #[test]
    fn new_hashes_have_the_format_of_drawpile_srv() {
        let new = hash("pässword").unwrap();
        assert!(new.starts_with("sodium;$argon2id$v=19$m=65536,t=2,p=1$"), "{new}");
        assert!(is_hash(&new) && verify("pässword", &new) && !verify("other", &new));
        assert_ne!(hash("pässword"), Some(new), "salts differ");
    }

    #[test]
    fn is_hash_accepts_known_formats_only() {
        for good in ["plain;a", "plain;a;b", "s+sha1;00;11", "pbkdf2;1;a;b", "*", "*plain;x"] {
            assert!(is_hash(good), "{good}");
        }
        for bad in ["", "nonsense", "plain;", "s+sha1;incomplete", "pbkdf2;1;a", "sodium;x", "md5;x"] {
            assert!(!is_hash(bad), "{bad}");
        }
    }

    #[test]
    fn the_empty_password_and_the_empty_hash_match_nothing() {
        for hash in ["", "plain;", "s+sha1;00;da39a3ee5e6b4b0d3255bfef95601890afd80709", &hash("").unwrap()] {
            assert!(!verify("", hash), "{hash}");
        }
        assert!(!verify("x", ""));
    }

    #[test]
    fn invalid_hashes_match_nothing() {
        for hash in
            ["*plain;x", "x", "md5;x", "s+sha1;zz;00", "pbkdf2;2;;", "sodium;$argon2id$", "pbkdf2;1;;"]
        {
            assert!(!verify("x", hash), "{hash}");
        }
        let huge = "sodium;$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        assert!(!verify("x", huge));
    }

    proptest! {
        #[test]
        fn arbitrary_hashes_do_not_panic(hash in "(plain|s\\+sha1|pbkdf2|sodium|\\*)?;?[0-9a-z;=$,]{0,40}") {
            verify("x", &hash);
        }
    }
}
