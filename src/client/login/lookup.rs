//! `lookup`: what the client is about to do, before anything is known of it.

use drawhall_protocol::command::Lookup;
use drawhall_protocol::reply::{ResultReply, SessionDescription};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoginEffect, LoginMachine, LoginState, LookedUp, Waiting};
use crate::session::Refusal;

/// Answer to a look-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LookupAnswer {
    /// There is no such session.
    NotFound,
    /// The invite does not count.
    Refused(Refusal),
    /// This is the session.
    Found(Box<SessionDescription>),
    /// There is a template, from which a session of this id will be made.
    Template {
        /// The id.
        id: String,
        /// What lists show.
        description: Value,
    },
}

impl LoginMachine {
    pub(super) fn lookup(&mut self, lookup: Lookup, fx: &mut Vec<LoginEffect>) {
        if self.lookup.is_some() {
            return self.lookup_again(fx);
        }
        match lookup {
            Lookup::Host { .. } => self.nothing_looked_up("Host lookup OK!", "host", fx),
            Lookup::Join { session, .. } if session.is_empty() => {
                if self.rules.settings().mandatory_lookup {
                    let text = "This server only allows joining sessions through a direct link.";
                    return self.fail("lookupRequired", text, fx);
                }
                self.nothing_looked_up("Empty join lookup OK!", "join", fx);
            }
            Lookup::Join { session, invite } => {
                let sid = self.visitor.person.sid.clone();
                self.waiting = Some(Waiting::Lookup { invite: invite.clone() });
                fx.push(LoginEffect::LookUp { session, invite, sid });
            }
        }
    }

    pub(super) fn lookup_again(&mut self, fx: &mut Vec<LoginEffect>) {
        self.fail("lookupAlreadyDone", "Session lookup already done", fx);
    }

    fn nothing_looked_up(&mut self, message: &str, lookup: &str, fx: &mut Vec<LoginEffect>) {
        self.lookup = Some(LookedUp::Nothing);
        self.state = LoginState::WaitForIdent;
        let (message, lookup) = (message.into(), lookup.into());
        self.send_result(ResultReply { message, lookup, ..ResultReply::default() }, fx);
    }

    /// The answer to [`LoginEffect::LookUp`].
    pub fn looked_up(&mut self, answer: LookupAnswer) -> Vec<LoginEffect> {
        let mut fx = Vec::new();
        let Some(Waiting::Lookup { invite }) = self.waiting.take() else { return fx };
        match answer {
            LookupAnswer::NotFound => {
                let text = "Session not found, it may have ended or its invite link has changed";
                self.fail("lookupFailed", text, &mut fx);
            }
            LookupAnswer::Refused(Refusal::Error { code, message }) => self.fail(code, &message, &mut fx),
            LookupAnswer::Refused(_) => self.fail("lookupFailed", "Session not found", &mut fx),
            LookupAnswer::Found(session) => {
                let description = serde_json::to_value(&session).unwrap_or_default();
                self.found(session.id, description, invite, &mut fx);
            }
            LookupAnswer::Template { id, mut description } => {
                description["id"] = id.as_str().into();
                self.found(id, description, invite, &mut fx);
            }
        }
        fx
    }

    fn found(&mut self, id: String, description: Value, invite: String, fx: &mut Vec<LoginEffect>) {
        self.lookup = Some(LookedUp::Session { id, invite });
        self.state = LoginState::WaitForIdent;
        let result = ResultReply {
            message: "Join lookup OK!".into(),
            lookup: "join".into(),
            session: Some(description),
            ..ResultReply::default()
        };
        self.send_result(result, fx);
    }
}
