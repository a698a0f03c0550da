//! `drawhall ctl`: from the shell what the admin API does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use drawhall::http::Http;
use drawhall::text::{self, shown_json};
use drawhall::tools::account::ask_password;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::output::{out, outln};

/// How often `log --follow` looks.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// Address of the admin API of a server on this machine, with its usual port.
const DEFAULT_URL: &str = "http://127.0.0.1:27780";

/// Where the server is, and what it is to do.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    /// Address of the admin API.
    #[arg(
        long,
        value_name = "URL",
        env = "DRAWHALL_CTL_URL",
        default_value = DEFAULT_URL,
        global = true
    )]
    url: String,
    /// User and password of the admin API.
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        env = "DRAWHALL_CTL_AUTH",
        hide_env_values = true,
        global = true
    )]
    auth: Option<String>,
    /// Answers as JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Action {
    /// How many users and sessions there are, since when.
    Status,
    /// List sessions, or say everything about one.
    Sessions {
        /// Id or alias.
        session: Option<String>,
    },
    /// List everybody who is connected.
    Users,
    /// Make a session with an empty canvas that nobody hosts.
    MakeSession {
        /// Members of the request as KEY=VALUE, such as title=Lobby alias=lobby width=3000.
        members: Vec<String>,
    },
    /// End a session.
    End {
        /// Id or alias.
        session: String,
        /// Shown to its users.
        #[arg(long, default_value = "")]
        reason: String,
        /// Nobody is told, connections stay open, and everybody draws for themselves.
        #[arg(long, conflicts_with = "reason")]
        quiet: bool,
    },
    /// Change a session.
    SetSession {
        /// Id or alias.
        session: String,
        /// Members of the request as KEY=VALUE, such as title=Lobby persistent=true.
        #[arg(required = true)]
        members: Vec<String>,
    },
    /// List accounts.
    Accounts,
    /// Show which parts of the API are locked against changes, or lock some and unlock the others.
    Locks {
        /// Parts to lock: accounts, bans, extbans, listserverwhitelist, server, sessions.
        sections: Vec<String>,
        /// Unlock everything.
        #[arg(long, conflicts_with = "sections")]
        none: bool,
        /// Ask for a password that changing the locks will need from then on.
        #[arg(long)]
        password: bool,
    },
    /// Send somebody away.
    Kick {
        /// The uid that `users` shows.
        uid: String,
        /// Shown to the user.
        #[arg(long, default_value = "")]
        message: String,
    },
    /// Say something to a session, or to all.
    Message {
        /// What to say.
        text: String,
        /// Id or alias.
        #[arg(long)]
        session: Option<String>,
        /// In a box instead of in the chat.
        #[arg(long)]
        alert: bool,
    },
    /// List bans of addresses, add one, or remove one.
    Bans {
        /// What to do.
        #[command(subcommand)]
        action: Option<BanCommand>,
    },
    /// Show all settings or one, or set one.
    Settings {
        /// The setting.
        key: Option<String>,
        /// Its new value.
        value: Option<String>,
    },
    /// Show the newest lines of the log.
    Log {
        /// Go on showing what comes.
        #[arg(long, short)]
        follow: bool,
        /// Only of this session.
        #[arg(long, default_value = "")]
        session: String,
        /// Only lines with this text.
        #[arg(long, default_value = "")]
        contains: String,
    },
}

/// What to do with bans.
#[derive(Debug, Subcommand)]
enum BanCommand {
    /// Ban an address or a range of them.
    Add {
        /// ADDRESS or ADDRESS/PREFIX.
        range: String,
        /// When it ends, such as 2030-01-01.
        #[arg(long, default_value = "2999-12-31")]
        expires: String,
        /// For administrators.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Remove a ban.
    Remove {
        /// Its number.
        id: u64,
    },
}

struct Api {
    http: Http,
    url: String,
    headers: Vec<(&'static str, String)>,
    json: bool,
}

/// Does what was asked for and prints the answer.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub(crate) fn run(ctl: Ctl) -> Result<(), Failure> {
    let Ctl { url, auth, json, action } = ctl;
    // An empty variable is none.
    let url = if url.is_empty() { DEFAULT_URL.to_owned() } else { url };
    let auth = auth.filter(|auth| !auth.is_empty());
    let headers = auth.map(|auth| ("authorization", format!("Basic {}", BASE64.encode(auth))));
    let url = format!("{}/api", url.trim_end_matches('/'));
    let api = Api { http: Http::default(), url, headers: headers.into_iter().collect(), json };
    actix_rt::System::new().block_on(api.perform(action))
}

fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    text.finish()
}

/// A part of a path.
fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// An object of members as people write them.
fn object_of(members: &[String]) -> Result<Value, Failure> {
    let mut object = Map::new();
    for member in members {
        let (key, value) = member.split_once('=').ok_or("expected KEY=VALUE")?;
        object.insert(key.to_owned(), value_of(value));
    }
    Ok(object.into())
}

/// What people write as a value: JSON if it is a truth or a number, else text.
fn value_of(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_boolean() || value.is_number() => value,
        _ => text.into(),
    }
}

impl Api {
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let url = format!("{}/{path}", self.url);
        let answer = self.http.request(method, &url, &self.headers, body).await?;
        let value = answer.json.unwrap_or_default();
        if answer.status < 300 {
            return Ok(value);
        }
        let reason = value["message"].as_str().unwrap_or("the server gave no reason");
        Err(format!("{reason} (HTTP status {})", answer.status).into())
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    async fn perform(self, action: Action) -> Result<(), Failure> {
        match action {
            Action::Status => self.show(&self.get("status").await?),
            Action::Sessions { session: None } => {
                let columns = ["title", "userCount", "size", "founder", "alias", "id"];
                self.show_list(&self.get("sessions").await?, &columns);
            }
            Action::Sessions { session: Some(session) } => {
                let session = self.get(&format!("sessions/{}", part(&session))).await?;
                self.show(&session);
                if !self.json {
                    outln!();
                    self.show_list(&session["users"], &["id", "name", "ip", "op", "online", "uid"]);
                }
            }
            Action::Users => {
                let columns = ["uid", "name", "ip", "state", "session", "op"];
                self.show_list(&self.get("users").await?, &columns);
            }
            Action::MakeSession { members } => {
                let made = self.ask(Method::POST, "sessions", Some(&object_of(&members)?)).await?;
                self.done(&made, &format!("made session {}", made["id"].as_str().unwrap_or_default()));
            }
            Action::SetSession { session, members } => {
                let path = format!("sessions/{}", part(&session));
                self.done(&self.ask(Method::PUT, &path, Some(&object_of(&members)?)).await?, "changed");
            }
            Action::Accounts => {
                self.show_list(&self.get("accounts").await?, &["id", "username", "locked", "flags"]);
            }
            Action::Locks { sections, none, password } => self.locks(sections, none, password).await?,
            Action::End { session, reason, quiet } => {
                let quiet = if quiet { "1" } else { "" };
                let path = format!(
                    "sessions/{}?{}",
                    part(&session),
                    query(&[("reason", &reason), ("quiet", quiet)])
                );
                self.done(&self.ask(Method::DELETE, &path, None).await?, "ended");
            }
            Action::Kick { uid, message } => {
                let path = format!("users/{}?{}", part(&uid), query(&[("message", &message)]));
                self.done(&self.ask(Method::DELETE, &path, None).await?, "sent away");
            }
            Action::Message { text, session, alert } => {
                let body = if alert { json!({"alert": text}) } else { json!({"message": text}) };
                let path = session.map_or("sessions".to_owned(), |s| format!("sessions/{}", part(&s)));
                self.done(&self.ask(Method::PUT, &path, Some(&body)).await?, "said");
            }
            Action::Bans { action } => self.bans(action).await?,
            Action::Settings { key, value } => self.settings(key, value).await?,
            Action::Log { follow, session, contains } => self.log(follow, &session, &contains).await?,
        }
        Ok(())
    }

    async fn locks(&self, sections: Vec<String>, none: bool, password: bool) -> Result<(), Failure> {
        let mut locks = self.get("locks").await?;
        if none || !sections.is_empty() {
            let known = locks["sections"].as_object().cloned().unwrap_or_default();
            if let Some(unknown) = sections.iter().find(|s| !known.contains_key(*s)) {
                return Err(format!("there is no part '{unknown}'").into());
            }
            let has_password = locks["password"] == true;
            let password =
                if password || has_password { ask_password(!has_password)? } else { String::new() };
            let body = json!({"sections": sections, "password": password});
            locks = self.ask(Method::PUT, "locks", Some(&body)).await?;
        }
        self.show(if self.json { &locks } else { &locks["sections"] });
        Ok(())
    }

    async fn bans(&self, action: Option<BanCommand>) -> Result<(), Failure> {
        match action {
            None => {
                let columns = ["id", "ip", "subnet", "expires", "comment", "added"];
                self.show_list(&self.get("banlist").await?, &columns);
            }
            Some(BanCommand::Add { range, expires, comment }) => {
                let (ip, subnet) = range.split_once('/').unwrap_or((&range, "0"));
                let subnet: u8 = subnet.parse().map_err(|_| "the prefix must be a number")?;
                let body = json!({"ip": ip, "subnet": subnet, "expires": expires, "comment": comment});
                let made = self.ask(Method::POST, "banlist", Some(&body)).await?;
                self.done(&made, &format!("added ban {}", made["id"]));
            }
            Some(BanCommand::Remove { id }) => {
                self.done(&self.ask(Method::DELETE, &format!("banlist/{id}"), None).await?, "removed");
            }
        }
        Ok(())
    }

    async fn settings(&self, key: Option<String>, value: Option<String>) -> Result<(), Failure> {
        let Some(key) = key else {
            self.show(&self.get("server").await?);
            return Ok(());
        };
        let known =
            |settings: &Value| settings.get(&key).cloned().ok_or(format!("there is no setting '{key}'"));
        let settings = self.get("server").await?;
        let mut now = known(&settings)?;
        if let Some(value) = value {
            let set = self.ask(Method::PUT, "server", Some(&json!({key.as_str(): value_of(&value)}))).await?;
            if let Some(error) = set["_errors"][&key].as_str() {
                return Err(error.into());
            }
            now = known(&set)?;
        }
        outln!("{key} = {}", shown(&now));
        Ok(())
    }

    async fn log(&self, follow: bool, session: &str, contains: &str) -> Result<(), Failure> {
        // Lines of the newest second that were shown: more may come in the same one.
        let (mut after, mut seen): (String, Vec<Value>) = (String::new(), Vec::new());
        loop {
            let filters = query(&[("session", session), ("contains", contains), ("after", &after)]);
            let mut lines = self.get(&format!("log?{filters}")).await?;
            let mut lines = lines.as_array_mut().map(std::mem::take).unwrap_or_default();
            lines.reverse();
            for line in lines.iter().filter(|line| !seen.contains(line)) {
                if self.json { outln!("{}", shown_json(line, false)) } else { outln!("{}", log_line(line)) }
            }
            if !follow {
                return Ok(());
            }
            if let Some(newest) = lines.last().and_then(|l| l["timestamp"].as_str()).map(str::to_owned) {
                seen.retain(|line| line["timestamp"] == newest.as_str());
                seen.extend(lines.into_iter().filter(|l| l["timestamp"] == newest.as_str()));
                after = second_before(&newest);
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }

    fn done(&self, answer: &Value, text: &str) {
        if self.json { outln!("{}", shown_json(answer, false)) } else { outln!("{text}") }
    }

    /// An object, one member a line.
    fn show(&self, object: &Value) {
        if self.json {
            return outln!("{}", shown_json(object, false));
        }
        for (key, value) in object.as_object().into_iter().flatten().filter(|(key, _)| !key.starts_with('_'))
        {
            if !value.is_array() && !value.is_object() {
                outln!("{key} = {}", shown(value));
            }
        }
    }

    fn show_list(&self, list: &Value, columns: &[&str]) {
        if self.json { outln!("{}", shown_json(list, false)) } else { out!("{}", table(list, columns)) }
    }
}

/// The second before a time, so that what comes in the same second is seen.
fn second_before(time: &str) -> String {
    let parsed = time.parse::<jiff::Timestamp>().ok();
    let before = parsed.and_then(|t| t.checked_sub(jiff::SignedDuration::from_secs(1)).ok());
    before.map_or_else(|| time.to_owned(), |t| t.to_string())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text::shown(text),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}

fn log_line(line: &Value) -> String {
    let text = |key: &str| line.get(key).map_or(String::new(), shown);
    let session = text("session");
    let session = if session.is_empty() { session } else { format!("@{{{session}}}") };
    let about = format!("{}{session}", text("user"));
    let about = if about.is_empty() { about } else { format!(" {about}") };
    format!("{} {}/{}{about}: {}", text("timestamp"), text("level"), text("topic"), text("message"))
}

/// Rows below each other, each column as wide as it needs to be.
fn table(list: &Value, columns: &[&str]) -> String {
    let head = columns.iter().map(|c| (*c).to_owned()).collect::<Vec<String>>();
    let row = |value: &Value| columns.iter().map(|c| value.get(*c).map_or("-".into(), shown)).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(list.as_array().into_iter().flatten().map(row)).collect();
    let width = |at: usize| rows.iter().map(|r| r[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let list = json!([{"title": "Häuser", "n": 5}, {"title": "x\ny", "n": null}]);
        assert_eq!(table(&list, &["title", "n"]), "title   n\nHäuser  5\nxy      -\n");
    }

    #[test]
    fn values_are_what_they_look_like() {
        assert_eq!([value_of("5"), value_of("true"), value_of("5mb")], [json!(5), json!(true), json!("5mb")]);
        assert_eq!(value_of("{\"a\":1}"), json!("{\"a\":1}"));
    }

    #[test]
    fn names_do_not_leave_their_part_of_a_path() {
        assert_eq!(part("a/../b c?"), "a%2F..%2Fb%20c%3F");
        assert_eq!(query(&[("reason", "a&b"), ("message", "")]), "reason=a%26b");
    }

    #[test]
    fn lines_of_the_log_look_as_in_the_log() {
        let line = json!({"timestamp": "T", "level": "Info", "topic": "Join", "user": "1;::1;A", "session": "s",
            "message": "Joined"});
        assert_eq!(log_line(&line), "T Info/Join 1;::1;A@{s}: Joined");
        assert_eq!(second_before("2026-01-01T00:00:00Z"), "2025-12-31T23:59:59Z");
    }
}
