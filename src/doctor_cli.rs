//! `drawhall doctor`: runs the checks and prints what they find.

use std::process::ExitCode;

use drawhall::doctor::{self, Level, Report};
use drawhall::text;

use crate::Failure;
use crate::cli::DoctorArgs;
use crate::data_paths::DataPaths;
use crate::output::outln;
use crate::serve::server_options;

/// Exit status when there are warnings only.
const WARNINGS: u8 = 1;
/// Exit status when there are errors.
const ERRORS: u8 = 2;

/// Makes all checks for a server with these options and prints the findings. Changes nothing.
///
/// # Errors
/// When the options cannot be used.
pub(crate) fn run(options: &DoctorArgs) -> Result<ExitCode, Failure> {
    let paths = DataPaths::selected(&options.serve)?;
    let report = doctor::run(&server_options(&options.serve, &paths)?.setup());
    if options.json {
        outln!("{}", text::shown_json(&report, true));
    } else {
        print(&report);
    }
    Ok(match report.worst() {
        None => ExitCode::SUCCESS,
        Some(Level::Warning) => ExitCode::from(WARNINGS),
        Some(Level::Error) => ExitCode::from(ERRORS),
    })
}

fn print(report: &Report) {
    for finding in &report.findings {
        let level = match finding.level {
            Level::Warning => "warning",
            Level::Error => "error",
        };
        outln!("{level}: {} [{}]", text::shown(&finding.text), finding.id);
        outln!("    {}", text::shown(&finding.remedy));
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    outln!(
        "{} checks: {} errors, {} warnings",
        report.checks.len(),
        count(Level::Error),
        count(Level::Warning)
    );
}
