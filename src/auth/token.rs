//! Tokens of an auth server: who somebody is, signed with Ed25519. Source: `services.md`, Ext-auth.
//!
//! `1.<payload>.<signature>` or `2.<payload>.<avatar>.<signature>`, each part base64; the signature is over the text
//! before the last dot.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall_protocol::from_json;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;

/// A token that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not of this form, or was not signed with this key.
    #[error("signature mismatch")]
    Signature,
    /// What it says is not what was asked for.
    #[error("invalid payload")]
    Payload,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// User name.
    pub username: String,
    /// Account flags.
    pub flags: Vec<String>,
    /// The stable account id, if there is one.
    pub uid: Option<String>,
    /// The same as a number, if it is one.
    pub number: Option<i64>,
    /// Avatar picture, may be empty.
    pub avatar: Vec<u8>,
}

/// Reads a public key: 32 bytes in base64.
pub fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = BASE64.decode(text.trim()).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// Reads a token that was asked for with a nonce and, if it is not empty, a group.
///
/// # Errors
/// When it was not signed with this key, or is an answer to something else.
pub fn read(text: &str, key: &VerifyingKey, group: &str, nonce: u64) -> Result<Token, TokenError> {
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Signature)?;
    let parts: Vec<&str> = signed.split('.').collect();
    let (payload, avatar) = match parts[..] {
        ["1", payload] => (payload, ""),
        ["2", payload, avatar] => (payload, avatar),
        _ => return Err(TokenError::Signature),
    };
    let signature = BASE64.decode(signature).ok().and_then(|s| Signature::from_slice(&s).ok());
    let signature = signature.ok_or(TokenError::Signature)?;
    key.verify_strict(signed.as_bytes(), &signature).map_err(|_| TokenError::Signature)?;
    let payload = BASE64.decode(payload).map_err(|_| TokenError::Payload)?;
    let payload: Value = from_json(&payload).map_err(|_| TokenError::Payload)?;
    let avatar = BASE64.decode(avatar).map_err(|_| TokenError::Payload)?;
    check(&payload, group, nonce).ok_or(TokenError::Payload)?;
    read_payload(&payload, avatar).ok_or(TokenError::Payload)
}

/// Whether the payload answers what was asked.
fn check(payload: &Value, group: &str, nonce: u64) -> Option<()> {
    let answered = payload["nonce"].as_str().and_then(|n| u64::from_str_radix(n, 16).ok())?;
    let same_group = match &payload["group"] {
        Value::Null => group.is_empty(),
        Value::String(given) => given == group,
        _ => false,
    };
    (nonce != 0 && answered == nonce && same_group).then_some(())
}

fn read_payload(payload: &Value, avatar: Vec<u8>) -> Option<Token> {
    let username = payload["username"].as_str().filter(|n| !n.is_empty())?.to_owned();
    let flags = match &payload["flags"] {
        Value::Null => Vec::new(),
        Value::Array(flags) => flags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    let (uid, number) = match &payload["uid"] {
        Value::Number(n) => (Some(n.to_string()), n.as_i64()),
        Value::String(text) if !text.is_empty() => (Some(text.clone()), None),
        _ => (None, None),
    };
    Some(Token { username, flags, uid, number, avatar })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_tokens_count_or_not_as_they_did() {
        let Some(golden) = std::env::var_os("DRAWHALL_GOLDEN") else {
            return eprintln!("skipped: DRAWHALL_GOLDEN is not set");
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

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "([12]\\.)?[A-Za-z0-9+/=.]{0,60}") {
            let key = public_key("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=").unwrap();
            prop_assert!(read(&text, &key, "", 1).is_err());
        }
    }
}
