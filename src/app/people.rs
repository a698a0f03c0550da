//! Recording who was in a session, for moderators.

use std::io;

use crate::actors::server::ServerDeps;
use crate::background::BackgroundThread;
use crate::db::Database;
use crate::db::people::{record_queue, start_writer};
use crate::rules::sighting::ModerationRecord;

/// The thread that writes the records.
pub(super) type RecordWriter = BackgroundThread<ModerationRecord>;

/// Gives the server the queue of records.
pub(super) fn open_queue(parts: &mut ServerDeps) {
    parts.records = Some(record_queue());
}

/// Starts writing what the server queues.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start(parts: &ServerDeps, database: Database) -> io::Result<Option<RecordWriter>> {
    let Some(queue) = parts.records.clone() else { return Ok(None) };
    start_writer(queue, database).map(Some)
}
