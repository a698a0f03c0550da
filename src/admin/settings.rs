//! `settings`: what can be set, and whether something could be, for the page.

use serde_json::{Value, json};

use super::Office;
use super::call::{Call, Method};
use super::operation::{Answer, Body, Field, Kind, Operation, Schema, text, truth};
use super::shapes::SETTINGS as SETTINGS_SHAPE;
use crate::config::SETTINGS;
use crate::session::admin::AdminAnswer;

const SETTING: Schema = Schema {
    name: "Setting",
    fields: &[
        text("key", "Its name.").needed(),
        text("group", "What it belongs to.").needed(),
        text("kind", "bool, int, text, time or size.").needed(),
        text("unit", "What a number without a unit counts.").needed(),
        text("range", "What may be set.").needed(),
        text("default", "What it is without being set.").needed(),
        text("value", "What it is, as it is written.").needed(),
        text("help", "What it means.").needed(),
        truth("shown", "It means something with the options that the server was started with.").needed(),
    ],
};

const CHECKED: Schema = Schema {
    name: "CheckedSettings",
    fields: &[Field::new("errors", Kind::Object, "What is wrong, by key; empty if nothing is.").needed()],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("settings", "All settings with their meanings.", Answer::Many(&SETTING, "settings")),
    Operation::post(
        "settings",
        "Whether these settings could be set; nothing is changed.",
        Answer::One(&CHECKED),
    )
    .body(Body::Is(&SETTINGS_SHAPE)),
];

impl Office {
    pub(super) fn known_settings(&self, call: &Call) -> AdminAnswer {
        if call.method == Method::Post {
            return Ok(json!({"errors": self.wanted_settings(&call.body).1}));
        }
        let values = self.rules().settings().values();
        let mut rows: Vec<_> = SETTINGS.iter().zip(values).collect();
        rows.sort_by_key(|(info, _)| info.group);
        let rows = rows.into_iter().map(|(info, (_, value))| {
            json!({
                "key": info.key,
                "group": info.group.title(),
                "kind": info.kind,
                "unit": info.unit,
                "range": info.range,
                "default": info.default,
                "value": value,
                "help": info.help,
                "shown": self.is_shown(info.key),
            })
        });
        let rows: Vec<Value> = rows.collect();
        Ok(self.listed(call, "server", "settings", rows))
    }
}
