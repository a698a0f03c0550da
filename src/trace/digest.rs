//! Digests of effects: the same effects have the same digest, in every process.

use sha2::{Digest as _, Sha256};

use crate::client::login::LoginEffect;
use crate::session::{ClientOp, Effects, SessionMachine};

/// Bytes of a digest that are kept: enough to notice a difference.
const KEPT: usize = 8;

/// What debug texts of effects have in place of names that were given since traces are recorded: new and old. Without
/// this a rename would change digests, and traces of before could not be replayed.
const RENAMED: [(&str, &str); 4] = [
    ("client: AuthenticatedClient {", "visitor: Visitor {"),
    ("identity: Identity {", "person: Person {"),
    ("Timestamp { monotonic_ms:", "Now { ms:"),
    ("QueryExtAuth {", "AskExtAuth {"),
];

/// The debug text of effects, with the names that it had when traces were first recorded.
fn debug_text(effects: &impl std::fmt::Debug) -> String {
    let text = format!("{effects:?}");
    RENAMED.iter().fold(text, |text, (new, old)| text.replace(new, old))
}

fn finish(digest: Sha256) -> String {
    digest.finalize()[..KEPT].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of a login's effects. Randomness in them comes from the seed in its arrival.
pub(super) fn of_login(effects: &[LoginEffect]) -> String {
    finish(Sha256::new().chain_update(debug_text(&effects)))
}

/// The digest of a session's effects and of its state after them.
pub(super) fn of_session(machine: &mut SessionMachine, effects: &Effects) -> String {
    let mut digest = Sha256::new();
    for (conn, op) in &effects.sends {
        digest.update(conn.to_le_bytes());
        match op {
            ClientOp::Direct(bytes) => digest.update(bytes),
            // A cursor is another in each process.
            ClientOp::Attach(_) => digest.update(b"attach"),
            op => digest.update(debug_text(op)),
        }
    }
    let Effects { log, changed, stats, check, exchanges, listing, reports, ended, held, answer, .. } =
        effects;
    let rest = (log, changed, stats, check, exchanges, listing, reports, ended, held, answer);
    digest.update(debug_text(&rest));
    let history = machine.history();
    let place = (history.size(), history.first_index(), history.last_index(), history.end());
    digest.update(format!("{place:?}"));
    digest.update(format!("{:?} {:?}", machine.state(), machine.next_deadline()));
    finish(digest)
}
