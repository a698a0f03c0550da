//! Command `lookup`: the client's intention, before it logs in. Source: docs/spec/login.md#lookup.

use drawhall_protocol::command::Lookup;
use drawhall_protocol::reply::{ResultReply, SessionDescription};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LoginEffect, LoginMachine, LoginState, LookedUp, PendingAnswer};
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
    pub(super) fn lookup(&mut self, lookup: Lookup, effects: &mut Vec<LoginEffect>) {
        if self.lookup.is_some() {
            return self.lookup_again(effects);
        }
        match lookup {
            Lookup::Host { .. } => self.nothing_looked_up("Host lookup OK!", "host", effects),
            Lookup::Join { session, .. } if session.is_empty() => {
                if self.rules.settings().mandatory_lookup {
                    let text = "This server only allows joining sessions through a direct link.";
                    return self.fail("lookupRequired", text, effects);
                }
                self.nothing_looked_up("Empty join lookup OK!", "join", effects);
            }
            Lookup::Join { session, invite } => {
                let sid = self.client.identity.sid.clone();
                self.waiting = Some(PendingAnswer::Lookup { invite: invite.clone() });
                effects.push(LoginEffect::LookUp { session, invite, sid });
            }
        }
    }

    pub(super) fn lookup_again(&mut self, effects: &mut Vec<LoginEffect>) {
        self.fail("lookupAlreadyDone", "Session lookup already done", effects);
    }

    fn nothing_looked_up(&mut self, message: &str, lookup: &str, effects: &mut Vec<LoginEffect>) {
        self.lookup = Some(LookedUp::Nothing);
        self.state = LoginState::WaitForIdent;
        let (message, lookup) = (message.into(), lookup.into());
        self.send_result(ResultReply { message, lookup, ..ResultReply::default() }, effects);
    }

    /// Answer to [`LoginEffect::LookUp`].
    pub fn looked_up(&mut self, answer: LookupAnswer) -> Vec<LoginEffect> {
        let mut effects = Vec::new();
        let Some(PendingAnswer::Lookup { invite }) = self.waiting.take() else { return effects };
        match answer {
            LookupAnswer::NotFound => {
                let text = "Session not found, it may have ended or its invite link has changed";
                self.fail("lookupFailed", text, &mut effects);
            }
            LookupAnswer::Refused(Refusal::Error { code, message }) => {
                self.fail(code, &message, &mut effects)
            }
            LookupAnswer::Refused(_) => self.fail("lookupFailed", "Session not found", &mut effects),
            LookupAnswer::Found(session) => {
                let description = serde_json::to_value(&session).unwrap_or_default();
                self.found(session.id, description, invite, &mut effects);
            }
            LookupAnswer::Template { id, mut description } => {
                description["id"] = id.as_str().into();
                self.found(id, description, invite, &mut effects);
            }
        }
        effects
    }

    fn found(&mut self, id: String, description: Value, invite: String, effects: &mut Vec<LoginEffect>) {
        self.lookup = Some(LookedUp::Session { id, invite });
        self.state = LoginState::WaitForIdent;
        let result = ResultReply {
            message: "Join lookup OK!".into(),
            lookup: "join".into(),
            session: Some(description),
            ..ResultReply::default()
        };
        self.send_result(result, effects);
    }
}
