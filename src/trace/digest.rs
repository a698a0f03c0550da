//! Digests of effects: the same effects have the same digest, in every process.

use sha2::{Digest as _, Sha256};

use crate::client::login::LoginEffect;
use crate::session::{ClientOp, Effects, SessionMachine};

/// Bytes of a digest that are kept: enough to see a difference.
const KEPT: usize = 8;

fn finish(digest: Sha256) -> String {
    digest.finalize()[..KEPT].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a login wants done. Chance in it comes from its arrival.
pub(super) fn of_login(effects: &[LoginEffect]) -> String {
    finish(Sha256::new().chain_update(format!("{effects:?}")))
}

/// What a session wants done, and what it is like then.
pub(super) fn of_session(machine: &mut SessionMachine, effects: &Effects) -> String {
    let mut digest = Sha256::new();
    for (conn, op) in &effects.sends {
        digest.update(conn.to_le_bytes());
        match op {
            ClientOp::Direct(bytes) => digest.update(bytes),
            // Where a cursor is matters, not that it is another.
            ClientOp::Attach(_) => digest.update(b"attach"),
            op => digest.update(format!("{op:?}")),
        }
    }
    let Effects { log, changed, stats, check, exchanges, listing, reports, ended, held, answer, .. } =
        effects;
    let rest = (log, changed, stats, check, exchanges, listing, reports, ended, held, answer);
    digest.update(format!("{rest:?}"));
    let history = machine.history();
    let place = (history.size(), history.first_index(), history.last_index(), history.end());
    digest.update(format!("{place:?}"));
    digest.update(format!("{:?} {:?}", machine.state(), machine.next_deadline()));
    finish(digest)
}
