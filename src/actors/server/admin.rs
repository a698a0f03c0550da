//! Messages of the admin API to the Server actor.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::directory::{Missing, SessionEntry, Waiter};
use super::loading::emit;
use super::{Residency, Server};
use crate::actors::messages::{ClientHandle, SessionHandle, ToSession, notify};
use crate::rules::rng::Rng;
use crate::rules::session::PasswordKind;
use crate::rules::session::admin::{AdminError, AdminRequest};
use crate::rules::session::{ConnId, Cx, SessionMachine};
use crate::rules::template::{Messages, Template};
use crate::rules::time::Timestamp;
use crate::trace::Origin;

/// Asks for descriptions of all sessions and templates, as JSON.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub struct ListSessions {
    /// Without unlisted ones.
    pub listed_only: bool,
}

impl Handler<ListSessions> for Server {
    type Result = Vec<String>;

    fn handle(&mut self, ListSessions { listed_only }: ListSessions, _: &mut Self::Context) -> Self::Result {
        let shown = self.directory.entries().filter(|e| !listed_only || !e.unlisted());
        let sessions = shown.map(|e| if listed_only { e.json().to_owned() } else { e.json_for_admin() });
        sessions.chain(self.listed_templates(!listed_only)).collect()
    }
}

/// Sends a message and an alert to everybody in all sessions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TellSessions {
    /// Chat message, empty for none.
    pub message: String,
    /// Alert, empty for none.
    pub alert: String,
}

impl Handler<TellSessions> for Server {
    type Result = ();

    fn handle(&mut self, TellSessions { message, alert }: TellSessions, _: &mut Self::Context) {
        for session in self.directory.entries().filter_map(SessionEntry::address) {
            let (message, alert) = (message.clone(), alert.clone());
            let (unread, _) = oneshot::channel();
            session.tell(ToSession::Administer(AdminRequest::Tell { message, alert }, unread));
        }
    }
}

/// Asks to look again for stored sessions that could not be read, or were restored.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RelistSessions;

impl Handler<RelistSessions> for Server {
    type Result = ();

    fn handle(&mut self, _: RelistSessions, ctx: &mut Self::Context) {
        self.retry_unreadable(ctx);
    }
}

/// Asks for the actor of a session, which is loaded if necessary. Does not instantiate templates.
#[derive(Message)]
#[rtype(result = "Result<SessionHandle, AdminError>")]
pub struct FindActive {
    /// Id or alias.
    pub name: String,
}

impl Handler<FindActive> for Server {
    type Result = ResponseFuture<Result<SessionHandle, AdminError>>;

    fn handle(&mut self, FindActive { name }: FindActive, ctx: &mut Self::Context) -> Self::Result {
        let Some(entry) = self.directory.find(&name) else {
            return Box::pin(async { Err(AdminError::NotFound) });
        };
        match &entry.residency {
            Residency::Active(address) => {
                let address = address.clone();
                return Box::pin(async { Ok(address) });
            }
            Residency::Remote { node, .. } => {
                let error = AdminError::OnOtherServer(node.name.clone());
                return Box::pin(async { Err(error) });
            }
            Residency::Unloading(..) | Residency::Loading(_) | Residency::Stored(_) => {}
        }
        let (tell, told) = oneshot::channel();
        let waiter: Waiter = Box::new(move |address| {
            notify(tell, address.cloned());
        });
        self.with_session(&name, waiter, ctx);
        Box::pin(async { told.await.unwrap_or(Err(Missing::NotFound)).map_err(AdminError::from) })
    }
}

/// Asks for the actor of a session that is active; loads none.
#[derive(Message)]
#[rtype(result = "Option<SessionHandle>")]
pub struct FindRunning {
    /// Id or alias.
    pub name: String,
}

impl Handler<FindRunning> for Server {
    type Result = Option<SessionHandle>;

    fn handle(&mut self, FindRunning { name }: FindRunning, _: &mut Self::Context) -> Self::Result {
        self.directory.find(&name).and_then(SessionEntry::address).cloned()
    }
}

/// Creates a session without a host. Whoever joins first can become its operator.
#[derive(Message)]
#[rtype(result = "Result<String, AdminError>")]
pub struct MakeSession {
    /// Its settings, without passwords; the alias must be valid.
    pub template: Box<Template>,
    /// Passwords in clear text; their hashes are stored.
    pub passwords: Vec<(PasswordKind, String)>,
    /// Initial messages.
    pub messages: Messages,
}

impl Handler<MakeSession> for Server {
    type Result = Result<String, AdminError>;

    fn handle(&mut self, wanted: MakeSession, ctx: &mut Self::Context) -> Self::Result {
        let MakeSession { template, passwords, messages } = wanted;
        if self.refuses_sessions() {
            return Err(AdminError::Stopping);
        }
        if self.is_full() {
            return Err(AdminError::TooManySessions);
        }
        let alias = &template.alias;
        if !alias.is_empty() && (self.is_taken(alias) || self.templates.find(alias).is_some()) {
            return Err(AdminError::SessionExists(alias.clone()));
        }
        let (id, now, mut rng) = (super::new_session_id(), Timestamp::now(), Rng::unseeded());
        let mut cx = Cx::new(now, &mut rng);
        let shared = self.rules.shared.clone();
        let origin = self.if_traced(|| Origin::Made {
            template: template.clone(),
            messages: messages.clone(),
            passwords: passwords.clone(),
        });
        let mut machine = SessionMachine::from_template(shared, id.clone(), &template, messages, &mut cx);
        for (kind, password) in &passwords {
            machine.set_password(*kind, password);
        }
        emit(&cx.effects, &id);
        let begun = self.begin(machine, origin, None, now, ctx);
        begun.map(|_| id).ok_or(AdminError::NotCreated)
    }
}

/// Creates a session from the template of this alias, unless it exists.
#[derive(Message)]
#[rtype(result = "Result<SessionHandle, AdminError>")]
pub struct MakeFromTemplate {
    /// Alias of the template.
    pub alias: String,
}

impl Handler<MakeFromTemplate> for Server {
    type Result = ResponseFuture<Result<SessionHandle, AdminError>>;

    fn handle(
        &mut self,
        MakeFromTemplate { alias }: MakeFromTemplate,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let refused = if self.directory.find(&alias).is_some() {
            Some(AdminError::SessionExists(alias.clone()))
        } else if self.templates.find(&alias).is_none() {
            Some(AdminError::NoTemplate(alias.clone()))
        } else {
            None
        };
        if let Some(error) = refused {
            return Box::pin(async { Err(error) });
        }
        let (tell, told) = oneshot::channel();
        let waiter: Waiter = Box::new(move |address| {
            notify(tell, address.cloned());
        });
        self.with_template(&alias, waiter, ctx);
        Box::pin(
            async move { told.await.ok().and_then(Result::ok).ok_or(AdminError::NotCreatedFromTemplate) },
        )
    }
}

/// Asks for all connections.
#[derive(Message)]
#[rtype(result = "Vec<(ConnId, ClientHandle)>")]
pub struct ListClients;

impl Handler<ListClients> for Server {
    type Result = Vec<(ConnId, ClientHandle)>;

    fn handle(&mut self, _: ListClients, _: &mut Self::Context) -> Self::Result {
        let mut clients: Vec<_> =
            self.connections.iter().map(|(conn, c)| (*conn, c.client.clone())).collect();
        clients.sort_by_key(|(conn, _)| *conn);
        clients
    }
}
