//! `export-bans`, `import-bans`: ban lists as text, encoded and decoded on the blocking pool.

use drawhall_protocol::command::{ExportBans, ImportBans};

use drawhall_protocol::reply::{BanImpEx, ServerReply};
use serde::{Deserialize, Serialize};

use super::{CommandResult, Cx, Effect, MemberKey, Perform, Right, SessionMachine};
use crate::log::{Level, LogEntry, Topic};
use crate::rules::limits::Rate;
use crate::rules::metadata::StoredBan;
use crate::rules::session::ConnId;
use crate::rules::session::ban_text::{ExchangeError, NONCE_LEN, decode, encode};
use crate::rules::session::broadcasts::List;

/// Rate limit of imports for one client.
const IMPORTS_A_MINUTE: u32 = 10;

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

impl Perform for ExportBans {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.export_bans(sender, self.plain, cx)
    }
}

impl Perform for ImportBans {
    const RIGHT: Right = Right::Operator;

    fn perform(self, session: &mut SessionMachine, sender: MemberKey, cx: &mut Cx<'_>) -> CommandResult {
        session.import_bans(sender, &self.text, cx)
    }
}

impl SessionMachine {
    pub(super) fn export_bans(&mut self, key: MemberKey, plain: bool, cx: &mut Cx<'_>) -> CommandResult {
        let member = self.sender(key)?;
        let conn = member.conn();
        let refusal = if plain && !member.is_moderator() {
            ExchangeError::ModeratorsOnly
        } else if !plain && self.shared.crypt_key.is_none() {
            ExchangeError::ExportUnconfigured
        } else {
            let Some(nonce) = cx.rng.bytes() else {
                return self.refuse_exchange(conn, ExchangeError::Server, cx);
            };
            let bans = self.moderation.bans.to_stored();
            return self.begin_exchange(BanExchange::Export { conn, plain, nonce, bans }, cx);
        };
        self.refuse_exchange(conn, refusal, cx)
    }

    pub(super) fn import_bans(&mut self, key: MemberKey, text: &str, cx: &mut Cx<'_>) -> CommandResult {
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        if !member.imports.take(Rate::per_minute(IMPORTS_A_MINUTE), cx.now.monotonic_ms) {
            return Err("Too many imports, try again in a minute".into());
        }
        let (conn, text) = (member.conn(), text.to_owned());
        self.begin_exchange(BanExchange::Import { conn, text }, cx)
    }

    fn begin_exchange(&mut self, exchange: BanExchange, cx: &mut Cx<'_>) -> CommandResult {
        if !self.moderation.begin_exchange() {
            return Err("Other ban lists are being read or written, try again in a moment".into());
        }
        cx.push(Effect::ExchangeBans(exchange));
        Ok(())
    }

    fn refuse_exchange(&self, conn: ConnId, error: ExchangeError, cx: &mut Cx<'_>) -> CommandResult {
        self.reply_to(conn, &ServerReply::BanImpEx(error.into_reply()), cx);
        Ok(())
    }

    /// An exchange has finished.
    pub fn bans_exchanged(&mut self, done: BanExchanged, cx: &mut Cx<'_>) {
        self.moderation.end_exchange();
        match done {
            BanExchanged::Export { conn, plain, text } => self.exported(conn, plain, text, cx),
            BanExchanged::Import { conn, bans } => self.imported(conn, bans, cx),
        }
    }

    fn exported(&mut self, conn: ConnId, plain: bool, text: Result<String, ExchangeError>, cx: &mut Cx<'_>) {
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
                    format!("Exported {kind} bans from session {}", self.properties.id()),
                    cx,
                );
                cx.direct(conn, frame.into_bytes());
            }
            Err(error) => self.reply_to(conn, &ServerReply::BanImpEx(error.into_reply()), cx),
        }
    }

    fn imported(&mut self, conn: ConnId, bans: Result<Vec<StoredBan>, ExchangeError>, cx: &mut Cx<'_>) {
        let Some(key) = self.members.key_of(conn) else { return };
        let Some(member) = self.members.get(key) else { return };
        if !member.is_operator() {
            return self.refuse(key, "import-bans", "Not a session owner", cx);
        }
        let banner = member.client.identity.clone();
        let reply = match bans {
            Ok(bans) => {
                let (imported, total) = self.moderation.bans.import(bans, &banner);
                if imported > 0 {
                    self.send_list(List::Bans, cx);
                }
                let text = format!("Imported {imported}/{total} bans into session {}", self.properties.id());
                self.log_exchange(key, text, cx);
                BanImpEx { imported: Some(imported), total: Some(total), ..BanImpEx::default() }
            }
            Err(error) => error.into_reply(),
        };
        self.reply_to(conn, &ServerReply::BanImpEx(reply), cx);
    }

    /// Logs for the server only; session members do not see it.
    fn log_exchange(&self, key: MemberKey, text: String, cx: &mut Cx<'_>) {
        if let Some(member) = self.members.get(key) {
            cx.log(LogEntry::new(cx.now, Level::Info, Topic::BanImpEx, text).about(member.log_user()));
        }
    }
}
