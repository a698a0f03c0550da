//! `settings`: what can be set, and whether something could be, for the page.

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Kind, Operation, Schema, bool, text};
use super::request::{Method, Request};
use super::schemas::SETTINGS as SETTINGS_SHAPE;
use crate::config::SETTINGS;
use crate::session::admin::AdminAnswer;

const SETTING: Schema = Schema {
    name: "Setting",
    fields: &[
        text("key", "Its name.").required(),
        text("group", "What it belongs to.").required(),
        text("kind", "bool, int, text, time or size.").required(),
        text("unit", "What a number without a unit counts.").required(),
        text("range", "What may be set.").required(),
        text("default", "What it is without being set.").required(),
        text("value", "What it is, as it is written.").required(),
        text("help", "What it means.").required(),
        bool("shown", "It means something with the options that the server was started with.").required(),
    ],
};

const CHECKED: Schema = Schema {
    name: "CheckedSettings",
    fields: &[Field::new("errors", Kind::Object, "What is wrong, by key; empty if nothing is.").required()],
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

impl AdminState {
    pub(super) fn known_settings(&self, call: &Request) -> AdminAnswer {
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
