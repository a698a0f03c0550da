//! The server that rules are tried on.

use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use drawhall::app::{ServeOptions, start};
use drawhall::config::RuleSource;
use drawhall::trace::replay;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::client::PATIENCE;
use super::common::elsewhere::{Elsewhere, Reply};
use super::pattern::fill_text;
use super::script::Rule;

/// Where servers come from.
pub(crate) enum Target {
    /// A server in this process for each rule.
    Here,
    /// A server that runs, with settings that are not known.
    Address(SocketAddr),
    /// A command that starts one, with placeholders, see `docs/COMPAT.md`.
    Command(String),
}

/// A server that a rule is tried on.
pub(crate) struct Running {
    pub address: SocketAddr,
    how: How,
    /// Its directories.
    folder: Option<TempDir>,
    web: Option<Elsewhere>,
}

enum How {
    Here {
        options: Box<ServeOptions>,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
        runs: u32,
    },
    Elsewhere,
    Child {
        command: String,
        child: Child,
    },
}

impl Target {
    pub(crate) fn from_environment() -> Target {
        if let Ok(command) = std::env::var("DRAWHALL_COMPAT_COMMAND") {
            return Target::Command(command);
        }
        match std::env::var("DRAWHALL_COMPAT_TARGET") {
            Ok(name) => {
                let address = name.to_socket_addrs().ok().and_then(|mut found| found.next());
                Target::Address(
                    address.unwrap_or_else(|| panic!("DRAWHALL_COMPAT_TARGET: {name} is no host:port")),
                )
            }
            Err(_) => Target::Here,
        }
    }

    /// Why a rule cannot be tried here.
    pub(crate) fn cannot(&self, rule: &Rule) -> Option<String> {
        let lines = rule.settings.len() + rule.sections.len() + rule.templates.len() + rule.options.len();
        let needs = lines > 0 || rule.stores;
        let beyond = rule.beyond.as_ref().map(|why| format!("Drawhall does more: {why}"));
        match self {
            Target::Here => None,
            _ if beyond.is_some() => beyond,
            Target::Address(_) if needs => Some("needs a server with settings of its own".into()),
            Target::Command(command) => {
                let has = |mark: &str| command.contains(&format!("{{{mark}}}"));
                let lacking = directories(rule).iter().any(|(name, needed)| *needed && !has(name))
                    || !rule.options.is_empty();
                (lacking && !has("options")).then(|| "the command lacks a placeholder that it needs".into())
            }
            Target::Address(_) => None,
        }
    }

    /// Starts a server for a rule.
    pub(crate) fn start(&self, rule: &Rule) -> Result<Running, String> {
        if let Target::Address(address) = self {
            return Ok(Running {
                address: *address,
                how: How::Elsewhere,
                folder: None,
                web: web_server(rule),
            });
        }
        let web = web_server(rule);
        let rule = &in_place(rule, web.as_ref());
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        write_files(rule, folder.path()).map_err(|e| e.to_string())?;
        let path = |name: &str| folder.path().join(name);
        let mut running = match self {
            Target::Command(command) => {
                let port = free_port().ok_or("there is no free port")?;
                let command = fill_command(command, rule, folder.path(), port);
                let child = spawn(&command)?;
                let how = How::Child { command, child };
                Running { address: ([127, 0, 0, 1], port).into(), how, folder: Some(folder), web }
            }
            _ => {
                let options = ServeOptions {
                    source: rule_source(rule, path("server.cfg"))?,
                    listen: Some([127, 0, 0, 1].into()),
                    workers: 2,
                    // Web servers of rules are on this machine.
                    announce_private: true,
                    sessions: rule.stores.then(|| path("sessions")),
                    templates: (!rule.templates.is_empty()).then(|| path("templates")),
                    ..ServeOptions::default()
                };
                let how = How::Here { options: Box::new(options), stop: None, thread: None, runs: 0 };
                Running { address: ([127, 0, 0, 1], 0).into(), how, folder: Some(folder), web }
            }
        };
        running.begin()?;
        Ok(running)
    }
}

/// The command with the placeholders filled; directories that have no placeholder of their own are options, where needed.
fn fill_command(command: &str, rule: &Rule, folder: &Path, port: u16) -> String {
    let show = |name: &str| folder.join(name).display().to_string();
    let mut options: Vec<String> =
        rule.options.iter().map(|(name, value)| format!("--{name} {value}")).collect();
    for (name, needed) in directories(rule) {
        if needed && !command.contains(&format!("{{{name}}}")) {
            options.push(format!("--{name} {}", show(name)));
        }
    }
    let values = [
        ("{port}", port.to_string()),
        ("{config}", show("server.cfg")),
        ("{sessions}", show("sessions")),
        ("{templates}", show("templates")),
        ("{options}", options.join(" ")),
    ];
    values.iter().fold(command.to_owned(), |command, (mark, value)| command.replace(mark, value))
}

/// The directories that a server can have, and whether a rule needs them.
fn directories(rule: &Rule) -> [(&'static str, bool); 2] {
    [("sessions", rule.stores), ("templates", !rule.templates.is_empty())]
}

/// Where the inputs of a run are recorded.
fn trace(folder: &TempDir, run: u32) -> PathBuf {
    folder.path().join(format!("{run}.trace"))
}

/// The web server that a rule needs.
fn web_server(rule: &Rule) -> Option<Elsewhere> {
    let answers = rule.web.clone();
    (!answers.is_empty()).then(|| {
        Elsewhere::start(move |asked| {
            let answer = answers.iter().find(|a| a.method == asked.method && a.path == asked.path);
            answer.map_or_else(|| Reply::of(404, "{}"), |a| Reply::of(a.status, &a.body))
        })
    })
}

/// The rule with the address of the web server where it is named.
fn in_place(rule: &Rule, web: Option<&Elsewhere>) -> Rule {
    let mut rule = rule.clone();
    let names = web.map(|web| ("web".to_owned(), web.url("").into())).into_iter().collect();
    let texts = rule.settings.iter_mut();
    let texts = texts.chain(rule.options.iter_mut().map(|(_, value)| value));
    for text in texts.chain(rule.sections.iter_mut().map(|(_, line)| line)) {
        *text = fill_text(text, &names);
    }
    rule
}

/// The options of a rule as this process takes them.
fn rule_source(rule: &Rule, config: PathBuf) -> Result<RuleSource, String> {
    let mut source = RuleSource { config: Some(config), ..RuleSource::default() };
    for (name, value) in &rule.options {
        match name.as_str() {
            "extauth" => source.extauth = Some(value.clone()),
            "report-url" => source.report_url = Some(value.clone()),
            "local-host" => source.local_host.clone_from(value),
            "crypt-key" => {
                let key = BASE64.decode(value).map_err(|e| format!("{name}: {e}"))?;
                source.crypt_key = key.try_into().ok();
            }
            _ => return Err(format!("there is no option {name} for rules")),
        }
    }
    Ok(source)
}

/// A port that nobody has, below those that the system gives to clients, and not given twice.
fn free_port() -> Option<u16> {
    const PORTS: std::ops::Range<u32> = 10_000..30_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let ports = std::iter::repeat_with(|| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let ports = ports.map(|n| (PORTS.start + n % PORTS.len() as u32) as u16);
    ports.take(PORTS.len()).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

fn write_files(rule: &Rule, folder: &Path) -> std::io::Result<()> {
    let mut config = String::from("[config]\n");
    config.extend(rule.settings.iter().map(|line| format!("{line}\n")));
    for (section, line) in &rule.sections {
        config.push_str(&format!("[{section}]\n{line}\n"));
    }
    std::fs::write(folder.join("server.cfg"), config)?;
    for name in ["sessions", "templates"] {
        std::fs::create_dir(folder.join(name))?;
    }
    rule.templates
        .iter()
        .try_for_each(|(name, text)| std::fs::write(folder.join("templates").join(name), text))
}

fn spawn(command: &str) -> Result<Child, String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("DRAWHALL_COMPAT_COMMAND is empty")?;
    let quiet =
        || if std::env::var_os("DRAWHALL_COMPAT_LOUD").is_some() { Stdio::inherit() } else { Stdio::null() };
    let started =
        Command::new(program).args(words).stdout(quiet()).stderr(quiet()).stdin(Stdio::null()).spawn();
    started.map_err(|error| format!("cannot start {program}: {error}"))
}

impl Running {
    /// The web server; only rules that say how it answers ask for it.
    pub(crate) fn web(&self) -> &Elsewhere {
        self.web.as_ref().unwrap()
    }

    /// Starts it, or waits until it is there.
    fn begin(&mut self) -> Result<(), String> {
        match &mut self.how {
            How::Elsewhere => {}
            How::Child { child, .. } => {
                let until = Instant::now() + PATIENCE;
                while TcpStream::connect(self.address).is_err() {
                    if let Ok(Some(status)) = child.try_wait() {
                        return Err(format!("the server has ended: {status}"));
                    }
                    if Instant::now() > until {
                        return Err("the server does not listen".into());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            How::Here { options, stop, thread, runs } => {
                *runs += 1;
                options.trace_input = self.folder.as_ref().map(|folder| trace(folder, *runs));
                let (tell_stop, stopped) = oneshot::channel();
                let (tell, told) = std::sync::mpsc::channel();
                let options = options.clone();
                *stop = Some(tell_stop);
                *thread = Some(std::thread::spawn(move || {
                    actix_rt::System::new().block_on(async {
                        match start(&options) {
                            Ok(running) => {
                                tell.send(Ok(running.address())).ok();
                                // Dropping the other end stops it, too.
                                stopped.await.ok();
                                running.stop().await;
                            }
                            Err(error) => drop(tell.send(Err(error.to_string()))),
                        }
                    });
                }));
                self.address = told.recv().map_err(|e| e.to_string())??;
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        match &mut self.how {
            How::Elsewhere => {}
            How::Child { child, .. } => {
                // One that has ended may have left its number to another process.
                if matches!(child.try_wait(), Ok(None)) {
                    // It is to have time to store what is to be stored.
                    let id = rustix::process::Pid::from_child(child);
                    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
                    let _ = child.wait();
                }
            }
            How::Here { stop, thread, .. } => {
                stop.take();
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }

    /// Stops the server. What happened in this process is given to new logins and sessions, which must do the same.
    pub(crate) fn finish(mut self) -> Result<(), String> {
        self.end();
        let (How::Here { runs, .. }, Some(folder)) = (&self.how, &self.folder) else { return Ok(()) };
        for run in 1..=*runs {
            let file = File::open(trace(folder, run)).map_err(|e| e.to_string())?;
            let replayed = replay::run(BufReader::new(file), |_| {}).map_err(|e| format!("replay: {e}"))?;
            if !replayed.different.is_empty() {
                return Err(format!("replaying run {run} has other effects: {replayed:?}"));
            }
        }
        Ok(())
    }

    /// Stops the server and starts it again with the same files.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.end();
        if let How::Child { command, child } = &mut self.how {
            *child = spawn(command)?;
        }
        self.begin()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
