//! Endpoint `settings`: descriptions of all settings, and validation of values, for the page.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::AdminState;
use super::endpoint::{Api, Call, Json, List, Listed, Nothing, Version};
use super::error::ApiError;
use super::server::GivenSettings;
use crate::config::SETTINGS;
use crate::config::ini::ConfigFile;

pub(super) fn endpoints(api: &mut Api) {
    api.get("settings", "All settings with descriptions.", AdminState::known_settings);
    api.post("settings", "Validates settings without changing them.", AdminState::check_settings).reads();
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
struct Setting {
    /// Its name.
    key: &'static str,
    /// Group.
    group: &'static str,
    /// bool, int, text, time, size or profile.
    kind: &'static str,
    /// Unit of a bare number.
    unit: &'static str,
    /// Valid values.
    range: &'static str,
    /// Default value.
    default: &'static str,
    /// Current value, as text.
    value: String,
    /// The value differs from the default.
    changed: bool,
    /// Description.
    help: &'static str,
    /// It has an effect with the command-line options of the server.
    shown: bool,
}

impl Listed for Setting {
    const NAME: &'static str = "settings";
}

/// What is wrong with settings.
#[derive(Debug, Serialize, JsonSchema)]
struct CheckedSettings {
    /// Errors by key; empty if there are none.
    errors: BTreeMap<String, String>,
}

impl AdminState {
    async fn known_settings(
        self: Arc<Self>,
        call: Call<Nothing, Version>,
    ) -> Result<List<Setting>, ApiError> {
        let rules = self.rules();
        let mut default = ConfigFile::default();
        rules.settings().profile.apply(&mut default);
        let values = rules.settings().values().into_iter().zip(default.settings.values());
        let mut rows: Vec<_> = SETTINGS.iter().zip(values).collect();
        rows.sort_by_key(|(info, _)| info.group);
        let rows = rows.into_iter().map(|(info, ((_, value), (_, default)))| Setting {
            changed: value != default,
            key: info.key,
            group: info.group.title(),
            kind: info.kind,
            unit: info.unit,
            range: info.range,
            default: info.default,
            value,
            help: info.help,
            shown: self.is_effective(info.key),
        });
        List::new(rows.collect(), &call.query.v, self.is_locked("server"))
    }

    async fn check_settings(
        self: Arc<Self>,
        call: Call<Nothing, Nothing, GivenSettings>,
    ) -> Result<Json<CheckedSettings>, ApiError> {
        Ok(Json(CheckedSettings { errors: self.parse_settings(&call.body.0).1 }))
    }
}
