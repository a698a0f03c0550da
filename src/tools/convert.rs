//! `drawhall convert`: converts recordings between the binary and the text form.

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

/// Maximum number of warnings that are printed.
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
    /// The form by a file's extension.
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

/// Arguments of a conversion.
#[derive(Debug)]
pub struct ConvertJob<'a> {
    /// Recording to read, `-` for standard input.
    pub input: &'a Path,
    /// Recording to write, `-` for standard output.
    pub output: &'a Path,
    /// Form of the input; by default that of its extension.
    pub from: Option<Form>,
    /// Form of the output; by default that of its extension.
    pub to: Option<Form>,
    /// Show progress on standard error.
    pub progress: bool,
}

/// Result of a conversion.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Report {
    /// Messages that were converted.
    pub messages: u64,
    /// Messages that could not be converted.
    pub lost: u64,
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

    fn report_lost(&mut self, text: String) {
        self.lost += 1;
        self.warn(text);
    }
}

enum Output {
    Binary(DprecWriter<Box<dyn Write>>),
    Text(DptxtWriter<Box<dyn Write>>),
}

/// Converts a recording. The output is written to a temporary file, which is renamed when it is complete.
///
/// # Errors
/// When a file cannot be opened, read or written, or the form is unknown.
pub fn run(job: &ConvertJob<'_>) -> Result<Report, ToolError> {
    let (named_from, named_to) = (job.from.or(Form::of(job.input)), job.to.or(Form::of(job.output)));
    let unknown = || ToolError::UnknownForm(job.input.to_owned());
    let from = named_from.or(named_to.map(Form::other)).ok_or_else(unknown)?;
    let to = named_to.unwrap_or(from.other());
    let stdio = Path::new("-");
    let same = || fs::canonicalize(job.input).ok() == fs::canonicalize(job.output).ok();
    if job.output != stdio && job.output.exists() && same() {
        return Err(ToolError::SameFile(job.output.to_owned()));
    }
    let mut input = Input::open(job.input, from)?;
    if job.output == stdio {
        return copy(&mut input, Box::new(io::stdout().lock()), job, to);
    }
    let temporary = temporary_name(job.output);
    let failed = |source| ToolError::File { path: temporary.clone(), source };
    let file = File::create(&temporary).map_err(failed)?;
    let result = copy(&mut input, Box::new(BufWriter::with_capacity(BUFFER_BYTES, file)), job, to).and_then(
        |report| {
            let failed = |source| ToolError::File { path: job.output.to_owned(), source };
            fs::rename(&temporary, job.output).map(|()| report).map_err(failed)
        },
    );
    if result.is_err() {
        // Best effort: the error of the conversion is returned anyway.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn temporary_name(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn copy(
    input: &mut Input,
    output: Box<dyn Write>,
    job: &ConvertJob<'_>,
    to: Form,
) -> Result<Report, ToolError> {
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
                report.report_lost(reason);
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
                        let position = input.position();
                        report.report_lost(format!("message of type {kind} ({name}) {position}: {reason}"));
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

/// The header of the output: that of the input, except that messages of the text form before 2.2 are converted to a
/// later version.
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

/// A progress line on a terminal.
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
