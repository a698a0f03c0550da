//! `drawhall ctl make-session`: a session with an empty canvas or a picture.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{Api, parse_fields};
use crate::Failure;

/// Time for sending a picture and reading it.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// JSON with escapes in place of characters that a header cannot hold.
fn ascii(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

impl Api {
    /// Creates a session and prints its id.
    pub(super) async fn make_session(&self, fields: &[String], image: Option<&Path>) -> Result<(), Failure> {
        let fields = parse_fields(fields)?;
        self.check_fields("/sessions", "post", &fields).await?;
        let created = match image {
            None => self.request(Method::POST, "sessions", Some(&fields)).await?,
            Some(image) => self.upload_picture(&fields, image).await?,
        };
        let id = created["id"].as_str().unwrap_or_default();
        self.print_result(&created, &format!("created session {id}"));
        Ok(())
    }

    /// Sends a picture, with the fields of the session in a header.
    async fn upload_picture(&self, fields: &Value, image: &Path) -> Result<Value, Failure> {
        let picture = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
        let mut headers = self.headers.clone();
        headers.push(("x-session", ascii(&fields.to_string())));
        let url = format!("{}/sessions", self.url);
        // The server looks at the content, not at the type.
        self.answer("sessions", self.http.upload(&url, &headers, "image/png", picture, UPLOAD_TIMEOUT).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_a_header_are_ascii_and_mean_the_same() {
        let fields = serde_json::json!({"title": "Bär \u{1f41f} \u{7f}\n", "alias": "a"});
        let text = ascii(&fields.to_string());
        assert!(text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), fields);
    }
}
