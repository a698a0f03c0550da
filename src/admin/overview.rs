//! `overview`: how the server does, for the page.

use serde_json::json;

use super::Office;
use super::observer::{GetSeen, SAMPLE_SECONDS};
use super::operation::{Answer, Field, Kind, Operation, Schema, number, text, truth};
use crate::metrics::METRICS;
use crate::session::admin::{AdminAnswer, AdminError};

const SAMPLE: Schema = Schema {
    name: "Sample",
    fields: &[
        text("at", "When, ISO 8601.").needed(),
        number("users", "Connections.").needed(),
        number("sessions", "Sessions.").needed(),
        number("received", "Bytes from clients since the start.").needed(),
        number("sent", "Bytes to clients since the start.").needed(),
        number("messages", "Messages from clients since the start.").needed(),
        number("memory", "Bytes of memory, 0 if the system does not tell.").needed(),
    ],
};

const DISK: Schema = Schema {
    name: "Disk",
    fields: &[
        text("path", "A directory that is written to.").needed(),
        number("free", "Bytes that can be written.").needed(),
        number("total", "Bytes that the disk holds.").needed(),
        truth("low", "There is less than the setting diskSpaceAlarm.").needed(),
    ],
};

const OVERVIEW: Schema = Schema {
    name: "Overview",
    fields: &[
        text("version", "Version of the server.").needed(),
        number("interval", "Seconds between samples.").needed(),
        Field::new("samples", Kind::ListOf(&SAMPLE), "The last hour, oldest first.").needed(),
        Field::new("disks", Kind::ListOf(&DISK), "Disks with sessions and settings.").needed(),
        number("storageErrors", "Times at which something could not be stored.").needed(),
        truth("database", "There are bans, accounts and locks.").needed(),
    ],
};

pub(super) const OPERATIONS: &[Operation] = &[Operation::get(
    "overview",
    "How the server has done in the last hour, and its disks.",
    Answer::One(&OVERVIEW),
)];

impl Office {
    pub(super) async fn overview(&self) -> AdminAnswer {
        let seen = self.observer.send(GetSeen).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "interval": SAMPLE_SECONDS,
            "samples": seen.samples,
            "disks": seen.disks,
            "storageErrors": METRICS.storage_errors.get(),
            "database": self.registry.is_some(),
        }))
    }
}
