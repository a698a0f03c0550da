//! Back-pressure: bounds what is in flight from a client to its session. Without it a client that sends faster than
//! its session handles would fill memory (backpressure stops at the socket: reading pauses, TCP does the rest).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::rules::batch::Batch;

/// Bytes in flight at which reading from the client pauses; it resumes at half of that.
const MAX_IN_FLIGHT: usize = 512 << 10;
/// Minimum cost of a batch in bytes, for its overhead.
const MIN_BATCH_COST: usize = 1 << 10;

/// Bytes in flight from a client to its session: the back-pressure of one connection.
#[derive(Debug, Default)]
pub struct InFlightBudget {
    in_flight: AtomicUsize,
    waiting: AtomicBool,
}

impl InFlightBudget {
    /// Cost of a batch.
    pub fn cost(batch: &Batch) -> usize {
        batch.len().max(MIN_BATCH_COST)
    }

    /// Whether reading is paused.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Adds a batch; returns whether reading must pause.
    pub(super) fn acquire(&self, cost: usize) -> bool {
        if self.in_flight.fetch_add(cost, Ordering::SeqCst) + cost < MAX_IN_FLIGHT {
            return false;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // The session may have released everything between the two operations.
        self.in_flight.load(Ordering::SeqCst) >= MAX_IN_FLIGHT / 2
            || !self.waiting.swap(false, Ordering::SeqCst)
    }

    /// Releases a batch; returns whether reading is paused and must be resumed.
    pub fn release(&self, cost: usize) -> bool {
        let left = self.in_flight.fetch_sub(cost, Ordering::SeqCst) - cost;
        left < MAX_IN_FLIGHT / 2 && self.waiting.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_while_too_much_is_in_flight() {
        let in_flight_budget = InFlightBudget::default();
        assert!(!in_flight_budget.acquire(InFlightBudget::cost(&Batch::new(vec![0; 4]))));
        assert!(in_flight_budget.acquire(MAX_IN_FLIGHT));
        assert!(in_flight_budget.release(MAX_IN_FLIGHT), "it waits and is told");
        assert!(!in_flight_budget.release(MIN_BATCH_COST), "it does not wait any more");
    }
}
