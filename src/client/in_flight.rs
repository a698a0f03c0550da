//! What is on its way from a client to its session.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that a session may not have handled yet before reading from the client waits.
const MAX_IN_FLIGHT: usize = 512 << 10;
/// What a batch costs at least of that, for what it takes besides its bytes.
const MIN_BATCH_COST: usize = 1 << 10;

/// Bytes on their way from a client to its session.
#[derive(Debug, Default)]
pub struct InFlightBudget {
    in_flight: AtomicUsize,
    waiting: AtomicBool,
}

impl InFlightBudget {
    /// What a batch costs.
    pub fn cost(batch: &[u8]) -> usize {
        batch.len().max(MIN_BATCH_COST)
    }

    /// Whether the client waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Takes a batch on its way; returns whether the client has to wait.
    pub(super) fn acquire(&self, cost: usize) -> bool {
        if self.in_flight.fetch_add(cost, Ordering::SeqCst) + cost < MAX_IN_FLIGHT {
            return false;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // The session may have handled everything between the two.
        self.in_flight.load(Ordering::SeqCst) >= MAX_IN_FLIGHT / 2
            || !self.waiting.swap(false, Ordering::SeqCst)
    }

    /// A batch was handled; returns whether the client waits and is to be told.
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
        assert!(!in_flight_budget.acquire(InFlightBudget::cost(&[0; 4])));
        assert!(in_flight_budget.acquire(MAX_IN_FLIGHT));
        assert!(in_flight_budget.release(MAX_IN_FLIGHT), "it waits and is told");
        assert!(!in_flight_budget.release(MIN_BATCH_COST), "it does not wait any more");
    }
}
