//! Playing a rule.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::client::{Came, Client, PATIENCE, QUIET};
use super::common::client::{Received, system_id};
use super::pattern::{Names, fill, fits};
use super::script::{Action, Content, Expected, Rule, payload};
use super::target::{Running, Target};

/// Type of the message that says goodbye.
const DISCONNECT: u8 = 1;
/// A message that only clients understand.
const OPAQUE: u8 = 129;

struct Stage {
    server: Running,
    clients: BTreeMap<String, Client>,
    names: Names,
    /// Which requests to the web server were awaited already.
    answered: Vec<usize>,
}

/// Plays a rule; an error says which line did not go as it says.
pub(crate) fn play(rule: &Rule, target: &Target) -> Result<(), String> {
    let server = target.start(rule)?;
    let mut names = Names::new();
    let unique = format!("c{:x}", std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
    names.insert("unique".into(), json!(unique));
    if !rule.web.is_empty() {
        names.insert("web".into(), json!(server.web().url("")));
    }
    let mut stage = Stage { server, clients: BTreeMap::new(), names, answered: Vec::new() };
    for step in &rule.steps {
        stage.act(&step.action).map_err(|error| {
            let seen: String = stage.clients.iter().fold(String::new(), |text, (name, client)| {
                let last: Vec<&String> = client.seen.iter().rev().take(12).rev().collect();
                last.iter().fold(text, |text, message| format!("{text}\n    {name}: {message}"))
            });
            format!("{}\nline {}: {}\n  {error}{seen}", rule.says, step.line, step.text)
        })?;
    }
    stage.server.finish()
}

fn with_defaults(defaults: Value, given: &Map<String, Value>) -> Map<String, Value> {
    let mut whole = defaults.as_object().cloned().unwrap_or_default();
    whole.extend(given.clone());
    // What is given as "-" is left out.
    whole.retain(|_, value| value != "-");
    whole
}

impl Stage {
    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(name).ok_or_else(|| format!("{name} is not connected"))
    }

    fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Connect(name) => self.connect(name),
            Action::Ident(name) => self.ident(name),
            Action::Host(name, kwargs) => self.host(name, kwargs),
            Action::Run(name) => {
                self.client(name)?.send(OPAQUE, 1, &[0; 16]);
                self.command(name, "init-complete", &json!([]), &Map::new())?;
                self.gets(name, &Expected::Reply(json!({"type": "status"})))
            }
            Action::Join(name, kwargs) => self.join(name, kwargs),
            Action::Command(name, command, args, kwargs) => self.command(name, command, args, kwargs),
            Action::Send(name, Content { kind, user, payload: content }) => {
                let content = payload(&fill(content, &self.names));
                self.client(name)?.send(*kind, *user, &content);
                Ok(())
            }
            Action::Bytes(name, bytes) => {
                self.client(name)?.send_bytes(bytes);
                Ok(())
            }
            Action::Fill { who, kind, count, bytes } => {
                let client = self.client(who)?;
                (0..*count).for_each(|_| client.send(*kind, 0, &vec![0xaa; *bytes]));
                Ok(())
            }
            Action::Asked(method, path, body) => self.asked(method, path, body.as_ref()),
            Action::NeverAsked(method, path) => {
                std::thread::sleep(QUIET);
                let asked = self.server.web().asked_anyhow();
                match asked.iter().find(|asked| asked.method == *method && asked.path == *path) {
                    Some(asked) => Err(format!("the web server was asked {asked:?}")),
                    None => Ok(()),
                }
            }
            Action::Gets(name, expected) => self.gets(name, expected),
            Action::GetsToo(name, expected) => {
                let (client, names) = self.client_and_names(name)?;
                match client.passed.iter().position(|message| matches(expected, message, names)) {
                    Some(at) => {
                        client.passed.remove(at);
                        Ok(())
                    }
                    None => self.wait_for(name, expected),
                }
            }
            Action::GetsNext(name, expected) => {
                let (client, names) = self.client_and_names(name)?;
                match client.next(Instant::now() + PATIENCE) {
                    Came::Message(message) if matches(expected, &message, names) => Ok(()),
                    Came::Message(message) => Err(format!("{name} got {message}")),
                    Came::End => Err(format!("the connection of {name} has ended")),
                    Came::Nothing => Err(format!("{name} got nothing")),
                }
            }
            Action::Never(name, expected) => self.never(name, expected),
            Action::Gone(name, reason) => self.gone(name, *reason),
            Action::Close(name) => {
                self.clients.remove(name).map(drop).ok_or_else(|| format!("{name} is not connected"))
            }
            Action::Restart => {
                self.server.restart()?;
                self.clients.clear();
                Ok(())
            }
            Action::Wait(milliseconds) => {
                std::thread::sleep(Duration::from_millis(*milliseconds));
                Ok(())
            }
        }
    }

    fn client_and_names(&mut self, name: &str) -> Result<(&mut Client, &mut Names), String> {
        let client = self.clients.get_mut(name).ok_or_else(|| format!("{name} is not connected"))?;
        Ok((client, &mut self.names))
    }

    fn connect(&mut self, name: &str) -> Result<(), String> {
        let client = Client::connect(self.server.address)?;
        self.clients.insert(name.to_owned(), client);
        self.names.insert(format!("sid{name}"), json!(system_id(name)));
        Ok(())
    }

    fn ident(&mut self, name: &str) -> Result<(), String> {
        self.connect(name)?;
        self.command(name, "ident", &json!([name]), &Map::new())?;
        self.gets(name, &Expected::Reply(json!({"state": "identOk"})))
    }

    fn host(&mut self, name: &str, kwargs: &Map<String, Value>) -> Result<(), String> {
        if !self.clients.contains_key(name) {
            self.ident(name)?;
        }
        let defaults = json!({"protocol": "dp:4.24.0", "user_id": 1, "s": system_id(name)});
        self.command(name, "host", &json!([]), &with_defaults(defaults, kwargs))?;
        // A later session of the same conversation takes the name over.
        self.names.remove("session");
        self.gets(name, &Expected::Reply(json!({"state": "host", "join": {"uniqueId": "$session"}})))
    }

    fn join(&mut self, name: &str, kwargs: &Map<String, Value>) -> Result<(), String> {
        if !self.clients.contains_key(name) {
            self.ident(name)?;
        }
        let defaults = json!({"s": system_id(name)});
        self.command(name, "join", &json!(["$session"]), &with_defaults(defaults, kwargs))?;
        self.names.remove(&format!("user{name}"));
        self.gets(name, &Expected::Reply(json!({"state": "join", "join": {"user": format!("$user{name}")}})))
    }

    fn command(
        &mut self,
        name: &str,
        command: &str,
        args: &Value,
        kwargs: &Map<String, Value>,
    ) -> Result<(), String> {
        let mut whole = Map::new();
        whole.insert("cmd".into(), command.into());
        if args.as_array().is_none_or(|list| !list.is_empty()) {
            whole.insert("args".into(), args.clone());
        }
        if !kwargs.is_empty() {
            whole.insert("kwargs".into(), kwargs.clone().into());
        }
        let text = fill(&whole.into(), &self.names).to_string();
        self.client(name)?.send(0, 0, text.as_bytes());
        Ok(())
    }

    /// Waits until the web server was asked something; each request counts once.
    fn asked(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self.server.web().asked_anyhow();
            let found = asked.iter().enumerate().position(|(at, asked)| {
                let fits = |pattern| {
                    let mut trial = self.names.clone();
                    let fitting = fits(&fill(pattern, &self.names), Some(&asked.body), &mut trial);
                    if fitting {
                        self.names = trial;
                    }
                    fitting
                };
                !self.answered.contains(&at)
                    && asked.method == method
                    && asked.path == path
                    && body.is_none_or(fits)
            });
            if let Some(at) = found {
                self.answered.push(at);
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the web server was asked {asked:?}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn gets(&mut self, name: &str, expected: &Expected) -> Result<(), String> {
        self.client(name)?.passed.clear();
        self.wait_for(name, expected)
    }

    fn wait_for(&mut self, name: &str, expected: &Expected) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let (client, names) = self.client_and_names(name)?;
        loop {
            match client.next(until) {
                Came::Message(message) if matches(expected, &message, names) => return Ok(()),
                Came::Message(message) => client.passed.push(message),
                Came::End => return Err(format!("the connection of {name} has ended")),
                Came::Nothing => return Err(format!("{name} did not get it")),
            }
        }
    }

    fn never(&mut self, name: &str, expected: &Expected) -> Result<(), String> {
        let until = Instant::now() + QUIET;
        let (client, names) = self.client_and_names(name)?;
        loop {
            match client.next(until) {
                Came::Message(message) if matches(expected, &message, &mut names.clone()) => {
                    return Err(format!("{name} got {message}"));
                }
                Came::Message(_) => {}
                Came::End => return Err(format!("the connection of {name} has ended")),
                Came::Nothing => return Ok(()),
            }
        }
    }

    fn gone(&mut self, name: &str, reason: Option<u8>) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let client = self.client(name)?;
        let mut said = None;
        loop {
            match client.next(until) {
                Came::Message(message) if message.kind == DISCONNECT => {
                    said = message.payload.first().copied()
                }
                Came::Message(_) => {}
                Came::End if reason.is_none() || said == reason => break,
                Came::End => return Err(format!("{name} was told {said:?} at the end")),
                Came::Nothing => return Err(format!("{name} is still connected")),
            }
        }
        self.clients.remove(name);
        Ok(())
    }
}

fn matches(expected: &Expected, message: &Received, names: &mut Names) -> bool {
    match expected {
        Expected::Reply(pattern) => {
            let Some(json) = message.json() else { return false };
            // What does not fit as a whole names nothing.
            let mut trial = names.clone();
            let fitting = fits(&fill(pattern, names), Some(&json), &mut trial);
            if fitting {
                *names = trial;
            }
            fitting
        }
        Expected::Other(kind, user, content) => {
            message.kind == *kind
                && content.as_ref().is_none_or(|content| *content == message.payload)
                && user
                    .as_ref()
                    .is_none_or(|user| fits(&fill(user, names), Some(&json!(message.user)), names))
        }
    }
}
