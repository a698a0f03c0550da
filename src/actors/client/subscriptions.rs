//! Subscriptions of a worker thread to histories: a session wakes each worker once, not every client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::history::{Cursor, Subscription};

/// A worker's subscription to one history, and the writers that it wakes.
struct WorkerSubscription {
    subscription: Arc<Subscription>,
    /// Wakes the writers of readers.
    wakes: RefCell<Vec<Weak<Notify>>>,
}

/// Subscriptions of one worker, by the id of the history.
#[derive(Clone, Default)]
pub(super) struct Subscriptions(Rc<RefCell<HashMap<u64, Rc<WorkerSubscription>>>>);

impl Subscriptions {
    /// Wakes a client for new messages in the history of this cursor.
    pub(super) fn attach(&self, wake: &Rc<Notify>, cursor: &Cursor) {
        let log = cursor.log_id();
        let mut subscriptions = self.0.borrow_mut();
        let subscribed = subscriptions.entry(log).or_insert_with(|| {
            let subscribed =
                Rc::new(WorkerSubscription { subscription: cursor.subscribe(), wakes: RefCell::default() });
            actix_rt::spawn(self.clone().listen(log, subscribed.clone()));
            subscribed
        });
        subscribed.wakes.borrow_mut().push(Rc::downgrade(wake));
    }

    /// Removes a client; the last one ends the subscription.
    pub(super) fn detach(&self, wake: &Rc<Notify>, cursor: &Cursor) {
        let mut subscriptions = self.0.borrow_mut();
        let Some(subscribed) = subscriptions.get(&cursor.log_id()) else { return };
        subscribed
            .wakes
            .borrow_mut()
            .retain(|w| w.strong_count() > 0 && !std::ptr::eq(w.as_ptr(), Rc::as_ptr(wake)));
        if subscribed.wakes.borrow().is_empty() {
            cursor.unsubscribe(&subscribed.subscription);
            subscriptions.remove(&cursor.log_id());
        }
    }

    /// Forwards notifications until the history is dropped or has no readers.
    async fn listen(self, log: u64, subscribed: Rc<WorkerSubscription>) {
        while subscribed.subscription.published().await {
            for wake in subscribed.wakes.borrow().iter().filter_map(Weak::upgrade) {
                wake.notify_one();
            }
        }
        let mut subscriptions = self.0.borrow_mut();
        if subscriptions.get(&log).is_some_and(|current| Rc::ptr_eq(current, &subscribed)) {
            subscriptions.remove(&log);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::actors::client::outbox::Outbox;
    use crate::history::History;

    fn history() -> History {
        let mut history = History::default();
        history.set_publishing(true);
        history
    }

    fn count(subscriptions: &Subscriptions) -> usize {
        subscriptions.0.borrow().len()
    }

    /// Lets tasks of this thread run that can.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// What happens to sessions (by number) and to clients, whose writers may be blocked when they go.
    #[derive(Debug, Clone)]
    enum Step {
        Begin(usize),
        End(usize),
        Join(usize, usize),
        Take(usize),
        Leave(usize),
        Publish(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (log, client) = (|| 0usize..3, || 0usize..5);
        prop_oneof![
            2 => log().prop_map(Step::Begin),
            1 => log().prop_map(Step::End),
            4 => (client(), log()).prop_map(|(client, log)| Step::Join(client, log)),
            2 => client().prop_map(Step::Take),
            2 => client().prop_map(Step::Leave),
            4 => log().prop_map(Step::Publish),
        ]
    }

    struct Reader {
        log: usize,
        outbox: Outbox,
        wake: Rc<Notify>,
    }

    #[derive(Default)]
    struct Model {
        subscriptions: Subscriptions,
        logs: [Option<History>; 3],
        readers: [Option<Reader>; 5],
    }

    impl Model {
        fn leave(&mut self, client: usize) {
            let Some(mut reader) = self.readers[client].take() else { return };
            if let Some(cursor) = reader.outbox.detach() {
                self.subscriptions.detach(&reader.wake, &cursor);
            }
        }

        async fn step(&mut self, step: &Step) {
            match *step {
                Step::Begin(log) => {
                    self.logs[log].get_or_insert_with(history);
                }
                Step::End(log) => {
                    self.logs[log] = None;
                    settle().await;
                    let of_log = |r: &Option<Reader>| r.as_ref().is_some_and(|r| r.log == log);
                    let clients: Vec<usize> = (0..5).filter(|c| of_log(&self.readers[*c])).collect();
                    clients.into_iter().for_each(|client| self.leave(client));
                }
                Step::Join(client, log) if self.readers[client].is_none() => {
                    let Some(history) = &self.logs[log] else { return };
                    let mut reader = Reader { log, outbox: Outbox::default(), wake: Rc::new(Notify::new()) };
                    let cursor = history.cursor(i64::MIN);
                    self.subscriptions.attach(&reader.wake, &cursor);
                    reader.outbox.attach(cursor);
                    self.readers[client] = Some(reader);
                }
                Step::Join(..) => {}
                Step::Take(client) => {
                    if let Some(reader) = &mut self.readers[client] {
                        reader.outbox.gather(1000, &mut Vec::new());
                    }
                }
                Step::Leave(client) => self.leave(client),
                Step::Publish(log) => self.publish(log).await,
            }
        }

        async fn publish(&mut self, log: usize) {
            settle().await;
            let readers: Vec<&Reader> = self.readers.iter().flatten().filter(|r| r.log == log).collect();
            for reader in &readers {
                // What is left of what happened before does not count.
                is_woken(&reader.wake);
            }
            let Some(history) = &mut self.logs[log] else { return };
            history.append(&[0, 0, 148, 1], 1).unwrap();
            history.publish();
            settle().await;
            assert!(readers.iter().all(|reader| is_woken(&reader.wake)), "everybody is told");
        }
    }

    fn is_woken(wake: &Notify) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(wake.notified()).as_mut().poll(&mut context).is_ready()
    }

    proptest! {
        /// Whoever comes, goes and is blocked, in whatever order: who reads a history is told of what is new in it.
        #[test]
        fn readers_of_a_history_are_woken(steps in prop::collection::vec(step(), 1..60)) {
            actix_rt::System::new().block_on(async {
                let mut model = Model::default();
                for step in &steps {
                    model.step(step).await;
                }
                settle().await;
                let logs: std::collections::HashSet<usize> =
                    model.readers.iter().flatten().map(|reader| reader.log).collect();
                assert_eq!(count(&model.subscriptions), logs.len(), "nothing is left of those who have gone");
            });
        }
    }

    #[actix_rt::test]
    async fn leaving_before_the_history_begins_leaves_nothing_behind() {
        let (subscriptions, history, wake) = (Subscriptions::default(), history(), Rc::new(Notify::new()));
        let (mut outbox, cursor) = (Outbox::default(), history.cursor(i64::MIN));
        subscriptions.attach(&wake, &cursor);
        // The peer takes nothing: what was queued stays there until the connection is cut.
        outbox.attach(cursor);
        let cursor = outbox.detach().expect("the cursor that was to follow");
        subscriptions.detach(&wake, &cursor);
        assert_eq!(count(&subscriptions), 0);
    }

    #[actix_rt::test]
    async fn a_subscription_ends_with_the_history() {
        let (subscriptions, history, wake) = (Subscriptions::default(), history(), Rc::new(Notify::new()));
        let cursor = history.cursor(i64::MIN);
        subscriptions.attach(&wake, &cursor);
        // Whoever it was for has vanished without a word.
        drop((history, cursor));
        settle().await;
        assert_eq!(count(&subscriptions), 0);
    }

    #[actix_rt::test]
    async fn later_subscriptions_work_after_earlier_ones_end() {
        let (subscriptions, wake) = (Subscriptions::default(), Rc::new(Notify::new()));
        for _ in 0..100 {
            let gone = history();
            subscriptions.attach(&Rc::new(Notify::new()), &gone.cursor(i64::MIN));
            drop(gone);
            settle().await;
            let mut history = history();
            let cursor = history.cursor(i64::MIN);
            subscriptions.attach(&wake, &cursor);
            settle().await;
            history.append(&[0, 0, 148, 1], 1).unwrap();
            history.publish();
            settle().await;
            assert!(is_woken(&wake));
            subscriptions.detach(&wake, &cursor);
        }
        assert_eq!(count(&subscriptions), 0);
    }

    #[actix_rt::test]
    async fn dropped_clients_are_removed_with_the_next_detach() {
        let (subscriptions, history) = (Subscriptions::default(), history());
        let (vanished, wake) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let cursor = history.cursor(i64::MIN);
        subscriptions.attach(&vanished, &cursor);
        subscriptions.attach(&wake, &cursor);
        drop(vanished);
        subscriptions.detach(&wake, &cursor);
        assert_eq!(count(&subscriptions), 0);
    }
}
