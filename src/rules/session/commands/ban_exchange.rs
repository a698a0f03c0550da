//! `export-bans`, `import-bans`: ban lists as text, encoded and decoded on the blocking pool.

use drawhall_protocol::reply::{BanImpEx, ServerReply};
use serde::{Deserialize, Serialize};

use super::{CommandResult, Effects, MemberKey, SessionMachine};
use crate::log::{Level, LogEntry, Topic};
use crate::rules::limits::Rate;
use crate::rules::metadata::StoredBan;
use crate::rules::session::ConnId;
use crate::rules::session::ban_text::{ExchangeError, NONCE_LEN, decode, encode};
use crate::rules::session::broadcasts::List;
use crate::rules::time::Timestamp;

/// Rate limit of imports for one client.
const IMPORTS_A_MINUTE: u32 = 10;
/// Maximum number of pending exchanges of one session; the server performs one at a time.
const MAX_EXCHANGES: usize = 4;

/// A ban list to encode or decode.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BanExchange {
    Export { conn: ConnId, plain: bool, nonce: [u8; NONCE_LEN], bans: Vec<StoredBan> },
    Import { conn: ConnId, text: String },
}

/// Result of a [`BanExchange`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BanExchanged {
    Export { conn: ConnId, plain: bool, text: Result<String, ExchangeError> },
    Import { conn: ConnId, bans: Result<Vec<StoredBan>, ExchangeError> },
}

impl BanExchange {
    /// Performs it; takes some milliseconds.
    pub fn perform(self, key: Option<&[u8; 32]>) -> BanExchanged {
        match self {
            Self::Export { conn, plain, nonce, bans } => {
                let text = encode(&bans, key.filter(|_| !plain), nonce).ok_or(ExchangeError::Server);
                BanExchanged::Export { conn, plain, text }
            }
            Self::Import { conn, text } => BanExchanged::Import { conn, bans: decode(&text, key) },
        }
    }

    /// The result when it could not be performed.
    pub fn failed(&self) -> BanExchanged {
        match self {
            Self::Export { conn, plain, .. } => {
                BanExchanged::Export { conn: *conn, plain: *plain, text: Err(ExchangeError::Server) }
            }
            Self::Import { conn, .. } => {
                BanExchanged::Import { conn: *conn, bans: Err(ExchangeError::Invalid) }
            }
        }
    }
}

impl SessionMachine {
    pub(super) fn export_bans(
        &mut self,
        key: MemberKey,
        plain: bool,
        effects: &mut Effects,
    ) -> CommandResult {
        let member = self.sender(key)?;
        let conn = member.conn();
        let refusal = if plain && !member.is_moderator() {
            ExchangeError::ModeratorsOnly
        } else if !plain && self.shared.crypt_key.is_none() {
            ExchangeError::ExportUnconfigured
        } else {
            let Some(nonce) = self.rng.bytes() else {
                return self.refuse_exchange(conn, ExchangeError::Server, effects);
            };
            let bans = self.bans.to_stored();
            return self.begin_exchange(BanExchange::Export { conn, plain, nonce, bans }, effects);
        };
        self.refuse_exchange(conn, refusal, effects)
    }

    pub(super) fn import_bans(
        &mut self,
        key: MemberKey,
        text: &str,
        now: Timestamp,
        effects: &mut Effects,
    ) -> CommandResult {
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        if !member.imports.take(Rate::per_minute(IMPORTS_A_MINUTE), now.monotonic_ms) {
            return Err("Too many imports, try again in a minute".into());
        }
        let (conn, text) = (member.conn(), text.to_owned());
        self.begin_exchange(BanExchange::Import { conn, text }, effects)
    }

    fn begin_exchange(&mut self, exchange: BanExchange, effects: &mut Effects) -> CommandResult {
        if self.exchanges >= MAX_EXCHANGES {
            return Err("Other ban lists are being read or written, try again in a moment".into());
        }
        self.exchanges += 1;
        effects.exchanges.push(exchange);
        Ok(())
    }

    fn refuse_exchange(&self, conn: ConnId, error: ExchangeError, effects: &mut Effects) -> CommandResult {
        self.reply_to(conn, &ServerReply::BanImpEx(error.into_reply()), effects);
        Ok(())
    }

    /// An exchange has finished.
    pub fn bans_exchanged(&mut self, done: BanExchanged, now: Timestamp, effects: &mut Effects) {
        self.exchanges = self.exchanges.saturating_sub(1);
        match done {
            BanExchanged::Export { conn, plain, text } => self.exported(conn, plain, text, now, effects),
            BanExchanged::Import { conn, bans } => self.imported(conn, bans, now, effects),
        }
    }

    fn exported(
        &mut self,
        conn: ConnId,
        plain: bool,
        text: Result<String, ExchangeError>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(key) = self.members.key_of(conn) else { return };
        let reply = text.and_then(|text| {
            let reply = ServerReply::BanImpEx(BanImpEx { export: Some(text), ..BanImpEx::default() });
            // The text may be too long for a message.
            reply.to_frame().map_err(|_| ExchangeError::Server)
        });
        match reply {
            Ok(frame) => {
                let kind = if plain { "plain" } else { "encrypted" };
                self.log_exchange(
                    key,
                    format!("Exported {kind} bans from session {}", self.id),
                    now,
                    effects,
                );
                effects.direct(conn, frame.into_bytes());
            }
            Err(error) => self.reply_to(conn, &ServerReply::BanImpEx(error.into_reply()), effects),
        }
    }

    fn imported(
        &mut self,
        conn: ConnId,
        bans: Result<Vec<StoredBan>, ExchangeError>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(key) = self.members.key_of(conn) else { return };
        let Some(member) = self.members.get(key) else { return };
        if !member.is_operator() {
            return self.refuse(key, "import-bans", "Not a session owner", effects);
        }
        let banner = member.client.identity.clone();
        let reply = match bans {
            Ok(bans) => {
                let (imported, total) = self.bans.import(bans, &banner);
                if imported > 0 {
                    self.send_list(List::Bans, now, effects);
                }
                let text = format!("Imported {imported}/{total} bans into session {}", self.id);
                self.log_exchange(key, text, now, effects);
                BanImpEx { imported: Some(imported), total: Some(total), ..BanImpEx::default() }
            }
            Err(error) => error.into_reply(),
        };
        self.reply_to(conn, &ServerReply::BanImpEx(reply), effects);
    }

    /// Logs for the server only; session members do not see it.
    fn log_exchange(&self, key: MemberKey, text: String, now: Timestamp, effects: &mut Effects) {
        if let Some(member) = self.members.get(key) {
            effects.log.push(LogEntry::new(now, Level::Info, Topic::BanImpEx, text).about(member.log_user()));
        }
    }
}
