//! Tokens of an auth server: signed with Ed25519, they prove who somebody is. Source:
//! docs/spec/services.md#token-format.
//!
//! `1.<payload>.<signature>` or `2.<payload>.<avatar>.<signature>`, each part in base64 as Qt decodes it. The
//! signature is over the text before the last dot.

use drawhall_protocol::{from_json, qt_base64, whole_number};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

/// Maximum age of a token when the client connects, in milliseconds.
const MAX_AGE_MS: i64 = 5 * 60 * 1000;

/// Why a token is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Malformed, or not signed with this key.
    #[error("signature mismatch")]
    Signature,
    /// Group or nonce do not match, or a field is invalid.
    #[error("invalid payload")]
    Payload,
}

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Token {
    pub username: String,
    pub flags: Vec<String>,
    /// The stable account id, if there is one.
    pub uid: Option<String>,
    /// `uid` as a number, if it is one.
    pub number: Option<i64>,
    /// May be empty.
    pub avatar: Vec<u8>,
    /// When it was issued (`iat`), milliseconds since 1970; `None` if missing or implausible.
    pub issued_ms: Option<i64>,
    /// When it expires (`exp`), likewise.
    pub expires_ms: Option<i64>,
}

impl Token {
    /// Whether the token was issued or had expired more than `MAX_AGE_MS` before `utc_ms` (milliseconds since
    /// 1970). The margin allows for clocks of auth servers that are slow.
    pub fn is_older_than(&self, utc_ms: i64) -> bool {
        [self.issued_ms, self.expires_ms].into_iter().flatten().any(|at| at < utc_ms - MAX_AGE_MS)
    }
}

/// Parses a public key: 32 bytes in base64.
pub fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = qt_base64::decode(text).try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// Verifies and parses a token that was requested with this nonce and, unless empty, this group.
///
/// # Errors
/// When the signature does not match this key, or the token was issued for another request.
pub fn read(text: &str, key: &VerifyingKey, group: &str, nonce: u64) -> Result<Token, TokenError> {
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Signature)?;
    let parts: Vec<&str> = signed.split('.').collect();
    let (payload, avatar) = match parts[..] {
        ["1", payload] => (payload, ""),
        ["2", payload, avatar] => (payload, avatar),
        _ => return Err(TokenError::Signature),
    };
    let signature =
        Signature::from_slice(&qt_base64::decode(signature)).map_err(|_| TokenError::Signature)?;
    key.verify_strict(signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
    let payload: Value = from_json(&qt_base64::decode(payload)).map_err(|_| TokenError::Payload)?;
    check(&payload, group, nonce).ok_or(TokenError::Payload)?;
    read_payload(&payload, qt_base64::decode(avatar)).ok_or(TokenError::Payload)
}

/// Whether nonce and group are those of the request.
fn check(payload: &Value, group: &str, nonce: u64) -> Option<()> {
    let given = payload["nonce"].as_str().and_then(|n| u64::from_str_radix(n, 16).ok())?;
    let same_group = match &payload["group"] {
        Value::Null => group.is_empty(),
        Value::String(name) => name == group,
        _ => false,
    };
    (nonce != 0 && given == nonce && same_group).then_some(())
}

fn read_payload(payload: &Value, avatar: Vec<u8>) -> Option<Token> {
    let username = payload["username"].as_str().filter(|n| !n.is_empty())?.to_owned();
    let flags = match &payload["flags"] {
        Value::Null => Vec::new(),
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    let (uid, number) = match &payload["uid"] {
        Value::Number(n) => {
            let number = whole_number(&payload["uid"]);
            (Some(number.map_or_else(|| n.to_string(), |number| number.to_string())), number)
        }
        Value::String(text) if !text.is_empty() => (Some(text.clone()), None),
        _ => (None, None),
    };
    let (issued_ms, expires_ms) = (time(&payload["iat"]), time(&payload["exp"]));
    Some(Token { username, flags, uid, number, avatar, issued_ms, expires_ms })
}

/// Parses a time in seconds or (JavaScript) milliseconds; `None` if it is far from the present.
fn time(value: &Value) -> Option<i64> {
    let number = value.as_f64()?;
    match number {
        1e9..1e11 => Some((number * 1000.0) as i64),
        1e12..1e14 => Some(number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn recorded_tokens_are_valid_or_not_as_recorded() {
        let Some(golden) = std::env::var_os("DRAWHALL_GOLDEN") else {
            return crate::skip::skip("golden", "DRAWHALL_GOLDEN is not set");
        };
        let file = std::path::Path::new(&golden).join("auth/vectors.json");
        let vectors: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let key = public_key(vectors["public_key"].as_str().unwrap()).unwrap();
        let tokens = vectors["tokens"].as_array().unwrap();
        assert!(tokens.len() > 10);
        for vector in tokens {
            let text = |name: &str| vector[name].as_str().unwrap_or_default();
            let nonce = u64::from_str_radix(text("nonce"), 16).unwrap();
            let token = read(text("token"), &key, text("group"), nonce);
            assert_eq!(token.is_ok(), vector["valid"] == true, "{}: {token:?}", text("case"));
        }
    }

    /// Created with Python's `ed25519` 1.5, as on drawpile.net: no base64 padding of key and signature.
    const PYTHON_KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
    const PYTHON_TOKENS: [&str; 3] = [
        "1.eyJ1c2VybmFtZSI6ICJtYWRkaWUiLCAiZmxhZ3MiOiBbIkhPU1QiLCAiTU9EIl0sICJub25jZSI6ICIyYSIsICJpYXQiOiAxNzk1MjQxNTcyLCAi\
         dWlkIjogMTd9.kO3ScQC8zk72TibIxM3gx5mOGjk2tJfZZimgd4FLqLQ4G7fCKQKnzFPYC86EAanIQ3EcvWefNSSIEAPzsepIBA",
        "2.eyJ1c2VybmFtZSI6ICJtYWRkaWUiLCAiZmxhZ3MiOiBbIkhPU1QiLCAiTU9EIl0sICJub25jZSI6ICIyYSIsICJpYXQiOiAxNzk1MjQxNTcyLCAi\
         dWlkIjogMTd9.cGljdHVyZSE=.AhqzG5vKWbtVvOw0U7+p3/vMEHtrlVINwwlq0Hdbj34XbfSkbVngdJpFSSbixdLoygqFyeCb5B6E9v6lxU71Cg",
        "2.eyJ1c2VybmFtZSI6ICJtYWRkaWUiLCAiZmxhZ3MiOiBbIkhPU1QiLCAiTU9EIl0sICJub25jZSI6ICIyYSIsICJpYXQiOiAxNzk1MjQxNTcyLCAi\
         dWlkIjogMTd9.cGljdHVyZSE.B3xJyLHiK1N5pddDqP0scFs39aah8NWgwOAB7du30u8/3eEbymHOh/LUQ3o0Qn/tROf0ccmMDawIjMOCYP6uBw",
    ];

    #[test]
    fn base64_padding_of_tokens_is_optional() {
        for key in [PYTHON_KEY, &format!("{PYTHON_KEY}="), &format!(" {PYTHON_KEY}==\n")] {
            let key = public_key(key).unwrap();
            for (text, avatar) in PYTHON_TOKENS.into_iter().zip([&b""[..], b"picture!", b"picture!"]) {
                for text in [text.to_owned(), format!("{text}=="), format!("{text}\n")] {
                    let token = read(&text, &key, "", 0x2a).unwrap();
                    assert_eq!((token.username.as_str(), token.number), ("maddie", Some(17)));
                    assert_eq!((token.avatar.as_slice(), token.flags.len()), (avatar, 2));
                    assert_eq!(token.issued_ms, Some(1_795_241_572_000));
                    assert_eq!(read(&text, &key, "", 0x2b), Err(TokenError::Payload));
                    let other = text.replace(".kO3", ".kO4").replace(".Ahq", ".Ahr").replace(".B3x", ".B3y");
                    assert_eq!(read(&other, &key, "", 0x2a), Err(TokenError::Signature));
                }
            }
        }
        assert!(public_key("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJV").is_none(), "too short");
    }

    #[test]
    fn times_are_parsed_in_seconds_and_milliseconds() {
        let times = [
            (json!(1_795_000_000), Some(1_795_000_000_000)),
            (json!(1_795_000_000.25), Some(1_795_000_000_250)),
            (json!(1_795_000_000_250_i64), Some(1_795_000_000_250)),
            (json!(0), None),
            (json!(1), None),
            (json!(-1_795_000_000), None),
            (json!(1e300), None),
            (json!("1795000000"), None),
            (Value::Null, None),
        ];
        for (value, expected) in times {
            assert_eq!(time(&value), expected, "{value}");
        }
    }

    #[test]
    fn tokens_expire_five_minutes_after_issue() {
        let now = 1_795_000_000_000;
        let token = |issued_ms, expires_ms| {
            let (username, flags, avatar) = ("a".to_owned(), Vec::new(), Vec::new());
            Token { username, flags, uid: None, number: None, avatar, issued_ms, expires_ms }
                .is_older_than(now)
        };
        assert!(!token(None, None) && !token(Some(now), None) && !token(Some(now - 299_000), Some(now + 1)));
        assert!(!token(Some(now + 3_600_000), None), "a fast clock of the auth server");
        assert!(token(Some(now - 301_000), None) && token(None, Some(now - 301_000)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_no_valid_token(text in "([12]\\.)?[A-Za-z0-9+/=.]{0,60}") {
            let key = public_key("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=").unwrap();
            prop_assert!(read(&text, &key, "", 1).is_err());
        }
    }
}
