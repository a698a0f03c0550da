//! A client that waits to enter a session.

use std::sync::Arc;

use actix::prelude::*;

use super::persist::cannot_store;
use crate::actors::client::actor::{Client, Deliver};
use crate::actors::client::in_flight::InFlightBudget;
use crate::rules::session::{ClientOp, Refusal};

/// A client that waits to enter a session. It gets an answer whatever happens to the session, actors and mailboxes in
/// between: dropping this unanswered refuses the client.
pub struct PendingEntry {
    client: Addr<Client>,
    in_flight_budget: Arc<InFlightBudget>,
    /// Refusal when dropped; `None` once answered.
    otherwise: Option<Refusal>,
}

impl PendingEntry {
    /// A client that joins; dropped, it is told that the session does not exist.
    pub fn to_join(client: Addr<Client>, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, otherwise: Some(Refusal::not_found()) }
    }

    /// A client that hosts; dropped, it is told that the session cannot be stored.
    pub fn to_host(client: Addr<Client>, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, otherwise: Some(cannot_store()) }
    }

    /// Answers the client with a refusal.
    pub fn refuse(mut self, refusal: Refusal) {
        self.otherwise = Some(refusal);
    }

    /// The client has got its answer.
    pub(super) fn answered(&mut self) {
        self.otherwise = None;
    }

    /// Whether it is still unanswered.
    pub(super) fn waits(&self) -> bool {
        self.otherwise.is_some()
    }

    pub(super) fn client(&self) -> &Addr<Client> {
        &self.client
    }

    /// Budget of the client's in-flight messages.
    pub(super) fn in_flight_budget(&self) -> &InFlightBudget {
        &self.in_flight_budget
    }
}

impl Drop for PendingEntry {
    fn drop(&mut self) {
        if let Some(refusal) = self.otherwise.take() {
            self.client.do_send(Deliver { ops: vec![ClientOp::Refused(refusal)], session: None });
        }
    }
}
