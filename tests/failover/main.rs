//! A server dies, hangs or is cut off, or the database is: what anybody was shown is there afterwards, once and in
//! order.
//!
//! `DRAWHALL_CLUSTER_RUNS=N` runs each fault N times, `DRAWHALL_CLUSTER_FAULTS=Kill,Pause` only these,
//! `DRAWHALL_CLUSTER_SEED` begins with another seed, and `DRAWHALL_CLUSTER_PROGRAM` names another build of the program.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![cfg(target_os = "linux")]

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod database;
mod faults;
mod member;
#[path = "../common/numbers.rs"]
#[allow(dead_code, reason = "it is for other tests, too")]
mod numbers;
mod observed;
mod people;
mod proxy;
mod room;
mod run;
mod server;
mod site;
mod verdicts;

use checker::Verdict;
use common::skip::skip;
use faults::Fault;
use run::{Run, run, run_all};
use site::Sharing;

#[test]
fn one_server_with_its_files() {
    run_all(Sharing::Alone, &[Fault::Kill, Fault::Stop], &Fault::ALONE);
}

#[test]
fn servers_with_links() {
    run_all(Sharing::Linked, &[Fault::Kill, Fault::KillPrimary], &Fault::ALL);
}

#[test]
fn servers_that_share_sessions() {
    const SHORT: [Fault; 5] = [Fault::Kill, Fault::Pause, Fault::HoldAndKill, Fault::Promote, Fault::Roll];
    run_all(Sharing::Shared, &SHORT, &Fault::ALL);
}

/// What the checker says is about what really happened.
#[test]
fn a_server_that_loses_the_end_of_its_file_is_convicted() {
    let outcome = run(&Run::new(Sharing::Alone, Fault::Lose, 1, 1)).unwrap();
    assert!(outcome.violations.iter().any(|found| found.verdict == Verdict::NoLoss), "{outcome}");
}

/// A program that shows strokes before they are committed, or that commits them although the session is another
/// server's: `DRAWHALL_SABOTAGED` names it.
#[test]
fn a_sabotaged_server_is_convicted_within_twenty_runs() {
    let Some(program) = std::env::var_os("DRAWHALL_SABOTAGED") else {
        return skip("sabotaged", "DRAWHALL_SABOTAGED does not name a program that loses strokes");
    };
    let faults = [Fault::HoldAndKill, Fault::Pause, Fault::Hold, Fault::Kill];
    for (seed, fault) in (1..=20).zip(faults.into_iter().cycle()) {
        let planned = Run { program: program.clone().into(), ..Run::new(Sharing::Shared, fault, 2, seed) };
        let Some(outcome) = run(&planned) else { return };
        eprintln!("sabotaged {planned}: {outcome}");
        // Who is merely kept waiting has lost nothing.
        if let Some(found) = outcome.violations.iter().find(|found| found.verdict != Verdict::InAgain) {
            return eprintln!("convicted in run {seed}: {found}");
        }
    }
    panic!("it is not convicted");
}
