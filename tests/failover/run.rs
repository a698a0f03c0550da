//! A run: people draw, a fault happens and is over, everybody gets in again, and the checker judges what they saw.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::checker::{Verdict, Violation, check, check_rows};
use super::common::PATIENCE;
use super::faults::Fault;
use super::numbers::Numbers;
use super::people::Control;
use super::room::Room;
use super::site::{Sharing, Site};

/// What came out of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<Violation>,
    /// Messages that somebody received, all together.
    received: usize,
    /// Strokes that were sent.
    sent: usize,
    /// Connections that came back and were not sent what they had.
    skips: usize,
    /// What moderators were told of.
    facts: usize,
    /// The longest time that somebody needed to be in again.
    absence: Duration,
    /// Where the logs of the servers are, if something does not hold.
    logs: String,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { violations, received, sent, skips, facts, absence, logs } = self;
        write!(f, "{sent} strokes sent, {received} messages received, {skips} skips, {facts} facts, ")?;
        write!(f, "{} violations, in again after {} ms at most", violations.len(), absence.as_millis())?;
        if logs.is_empty() { Ok(()) } else { write!(f, ", logs in {logs}") }
    }
}

/// What is done in a run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) sharing: Sharing,
    pub(crate) fault: Fault,
    /// How often the fault happens.
    pub(crate) times: u32,
    pub(crate) seed: u64,
    pub(crate) program: PathBuf,
}

impl Run {
    pub(crate) fn new(sharing: Sharing, fault: Fault, times: u32, seed: u64) -> Run {
        Run { sharing, fault, times, seed, program: program() }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {}", self.sharing, self.fault, self.seed)
    }
}

/// A run on a new site; `None` where there is no PostgreSQL and it is needed.
pub(crate) fn run(run: &Run) -> Option<Outcome> {
    let seed = run.seed;
    let mut site = Site::start(run.sharing, &run.program)?;
    let control = Arc::<Control>::default();
    // Two on one server, so that what they store goes together, and one on another.
    let servers = [0, 0, 1 % site.servers.len()];
    let mut rooms: Vec<Room> =
        (0..).zip(servers).map(|(n, server)| Room::open(&site, server, seed * 8 + n, &control)).collect();
    let mut outcome = Outcome::default();
    let is_over = strike(run, &mut site, &mut rooms, &control, &mut outcome);
    control.ended.store(true, Ordering::SeqCst);
    for room in rooms {
        if !is_over {
            outcome.violations.append(&mut check_rows(&site.rows(&room.session)));
            continue;
        }
        let (observed, absences) = room.close(&site);
        outcome.violations.append(&mut check(&observed));
        outcome.received += observed.connections.iter().map(|c| c.messages.len()).sum::<usize>();
        outcome.sent += observed.sent.len();
        outcome.skips += observed.connections.iter().filter(|c| c.skipped).count();
        outcome.facts += observed.journal.confirmed_titles + observed.journal.confirmed.len();
        outcome.absence = absences.into_iter().chain([outcome.absence]).max().unwrap_or_default();
    }
    if !outcome.violations.is_empty() {
        outcome.logs = site.keep_logs();
    }
    Some(outcome)
}

/// The fault, and everybody coming back. Whether everybody is in at the end, so that what they saw can be judged.
fn strike(run: &Run, site: &mut Site, rooms: &mut [Room], control: &Control, outcome: &mut Outcome) -> bool {
    let mut numbers = Numbers(run.seed);
    let mut is_over = everybody_is_in(rooms, site, "before", outcome);
    for _ in 0..run.times {
        control.drawing.store(true, Ordering::SeqCst);
        pause(300 + numbers.below(1200));
        run.fault.strike(site, &rooms[0].session, &mut numbers);
        let (waits, loses) = (numbers.below(3) > 0, numbers.below(2) == 0);
        if run.sharing == Sharing::Shared && run.fault.is_survived() && waits {
            everybody_is_in(rooms, site, "while the server is away", outcome);
        }
        site.heal(loses);
        is_over &= everybody_is_in(rooms, site, "when all are there again", outcome);
        pause(numbers.below(500));
        control.drawing.store(false, Ordering::SeqCst);
    }
    is_over && everybody_is_in(rooms, site, "at the end", outcome)
}

fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Waits until everybody in every session sees what is drawn then, and whether they do.
fn everybody_is_in(rooms: &mut [Room], site: &mut Site, when: &str, outcome: &mut Outcome) -> bool {
    let deadline = Instant::now() + PATIENCE;
    // One session that nobody gets into takes no time from the others.
    let waited = rooms.iter_mut().map(|room| {
        let deadline = deadline.max(Instant::now() + PATIENCE / 6);
        room.everybody_is_in(deadline).err()
    });
    let ended = site.ended().into_iter().map(|number| Some(format!("server {number} has ended by itself")));
    let what: Vec<String> = waited.chain(ended).flatten().collect();
    let is_well = what.is_empty();
    let violations =
        what.into_iter().map(|what| Violation { verdict: Verdict::InAgain, what: format!("{when}: {what}") });
    outcome.violations.extend(violations);
    is_well
}

/// The program that is tested: DRAWHALL_CLUSTER_PROGRAM, else the one of this build.
fn program() -> PathBuf {
    let named = std::env::var_os("DRAWHALL_CLUSTER_PROGRAM").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_drawhall").into())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs these faults, or with DRAWHALL_CLUSTER_RUNS all faults that often, or those that DRAWHALL_CLUSTER_FAULTS names.
/// Tells what comes out, and fails at the end if anything does not hold.
pub(crate) fn run_all(sharing: Sharing, some: &[Fault], all: &[Fault]) {
    let (runs, first) = (number("DRAWHALL_CLUSTER_RUNS"), number("DRAWHALL_CLUSTER_SEED").unwrap_or(1));
    let named = std::env::var("DRAWHALL_CLUSTER_FAULTS").ok();
    let is_named = |fault: &Fault| {
        named.as_ref().is_none_or(|named| named.split(',').any(|name| name == format!("{fault:?}")))
    };
    let mut violations = Vec::new();
    for seed in first..first + runs.unwrap_or(1) {
        for fault in if runs.is_some() { all } else { some }.iter().filter(|fault| is_named(fault)) {
            let planned = Run::new(sharing, *fault, if runs.is_some() { 2 } else { 1 }, seed);
            let Some(outcome) = run(&planned) else { return };
            eprintln!("{planned}: {outcome}");
            let is_shown = outcome.received > 500 || !outcome.violations.is_empty();
            assert!(is_shown, "somebody was shown something: {outcome}");
            for violation in &outcome.violations {
                eprintln!("{planned}: {violation}");
                violations.push(format!("{planned}: {violation}"));
            }
        }
    }
    assert_eq!(violations, Vec::<String>::new());
}
