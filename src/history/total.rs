//! Total size of the histories of all sessions of a server (`totalHistoryLimit`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
struct Counts {
    used: AtomicU64,
    limit: AtomicU64,
}

/// Total bytes of all histories, in memory or only in files, and their limit.
#[derive(Debug, Clone, Default)]
pub struct HistoryTotal(Arc<Counts>);

impl HistoryTotal {
    /// Sets the limit in bytes, 0 for none.
    pub fn set_limit(&self, bytes: u64) {
        self.0.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of all histories together.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether the limit is reached. A session learns of it with its next input, so each may exceed it by one input.
    pub fn is_full(&self) -> bool {
        let limit = self.0.limit.load(Ordering::Relaxed);
        limit > 0 && self.used() >= limit
    }

    /// Registers a session, with 0 bytes.
    pub fn share(&self) -> HistoryShare {
        HistoryShare { total: self.clone(), bytes: 0 }
    }

    /// Registers a session with a history of this size in bytes.
    pub fn share_of(&self, bytes: u64) -> HistoryShare {
        let mut share = self.share();
        share.set(bytes);
        share
    }
}

/// The bytes of one session's history within the total; subtracted when this is dropped.
#[derive(Debug)]
pub struct HistoryShare {
    total: HistoryTotal,
    bytes: u64,
}

impl HistoryShare {
    /// Sets the size of this session's history.
    pub fn set(&mut self, bytes: u64) {
        let used = &self.total.0.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// Whether the total has reached its limit.
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
    fn sessions_share_the_limit_and_return_their_share_when_dropped() {
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
