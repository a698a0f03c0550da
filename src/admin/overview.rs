//! `overview`: how the server does, for the page.

use serde_json::json;

use super::AdminState;
use super::monitor::{GetSnapshot, SAMPLE_SECONDS};
use super::operation::{Answer, Field, Kind, Operation, Schema, bool, number, text};
use crate::metrics::METRICS;
use crate::session::admin::{AdminAnswer, AdminError};

const SAMPLE: Schema = Schema {
    name: "Sample",
    fields: &[
        text("at", "When, ISO 8601.").required(),
        number("users", "Connections.").required(),
        number("sessions", "Sessions.").required(),
        number("received", "Bytes from clients since the start.").required(),
        number("sent", "Bytes to clients since the start.").required(),
        number("messages", "Messages from clients since the start.").required(),
        number("memory", "Bytes of memory, 0 if the system does not tell.").required(),
    ],
};

const DISK: Schema = Schema {
    name: "Disk",
    fields: &[
        text("path", "A directory that is written to.").required(),
        number("free", "Bytes that can be written.").required(),
        number("total", "Bytes that the disk holds.").required(),
        bool("low", "There is less than the setting diskSpaceAlarm.").required(),
    ],
};

const OVERVIEW: Schema = Schema {
    name: "Overview",
    fields: &[
        text("version", "Version of the server.").required(),
        number("interval", "Seconds between samples.").required(),
        Field::new("samples", Kind::ListOf(&SAMPLE), "The last hour, oldest first.").required(),
        Field::new("disks", Kind::ListOf(&DISK), "Disks with sessions and settings.").required(),
        number("storageErrors", "Times at which something could not be stored.").required(),
        bool("database", "There are bans, accounts and locks.").required(),
    ],
};

pub(super) const OPERATIONS: &[Operation] = &[Operation::get(
    "overview",
    "How the server has done in the last hour, and its disks.",
    Answer::One(&OVERVIEW),
)];

impl AdminState {
    pub(super) async fn overview(&self) -> AdminAnswer {
        let seen = self.monitor.send(GetSnapshot).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "interval": SAMPLE_SECONDS,
            "samples": seen.samples,
            "disks": seen.disks,
            "storageErrors": METRICS.storage_errors.get(),
            "database": self.database.is_some(),
        }))
    }
}
