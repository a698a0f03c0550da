//! Command `lookup`: the client's intention, before it logs in. Source: docs/spec/login.md#lookup.

use drawhall_protocol::command::Lookup;
use drawhall_protocol::reply::{ResultReply, SessionDescription};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoginCx, LoginEffect, LoginMachine, LoginState, LookedUp, PendingAnswer};
use crate::rules::session::Refusal;

/// Result of a look-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LookupAnswer {
    /// No such session.
    NotFound,
    /// The invite is not valid.
    Refused(Refusal),
    /// A session.
    Found(Box<SessionDescription>),
    /// A template, from which a session with this id will be created.
    Template {
        /// Id of that session.
        id: String,
        /// Description for session lists.
        description: Value,
    },
}

impl LoginMachine {
    pub(super) fn lookup(&mut self, lookup: Lookup, cx: &mut LoginCx<'_>) {
        if self.lookup.is_some() {
            return self.lookup_again(cx);
        }
        match lookup {
            Lookup::Host { .. } => self.nothing_looked_up("Host lookup OK!", "host", cx),
            Lookup::Join { session, .. } if session.is_empty() => {
                if self.rules.settings().mandatory_lookup {
                    let text = "This server only allows joining sessions through a direct link.";
                    return self.fail("lookupRequired", text, cx);
                }
                self.nothing_looked_up("Empty join lookup OK!", "join", cx);
            }
            Lookup::Join { session, invite } => {
                let sid = self.client.identity.sid.clone();
                self.waiting = Some(PendingAnswer::Lookup { invite: invite.clone() });
                cx.push(LoginEffect::LookUp { session, invite, sid });
            }
        }
    }

    pub(super) fn lookup_again(&mut self, cx: &mut LoginCx<'_>) {
        self.fail("lookupAlreadyDone", "Session lookup already done", cx);
    }

    fn nothing_looked_up(&mut self, message: &str, lookup: &str, cx: &mut LoginCx<'_>) {
        self.lookup = Some(LookedUp::Nothing);
        self.state = LoginState::WaitForIdent;
        let (message, lookup) = (message.into(), lookup.into());
        self.send_result(ResultReply { message, lookup, ..ResultReply::default() }, cx);
    }

    /// Answer to [`LoginEffect::LookUp`].
    pub(super) fn looked_up(&mut self, answer: LookupAnswer, cx: &mut LoginCx<'_>) {
        let Some(PendingAnswer::Lookup { invite }) = self.waiting.take() else { return };
        match answer {
            LookupAnswer::NotFound => {
                let text = "Session not found, it may have ended or its invite link has changed";
                self.fail("lookupFailed", text, cx);
            }
            LookupAnswer::Refused(Refusal::Error { code, message }) => self.fail(code, &message, cx),
            LookupAnswer::Refused(_) => self.fail("lookupFailed", "Session not found", cx),
            LookupAnswer::Found(session) => {
                let description = serde_json::to_value(&session).unwrap_or_default();
                self.found(session.id, description, invite, cx);
            }
            LookupAnswer::Template { id, mut description } => {
                description["id"] = id.as_str().into();
                self.found(id, description, invite, cx);
            }
        }
    }

    fn found(&mut self, id: String, description: Value, invite: String, cx: &mut LoginCx<'_>) {
        self.lookup = Some(LookedUp::Session { id, invite });
        self.state = LoginState::WaitForIdent;
        let result = ResultReply {
            message: "Join lookup OK!".into(),
            lookup: "join".into(),
            session: Some(description),
            ..ResultReply::default()
        };
        self.send_result(result, cx);
    }
}
