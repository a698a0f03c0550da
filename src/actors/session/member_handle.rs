//! A member as its session's actor has it.

use crate::actors::messages::{PendingEntry, ToClient};
use crate::rules::sighting::Sighting;

/// The actor's handle of a member's connection.
pub(super) struct MemberHandle {
    /// The client, waiting until it has joined or is refused.
    pub(super) entry: PendingEntry,
    /// In-flight cost of batches that the machine holds.
    pub(super) held: usize,
    /// In-flight cost of batches that wait for a write.
    pub(super) unstored: usize,
    /// What was recorded when it joined.
    pub(super) seen: Option<Box<Sighting>>,
}

impl MemberHandle {
    pub(super) fn new(entry: PendingEntry) -> MemberHandle {
        MemberHandle { entry, held: 0, unstored: 0, seen: None }
    }

    /// Releases in-flight cost, and resumes reading from the client if it was paused (back-pressure).
    pub(super) fn release(&self, cost: usize) {
        if cost > 0 && self.entry.in_flight_budget().release(cost) {
            self.entry.client().tell(ToClient::ReadOn);
        }
    }
}
