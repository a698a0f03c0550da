//! `drawhall ctl picture`, `timelapse`, `compact`: what an external program makes of the canvas of a session.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use drawhall::http::Download;
use drawhall::text;
use serde_json::json;

use super::{Api, path_segment};
use crate::{Failure, output};

/// How long an answer may take: others wait for the same program, and it may run for minutes for each.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum size of a picture in bytes: more than the server sends.
const MAX_PICTURE: usize = 1 << 30;

/// Form of a picture.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PictureFormat {
    /// What is seen.
    Png,
    /// OpenRaster, with layers.
    Ora,
}

impl PictureFormat {
    fn extension(self) -> &'static str {
        match self {
            PictureFormat::Png => "png",
            PictureFormat::Ora => "ora",
        }
    }
}

/// Form of a time-lapse.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TimelapseFormat {
    /// Animated PNG.
    Apng,
    /// Video, if there is ffmpeg on the server.
    Webm,
    /// Video, if there is ffmpeg on the server.
    Mp4,
}

impl TimelapseFormat {
    fn extension(self) -> &'static str {
        match self {
            TimelapseFormat::Apng => "apng",
            TimelapseFormat::Webm => "webm",
            TimelapseFormat::Mp4 => "mp4",
        }
    }
}

/// Of what a picture is made.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// Id or alias.
    session: String,
    /// It has ended; SESSION is an id that `ended` shows.
    #[arg(long)]
    ended: bool,
    /// SESSION is the name of a recording that `recordings` shows.
    #[arg(long, conflicts_with = "ended")]
    recording: bool,
}

impl Subject {
    fn path(&self) -> String {
        let list = match self {
            Subject { ended: true, .. } => "ended",
            Subject { recording: true, .. } => "recordings",
            _ => "sessions",
        };
        format!("{list}/{}", path_segment(&self.session))
    }

    /// A file in this directory with its name.
    fn default_file(&self, extension: &str) -> PathBuf {
        let name = match self.session.rsplit_once('.') {
            Some((name, _)) if self.recording => name,
            _ => &self.session,
        };
        format!("{}.{extension}", text::file_name(name)).into()
    }
}

impl Api {
    /// Saves the canvas of a session, and prints the name of the file.
    pub(super) async fn picture(
        &self,
        of: &Subject,
        format: PictureFormat,
        output: Option<&Path>,
    ) -> Result<(), Failure> {
        let extension = format.extension();
        self.save(of, &format!("picture?format={extension}"), extension, output).await
    }

    /// Saves how a session was drawn, and prints the name of the file.
    pub(super) async fn timelapse(
        &self,
        of: &Subject,
        frames: u16,
        format: TimelapseFormat,
        output: Option<&Path>,
    ) -> Result<(), Failure> {
        let extension = format.extension();
        self.save(of, &format!("timelapse?frames={frames}&format={extension}"), extension, output).await
    }

    async fn save(
        &self,
        of: &Subject,
        what: &str,
        extension: &str,
        output: Option<&Path>,
    ) -> Result<(), Failure> {
        let file = output.map_or_else(|| of.default_file(extension), Path::to_owned);
        let path = format!("{}/{what}", of.path());
        let url = format!("{}/{path}", self.url);
        let picture = match self.http.download(&url, &self.headers, TIMEOUT, MAX_PICTURE).await {
            Ok(Download::File(picture)) => picture,
            Ok(Download::Refused(answer)) => return self.answer(&path, Ok(answer)).map(drop),
            Err(error) => return self.answer(&path, Err(error)).map(drop),
        };
        let failed = |error| format!("{}: {error}", file.display());
        if file == Path::new("-") {
            output::write_bytes(&picture);
            return Ok(());
        }
        std::fs::write(&file, &picture).map_err(failed)?;
        let (name, size) = (file.display().to_string(), picture.len());
        self.print_result(&json!({"file": name, "size": size}), &format!("saved {name}, {size} bytes"));
        Ok(())
    }

    /// Makes the history of a session small.
    pub(super) async fn compact(&self, session: &str) -> Result<(), Failure> {
        let path = format!("sessions/{}/compact", path_segment(session));
        let url = format!("{}/{path}", self.url);
        let answer = self.http.upload(&url, &self.headers, "application/json", b"{}".to_vec(), TIMEOUT).await;
        let answer = self.answer(&path, answer)?;
        self.print_result(&answer, &format!("compacted; {} bytes are sent to everybody", answer["size"]));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_saved_in_this_directory_under_the_name_of_the_session() {
        let file = |session: &str, recording, extension| {
            Subject { session: session.to_owned(), ended: false, recording }.default_file(extension)
        };
        assert_eq!(file("lobby-2", false, "png"), Path::new("lobby-2.png"));
        assert_eq!(file("../x", false, "ora"), Path::new("___x.ora"));
        assert_eq!(file("2026-01-02 03.04 x.dprec", true, "apng"), Path::new("2026-01-02_03_04_x.apng"));
    }
}
