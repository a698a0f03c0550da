//! Text form of ban lists for export and import, plain or encrypted with the server's key. Source:
//! docs/spec/session.md#ban-export-text.
//!
//! Text: `p` and base64; or `c`, base64 of the nonce, `:`, base64 of a libsodium secretbox. Inside: the length as
//! four bytes, big-endian, and a zlib stream of JSON.
//!
//! Anybody can host a session and import any text, so inflating and parsing stop at the size of a full list.

use std::fmt;
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use drawhall_protocol::reply::BanImpEx;
use drawhall_protocol::{from_json, qt_base64};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::bans::{MAX_BANS, address_text};
use crate::rules::login::is_valid_name;
use crate::rules::metadata::StoredBan;

/// Maximum size of an inflated list in bytes; a thousand entries have about 400 kB.
const MAX_INFLATED: u64 = 512 << 10;
/// Maximum length of an imported account id in bytes; ids of an auth server begin with its name.
const MAX_ACCOUNT_ID: usize = 128;
/// Maximum length of an imported system id in bytes.
const MAX_SYSTEM_ID: usize = 64;
/// Length of the nonce in bytes.
pub(super) const NONCE_LEN: usize = 24;

/// Why an export or import failed; sent to the client as a key that it can translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExchangeError {
    /// Only moderators may export a plain list.
    ModeratorsOnly,
    /// Encoding failed, or the text is too long for a message.
    Server,
    /// Export needs a key that the server does not have.
    ExportUnconfigured,
    /// Neither of the two forms.
    Malformed,
    /// The content is not a ban list.
    Invalid,
    /// Import needs a key that the server does not have.
    ImportUnconfigured,
    /// Encrypted with another key.
    Encrypted,
}

impl ExchangeError {
    /// The reply to the client.
    pub(super) fn into_reply(self) -> BanImpEx {
        let (key, text) = match self {
            Self::ModeratorsOnly => ("banexportmodonly", "Only moderators can export plain bans."),
            Self::Server => ("banexportservererror", "Server error."),
            Self::ExportUnconfigured => {
                ("banexportunconfigured", "Exporting encrypted bans not configured on this server.")
            }
            Self::Malformed => ("banimportmalformed", "Malformed import data."),
            Self::Invalid => ("banimportinvalid", "Invalid import data."),
            Self::ImportUnconfigured => {
                ("banimportunconfigured", "Importing encrypted bans not configured on this server.")
            }
            Self::Encrypted => (
                "banimportcrypterror",
                "The server couldn't read the import data. This is likely because it was exported from a \
                 different server. You can only import bans into the same server they were exported from.",
            ),
        };
        BanImpEx { error: Some(text.into()), key: Some(key.into()), ..BanImpEx::default() }
    }
}

/// Encodes a list; `None` if encryption fails. Takes some milliseconds.
pub(super) fn encode(bans: &[StoredBan], key: Option<&[u8; 32]>, nonce: [u8; NONCE_LEN]) -> Option<String> {
    let json = json!({"v": 1, "l": bans.iter().map(entry).collect::<Vec<_>>()}).to_string();
    let mut packed = u32::try_from(json.len()).ok()?.to_be_bytes().to_vec();
    let mut encoder = ZlibEncoder::new(&mut packed, Compression::default());
    encoder.write_all(json.as_bytes()).ok()?;
    encoder.finish().ok()?;
    let Some(key) = key else { return Some(format!("p{}", BASE64.encode(packed))) };
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key));
    let sealed = cipher.encrypt(Nonce::from_slice(&nonce), packed.as_slice()).ok()?;
    Some(format!("c{}:{}", BASE64.encode(nonce), BASE64.encode(sealed)))
}

fn entry(ban: &StoredBan) -> Value {
    let address = address_text(ban.address);
    let members =
        [("u", &ban.name), ("i", &address), ("a", &ban.auth_id), ("s", &ban.sid), ("b", &ban.banned_by)];
    let given = members.into_iter().filter(|(_, text)| !text.is_empty());
    Value::from(given.map(|(key, text)| (key.to_owned(), text.as_str().into())).collect::<Map<_, _>>())
}

/// Decodes a list. Takes some milliseconds.
pub(super) fn decode(text: &str, key: Option<&[u8; 32]>) -> Result<Vec<StoredBan>, ExchangeError> {
    let packed = unseal(text, key)?;
    let mut json = Vec::new();
    let stream = packed.get(4..).ok_or(ExchangeError::Invalid)?;
    let inflated = ZlibDecoder::new(stream).take(MAX_INFLATED).read_to_end(&mut json);
    inflated.map_err(|_| ExchangeError::Invalid)?;
    let list: BanListJson = from_json(&json).map_err(|_| ExchangeError::Invalid)?;
    Ok(list.0)
}

fn unseal(text: &str, key: Option<&[u8; 32]>) -> Result<Vec<u8>, ExchangeError> {
    let base64 = |part: &str| {
        Some(qt_base64::decode(part)).filter(|bytes| !bytes.is_empty()).ok_or(ExchangeError::Malformed)
    };
    if let Some(plain) = text.strip_prefix('p') {
        return base64(plain);
    }
    let parts = text.strip_prefix('c').and_then(|rest| rest.split_once(':'));
    let (nonce, sealed) = parts.ok_or(ExchangeError::Malformed)?;
    let (nonce, sealed) = (base64(nonce)?, base64(sealed)?);
    if nonce.len() != NONCE_LEN {
        return Err(ExchangeError::Malformed);
    }
    let cipher = XSalsa20Poly1305::new(Key::from_slice(key.ok_or(ExchangeError::ImportUnconfigured)?));
    cipher.decrypt(Nonce::from_slice(&nonce), sealed.as_slice()).map_err(|_| ExchangeError::Encrypted)
}

/// An exported list. Reading stops with an error at more entries than a session can have.
struct BanListJson(Vec<StoredBan>);

impl<'de> Deserialize<'de> for BanListJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = BanListJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exported ban list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BanListJson, A::Error> {
        let (mut version, mut entries) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "v" => version = Some(map.next_value::<u32>()?),
                "l" => entries = Some(map.next_value::<Entries>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let entries = entries.filter(|_| version == Some(1));
        entries.map(|entries| BanListJson(entries.0)).ok_or_else(|| A::Error::custom("no list of version 1"))
    }
}

struct Entries(Vec<StoredBan>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_BANS} bans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
        let mut bans = Vec::new();
        for _ in 0..MAX_BANS {
            match seq.next_element()? {
                Some(Loose::Ban(ban)) if !ban.has_no_criteria() => bans.push(ban),
                Some(_) => {}
                None => return Ok(Entries(bans)),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::invalid_length(MAX_BANS + 1, &self)),
            None => Ok(Entries(bans)),
        }
    }
}

/// A lenient value: anything unexpected counts as absent.
enum Loose {
    Text(String),
    Ban(StoredBan),
    Other,
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        let mut ban = StoredBan::default();
        while let Some(key) = map.next_key::<String>()? {
            if !["u", "i", "a", "s", "b"].contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = match map.next_value()? {
                Loose::Text(text) => text,
                Loose::Ban(_) | Loose::Other => String::new(),
            };
            take_member(&mut ban, &key, text);
        }
        Ok(Loose::Ban(ban))
    }
}

/// Sets one field of a ban. Values that are longer than any valid one are ignored.
fn take_member(ban: &mut StoredBan, key: &str, text: String) {
    let up_to = |text: String, max: usize| if text.len() <= max { text } else { String::new() };
    let name = |text: String| if is_valid_name(&text) { text } else { String::new() };
    match key {
        "u" => ban.name = name(text),
        "i" => ban.address = text.parse().ok(),
        "a" => ban.auth_id = up_to(text, MAX_ACCOUNT_ID),
        "s" => ban.sid = up_to(text, MAX_SYSTEM_ID),
        _ => ban.banned_by = name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn ban(name: &str) -> StoredBan {
        StoredBan { name: name.into(), ..StoredBan::default() }
    }

    /// Any JSON in the form of an exported list.
    fn packed(json: &[u8]) -> String {
        let mut packed = vec![0; 4];
        let mut encoder = ZlibEncoder::new(&mut packed, Compression::default());
        encoder.write_all(json).unwrap();
        encoder.finish().unwrap();
        format!("p{}", BASE64.encode(packed))
    }

    fn read(json: &str) -> Result<Vec<StoredBan>, ExchangeError> {
        decode(&packed(json.as_bytes()), None)
    }

    #[test]
    fn the_references_plain_text_is_read() {
        let text = "pAAAADnicq1bKUbKKjtVRKlOyMqwFAB3KA+w=";
        assert_eq!(decode(text, None), Ok(vec![]));
    }

    #[test]
    fn both_forms_survive() {
        let key = [7; 32];
        let full = StoredBan {
            id: 0,
            name: "x".into(),
            address: "192.0.2.1".parse().ok(),
            auth_id: "internal:1".into(),
            banned_by: "Op".into(),
            sid: "ab".repeat(16),
        };
        let address = full.address.map(|a| match a {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            v6 => v6,
        });
        let bans = vec![full.clone(), ban("y")];
        let expected = vec![StoredBan { address, ..full }, ban("y")];
        assert_eq!(decode(&encode(&bans, None, NONCE).unwrap(), None), Ok(expected.clone()));
        let sealed = encode(&bans, Some(&key), NONCE).unwrap();
        assert_eq!(decode(&sealed, Some(&key)), Ok(expected));
        assert_eq!(decode(&sealed, None), Err(ExchangeError::ImportUnconfigured));
        assert_eq!(decode(&sealed, Some(&[8; 32])), Err(ExchangeError::Encrypted));
    }

    #[test]
    fn rubbish_is_refused() {
        use ExchangeError::{Invalid, Malformed};
        let cases = [
            ("", Malformed),
            ("garbage", Malformed),
            ("p", Malformed),
            ("p*", Malformed),
            ("cAAAA:AAAA", Malformed),
            ("pAAAA", Invalid),
            ("pAAAAAAAAAAAA", Invalid),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text, Some(&[0; 32])), Err(expected), "{text}");
        }
        for json in ["{}", r#"{"v":2,"l":[]}"#, r#"{"v":1,"l":5}"#, "[]", r#"{"v":1,"l":[]} x"#, r#"{"v":1}"#]
        {
            assert_eq!(read(json), Err(Invalid), "{json}");
        }
    }

    #[test]
    fn unexpected_values_count_as_absent() {
        let json = r#"{"x":[{}],"l":[5,null,true,1.5,-1,"t",[[{}]],{},{"u":7,"x":{"u":"no"}},
            {"u":{"u":"no"},"s":["no"],"a":"yes","i":"nowhere"}],"v":1}"#;
        assert_eq!(read(json), Ok(vec![StoredBan { auth_id: "yes".into(), ..StoredBan::default() }]));
    }

    #[test]
    fn too_long_ban_criteria_match_nobody() {
        let long = |n: usize| "x".repeat(n);
        let json = json!({"v": 1, "l": [
            {"u": long(22), "a": long(MAX_ACCOUNT_ID), "s": long(MAX_SYSTEM_ID), "b": long(22)},
            {"u": long(23), "a": long(MAX_ACCOUNT_ID + 1), "s": long(MAX_SYSTEM_ID + 1), "b": "Op"},
            {"u": long(23), "s": "sid", "b": long(23)},
        ]});
        let bans = read(&json.to_string()).unwrap();
        assert_eq!(bans.len(), 2);
        assert_eq!(bans[0].name.len() + bans[0].banned_by.len(), 44);
        assert_eq!(bans[1], StoredBan { sid: "sid".into(), ..StoredBan::default() });
    }

    #[test]
    fn reading_stops_at_too_many_entries() {
        let many = |n: usize, last: &str| {
            let entries = [vec![r#"{"u":"n"}"#; n], vec![last; usize::from(!last.is_empty())]].concat();
            format!(r#"{{"v":1,"l":[{}]}}"#, entries.join(","))
        };
        assert_eq!(read(&many(MAX_BANS, "")).map(|bans| bans.len()), Ok(MAX_BANS));
        assert_eq!(read(&many(MAX_BANS, "0")), Err(ExchangeError::Invalid));
        assert_eq!(read(&many(0, &format!("[{}0]", "0,".repeat(20_000)))), Ok(vec![]));
    }

    #[test]
    fn a_decompression_bomb_is_refused_as_ban_list() {
        let bomb =
            packed(json!({"v": 1, "l": [], "x": "x".repeat(MAX_INFLATED as usize)}).to_string().as_bytes());
        assert!(bomb.len() < 10_000);
        assert_eq!(decode(&bomb, None), Err(ExchangeError::Invalid));
    }
}
