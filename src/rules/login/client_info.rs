//! `cinfo`: what a client says about itself, and bans that depend on it.

use drawhall_protocol::command::ClientInfo;
use drawhall_protocol::reply::{ClientInfoResult, ResultReply};

use super::{LoginCx, LoginEffect, LoginMachine, LoginState};
use crate::config::bans::BanAction;
use crate::log::{Level, Topic};

impl LoginMachine {
    pub(super) fn client_info(&mut self, host: &str, info: ClientInfo, cx: &mut LoginCx<'_>) {
        if self.info.is_some() {
            return self.fail("cinfoAlreadyDone", "Client info already done", cx);
        }
        // The client has not identified itself: the system id is logged at debug level only.
        self.log_client_info(Level::Debug, &info, cx);
        if !begins_with_version(&info.app_version) {
            return self.fail("badversion", "Invalid client version", cx);
        }
        if !self.system_id(&info.s, true, cx) {
            return;
        }
        let expected = &self.rules.local_host;
        if !expected.is_empty() && !expected.eq_ignore_ascii_case(host) {
            let required = self.rules.settings().require_matching_host;
            let level = if required { Level::Error } else { Level::Warn };
            let text = format!("Client host name '{host}' is not our host name '{expected}'");
            cx.push(LoginEffect::Log(level, Topic::RuleBreak, text));
            if required {
                return self.fail("mismatchedHostName", "Invalid host name.", cx);
            }
        }
        if self.state == LoginState::WaitForClientInfo {
            self.state = self.state_before_ident();
        }
        self.info = Some(info);
        let browser = self.client.browser;
        let result = ResultReply {
            message: "Client info OK!".into(),
            cinfo: Some(ClientInfoResult { browser }),
            ..ResultReply::default()
        };
        self.send_result(result, cx);
    }

    pub(super) fn log_client_info(&self, level: Level, info: &ClientInfo, cx: &mut LoginCx<'_>) {
        let mut object = serde_json::to_value(info).unwrap_or_default();
        let identity = &self.client.identity;
        object["address"] = identity.address.map_or(String::new(), |a| a.to_string()).into();
        if !identity.auth_id.is_empty() {
            object["auth_id"] = identity.auth_id.as_str().into();
        }
        cx.push(LoginEffect::Log(level, Topic::ClientInfo, object.to_string()));
    }

    /// Whether the client reports the same as in `cinfo`.
    pub(super) fn same_info(&mut self, info: &ClientInfo, cx: &mut LoginCx<'_>) -> bool {
        self.log_client_info(Level::Info, info, cx);
        let same = self.info.as_ref().is_none_or(|earlier| earlier == info);
        if !same {
            self.invalid("Mismatched client info", "mismatched client info", cx);
        }
        same
    }

    /// Sets the system id and checks its bans. Returns whether the login continues.
    pub(super) fn system_id(&mut self, sid: &str, required: bool, cx: &mut LoginCx<'_>) -> bool {
        self.client.identity.sid = sid.to_owned();
        if sid.is_empty() {
            if required {
                self.invalid("Missing required client info", "missing required client info", cx);
            }
            return !required;
        }
        let (first, second) = sid.split_once('/').map_or((sid, None), |(a, b)| (a, Some(b)));
        let valid = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !valid(first) || !second.is_none_or(valid) {
            self.invalid(&format!("Invalid client info {sid}"), "invalid client info", cx);
            return false;
        }
        if self.ban.is_none() {
            let ban = |id: &str| self.rules.system_ban(id);
            self.ban = ban(first).or_else(|| second.and_then(ban));
        }
        first.clone_into(&mut self.client.identity.sid);
        true
    }

    /// Applies a ban of the server. Returns whether the login is over.
    pub(super) fn trigger_ban(&mut self, early: bool, cx: &mut LoginCx<'_>) -> bool {
        let Some(terms) = self.ban.clone().filter(|_| !self.ban_triggered) else { return false };
        let reaction = terms.reaction;
        if early && (reaction == BanAction::Normal || cx.rng.next().is_multiple_of(2)) {
            return false;
        }
        self.ban_triggered = true;
        let text = format!("{} is banned ({reaction:?})", self.client.identity.name);
        cx.push(LoginEffect::Log(Level::Warn, Topic::Kick, text));
        let disconnect =
            |message: &str| LoginEffect::Disconnect { message: message.into(), details: "banned".into() };
        match reaction {
            BanAction::Normal => {
                let contact = &self.rules.settings().ban_contact;
                cx.push(disconnect(&terms.message(cx.connected_ms, contact)));
            }
            BanAction::NetError => cx.push(disconnect("Network error: no route to host")),
            BanAction::Garbage => {
                let (message, state) = ("check authentication".into(), "checkauth".into());
                self.send_result(ResultReply { message, state, ..ResultReply::default() }, cx);
            }
            BanAction::Hang => {}
            BanAction::Timer => {
                let delay = 1000 + cx.rng.next() % 4000;
                cx.push(LoginEffect::CutAfter(delay));
                return false;
            }
        }
        self.state = LoginState::Ignore;
        true
    }
}

/// Whether a text begins with three numbers separated by dots.
fn begins_with_version(text: &str) -> bool {
    let mut parts = text.splitn(3, '.');
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let digit = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    parts.next().is_some_and(number) && parts.next().is_some_and(number) && parts.next().is_some_and(digit)
}
