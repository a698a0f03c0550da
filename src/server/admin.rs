//! What the admin API asks the server.

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::oneshot;

use super::directory::{Entry, Waiter};
use super::{Place, Server};
use crate::client::actor::Client;
use crate::session::ConnId;
use crate::session::actor::{Administer, Session};
use crate::session::admin::AdminRequest;

/// Descriptions of all sessions and templates.
#[derive(Message)]
#[rtype(result = "Vec<Value>")]
pub struct ListSessions {
    /// Without those that lists do not show.
    pub listed_only: bool,
}

impl Handler<ListSessions> for Server {
    type Result = Vec<Value>;

    fn handle(&mut self, ListSessions { listed_only }: ListSessions, _: &mut Self::Context) -> Self::Result {
        let templates = self.listed_templates(!listed_only);
        let shown = self.directory.entries().filter(|e| !listed_only || !e.unlisted());
        let texts = shown.map(Entry::json).chain(templates.iter().map(String::as_str));
        // They were written here.
        texts.filter_map(|text| serde_json::from_str(text).ok()).collect()
    }
}

/// A message and an alert to everybody in every session.
#[derive(Message)]
#[rtype(result = "()")]
pub struct TellSessions {
    /// Shown in the chat, empty for none.
    pub message: String,
    /// Shown in a box, empty for none.
    pub alert: String,
}

impl Handler<TellSessions> for Server {
    type Result = ();

    fn handle(&mut self, TellSessions { message, alert }: TellSessions, _: &mut Self::Context) {
        for session in self.directory.entries().filter_map(Entry::address) {
            let (message, alert) = (message.clone(), alert.clone());
            session.do_send(Administer(AdminRequest::Tell { message, alert }));
        }
    }
}

/// The actor of a session, by id or alias, loaded if need be. Templates are left alone.
#[derive(Message)]
#[rtype(result = "Option<Addr<Session>>")]
pub struct FindAwake {
    /// Id or alias.
    pub name: String,
}

impl Handler<FindAwake> for Server {
    type Result = ResponseFuture<Option<Addr<Session>>>;

    fn handle(&mut self, FindAwake { name }: FindAwake, ctx: &mut Self::Context) -> Self::Result {
        let Some(entry) = self.directory.find(&name) else { return Box::pin(async { None }) };
        if let Place::Awake(address) = &entry.place {
            let address = address.clone();
            return Box::pin(async { Some(address) });
        }
        let (tell, told) = oneshot::channel();
        let waiter: Waiter = Box::new(move |address| {
            // Whoever asked may have gone.
            let _ = tell.send(address.cloned());
        });
        self.with_session(&name, waiter, ctx);
        Box::pin(async { told.await.ok().flatten() })
    }
}

/// All connections.
#[derive(Message)]
#[rtype(result = "Vec<(ConnId, Addr<Client>)>")]
pub struct ListClients;

impl Handler<ListClients> for Server {
    type Result = Vec<(ConnId, Addr<Client>)>;

    fn handle(&mut self, _: ListClients, _: &mut Self::Context) -> Self::Result {
        let mut clients: Vec<_> =
            self.connections.iter().map(|(conn, c)| (*conn, c.client.clone())).collect();
        clients.sort_by_key(|(conn, _)| *conn);
        clients
    }
}
