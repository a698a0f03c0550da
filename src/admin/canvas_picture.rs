//! Endpoints `picture` and `timelapse` of stored sessions, of ended ones and of recordings: the canvas as a picture, and how
//! it was drawn as an animation, made by an external program.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;

use super::AdminState;
use super::ended::EndedPath;
use super::endpoint::{Api, Call, IntoAnswer, file_content, respond_file};
use super::error::{ApiError, not_found};
use super::recordings::RecordingPath;
use super::sessions::SessionPath;
use super::value::Number;
use crate::blocking::CancelOnDrop;
use crate::renderer::{
    DEFAULT_FRAMES, Format, MAX_FRAMES, MAX_RECORDING, RenderError, RenderPermit, TimelapseFormat,
};
use crate::storage::recorder::ReadError;
use crate::storage::session_dir::LoadError;
use crate::text;

pub(super) fn endpoints(api: &mut Api) {
    let summary = "The canvas of a stored session as a picture. Needs a program that makes it: `--canvas-renderer`. \
                   Sessions in memory have none.";
    api.get("sessions/{session}/picture", summary, AdminState::canvas_picture).ends_with_connection();
    let summary = "How a stored session was drawn, as an animated PNG or video. Needs `--canvas-renderer`, and for videos \
                   `--ffmpeg`.";
    api.get("sessions/{session}/timelapse", summary, AdminState::timelapse).ends_with_connection();
    let summary = "How an ended session was drawn, as an animated PNG or video. Needs `--canvas-renderer`, and for videos \
                   `--ffmpeg`.";
    api.get("ended/{session}/timelapse", summary, AdminState::ended_timelapse).ends_with_connection();
    let summary =
        "The canvas of an ended session as a picture. Needs a program that makes it: `--canvas-renderer`.";
    api.get("ended/{session}/picture", summary, AdminState::ended_picture).ends_with_connection();
    let summary = "The canvas at the end of a recording as a picture; of one that is being written, as far as it goes. \
                   Needs a program that makes it: `--canvas-renderer`.";
    api.get("recordings/{recording}/picture", summary, AdminState::recording_picture).ends_with_connection();
    let summary = "How the session of a recording was drawn, as an animated PNG or video. Needs `--canvas-renderer`, and for \
                   videos `--ffmpeg`.";
    api.get("recordings/{recording}/timelapse", summary, AdminState::recording_timelapse)
        .ends_with_connection();
}

/// The form of the picture.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct PictureQuery {
    /// png, the default: what is seen; ora: OpenRaster, with layers.
    format: WantedFormat,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum WantedFormat {
    #[default]
    Png,
    Ora,
}

/// The length and form of a time-lapse.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct TimelapseQuery {
    /// About how many frames; 200 without it.
    frames: Number<1, { MAX_FRAMES as i64 }>,
    /// apng, the default: animated PNG; webm, mp4: videos.
    format: WantedVideo,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum WantedVideo {
    #[default]
    Apng,
    Webm,
    Mp4,
}

/// A time-lapse that is wanted.
#[derive(Clone, Copy)]
struct WantedTimelapse {
    frames: usize,
    format: TimelapseFormat,
}

impl TimelapseQuery {
    fn wanted(&self) -> Result<WantedTimelapse, ApiError> {
        let format = match self.format {
            WantedVideo::Apng => TimelapseFormat::Apng,
            WantedVideo::Webm => TimelapseFormat::Webm,
            WantedVideo::Mp4 => TimelapseFormat::Mp4,
        };
        Ok(WantedTimelapse { frames: self.frames.get_as("frames")?.unwrap_or(DEFAULT_FRAMES), format })
    }
}

/// A time-lapse.
struct Timelapse {
    /// Name of the file without its extension.
    id: String,
    format: TimelapseFormat,
    bytes: Vec<u8>,
}

impl IntoAnswer for Timelapse {
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        let name = format!("{}.{}", self.id, self.format.extension());
        respond_file(response, self.format.media_type(), &name, self.bytes)
    }

    fn content(_: &mut SchemaGenerator) -> Option<Value> {
        let formats = [TimelapseFormat::Apng, TimelapseFormat::Webm, TimelapseFormat::Mp4];
        file_content(&formats.map(TimelapseFormat::media_type))
    }
}

/// A picture.
struct CanvasPicture {
    /// Name of the file without its extension.
    id: String,
    format: Format,
    bytes: Vec<u8>,
}

impl IntoAnswer for CanvasPicture {
    fn respond(self, response: HttpResponseBuilder) -> HttpResponse {
        let name = format!("{}.{}", self.id, self.format.extension());
        respond_file(response, self.format.media_type(), &name, self.bytes)
    }

    fn content(_: &mut SchemaGenerator) -> Option<Value> {
        file_content(&[Format::Png.media_type(), Format::Ora.media_type()])
    }
}

/// A name for files, and what reads the recording; blocks.
type Found = (String, Box<dyn FnOnce() -> Result<Vec<u8>, ApiError> + Send>);

impl PictureQuery {
    fn format(&self) -> Format {
        match self.format {
            WantedFormat::Png => Format::Png,
            WantedFormat::Ora => Format::Ora,
        }
    }
}

fn not_stored() -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "The session is in memory only: pictures are made of stored sessions")
}

fn unreadable(error: LoadError) -> ApiError {
    let not_stored_yet = "Nothing of the session is stored yet: try again when somebody has drawn";
    match error {
        LoadError::TooLarge => RenderError::TooLarge.into(),
        error if is_missing(&error) => ApiError::new(StatusCode::CONFLICT, not_stored_yet),
        error => ApiError::internal(error),
    }
}

/// Whether there are no files of the session.
fn is_missing(error: &LoadError) -> bool {
    match error {
        LoadError::NoFile => true,
        LoadError::Journal(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The name of a recording without its extension, as names of files may be that browsers save.
fn file_stem(name: &str) -> String {
    text::file_name(name.rsplit_once('.').map_or(name, |(stem, _)| stem))
}

impl AdminState {
    async fn canvas_picture(
        self: Arc<Self>,
        call: Call<SessionPath, PictureQuery>,
    ) -> Result<CanvasPicture, ApiError> {
        let found = self.recording_of(&call.path.session).await?;
        self.picture_of(found, &call.query).await
    }

    async fn ended_picture(
        self: Arc<Self>,
        call: Call<EndedPath, PictureQuery>,
    ) -> Result<CanvasPicture, ApiError> {
        let found = self.ended_recording_of(call.path.session)?;
        self.picture_of(found, &call.query).await
    }

    async fn timelapse(
        self: Arc<Self>,
        call: Call<SessionPath, TimelapseQuery>,
    ) -> Result<Timelapse, ApiError> {
        let wanted = call.query.wanted()?;
        let found = self.recording_of(&call.path.session).await?;
        self.timelapse_of(found, wanted).await
    }

    async fn ended_timelapse(
        self: Arc<Self>,
        call: Call<EndedPath, TimelapseQuery>,
    ) -> Result<Timelapse, ApiError> {
        let wanted = call.query.wanted()?;
        let found = self.ended_recording_of(call.path.session)?;
        self.timelapse_of(found, wanted).await
    }

    async fn recording_picture(
        self: Arc<Self>,
        call: Call<RecordingPath, PictureQuery>,
    ) -> Result<CanvasPicture, ApiError> {
        let found = self.stored_recording(call.path.recording)?;
        self.picture_of(found, &call.query).await
    }

    async fn recording_timelapse(
        self: Arc<Self>,
        call: Call<RecordingPath, TimelapseQuery>,
    ) -> Result<Timelapse, ApiError> {
        let wanted = call.query.wanted()?;
        let found = self.stored_recording(call.path.recording)?;
        self.timelapse_of(found, wanted).await
    }

    async fn recording_of(&self, name: &str) -> Result<Found, ApiError> {
        self.check_renderer()?;
        let id = self.details(name).await?.session.id.ok_or_else(not_found)?;
        let (dir, wanted) = (self.session_dir.clone().ok_or_else(not_stored)?, id.clone());
        Ok((id, Box::new(move || dir.recording(&wanted, MAX_RECORDING).map_err(unreadable))))
    }

    fn ended_recording_of(&self, id: String) -> Result<Found, ApiError> {
        let (dir, wanted) = (self.ended_dir()?, id.clone());
        self.check_renderer()?;
        let read = move || match dir.ended_recording(&wanted, MAX_RECORDING) {
            Ok(recording) => recording.ok_or_else(not_found),
            // It was restored or removed meanwhile.
            Err(error) if is_missing(&error) => Err(not_found()),
            Err(error) => Err(unreadable(error)),
        };
        Ok((id, Box::new(read)))
    }

    fn stored_recording(&self, name: String) -> Result<Found, ApiError> {
        let recorder = self.recorder()?;
        self.check_renderer()?;
        let stem = file_stem(&name);
        let read = move || match recorder.read(&name, MAX_RECORDING) {
            Ok(recording) => recording.ok_or_else(not_found),
            Err(ReadError::TooLarge) => Err(RenderError::TooLarge.into()),
            Err(error) => Err(ApiError::internal(error)),
        };
        Ok((stem, Box::new(read)))
    }

    async fn picture_of(&self, found: Found, query: &PictureQuery) -> Result<CanvasPicture, ApiError> {
        let (format, (id, read)) = (query.format(), found);
        let bytes = self.render(read, move |permit, recording| permit.picture(recording, format)).await?;
        Ok(CanvasPicture { id, format, bytes })
    }

    async fn timelapse_of(&self, (id, read): Found, wanted: WantedTimelapse) -> Result<Timelapse, ApiError> {
        let WantedTimelapse { frames, format } = wanted;
        self.renderer.check_timelapse(format)?;
        let make = move |permit: RenderPermit, recording| permit.timelapse(recording, frames, format);
        let bytes = self.render(read, make).await?;
        Ok(Timelapse { id, format, bytes })
    }

    fn check_renderer(&self) -> Result<(), ApiError> {
        if self.renderer.is_available() { Ok(()) } else { Err(RenderError::NoProgram.into()) }
    }

    /// Reads a recording and makes something of it, until whoever asked is gone.
    async fn render(
        &self,
        read: impl FnOnce() -> Result<Vec<u8>, ApiError> + Send + 'static,
        make: impl FnOnce(RenderPermit, Vec<u8>) -> Result<Vec<u8>, RenderError> + Send + 'static,
    ) -> Result<Vec<u8>, ApiError> {
        // Dropped when whoever asked is gone.
        let cancel = CancelOnDrop::default();
        let permit = self.renderer.acquire().await?.cancelled_by(&cancel);
        let made = actix_rt::task::spawn_blocking(move || Ok(make(permit, read()?)?)).await;
        made.map_err(ApiError::internal)?
    }
}
