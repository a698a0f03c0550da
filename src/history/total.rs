//! How much the histories of all sessions of a server hold together (`totalHistoryLimit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Counts {
    used: AtomicU64,
    limit: AtomicU64,
}

/// The bytes of all histories, in memory or in files only, and how many there may be.
#[derive(Debug, Clone, Default)]
pub struct HistoryTotal(Arc<Counts>);

impl HistoryTotal {
    /// Sets the limit in bytes, 0 for none.
    pub fn set_limit(&self, bytes: u64) {
        self.0.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all histories.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether there is no space for anything that draws. What was on its way when the limit was reached still gets in:
    /// one input of each session at most.
    pub fn is_full(&self) -> bool {
        let limit = self.0.limit.load(Ordering::Relaxed);
        limit > 0 && self.used() >= limit
    }

    /// What one session holds of it: nothing yet.
    pub fn share(&self) -> HistoryShare {
        HistoryShare { total: self.clone(), bytes: 0 }
    }
}

/// What the history of one session holds of the total; given back when this is dropped.
#[derive(Debug)]
pub struct HistoryShare {
    total: HistoryTotal,
    bytes: u64,
}

impl HistoryShare {
    /// The history has so many bytes now.
    pub fn set(&mut self, bytes: u64) {
        let used = &self.total.0.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Whether the server has no space for more.
    pub fn is_server_full(&self) -> bool {
        self.total.is_full()
    }
}

impl Drop for HistoryShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_the_space_and_give_it_back() {
        let total = HistoryTotal::default();
        let (mut one, mut other) = (total.share(), total.share());
        one.set(60);
        other.set(30);
        assert!(!total.is_full(), "there is no limit");
        total.set_limit(100);
        assert_eq!((total.used(), total.is_full()), (90, false));
        other.set(40);
        assert!(one.is_server_full());
        one.set(10);
        assert_eq!((total.used(), total.is_full()), (50, false));
        drop(other);
        assert_eq!(total.used(), 10);
        drop(one);
        assert_eq!(total.used(), 0);
    }
}
