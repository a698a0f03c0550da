//! The language of rules.

use serde_json::{Map, Value, json};

/// A rule, and the conversation that shows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rule {
    pub name: String,
    /// The rule in words.
    pub says: String,
    /// Where it is written, such as docs/spec/login.md#join.
    pub source: String,
    /// What the reference does otherwise, where Drawhall does more.
    pub beyond: Option<String>,
    /// Settings, as lines of the configuration file.
    pub settings: Vec<String>,
    /// Lines of other sections of the configuration file: name of the section, line.
    pub sections: Vec<(String, String)>,
    /// Templates: name and text of the file.
    pub templates: Vec<(String, String)>,
    /// Sessions are stored in a directory.
    pub stores: bool,
    /// Options of the command line, without their dashes, and their values.
    pub options: Vec<(String, String)>,
    /// How the web server beside the server answers: method and path, status, body.
    pub web: Vec<WebAnswer>,
    pub steps: Vec<Step>,
}

/// What the web server answers to requests of a method for a path.
#[derive(Debug, Clone)]
pub(crate) struct WebAnswer {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub body: Value,
}

/// A line of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Line of the file.
    pub line: usize,
    pub text: String,
    pub action: Action,
}

/// What is done or awaited.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Connect(String),
    /// Connects and logs in as a guest of the same name.
    Ident(String),
    /// Connects, logs in, hosts.
    Host(String, Map<String, Value>),
    /// Sends a small canvas and begins.
    Run(String),
    /// Connects, logs in, joins.
    Join(String, Map<String, Value>),
    Command(String, String, Value, Map<String, Value>),
    Send(String, Content),
    Bytes(String, Vec<u8>),
    /// A message comes, after others perhaps.
    Gets(String, Expected),
    /// A message comes, or was among those that were passed over when something was last waited for.
    GetsToo(String, Expected),
    /// It is the very next one.
    GetsNext(String, Expected),
    /// It does not come.
    Never(String, Expected),
    /// The connection ends, perhaps with a Disconnect message of this reason.
    Gone(String, Option<u8>),
    Close(String),
    /// Sends so many opaque messages of one type, each with a payload of so many bytes.
    Fill {
        who: String,
        kind: u8,
        count: usize,
        bytes: usize,
    },
    /// The web server is asked something: method, path, body.
    Asked(String, String, Option<Value>),
    /// It is not asked that.
    NeverAsked(String, String),
    Restart,
    /// Something takes time by its nature.
    Wait(u64),
}

/// A message that is not JSON.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub kind: u8,
    pub user: u8,
    pub payload: Value,
}

/// A message that is awaited.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    Reply(Value),
    /// Type, user id, payload, as far as they matter.
    Other(u8, Option<Value>, Option<Vec<u8>>),
}

/// Reads a file of rules.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut source = String::new();
    for (at, whole) in text.lines().enumerate() {
        let wrong = |what: String| format!("line {}: {what}: {whole}", at + 1);
        let line = whole.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("source ") {
            name.clone_into(&mut source);
        } else if let Some(rest) = line.strip_prefix("rule ") {
            let (name, says) = rest.split_once(": ").ok_or_else(|| wrong("expected NAME: TEXT".into()))?;
            rules.push(Rule {
                name: format!("{file}/{name}"),
                says: says.to_owned(),
                source: source.clone(),
                ..Rule::default()
            });
        } else {
            let rule = rules.last_mut().ok_or_else(|| wrong("there is no rule yet".into()))?;
            rule.read(at + 1, line).map_err(wrong)?;
        }
    }
    if let Some(empty) = rules.iter().find(|rule| rule.steps.is_empty()) {
        return Err(format!("{} does nothing", empty.name));
    }
    Ok(rules)
}

impl Rule {
    fn read(&mut self, at: usize, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "beyond" if rest.is_empty() => return Err("expected what the reference does".to_owned()),
            "beyond" => self.beyond = Some(rest.to_owned()),
            "stores" => self.stores = true,
            "set" => self.settings.push(rest.to_owned()),
            "option" => {
                let (name, value) = rest.split_once(' ').ok_or("expected NAME VALUE")?;
                self.options.push((name.to_owned(), value.to_owned()));
            }
            "web" if !rest.starts_with(['<', 'n']) => self.web.push(web_answer(rest)?),
            "section" => {
                let (section, line) = rest.split_once(' ').ok_or("expected SECTION LINE")?;
                self.sections.push((section.to_owned(), line.to_owned()));
            }
            "template" => {
                let (name, text) = rest.split_once(' ').ok_or("expected NAME TEXT")?;
                let text: String = serde_json::from_str(text).map_err(|e| e.to_string())?;
                self.templates.push((name.to_owned(), text));
            }
            _ => {
                for action in action(line)? {
                    self.steps.push(Step { line: at, text: line.to_owned(), action });
                }
            }
        }
        Ok(())
    }
}

/// `METHOD PATH STATUS [JSON]`.
fn web_answer(text: &str) -> Result<WebAnswer, String> {
    let mut parts = text.splitn(4, ' ');
    let mut part = || parts.next().ok_or("expected METHOD PATH STATUS");
    let (method, path) = (part()?.to_owned(), part()?.to_owned());
    let status = part()?.parse().map_err(|_| "expected a status")?;
    let body = parts.next().map_or(Ok(Value::Null), serde_json::from_str).map_err(|e| e.to_string())?;
    Ok(WebAnswer { method, path, status, body })
}

fn kwargs(text: &str) -> Result<Map<String, Value>, String> {
    match text {
        "" => Ok(Map::new()),
        text => serde_json::from_str(text).map_err(|e| e.to_string()),
    }
}

fn action(line: &str) -> Result<Vec<Action>, String> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (who, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let named = || who.to_owned();
    let one = match first {
        "connect" => return Ok(rest.split(' ').map(|who| Action::Connect(who.to_owned())).collect()),
        "ident" => return Ok(rest.split(' ').map(|who| Action::Ident(who.to_owned())).collect()),
        "host" => Action::Host(named(), kwargs(more)?),
        "run" => Action::Run(named()),
        "join" => Action::Join(named(), kwargs(more)?),
        "session" => {
            let mut names = rest.split(' ').map(str::to_owned);
            let host = names.next().ok_or("expected names")?;
            let mut actions = vec![Action::Host(host.clone(), Map::new()), Action::Run(host)];
            actions.extend(names.map(|name| Action::Join(name, Map::new())));
            return Ok(actions);
        }
        "web" => asked(rest)?,
        "restart" => Action::Restart,
        "wait" => Action::Wait(rest.parse().map_err(|_| "expected milliseconds")?),
        whos => return whos.split(',').map(|who| told(who, rest)).collect(),
    };
    Ok(vec![one])
}

/// `< METHOD PATH [JSON]` or `never METHOD PATH`.
fn asked(text: &str) -> Result<Action, String> {
    let mut parts = text.splitn(4, ' ');
    let word = parts.next().unwrap_or_default();
    let mut part = || parts.next().map(str::to_owned).ok_or("expected METHOD PATH");
    let (method, path) = (part()?, part()?);
    Ok(match word {
        "<" => {
            let body = parts.next().map(serde_json::from_str).transpose().map_err(|e| e.to_string())?;
            Action::Asked(method, path, body)
        }
        _ => Action::NeverAsked(method, path),
    })
}

/// What a client does or gets.
fn told(who: &str, text: &str) -> Result<Action, String> {
    let who = who.to_owned();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        ">" => {
            let (command, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let (mut args, mut kwargs) = (json!([]), Map::new());
            for value in values.by_ref() {
                match value.map_err(|e| e.to_string())? {
                    Value::Object(object) => kwargs = object,
                    list => args = list,
                }
            }
            Action::Command(who, command.to_owned(), args, kwargs)
        }
        "sends" => Action::Send(who, content(rest)?),
        "bytes" => Action::Bytes(who, hex(rest)?),
        "<" => Action::Gets(who, expected(rest)?),
        "also" => Action::GetsToo(who, expected(rest)?),
        "next" => Action::GetsNext(who, expected(rest)?),
        "never" => Action::Never(who, expected(rest)?),
        "gone" => Action::Gone(
            who,
            if rest.is_empty() { None } else { Some(rest.parse().map_err(|_| "expected a reason")?) },
        ),
        "closes" => Action::Close(who),
        "fills" => {
            let numbers: Result<Vec<usize>, _> = rest.split(' ').map(str::parse).collect();
            match numbers.as_deref() {
                Ok(&[kind @ 0..=255, count, bytes]) => Action::Fill { who, kind: kind as u8, count, bytes },
                _ => return Err("expected TYPE COUNT BYTES".to_owned()),
            }
        }
        _ => return Err("there is no such line".to_owned()),
    })
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16));
    bytes.collect::<Result<_, _>>().map_err(|_| "expected hex digits".to_owned())
}

/// `TYPE [USER] [PAYLOAD]`; the payload is hex, or a text in quotes.
fn content(text: &str) -> Result<Content, String> {
    let mut parts = text.splitn(3, ' ');
    let number =
        |part: Option<&str>| part.map_or(Ok(0), |p| p.parse().map_err(|_| format!("{p} is no number")));
    let (kind, user) = (number(parts.next())?, number(parts.next())?);
    let payload = match parts.next() {
        None => Value::Null,
        Some(text) if text.starts_with('"') => serde_json::from_str(text).map_err(|e| e.to_string())?,
        Some(text) => hex(text)?.into(),
    };
    Ok(Content { kind, user, payload })
}

/// Bytes of a payload as a rule writes it.
pub(crate) fn payload(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(list) => list.iter().map(|byte| byte.as_u64().unwrap_or(0) as u8).collect(),
        _ => Vec::new(),
    }
}

fn expected(text: &str) -> Result<Expected, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let short = |key: &str| Ok(Expected::Reply(json!({"type": key})));
    match word {
        _ if text.starts_with('{') => {
            Ok(Expected::Reply(serde_json::from_str(text).map_err(|e| e.to_string())?))
        }
        "error" if rest.is_empty() => short("error"),
        "error" => Ok(Expected::Reply(json!({"type": "error", "code": rest}))),
        "state" => Ok(Expected::Reply(json!({"type": "result", "state": rest}))),
        "key" => Ok(Expected::Reply(json!({"T": rest}))),
        "conf" => {
            let config: Value = serde_json::from_str(rest).map_err(|e| e.to_string())?;
            Ok(Expected::Reply(json!({"type": "sessionconf", "config": config})))
        }
        _ => {
            let mut parts = text.splitn(3, ' ');
            let kind =
                parts.next().and_then(|p| p.parse().ok()).ok_or("expected JSON, a short form or a type")?;
            let user = match parts.next() {
                None | Some("*") => None,
                Some(user) if user.starts_with('$') => Some(json!(user)),
                Some(user) => Some(json!(user.parse::<u8>().map_err(|_| "expected a user id")?)),
            };
            let bytes = match parts.next() {
                None => None,
                Some(text) if text.starts_with('"') => {
                    Some(payload(&serde_json::from_str(text).map_err(|e| e.to_string())?))
                }
                Some(text) => Some(hex(text)?),
            };
            Ok(Expected::Other(kind, user, bytes))
        }
    }
}
