//! `drawhall ctl`: a command line client of the admin API.

mod actions;
mod bans;
mod format;
mod invitations;
mod keep_out;
mod log;
mod make_session;
mod missing;
mod picture;
mod reports;
mod restrictions;
mod settings;
mod stop;
mod time;
mod timeline;
mod undo;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use drawhall::http::{Http, HttpAnswer, HttpError};
use drawhall::text::shown_json;
use drawhall::tools::account::ask_password;
use reqwest::Method;
use serde_json::{Map, Value, json};

use actions::Action;
use format::{shown, table};

use crate::Failure;
use crate::output::{out, outln};

/// Default address of the admin API: this machine, default port.
const DEFAULT_URL: &str = "http://127.0.0.1:27780";

/// The message of drawpile-srv for what it does not have.
const BARE_NOT_FOUND: &str = "Not found";

/// Options of all commands.
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
    /// User and password for the admin API.
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        env = "DRAWHALL_CTL_AUTH",
        hide_env_values = true,
        global = true
    )]
    auth: Option<String>,
    /// Print answers as JSON, for scripts.
    #[arg(long, global = true)]
    json: bool,
    /// The command.
    #[command(subcommand)]
    action: Action,
}

struct Api {
    http: Http,
    url: String,
    headers: Vec<(&'static str, String)>,
    json: bool,
}

/// Sends the request and prints the answer.
///
/// # Errors
/// When the server cannot be reached, or answers with an error.
pub(crate) fn run(ctl: Ctl) -> Result<(), Failure> {
    let Ctl { url, auth, json, action } = ctl;
    // An empty environment variable counts as unset.
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

/// Percent-encodes a path segment.
fn path_segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A JSON object from KEY=VALUE arguments.
fn parse_fields(fields: &[String]) -> Result<Value, Failure> {
    let mut object = Map::new();
    for field in fields {
        let (key, value) = field.split_once('=').ok_or("expected KEY=VALUE")?;
        object.insert(key.to_owned(), parse_value(value));
    }
    Ok(object.into())
}

/// A value from an argument: JSON if that is a boolean or number, otherwise text.
fn parse_value(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_boolean() || value.is_number() => value,
        _ => text.into(),
    }
}

impl Api {
    /// Tells people something beside the result; scripts are not told.
    fn note(&self, text: &str) {
        if !self.json {
            outln!("{text}");
        }
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let url = format!("{}/{path}", self.url);
        self.answer(path, self.http.request(method, &url, &self.headers, body).await)
    }

    /// The value in the answer of this path.
    fn answer(&self, path: &str, answer: Result<HttpAnswer, HttpError>) -> Result<Value, Failure> {
        let answer = answer.map_err(|error| {
            format!(
                "no answer from the admin API at {}: {error}; is the server started with --web-admin-port?",
                self.url
            )
        })?;
        let value = answer.json.unwrap_or_default();
        if answer.status < 300 {
            return Ok(value);
        }
        let reason = value["message"].as_str().unwrap_or("the server gave no reason");
        if answer.status == 404 && reason == BARE_NOT_FOUND {
            return Err(format!("{} (HTTP status 404)", missing::what(path)).into());
        }
        let remedy = match answer.status {
            401 => "; give a user and password that are right by DRAWHALL_CTL_AUTH=USER:PASSWORD or --auth",
            _ => "",
        };
        Err(format!("{reason} (HTTP status {}){remedy}", answer.status).into())
    }

    /// Checks names of fields. The API ignores unknown ones, for frontends of drawpile-srv, and drawpile-srv has no
    /// description: nothing is checked there.
    async fn check_fields(&self, path: &str, method: &str, fields: &Value) -> Result<(), Failure> {
        let Ok(document) = self.get("openapi.json").await else { return Ok(()) };
        let body = &document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"];
        let reference = body["$ref"].as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
        let Some(known) = reference.unwrap_or(body)["properties"].as_object() else { return Ok(()) };
        let given = fields.as_object().into_iter().flat_map(|fields| fields.keys());
        match given.into_iter().find(|name| !known.contains_key(*name)) {
            Some(name) => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                Err(format!("there is no field '{name}'; there are {}", names.join(", ")).into())
            }
            None => Ok(()),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None).await
    }

    async fn perform(self, action: Action) -> Result<(), Failure> {
        match action {
            Action::Status => self.print_object(&self.get("status").await?),
            Action::Sessions { session: None } => {
                let columns = ["title", "userCount", "size", "founder", "alias", "id"];
                self.print_table(&self.get("sessions").await?, &columns);
            }
            Action::Sessions { session: Some(session) } => {
                let session = self.get(&format!("sessions/{}", path_segment(&session))).await?;
                self.print_object(&session);
                if !self.json {
                    outln!();
                    self.print_table(&session["users"], &["id", "name", "ip", "op", "online", "uid"]);
                }
            }
            Action::Users => {
                let columns = ["uid", "name", "ip", "state", "session", "op"];
                self.print_table(&self.get("users").await?, &columns);
            }
            Action::MakeSession { fields, image } => self.make_session(&fields, image.as_deref()).await?,
            Action::SetSession { session, fields } => {
                let path = format!("sessions/{}", path_segment(&session));
                let fields = parse_fields(&fields)?;
                self.check_fields("/sessions/{session}", "put", &fields).await?;
                self.print_result(&self.request(Method::PUT, &path, Some(&fields)).await?, "changed");
            }
            Action::Accounts => {
                self.print_table(&self.get("accounts").await?, &["id", "username", "locked", "flags"]);
            }
            Action::Invitations(wanted) => self.invitations(wanted).await?,
            Action::Locks { sections, none, password } => self.locks(sections, none, password).await?,
            Action::End { session, reason, quiet } => {
                let quiet = if quiet { "1" } else { "" };
                let path = format!(
                    "sessions/{}?{}",
                    path_segment(&session),
                    query(&[("reason", &reason), ("quiet", quiet)])
                );
                self.print_result(&self.request(Method::DELETE, &path, None).await?, "ended");
            }
            Action::Kick { uid, message } => {
                let path = format!("users/{}?{}", path_segment(&uid), query(&[("message", &message)]));
                self.print_result(&self.request(Method::DELETE, &path, None).await?, "disconnected");
            }
            Action::Warn { session, user, message } => self.warn_user(&session, &user, &message).await?,
            Action::Restrict { session, user, kind, duration, reason } => {
                self.restrict(&session, &user, &kind, duration, &reason).await?;
            }
            Action::Restrictions { session, lift } => self.restrictions(&session, lift).await?,
            Action::CloseSession { session, duration } => self.close_session(&session, duration).await?,
            Action::Timeline(filter) => self.timeline(&filter).await?,
            Action::Erase { person } => self.erase(&person).await?,
            Action::Space { session } => self.space(&session).await?,
            Action::People { session } => self.people(&session).await?,
            Action::Undo { session, person, count, redo } => {
                self.undo(&session, &person, count, redo).await?;
            }
            Action::Remove { session, person, since, since_reset, yes } => {
                let part = undo::Part { since, since_reset };
                self.remove(&session, person.as_deref(), part, yes).await?;
            }
            Action::Cut { session, until, yes } => self.cut(&session, until.as_deref(), yes).await?,
            Action::Restore { session, generation, newest } => {
                self.restore(&session, generation, newest).await?;
            }
            Action::Picture { of, format, output } => self.picture(&of, format, output.as_deref()).await?,
            Action::Timelapse { of, frames, format, output } => {
                self.timelapse(&of, frames, format, output.as_deref()).await?;
            }
            Action::Compact { session } => self.compact(&session).await?,
            Action::Message { text, session, alert } => {
                let body = if alert { json!({"alert": text}) } else { json!({"message": text}) };
                let path =
                    session.map_or("sessions".to_owned(), |s| format!("sessions/{}", path_segment(&s)));
                self.print_result(&self.request(Method::PUT, &path, Some(&body)).await?, "sent");
            }
            Action::Bans { action } => self.bans(action).await?,
            Action::Ban { name, duration, kick, comment } => {
                self.ban(&name, duration, kick, comment).await?;
            }
            Action::Reports(wanted) => self.reports(wanted).await?,
            Action::Person(wanted) => self.person(wanted).await?,
            Action::KeepOut(wanted) => self.keep_out(wanted).await?,
            Action::Banned(wanted) => self.banned(wanted).await?,
            Action::LetIn { id } => self.let_in(&id).await?,
            Action::Settings { key, value, default, changed } => {
                self.settings(key, value, default, changed).await?;
            }
            Action::Log(filter) => self.log(filter).await?,
            Action::Ended { restore: None } => {
                self.print_table(
                    &self.get("ended").await?["sessions"],
                    &["ended", "title", "founder", "size", "alias", "id"],
                );
            }
            Action::Ended { restore: Some(id) } => {
                let path = format!("ended/{}/restore", path_segment(&id));
                self.print_result(&self.request(Method::POST, &path, Some(&json!({}))).await?, "restored");
            }
            Action::Recordings => {
                let columns = ["changed", "session", "size", "open", "name"];
                self.print_table(&self.get("recordings").await?["recordings"], &columns);
            }
            Action::Checks => self.checks().await?,
            Action::Stop { delay, text } => self.stop(delay, &text).await?,
        }
        Ok(())
    }

    async fn checks(&self) -> Result<(), Failure> {
        let report = self.get("checks").await?;
        if self.json {
            outln!("{}", shown_json(&report, false));
            return Ok(());
        }
        let findings = report["findings"].as_array().map_or(&[][..], Vec::as_slice);
        for finding in findings {
            let text = |key: &str| shown(&finding[key]);
            outln!("{}: {} [{}]\n    {}", text("level"), text("text"), text("id"), text("remedy"));
        }
        let (found, checks) = (findings.len(), report["checks"].as_array().map_or(0, Vec::len));
        outln!("{found} {} in {checks} checks", if found == 1 { "finding" } else { "findings" });
        Ok(())
    }

    async fn locks(&self, sections: Vec<String>, none: bool, password: bool) -> Result<(), Failure> {
        let mut locks = self.get("locks").await?;
        if none || !sections.is_empty() {
            let known = locks["sections"].as_object().cloned().unwrap_or_default();
            if let Some(unknown) = sections.iter().find(|s| !known.contains_key(*s)) {
                return Err(format!("there is no section '{unknown}'").into());
            }
            let has_password = locks["password"] == true;
            let password =
                if password || has_password { ask_password(!has_password)? } else { String::new() };
            let body = json!({"sections": sections, "password": password});
            locks = self.request(Method::PUT, "locks", Some(&body)).await?;
        }
        self.print_object(if self.json { &locks } else { &locks["sections"] });
        Ok(())
    }

    fn print_result(&self, answer: &Value, text: &str) {
        if self.json { outln!("{}", shown_json(answer, false)) } else { outln!("{text}") }
    }

    /// Prints an object as one `key = value` line per scalar field.
    fn print_object(&self, object: &Value) {
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

    fn print_table(&self, list: &Value, columns: &[&str]) {
        if self.json { outln!("{}", shown_json(list, false)) } else { out!("{}", table(list, columns)) }
    }
}

#[cfg(test)]
mod tests;
