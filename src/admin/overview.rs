//! Endpoint `overview`: load, disks and errors, for the page.

use serde_json::json;

use super::AdminState;
use super::monitor::{GetSnapshot, SAMPLE_SECONDS};
use super::operation::{Answer, Field, Kind, Operation, Schema, bool, number, text};
use crate::metrics::METRICS;
use crate::rules::session::admin::{AdminAnswer, AdminError};

const SAMPLE: Schema = Schema {
    name: "Sample",
    fields: &[
        text("at", "When, ISO 8601.").required(),
        number("users", "Connections.").required(),
        number("sessions", "Sessions.").required(),
        number("received", "Bytes from clients since the start.").required(),
        number("sent", "Bytes to clients since the start.").required(),
        number("messages", "Messages from clients since the start.").required(),
        number("memory", "Resident memory in bytes, 0 if unknown.").required(),
    ],
};

const DISK: Schema = Schema {
    name: "Disk",
    fields: &[
        text("path", "A directory that is written to.").required(),
        number("free", "Available bytes.").required(),
        number("total", "Size of the disk in bytes.").required(),
        bool("low", "Below the setting diskSpaceAlarm.").required(),
    ],
};

const OVERVIEW: Schema = Schema {
    name: "Overview",
    fields: &[
        text("version", "Version of the server.").required(),
        number("interval", "Seconds between samples.").required(),
        Field::new("samples", Kind::ListOf(&SAMPLE), "The last hour, oldest first.").required(),
        Field::new("disks", Kind::ListOf(&DISK), "Disks with sessions and settings.").required(),
        number("storageErrors", "Failed writes since the start.").required(),
        bool("database", "There is a database, so bans, accounts and locks work.").required(),
    ],
};

pub(super) const OPERATIONS: &[Operation] =
    &[Operation::get("overview", "Load of the last hour, and disk space.", Answer::One(&OVERVIEW))];

impl AdminState {
    pub(super) async fn overview(&self) -> AdminAnswer {
        let snapshot =
            self.monitor.send(GetSnapshot).await.map_err(|e| AdminError::new(500, e.to_string()))?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "interval": SAMPLE_SECONDS,
            "samples": snapshot.samples,
            "disks": snapshot.disks,
            "storageErrors": METRICS.storage_errors.get(),
            "database": self.database.is_some(),
        }))
    }
}
