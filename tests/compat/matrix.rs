//! Rules about pairs of client versions: who can host, who can join what, and what is stored.
//!
//! The server compares versions when somebody hosts, and nothing when somebody joins: clients decide what they can
//! join. What a client sends depends on its series: system ids and look-ups since dp:4.24, client info since dp:4.25.

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::version::Compatibility;
use serde_json::{Value, json};

use super::script::{Action, Expected, Rule, Step};

/// One version of each series, betas and a coming one among them, and namespaces of others.
const VERSIONS: [&str; 11] = [
    "dp:4.20.1",
    "dp:4.21.2",
    "dp:4.22.3",
    "dp:4.23.0",
    "dp:4.24.0",
    "dp:4.25.0",
    "dp:4.25.1",
    "dp:4.25.7",
    "dp:4.26.0",
    "xy:4.24.0",
    "xy:4.25.1",
];
/// Versions of servers of another kind.
const FOREIGN: [&str; 4] = ["dp:3.0.0", "dp:5.0.0", "dp:0.25.1", "xy:5.25.1"];

/// A client of a version.
struct Series {
    version: ProtocolVersion,
    text: &'static str,
}

impl Series {
    fn new(text: &'static str) -> Series {
        Series { version: text.parse().unwrap(), text }
    }

    fn has_system_id(&self) -> bool {
        (self.version.server(), self.version.major()) >= (4, 24)
    }

    fn has_client_info(&self) -> bool {
        (self.version.server(), self.version.major()) >= (4, 25)
    }

    /// Whether nobody can join a session of this version without a system id.
    fn needs_system_id(&self) -> bool {
        self.version.namespace() == "dp" && self.has_system_id()
    }

    /// Whether a client of this version has another minor version than a session, and says so.
    fn is_old_for(&self, session: &Series) -> bool {
        self.version.joins(&session.version) == Compatibility::MinorDiffers
    }

    /// What it says of itself at hosting and joining.
    fn info(&self, who: &str) -> Value {
        match (self.has_client_info(), self.has_system_id()) {
            (true, _) => {
                json!({"app_version": "2.3.1", "protocol_version": self.text, "qt_version": "6", "os": "linux",
                "s": format!("$sid{who}"), "m": "x"})
            }
            (_, true) => json!({"s": format!("$sid{who}")}),
            _ => json!({}),
        }
    }
}

/// A rule that grows step by step.
struct Draft(Rule);

impl Draft {
    fn new(name: String, says: String) -> Draft {
        let source = "docs/spec/wire.md#protocol-version".to_owned();
        Draft(Rule { name: format!("matrix/{}", name.replace(':', "-")), says, source, ..Rule::default() })
    }

    fn act(&mut self, text: impl Into<String>, action: Action) {
        let line = self.0.steps.len() + 1;
        self.0.steps.push(Step { line, text: text.into(), action });
    }

    fn command(&mut self, who: &str, command: &str, args: Value, kwargs: Value) {
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        let text = format!("{who} > {command} {args} {}", Value::from(kwargs.clone()));
        self.act(text, Action::Command(who.into(), command.into(), args, kwargs));
    }

    fn gets(&mut self, who: &str, pattern: Value) {
        self.act(format!("{who} < {pattern}"), Action::Gets(who.into(), Expected::Reply(pattern)));
    }

    /// Comes as a client of a version does, to host or to join the session.
    fn arrive(&mut self, who: &str, series: &Series, lookup: Value) {
        self.act(format!("connect {who}"), Action::Connect(who.into()));
        if series.has_client_info() {
            self.command(who, "cinfo", json!(["localhost", series.info(who)]), json!({}));
            self.gets(who, json!({"cinfo": "*"}));
        }
        if series.has_system_id() {
            self.command(who, "lookup", lookup, json!({}));
            self.gets(who, json!({"lookup": "*"}));
        }
        self.command(who, "ident", json!([who]), json!({}));
        self.gets(who, json!({"state": "identOk"}));
    }

    fn ask_to_host(&mut self, who: &str, series: &Series) {
        self.arrive(who, series, json!([]));
        let mut kwargs = series.info(who);
        kwargs["protocol"] = series.text.into();
        kwargs["user_id"] = 1.into();
        self.command(who, "host", json!([]), kwargs);
    }

    /// Hosts and uploads a message that only clients understand.
    fn host(&mut self, who: &str, series: &Series) {
        self.ask_to_host(who, series);
        self.gets(who, json!({"state": "host", "join": {"uniqueId": "$session"}}));
        self.act(format!("run {who}"), Action::Run(who.into()));
    }

    /// Joins the session, or is refused because it says nothing of its system.
    fn join(&mut self, who: &str, series: &Series, session: &Series) {
        self.arrive(who, series, json!(["$session"]));
        let mut kwargs = series.info(who);
        if series.is_old_for(session) {
            kwargs["oldv"] = true.into();
        }
        self.command(who, "join", json!(["$session"]), kwargs);
        if session.needs_system_id() && !series.has_system_id() {
            return self.act(format!("{who} gone 0"), Action::Gone(who.into(), Some(0)));
        }
        self.gets(who, json!({"state": "join", "join": {"user": format!("$user{who}")}}));
        self.other(who, 129, None, None);
        let flags = if series.is_old_for(session) { 8 } else { 0 };
        let payload = [&[flags, who.len() as u8], who.as_bytes()].concat();
        self.other(who, 32, Some(json!(format!("$user{who}"))), Some(payload));
    }

    fn other(&mut self, who: &str, kind: u8, user: Option<Value>, payload: Option<Vec<u8>>) {
        self.act(format!("{who} < {kind}"), Action::Gets(who.into(), Expected::Other(kind, user, payload)));
    }

    fn persistent(&mut self, who: &str) {
        self.0.settings.push("persistence=true".into());
        self.command(who, "sessionconf", json!([]), json!({"persistent": true}));
        self.gets(who, json!({"type": "sessionconf", "config": {"persistent": true}}));
    }
}

pub(crate) fn rules() -> Vec<Rule> {
    let known: Vec<Series> = VERSIONS.into_iter().map(Series::new).collect();
    let foreign: Vec<Series> = FOREIGN.into_iter().map(Series::new).collect();
    let mut rules = Vec::new();
    rules.extend(known.iter().map(hosts_and_lists));
    rules.extend(foreign.iter().map(does_not_host));
    for session in &known {
        rules.extend(known.iter().map(|client| joins(client, session)));
    }
    rules.extend(known.iter().map(is_stored));
    rules.extend(known.iter().chain(&foreign).map(is_template));
    rules
}

fn hosts_and_lists(series: &Series) -> Rule {
    let text = series.text;
    let mut draft =
        Draft::new(format!("host-{text}"), format!("{text} can be hosted, and is listed with its version"));
    draft.host("A", series);
    draft.act("ident L", Action::Ident("L".into()));
    draft.gets("L", json!({"sessions": ["...", {"id": "$session", "protocol": text}]}));
    draft.0
}

fn does_not_host(series: &Series) -> Rule {
    let text = series.text;
    let mut draft = Draft::new(
        format!("host-{text}"),
        format!("{text} is of another server number and cannot be hosted"),
    );
    draft.ask_to_host("A", series);
    draft.gets("A", json!({"type": "error", "code": "badProtocol"}));
    draft.act("A gone 0", Action::Gone("A".into(), Some(0)));
    draft.0
}

fn joins(client: &Series, session: &Series) -> Rule {
    let (client_text, text) = (client.text, session.text);
    let says = match client.version.joins(&session.version) {
        _ if session.needs_system_id() && !client.has_system_id() => "is refused without a system id in",
        Compatibility::Full => "joins",
        Compatibility::MinorDiffers => "joins, marked as different,",
        Compatibility::OlderLayout => "joins and speaks the layout of",
        // The server leaves that to the client.
        Compatibility::None => "would not join, and is not hindered to join,",
    };
    let says = format!("a client of {client_text} {says} a session of {text}");
    let mut draft = Draft::new(format!("join-{text}-by-{client_text}"), says);
    draft.host("A", session);
    draft.join("B", client, session);
    draft.0
}

fn is_stored(series: &Series) -> Rule {
    let text = series.text;
    let mut draft =
        Draft::new(format!("store-{text}"), format!("a session of {text} is there after a restart"));
    draft.0.stores = true;
    draft.host("A", series);
    draft.persistent("A");
    draft.act("restart", Action::Restart);
    draft.join("B", series, series);
    draft.act("ident L", Action::Ident("L".into()));
    draft.gets("L", json!({"sessions": ["...", {"id": "$session", "protocol": text}]}));
    draft.0
}

/// A text can be a template if this server would host its version: namespace, server number and major number decide.
fn is_template(series: &Series) -> Rule {
    let text = series.text;
    let starts = text.starts_with("dp:4.25.");
    let does = if starts { "becomes a session" } else { "is none" };
    let mut draft = Draft::new(format!("template-{text}"), format!("a template of {text} {does}"));
    if starts && text != "dp:4.25.1" {
        draft.0.beyond = Some("drawpile-srv wants the same minor number".into());
    }
    let file = format!("!version={text}\n1 resize {{\"right\":9,\"bottom\":9}}\n");
    draft.0.templates.push(("lobby.dptxt".into(), file));
    draft.arrive("A", &Series::new("dp:4.21.2"), Value::Null);
    let info = Series::new("dp:4.24.0").info("A");
    draft.command("A", "join", json!(["lobby"]), info);
    if starts {
        draft.gets("A", json!({"state": "join"}));
        draft.other("A", 129, None, None);
    } else {
        draft.gets("A", json!({"type": "error", "code": "notFound"}));
    }
    draft.0
}
