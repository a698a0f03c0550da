//! `drawhall convert`: binary recordings to text and back.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drawhall_protocol::ProtocolVersion;
use drawhall_protocol::frame::frames;
use drawhall_protocol::message::info_of;
use drawhall_protocol::recording::Header;
use drawhall_protocol::recording::dprec::DprecWriter;
use drawhall_protocol::recording::dptxt::DptxtWriter;
use drawhall_protocol::text::legacy;

use super::{BUFFER_BYTES, Input, Item, ToolError, describe};

/// Warnings that are told one by one; the rest is counted.
const MAX_WARNINGS: usize = 100;

/// Form of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Binary, `.dprec`.
    Dprec,
    /// Text, `.dptxt`.
    Dptxt,
}

impl Form {
    /// The form that a file's name says.
    pub fn of(path: &Path) -> Option<Form> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "dprec" => Some(Self::Dprec),
            "dptxt" => Some(Self::Dptxt),
            _ => None,
        }
    }

    fn other(self) -> Form {
        if self == Self::Dprec { Self::Dptxt } else { Self::Dprec }
    }
}

/// What to convert.
#[derive(Debug)]
pub struct Job<'a> {
    /// Recording to read, `-` for standard input.
    pub input: &'a Path,
    /// Recording to write, `-` for standard output.
    pub output: &'a Path,
    /// Form of the input, if its name does not say it.
    pub from: Option<Form>,
    /// Form of the output, if its name does not say it.
    pub to: Option<Form>,
    /// Show progress on standard error.
    pub progress: bool,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages that were converted.
    pub messages: u64,
    /// Messages that could not be converted.
    pub lost: u64,
    /// What to tell the user.
    pub warnings: Vec<String>,
}

impl Report {
    fn warn(&mut self, text: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(text);
        } else if self.warnings.len() == MAX_WARNINGS {
            self.warnings.push("more warnings are left out".into());
        }
    }

    fn lose(&mut self, text: String) {
        self.lost += 1;
        self.warn(text);
    }
}

enum Output {
    Binary(DprecWriter<Box<dyn Write>>),
    Text(DptxtWriter<Box<dyn Write>>),
}

/// Converts a recording. An output file takes its name once it is complete.
///
/// # Errors
/// When a file cannot be opened, read or written, or the form is not known.
pub fn run(job: &Job<'_>) -> Result<Report, ToolError> {
    let (named_from, named_to) = (job.from.or(Form::of(job.input)), job.to.or(Form::of(job.output)));
    let unknown = || ToolError::UnknownForm(job.input.to_owned());
    let from = named_from.or(named_to.map(Form::other)).ok_or_else(unknown)?;
    let to = named_to.unwrap_or(from.other());
    let standard = Path::new("-");
    let same = || fs::canonicalize(job.input).ok() == fs::canonicalize(job.output).ok();
    if job.output != standard && job.output.exists() && same() {
        return Err(ToolError::SameFile(job.output.to_owned()));
    }
    let mut input = Input::open(job.input, from)?;
    if job.output == standard {
        return copy(&mut input, Box::new(io::stdout().lock()), job, to);
    }
    let partial = partial_name(job.output);
    let failed = |source| ToolError::File { path: partial.clone(), source };
    let file = File::create(&partial).map_err(failed)?;
    let done = copy(&mut input, Box::new(BufWriter::with_capacity(BUFFER_BYTES, file)), job, to).and_then(
        |report| {
            let failed = |source| ToolError::File { path: job.output.to_owned(), source };
            fs::rename(&partial, job.output).map(|()| report).map_err(failed)
        },
    );
    if done.is_err() {
        // What is left of it is of no use; that it could not be written is told.
        let _ = fs::remove_file(&partial);
    }
    done
}

fn partial_name(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn copy(input: &mut Input, output: Box<dyn Write>, job: &Job<'_>, to: Form) -> Result<Report, ToolError> {
    let mut report = Report::default();
    let header = output_header(input, &mut report);
    let binary = |source| ToolError::Binary { path: job.output.to_owned(), source };
    let text = |source| ToolError::Text { path: job.output.to_owned(), source };
    let mut output = match to {
        Form::Dprec => Output::Binary(DprecWriter::new(output, &header).map_err(binary)?),
        Form::Dptxt => Output::Text(DptxtWriter::new(output, &header).map_err(text)?),
    };
    let mut progress = Progress::new(job.progress);
    while let Some(item) = input.next()? {
        for warning in input.take_warnings() {
            report.warn(warning);
        }
        let frame = match item {
            Item::Message(frame) => frame,
            Item::Bad(reason) => {
                report.lose(reason);
                continue;
            }
        };
        let lost = report.lost;
        match &mut output {
            Output::Binary(writer) => writer.write(frame.as_bytes()).map_err(binary)?,
            Output::Text(writer) => {
                for frame_ref in frames(frame.as_bytes()) {
                    if let Err(reason) = writer.write(frame_ref).map_err(text)? {
                        let kind = frame.header().kind;
                        let name = info_of(kind).map_or("unknown", |m| m.name);
                        let place = input.place();
                        report.lose(format!("message of type {kind} ({name}) {place}: {reason}"));
                    }
                }
            }
        }
        if report.lost == lost {
            report.messages += 1;
        }
        progress.show(report.messages);
    }
    for warning in input.take_warnings() {
        report.warn(warning);
    }
    if let Some(truncation) = input.truncation() {
        report.warn(describe(&truncation));
    }
    match output {
        Output::Binary(writer) => drop(writer.finish().map_err(binary)?),
        Output::Text(writer) => drop(writer.finish().map_err(text)?),
    }
    progress.end();
    Ok(report)
}

/// The header of the output: that of the input, but the old text form is read into messages of a later version.
fn output_header(input: &Input, report: &mut Report) -> Header {
    let mut header = input.header().clone();
    if let Input::Text(_, reader) = input
        && reader.is_legacy()
    {
        let (server, major, minor) = legacy::VERSION;
        let version = ProtocolVersion::dp(server, major, minor).to_string();
        let old = header.get("version").unwrap_or("").to_owned();
        report.warn(format!("the text form of {old} is read into messages of {version}"));
        header.set("version", &version);
    }
    header
}

/// A line that counts, on a terminal.
struct Progress {
    shown: bool,
    last: Instant,
}

impl Progress {
    fn new(shown: bool) -> Self {
        Self { shown, last: Instant::now() }
    }

    fn show(&mut self, messages: u64) {
        if self.shown && messages.is_multiple_of(1024) && self.last.elapsed() > Duration::from_millis(200) {
            self.last = Instant::now();
            eprint!("\r{messages} messages");
        }
    }

    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
