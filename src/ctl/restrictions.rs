//! `drawhall ctl warn`, `restrict`, `restrictions`, `close-session` and `space`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::format::shown;
use super::{Api, path_segment};
use crate::Failure;

impl Api {
    pub(super) async fn warn_user(&self, session: &str, user: &str, message: &str) -> Result<(), Failure> {
        let path = self.user_path(session, user).await?;
        let body = json!({"message": message});
        let answer = self.request(Method::POST, &format!("{path}/warn"), Some(&body)).await?;
        self.print_result(&answer, &format!("warned; warnings so far: {}", answer["warnings"]));
        Ok(())
    }

    pub(super) async fn restrict(
        &self,
        session: &str,
        user: &str,
        kind: &str,
        duration: Duration,
        reason: &str,
    ) -> Result<(), Failure> {
        let path = self.user_path(session, user).await?;
        let body = json!({"kind": kind, "seconds": duration.as_secs(), "reason": reason});
        let answer = self.request(Method::POST, &format!("{path}/restrict"), Some(&body)).await?;
        let (name, until) = (shown(&answer["name"]), shown(&answer["until"]));
        self.print_result(&answer, &format!("{name}: {kind} until {until} (id {})", answer["id"]));
        Ok(())
    }

    pub(super) async fn restrictions(&self, session: &str, lift: Option<u64>) -> Result<(), Failure> {
        let path = format!("sessions/{}/restrictions", path_segment(session));
        if let Some(id) = lift {
            let answer = self.request(Method::DELETE, &format!("{path}/{id}"), None).await?;
            self.print_result(&answer, "lifted");
            return Ok(());
        }
        let answer = self.get(&path).await?;
        let columns = ["id", "kind", "name", "user", "until", "reason"];
        self.print_table(&answer["restrictions"], &columns);
        Ok(())
    }

    pub(super) async fn close_session(&self, session: &str, duration: Duration) -> Result<(), Failure> {
        let path = format!("sessions/{}/newcomers", path_segment(session));
        let body = json!({"seconds": duration.as_secs()});
        let answer = self.request(Method::PUT, &path, Some(&body)).await?;
        let done = match answer["closedUntil"].as_str() {
            Some(until) => format!("closed to newcomers until {until}"),
            None => "open to newcomers".to_owned(),
        };
        self.print_result(&answer, &done);
        Ok(())
    }

    pub(super) async fn space(&self, session: &str) -> Result<(), Failure> {
        let answer = self.get(&format!("sessions/{}/space", path_segment(session))).await?;
        self.print_object(&answer);
        if !self.json {
            self.print_table(&answer["shares"], &["id", "name", "bytes"]);
        }
        Ok(())
    }

    /// The path of a user in a session, who is named by name or user id.
    async fn user_path(&self, session: &str, user: &str) -> Result<String, Failure> {
        let path = format!("sessions/{}", path_segment(session));
        let session = self.get(&path).await?;
        let users = session["users"].as_array().map_or(&[][..], Vec::as_slice);
        let is_there = |u: &&Value| u["online"] == true;
        let mut there = users.iter().filter(is_there);
        let found = match user.parse::<u64>() {
            Ok(id) if there.clone().any(|u| u["id"] == id) => there.find(|u| u["id"] == id),
            _ => there.find(|u| u["name"] == user),
        };
        let id = found.ok_or_else(|| Failure::from(format!("nobody called '{user}' is in the session")))?;
        Ok(format!("{path}/{}", id["id"]))
    }
}
