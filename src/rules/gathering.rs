//! When a session sends: it gathers what comes from its clients for as long as that pays.
//!
//! Sending costs the same for one message as for many: a system call and a wake-up for each client. So a session waits
//! between two sendings for a multiple of what sending has cost it lately, and sending takes a bounded share of one core
//! (`SHARE_PERCENT`). With few clients there is hardly a delay; with many there is some, but never more than
//! `gatherTime`. When all sessions together keep the machine busy with sending, each of them gathers longer. A quiet
//! session sends at once.

/// Share of one core that sending may take for a session, in percent.
const SHARE_PERCENT: u64 = 15;
/// The same while an answer waits for which somebody has just asked, as to join: a login is several questions, one after
/// the other, and the wait would be added to each.
const ANSWER_SHARE_PERCENT: u64 = 60;
/// Weight of earlier sendings in the average cost, where the last one has 1.
const EARLIER: u64 = 3;
/// How late timers are on average, in microseconds: they count in milliseconds. A shorter wait is not worth one.
const TIMER_LATE_US: u64 = 700;
/// A session that has not sent for this long is quiet, in microseconds.
const QUIET_US: u64 = 100_000;
/// Part of the interval for which even the first message waits: others often come at the same time.
const SETTLE_DIVISOR: u64 = 3;
/// Share of all cores that sending takes for all sessions, in thousandths: up to the first, sessions do not mind one
/// another; from the second on they gather for as long as they may.
const BUSY_PERMILLE: std::ops::Range<u64> = 150..300;
/// How often that share is looked at, in microseconds.
const LOAD_INTERVAL_US: u64 = 50_000;

/// What waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// An answer to a client that has just asked.
    Answer,
    /// Messages of other clients only.
    Messages,
}

/// What was spent on sending, in nanoseconds of all threads together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// For this session since the last time.
    pub session_ns: u64,
    /// For all sessions since the server has started.
    pub server_ns: u64,
}

/// When a session has sent last, and what sending costs. Times are microseconds of a monotonic clock.
///
/// **Invariant:** the cost is at most that for which it waits the longest time, so that a single slow sending (a large
/// catch-up, a disk that was busy) is forgotten after a few more.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    cores: u64,
    /// `None` before it has sent.
    sent_at: Option<u64>,
    /// Average cost of a sending, in nanoseconds.
    cost_ns: u64,
    /// When the load was measured, and what the server had spent then.
    measured: (u64, u64),
    /// Share of all cores that sending takes for all sessions, in thousandths.
    load_permille: u64,
}

impl Gathering {
    /// A session on a machine with this number of cores, which has not sent yet. `server_ns` is what all sessions have
    /// spent so far.
    pub fn new(cores: usize, now_us: u64, server_ns: u64) -> Gathering {
        let cores = cores.max(1) as u64;
        Gathering { cores, sent_at: None, cost_ns: 0, measured: (now_us, server_ns), load_permille: 0 }
    }

    /// The session sends now. `max_us` is the longest time for which it may gather.
    pub fn sent(&mut self, now_us: u64, spent: Spent, max_us: u64) {
        self.sent_at = Some(now_us);
        let most = max_us * 1000 * SHARE_PERCENT / 100;
        self.cost_ns = (self.cost_ns * EARLIER + spent.session_ns.min(most)) / (EARLIER + 1);
        let (then_us, then_ns) = self.measured;
        let passed = now_us.saturating_sub(then_us);
        if passed >= LOAD_INTERVAL_US {
            self.load_permille = spent.server_ns.saturating_sub(then_ns) / passed / self.cores;
            self.measured = (now_us, spent.server_ns);
        }
    }

    /// For how long the session goes on gathering, in microseconds; 0 to send at once.
    pub fn wait_us(&self, now_us: u64, waiting: Waiting, max_us: u64) -> u64 {
        let Some(sent_at) = self.sent_at.filter(|at| now_us < at + QUIET_US) else { return 0 };
        let due = match waiting {
            Waiting::Answer => sent_at + self.interval(ANSWER_SHARE_PERCENT, max_us),
            Waiting::Messages => {
                let shortest = self.interval(SHARE_PERCENT, max_us);
                let interval = shortest + (max_us - shortest) * self.busy_permille() / 1000;
                (sent_at + interval).max(now_us + interval / SETTLE_DIVISOR)
            }
        };
        due.saturating_sub(now_us + TIMER_LATE_US)
    }

    /// Time between two sendings with which they take this share of a core, in microseconds.
    fn interval(&self, share_percent: u64, max_us: u64) -> u64 {
        (self.cost_ns / 10 / share_percent).min(max_us)
    }

    /// How far the load is from the lower to the upper end of [`BUSY_PERMILLE`], in thousandths.
    fn busy_permille(&self) -> u64 {
        let std::ops::Range { start, end } = BUSY_PERMILLE;
        (self.load_permille.clamp(start, end) - start) * 1000 / (end - start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_US: u64 = 3000;
    const BEGIN_US: u64 = 1_000_000;

    fn new() -> Gathering {
        Gathering::new(2, BEGIN_US, 0)
    }

    fn of_session(us: u64) -> Spent {
        Spent { session_ns: us * 1000, server_ns: 0 }
    }

    /// After many sendings that have cost this, in microseconds.
    fn after(cost_us: u64) -> Gathering {
        let mut gathering = new();
        (0..100).for_each(|_| gathering.sent(BEGIN_US, of_session(cost_us), MAX_US));
        gathering
    }

    fn wait(gathering: Gathering, waiting: Waiting) -> u64 {
        gathering.wait_us(BEGIN_US, waiting, MAX_US)
    }

    #[test]
    fn a_quiet_session_sends_at_once() {
        assert_eq!(wait(new(), Waiting::Messages), 0, "it has not sent yet");
        let wait_after = |us| after(450).wait_us(BEGIN_US + us, Waiting::Messages, MAX_US);
        assert_eq!((wait_after(QUIET_US - 1) > 0, wait_after(QUIET_US)), (true, 0));
    }

    #[test]
    fn the_more_sending_costs_the_longer_the_session_gathers() {
        for (cost_us, interval_us) in [(0, 0), (15, 100), (105, 700), (150, 1000), (300, 2000), (450, 3000)] {
            let expected = u64::saturating_sub(interval_us, TIMER_LATE_US);
            let waited = wait(after(cost_us), Waiting::Messages);
            assert!(waited.abs_diff(expected) <= 1, "{cost_us} µs: {waited} instead of {expected} µs");
        }
    }

    #[test]
    fn the_wait_has_an_upper_bound() {
        assert!(wait(after(1_000_000), Waiting::Messages) <= MAX_US - TIMER_LATE_US);
        let gathering = after(1_000_000);
        assert_eq!(gathering.wait_us(BEGIN_US, Waiting::Messages, 0), 0, "gatherTime is 0");
    }

    #[test]
    fn an_answer_waits_a_fourth_of_the_time() {
        assert_eq!(wait(after(400), Waiting::Answer), 0);
        assert!(wait(after(400), Waiting::Messages) > 1000);
    }

    #[test]
    fn what_has_passed_since_the_last_sending_counts() {
        let wait_after = |us| after(300).wait_us(BEGIN_US + us, Waiting::Messages, MAX_US);
        assert!(wait_after(500).abs_diff(800) <= 1);
        assert_eq!(wait_after(2000), 0);
    }

    #[test]
    fn where_the_interval_is_long_others_may_come_at_the_same_time() {
        let waited = after(450).wait_us(BEGIN_US + 10_000, Waiting::Messages, MAX_US);
        assert!(waited.abs_diff(MAX_US / SETTLE_DIVISOR - TIMER_LATE_US) <= 1, "{waited}");
    }

    #[test]
    fn one_slow_sending_is_soon_forgotten() {
        let mut gathering = after(10);
        gathering.sent(BEGIN_US, of_session(10_000_000), MAX_US);
        assert!(wait(gathering, Waiting::Messages) < 1000 - TIMER_LATE_US + 100);
        (0..5).for_each(|_| gathering.sent(BEGIN_US, of_session(10), MAX_US));
        assert_eq!(wait(gathering, Waiting::Messages), 0);
    }

    #[test]
    fn on_a_busy_machine_every_session_gathers_longer() {
        // Sending takes this share of two cores, in percent.
        for (load, interval_us) in [(0, 0), (15, 0), (30, MAX_US), (90, MAX_US)] {
            let mut gathering = new();
            let now = BEGIN_US + LOAD_INTERVAL_US;
            let server_ns = LOAD_INTERVAL_US * 1000 * 2 * load / 100;
            gathering.sent(now, Spent { session_ns: 0, server_ns }, MAX_US);
            let waited = gathering.wait_us(now, Waiting::Messages, MAX_US);
            assert_eq!(waited, interval_us.saturating_sub(TIMER_LATE_US), "{load} %");
            assert_eq!(gathering.wait_us(now, Waiting::Answer, MAX_US), 0);
            gathering.sent(now + LOAD_INTERVAL_US, Spent { session_ns: 0, server_ns }, MAX_US);
            assert_eq!(gathering.wait_us(now + LOAD_INTERVAL_US, Waiting::Messages, MAX_US), 0, "it is over");
        }
    }

    proptest! {
        /// Whatever comes when: sending takes no larger share of the time than it may, apart from the lateness of
        /// timers that is counted on, and nothing waits longer than allowed.
        #[test]
        fn sending_takes_a_bounded_share(cost_us in 120u64..450, steps in prop::collection::vec(0u64..300, 500)) {
            let mut gathering = after(cost_us);
            let (mut now, mut sendings, mut first) = (BEGIN_US, 0, None);
            for step in steps {
                now += step;
                let wait = gathering.wait_us(now, Waiting::Messages, MAX_US);
                prop_assert!(wait <= MAX_US);
                if wait == 0 {
                    let begin = *first.get_or_insert(now);
                    let share = sendings * cost_us * 100 / (now - begin + TIMER_LATE_US * (sendings + 1));
                    prop_assert!(share <= SHARE_PERCENT, "{share} % after {sendings}");
                    gathering.sent(now, of_session(cost_us), MAX_US);
                    sendings += 1;
                }
            }
        }
    }
}
