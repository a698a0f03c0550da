//! Who of one worker is to hear of what enters a session's history: the session wakes each worker once, not every client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::history::{Cursor, Watcher};

/// The subscription of one worker to a history, and who is woken by it.
struct Relay {
    watcher: Arc<Watcher>,
    /// What wakes the writers of those who read the history.
    wakes: RefCell<Vec<Weak<Notify>>>,
}

/// The subscriptions of one worker, by the history that they are to.
#[derive(Clone, Default)]
pub(super) struct Relays(Rc<RefCell<HashMap<u64, Rc<Relay>>>>);

impl Relays {
    /// Has a client woken by what enters the history that a cursor reads.
    pub(super) fn attach(&self, wake: &Rc<Notify>, cursor: &Cursor) {
        let log = cursor.log_id();
        let mut relays = self.0.borrow_mut();
        let relay = relays.entry(log).or_insert_with(|| {
            let relay = Rc::new(Relay { watcher: cursor.watch(), wakes: RefCell::default() });
            actix_rt::spawn(self.clone().listen(log, relay.clone()));
            relay
        });
        relay.wakes.borrow_mut().push(Rc::downgrade(wake));
    }

    /// A client reads with this cursor no more. The last one ends the subscription.
    pub(super) fn detach(&self, wake: &Rc<Notify>, cursor: &Cursor) {
        let mut relays = self.0.borrow_mut();
        let Some(relay) = relays.get(&cursor.log_id()) else { return };
        relay
            .wakes
            .borrow_mut()
            .retain(|w| w.strong_count() > 0 && !std::ptr::eq(w.as_ptr(), Rc::as_ptr(wake)));
        if relay.wakes.borrow().is_empty() {
            cursor.unwatch(&relay.watcher);
            relays.remove(&cursor.log_id());
        }
    }

    /// Passes on what is heard until the history is gone, or nobody reads it any more.
    async fn listen(self, log: u64, relay: Rc<Relay>) {
        while relay.watcher.published().await {
            for wake in relay.wakes.borrow().iter().filter_map(Weak::upgrade) {
                wake.notify_one();
            }
        }
        let mut relays = self.0.borrow_mut();
        if relays.get(&log).is_some_and(|current| Rc::ptr_eq(current, &relay)) {
            relays.remove(&log);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::outbox::Outbox;
    use crate::history::History;

    fn history() -> History {
        let mut history = History::default();
        history.set_open(true);
        history
    }

    fn count(relays: &Relays) -> usize {
        relays.0.borrow().len()
    }

    /// Lets tasks of this thread run that can.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[actix_rt::test]
    async fn who_goes_before_its_history_was_begun_leaves_nothing_behind() {
        let (relays, history, wake) = (Relays::default(), history(), Rc::new(Notify::new()));
        let (mut outbox, cursor) = (Outbox::default(), history.cursor(i64::MIN));
        relays.attach(&wake, &cursor);
        // The peer takes nothing: what was queued stays there until the connection is cut.
        outbox.attach(cursor);
        let cursor = outbox.detach().expect("the cursor that was to follow");
        relays.detach(&wake, &cursor);
        assert_eq!(count(&relays), 0);
    }

    #[actix_rt::test]
    async fn a_subscription_ends_with_the_history() {
        let (relays, history, wake) = (Relays::default(), history(), Rc::new(Notify::new()));
        let cursor = history.cursor(i64::MIN);
        relays.attach(&wake, &cursor);
        // Whoever it was for has vanished without a word.
        drop((history, cursor));
        settle().await;
        assert_eq!(count(&relays), 0);
    }

    #[actix_rt::test]
    async fn later_histories_are_heard_whatever_happened_before() {
        let (relays, wake) = (Relays::default(), Rc::new(Notify::new()));
        for _ in 0..100 {
            let gone = history();
            relays.attach(&Rc::new(Notify::new()), &gone.cursor(i64::MIN));
            drop(gone);
            settle().await;
            let mut history = history();
            let cursor = history.cursor(i64::MIN);
            relays.attach(&wake, &cursor);
            settle().await;
            history.append(&[0, 0, 148, 1], 1).unwrap();
            history.publish();
            settle().await;
            let mut notified = std::pin::pin!(wake.notified());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(notified.as_mut().poll(&mut context).is_ready());
            relays.detach(&wake, &cursor);
        }
        assert_eq!(count(&relays), 0);
    }

    #[actix_rt::test]
    async fn those_who_vanished_are_forgotten_with_the_next_who_goes() {
        let (relays, history) = (Relays::default(), history());
        let (vanished, wake) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let cursor = history.cursor(i64::MIN);
        relays.attach(&vanished, &cursor);
        relays.attach(&wake, &cursor);
        drop(vanished);
        relays.detach(&wake, &cursor);
        assert_eq!(count(&relays), 0);
    }
}
