//! Endpoint `settings`: descriptions of all settings, and validation of values, for the page.

use serde_json::{Value, json};

use super::AdminState;
use super::operation::{Answer, Body, Field, Kind, Operation, Schema, bool, text};
use super::request::{Method, Request};
use super::schemas::SETTINGS as SETTINGS_SCHEMA;
use crate::config::SETTINGS;
use crate::rules::session::admin::AdminAnswer;

const SETTING: Schema = Schema {
    name: "Setting",
    fields: &[
        text("key", "Its name.").required(),
        text("group", "Group.").required(),
        text("kind", "bool, int, text, time or size.").required(),
        text("unit", "Unit of a bare number.").required(),
        text("range", "Valid values.").required(),
        text("default", "Default value.").required(),
        text("value", "Current value, as text.").required(),
        text("help", "Description.").required(),
        bool("shown", "It has an effect with the command-line options of the server.").required(),
    ],
};

const CHECKED: Schema = Schema {
    name: "CheckedSettings",
    fields: &[Field::new("errors", Kind::Object, "Errors by key; empty if there are none.").required()],
};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::get("settings", "All settings with descriptions.", Answer::Many(&SETTING, "settings")),
    Operation::post("settings", "Validates settings without changing them.", Answer::One(&CHECKED))
        .body(Body::Is(&SETTINGS_SCHEMA)),
];

impl AdminState {
    pub(super) fn known_settings(&self, request: &Request) -> AdminAnswer {
        if request.method == Method::Post {
            return Ok(json!({"errors": self.parse_settings(&request.body).1}));
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
                "shown": self.is_effective(info.key),
            })
        });
        let rows: Vec<Value> = rows.collect();
        Ok(self.list_value(request, "server", "settings", rows))
    }
}
