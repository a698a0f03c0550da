//! `drawhall ctl settings`.

use reqwest::Method;
use serde_json::{Value, json};

use super::format::{shown, shown_setting};
use super::{Api, parse_value};
use crate::Failure;
use crate::output::outln;

impl Api {
    pub(super) async fn settings(
        &self,
        key: Option<String>,
        value: Option<String>,
        default: bool,
        changed: bool,
    ) -> Result<(), Failure> {
        let Some(key) = key else {
            return self.all_settings(changed).await;
        };
        let settings = self.get("server").await?;
        let key = find_key(&settings, &key)?;
        let known =
            |settings: &Value| settings.get(&key).cloned().ok_or(format!("there is no setting '{key}'"));
        let mut current = known(&settings)?;
        let new = if default { Some(Value::Null) } else { value.map(|value| parse_value(&value)) };
        if let Some(new) = new {
            let set = self.request(Method::PUT, "server", Some(&json!({key.as_str(): new}))).await?;
            if let Some(error) = set["_errors"][&key].as_str() {
                return Err(error.into());
            }
            current = known(&set)?;
        }
        outln!("{key} = {}", shown(&current));
        Ok(())
    }

    /// Prints all settings, and of those that were changed the default.
    async fn all_settings(&self, changed: bool) -> Result<(), Failure> {
        if self.json && !changed {
            self.print_object(&self.get("server").await?);
            return Ok(());
        }
        let mut settings = self.get("settings").await?;
        let settings = settings.as_array_mut().map(std::mem::take).unwrap_or_default();
        let is_wanted =
            |setting: &&Value| setting["shown"] == true && (!changed || setting["changed"] == true);
        let wanted: Vec<&Value> = settings.iter().filter(is_wanted).collect();
        if self.json {
            outln!("{}", json!(wanted));
            return Ok(());
        }
        for setting in wanted {
            outln!("{}", shown_setting(setting));
        }
        Ok(())
    }
}

/// The key of a setting as the server writes it, whatever case it was typed in.
///
/// # Errors
/// When there is none; names the ones that contain what was typed.
pub(super) fn find_key(settings: &Value, typed: &str) -> Result<String, Failure> {
    let keys = settings.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let keys: Vec<&str> = keys.filter(|key| !key.starts_with('_')).collect();
    if let Some(key) = keys.iter().find(|key| key.eq_ignore_ascii_case(typed)) {
        return Ok((*key).to_owned());
    }
    let part = typed.to_ascii_lowercase();
    let similar: Vec<&str> =
        keys.into_iter().filter(|key| key.to_ascii_lowercase().contains(&part)).collect();
    let hint = match similar[..] {
        [] => "`drawhall ctl settings` lists all".to_owned(),
        _ => format!("there are {}", similar.join(", ")),
    };
    Err(format!("there is no setting '{typed}'; {hint}").into())
}
