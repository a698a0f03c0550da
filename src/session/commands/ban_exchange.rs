//! `export-bans`, `import-bans`: ban lists as text, plain or encrypted with the server's key.
//!
//! Text: `p` and base64, or `c`, base64 of the nonce, `:`, base64 of a libsodium secretbox. Inside: the length as four
//! bytes, big-endian, and a zlib stream of JSON. Source: `session.md`, Session bans.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use drawhall_protocol::qt_base64;
use drawhall_protocol::reply::{BanImpEx, ServerReply};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::Value;

use super::{CommandResult, Effects, SessionMachine};
use crate::clock::Now;
use crate::limits::Rate;
use crate::log::{Level, LogEntry, Topic};

/// Largest ban list in bytes that is imported: a thousand entries have about 400 kB.
const MAX_IMPORT: u64 = 4 << 20;
const NONCE_LEN: usize = 24;
/// Ban lists that one client can import in a minute: reading one takes some milliseconds.
const IMPORTS_A_MINUTE: u32 = 10;

/// A failure that clients can translate.
struct Failure {
    key: &'static str,
    text: &'static str,
}

const MOD_ONLY: Failure = Failure { key: "banexportmodonly", text: "Only moderators can export plain bans." };
const SERVER_ERROR: Failure = Failure { key: "banexportservererror", text: "Server error." };
const EXPORT_UNCONFIGURED: Failure =
    Failure { key: "banexportunconfigured", text: "Exporting encrypted bans not configured on this server." };
const MALFORMED: Failure = Failure { key: "banimportmalformed", text: "Malformed import data." };
const INVALID: Failure = Failure { key: "banimportinvalid", text: "Invalid import data." };
const IMPORT_UNCONFIGURED: Failure =
    Failure { key: "banimportunconfigured", text: "Importing encrypted bans not configured on this server." };
const CRYPT_ERROR: Failure = Failure {
    key: "banimportcrypterror",
    text: "The server couldn't read the import data. This is likely because it was exported from a different \
           server. You can only import bans into the same server they were exported from.",
};

impl SessionMachine {
    pub(super) fn export_bans(
        &mut self,
        at: usize,
        plain: bool,
        now: Now,
        fx: &mut Effects,
    ) -> CommandResult {
        let key = if plain { None } else { self.shared.crypt_key };
        let exported = if plain && !self.members[at].is_moderator() {
            Err(MOD_ONLY)
        } else if !plain && key.is_none() {
            Err(EXPORT_UNCONFIGURED)
        } else {
            let nonce = self.chance.bytes().ok_or(SERVER_ERROR);
            nonce.and_then(|nonce| encode(&self.bans.export(), key.as_ref(), nonce).ok_or(SERVER_ERROR))
        };
        let done = exported.is_ok();
        let reply = match exported {
            Ok(text) => BanImpEx { export: Some(text), ..BanImpEx::default() },
            Err(failure) => failure.into_reply(),
        };
        if done {
            let kind = if plain { "plain" } else { "encrypted" };
            self.log_exchange(at, format!("Exported {kind} bans from session {}", self.id), now, fx);
        }
        self.reply_to(self.members[at].conn(), &ServerReply::BanImpEx(reply), fx);
        Ok(())
    }

    pub(super) fn import_bans(&mut self, at: usize, text: &str, now: Now, fx: &mut Effects) -> CommandResult {
        if !self.members[at].imports.take(Rate::per_minute(IMPORTS_A_MINUTE), now.ms) {
            return Err("Too many imports, try again in a minute".into());
        }
        let banner = self.members[at].visitor.person.clone();
        let imported = decode(text, self.shared.crypt_key.as_ref())
            .and_then(|data| self.bans.import(&data, &banner).ok_or(INVALID));
        let reply = match imported {
            Ok((imported, total)) => {
                if imported > 0 {
                    self.send_ban_list(false, fx);
                }
                let text = format!("Imported {imported}/{total} bans into session {}", self.id);
                self.log_exchange(at, text, now, fx);
                BanImpEx { imported: Some(imported), total: Some(total), ..BanImpEx::default() }
            }
            Err(failure) => failure.into_reply(),
        };
        self.reply_to(self.members[at].conn(), &ServerReply::BanImpEx(reply), fx);
        Ok(())
    }

    /// The server's log only: what is exchanged is not the session's business.
    fn log_exchange(&self, at: usize, text: String, now: Now, fx: &mut Effects) {
        let user = self.members[at].log_user();
        fx.log.push(LogEntry::new(now, Level::Info, Topic::BanImpEx, text).about(user));
    }
}

impl Failure {
    fn into_reply(self) -> BanImpEx {
        BanImpEx { error: Some(self.text.into()), key: Some(self.key.into()), ..BanImpEx::default() }
    }
}

fn encode(data: &Value, key: Option<&[u8; 32]>, nonce: [u8; NONCE_LEN]) -> Option<String> {
    let json = data.to_string();
    let mut packed = u32::try_from(json.len()).ok()?.to_be_bytes().to_vec();
    let mut encoder = ZlibEncoder::new(&mut packed, Compression::default());
    encoder.write_all(json.as_bytes()).ok()?;
    encoder.finish().ok()?;
    let Some(key) = key else { return Some(format!("p{}", BASE64.encode(packed))) };
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key));
    let sealed = cipher.encrypt(Nonce::from_slice(&nonce), packed.as_slice()).ok()?;
    Some(format!("c{}:{}", BASE64.encode(nonce), BASE64.encode(sealed)))
}

fn decode(text: &str, key: Option<&[u8; 32]>) -> Result<Value, Failure> {
    let base64 = |part: &str| Some(qt_base64::decode(part)).filter(|b| !b.is_empty()).ok_or(MALFORMED);
    let packed = if let Some(plain) = text.strip_prefix('p') {
        base64(plain)?
    } else {
        let (nonce, sealed) = text.strip_prefix('c').and_then(|t| t.split_once(':')).ok_or(MALFORMED)?;
        let (nonce, sealed) = (base64(nonce)?, base64(sealed)?);
        if nonce.len() != NONCE_LEN {
            return Err(MALFORMED);
        }
        let cipher = XSalsa20Poly1305::new(Key::from_slice(key.ok_or(IMPORT_UNCONFIGURED)?));
        cipher.decrypt(Nonce::from_slice(&nonce), sealed.as_slice()).map_err(|_| CRYPT_ERROR)?
    };
    let mut json = Vec::new();
    let stream = packed.get(4..).ok_or(INVALID)?;
    ZlibDecoder::new(stream).take(MAX_IMPORT).read_to_end(&mut json).map_err(|_| INVALID)?;
    serde_json::from_slice(&json).map_err(|_| INVALID)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn key_of(failure: Result<Value, Failure>) -> &'static str {
        failure.err().map_or("", |f| f.key)
    }

    #[test]
    fn the_references_plain_text_is_read() {
        let text = "pAAAADnicq1bKUbKKjtVRKlOyMqwFAB3KA+w=";
        assert_eq!(decode(text, None).ok(), Some(json!({"v": 1, "l": []})));
    }

    #[test]
    fn both_forms_survive() {
        let (data, key) = (json!({"v": 1, "l": [{"u": "x"}]}), [7; 32]);
        assert_eq!(decode(&encode(&data, None, NONCE).unwrap(), None).ok(), Some(data.clone()));
        let sealed = encode(&data, Some(&key), NONCE).unwrap();
        assert_eq!(decode(&sealed, Some(&key)).ok(), Some(data));
        assert_eq!(key_of(decode(&sealed, None)), "banimportunconfigured");
        assert_eq!(key_of(decode(&sealed, Some(&[8; 32]))), "banimportcrypterror");
    }

    #[test]
    fn rubbish_is_refused() {
        let cases = [
            ("", "malformed"),
            ("garbage", "malformed"),
            ("p", "malformed"),
            ("p*", "malformed"),
            ("cAAAA:AAAA", "malformed"),
            ("pAAAA", "invalid"),
            ("pAAAAAAAAAAAA", "invalid"),
        ];
        for (text, expected) in cases {
            assert_eq!(key_of(decode(text, Some(&[0; 32]))), format!("banimport{expected}"), "{text}");
        }
    }

    #[test]
    fn a_list_that_inflates_without_end_is_refused() {
        let bomb = encode(&Value::from("x".repeat(MAX_IMPORT as usize + 1)), None, NONCE).unwrap();
        assert!(bomb.len() < 100_000);
        assert_eq!(key_of(decode(&bomb, None)), "banimportinvalid");
    }
}
