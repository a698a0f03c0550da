//! Somebody who waits to be let into a session.

use std::sync::Arc;

use actix::prelude::*;

use super::persist::cannot_store;
use crate::client::actor::{Client, Deliver};
use crate::client::in_flight::InFlightBudget;
use crate::session::{ClientOp, Refusal};

/// A client that waits to be let into a session. It is answered whatever becomes of the session, the actors and the
/// mailboxes in between: when this is dropped before it was answered, it is refused.
pub struct PendingEntry {
    client: Addr<Client>,
    in_flight_budget: Arc<InFlightBudget>,
    /// What it is told if nobody else answers it; nothing once somebody has.
    otherwise: Option<Refusal>,
}

impl PendingEntry {
    /// Somebody wants to join.
    pub fn to_join(client: Addr<Client>, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, otherwise: Some(Refusal::not_found()) }
    }

    /// Somebody hosts.
    pub fn to_host(client: Addr<Client>, in_flight_budget: Arc<InFlightBudget>) -> PendingEntry {
        PendingEntry { client, in_flight_budget, otherwise: Some(cannot_store()) }
    }

    /// Refuses it.
    pub fn refuse(mut self, refusal: Refusal) {
        self.otherwise = Some(refusal);
    }

    /// It has its answer.
    pub(super) fn answered(&mut self) {
        self.otherwise = None;
    }

    /// Whether it still waits.
    pub(super) fn waits(&self) -> bool {
        self.otherwise.is_some()
    }

    /// The client.
    pub(super) fn client(&self) -> &Addr<Client> {
        &self.client
    }

    /// Account of what is on its way from it.
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
