//! Digests of effects. Equal effects have equal digests, in every process.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::rules::login::LoginEffect;
use crate::rules::session::admin::{AdminError, Answered};
use crate::rules::session::{ClientOp, Effect, SessionMachine};
use crate::text;

/// Length of a digest in bytes: enough to notice a difference.
const DIGEST_BYTES: usize = 8;

/// Renamed types and fields in debug output: new name, and the name when traces were first recorded. Digests use the
/// old names, so that old traces can still be replayed.
const RENAMED: [(&str, &str); 4] = [
    ("client: AuthenticatedClient {", "visitor: Visitor {"),
    ("identity: Identity {", "person: Person {"),
    ("Timestamp { monotonic_ms:", "Now { ms:"),
    ("QueryExtAuth {", "AskExtAuth {"),
];

/// The debug output of effects, with the original names.
fn debug_text(effects: &impl std::fmt::Debug) -> String {
    let text = format!("{effects:?}");
    RENAMED.iter().fold(text, |text, (new, old)| text.replace(new, old))
}

/// An error of the admin API in the form of the first traces, in which it had the status of its HTTP response.
struct ErrorOfFirstTraces<'a>(&'a AdminError);

impl fmt::Debug for ErrorOfFirstTraces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.0 {
            AdminError::NotFound | AdminError::NoThumbnail | AdminError::ChatNotJoined => 404,
            AdminError::ThumbnailPending | AdminError::ChatAlreadyJoined => 409,
            // Other errors of sessions; those of the server are not in traces.
            _ => 400,
        };
        f.debug_struct("AdminError").field("status", &status).field("message", &self.0.to_string()).finish()
    }
}

fn finish(digest: Sha256) -> String {
    text::hex(&digest.finalize()[..DIGEST_BYTES])
}

/// The digest of a login's effects. Random values in them depend on the seed in [`Record::Login`](super::Record).
pub(super) fn of_login(effects: &[LoginEffect]) -> String {
    finish(Sha256::new().chain_update(debug_text(&effects)))
}

/// The digest of a session's effects and of its state after them.
pub(super) fn of_session(machine: &mut SessionMachine, effects: &[Effect]) -> String {
    let mut digest = Sha256::new();
    for effect in effects {
        let Effect::Client(conn, op) = effect else { continue };
        // Rate limits of drawing came later than the first traces.
        if matches!(op, ClientOp::DrawRate(_)) {
            continue;
        }
        digest.update(conn.to_le_bytes());
        match op {
            ClientOp::Direct(bytes) => digest.update(bytes),
            // Cursors differ between processes.
            ClientOp::Attach(_) => digest.update(b"attach"),
            op => digest.update(debug_text(op)),
        }
    }
    digest.update(others(effects));
    let history = machine.history();
    let position = (history.size(), history.first_index(), history.last_index(), history.end());
    digest.update(format!("{position:?}"));
    digest.update(format!("{:?} {:?}", machine.state(), machine.next_deadline()));
    finish(digest)
}

/// All effects but those on clients, by kind: the form of the first traces.
fn others(effects: &[Effect]) -> String {
    let (mut log, mut exchanges, mut listing, mut reports) = (vec![], vec![], vec![], vec![]);
    let (mut changed, mut stats, mut held) = (false, false, false);
    let (mut check, mut ended, mut answer) = (None, None, None);
    for effect in effects {
        match effect {
            // Counts, what is for moderators, and what a program renders came later than the first traces.
            Effect::Client(..) | Effect::Count(_) | Effect::Reported(_) => {}
            Effect::KeepChat { .. } | Effect::Compact | Effect::MakeThumbnail => {}
            Effect::Log(entry) => log.push(entry),
            Effect::DescriptionChanged => changed = true,
            Effect::NumbersChanged => stats = true,
            Effect::CheckOpword(opword) => check = Some(opword),
            Effect::ExchangeBans(exchange) => exchanges.push(exchange),
            Effect::Announce { url } => listing.push((url, true)),
            Effect::Unlist { url } => listing.push((url, false)),
            Effect::ForwardReport { address, report } => reports.push((address, report)),
            Effect::Held => held = true,
            Effect::Answer(given) => {
                answer = Some(given.as_ref().map(Answered::to_json).map_err(ErrorOfFirstTraces))
            }
            Effect::End(files) => ended = Some(files),
        }
    }
    debug_text(&(log, changed, stats, check, exchanges, listing, reports, ended, held, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::session::Counted;
    use crate::rules::session::admin::answer::{ChatMessage, ChatMessages};

    #[test]
    fn counts_change_no_digest() {
        let counted =
            [Effect::NumbersChanged, Effect::Count(Counted::Slowed), Effect::Count(Counted::StorageError)];
        assert_eq!(others(&counted), others(&[Effect::NumbersChanged]));
    }

    #[test]
    fn answers_of_the_admin_api_have_the_form_of_the_first_traces() {
        let messages =
            vec![ChatMessage { user: Some(1), name: Some("A".into()), text: "hi".into(), flags: None }];
        let answer = Answered::Chat(ChatMessages { offset: 3, messages });
        let text = others(&[Effect::Answer(Ok(answer))]);
        let expected = r#"Some(Ok(Object {"messages": Array [Object {"i": Number(1), "m": String("hi"), "n": String("A")}], "offset": Number(3)}))"#;
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn errors_of_the_admin_api_have_the_form_of_the_first_traces() {
        let text = |error: AdminError| others(&[Effect::Answer(Err(error))]);
        for (error, expected) in [
            (AdminError::NotFound, r#"Err(AdminError { status: 404, message: "Not found" })"#),
            (
                AdminError::ChatAlreadyJoined,
                r#"Err(AdminError { status: 409, message: "Chat already connected" })"#,
            ),
            (
                AdminError::TooManyInvites,
                r#"Err(AdminError { status: 400, message: "Too many invite codes" })"#,
            ),
        ] {
            assert!(text(error.clone()).contains(expected), "{}", text(error));
        }
    }
}
