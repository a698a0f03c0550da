//! Templates that are pictures: an empty session with the picture on its canvas, and settings that are all defaults.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use drawhall_protocol::ProtocolVersion;

use super::{DEFAULT_MAX_USERS, TemplateError};
use crate::pictures::{EXTENSIONS, MAX_MESSAGES, MAX_PICTURE, PictureError, PictureImporter, PictureJob};
use crate::rules::metadata::Metadata;
use crate::rules::template::Messages;

/// Background of pictures that have none.
const BACKGROUND: u32 = 0xffff_ffff;

/// Whether a file is a picture by its name.
pub(super) fn is_picture(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

/// The protocol version of its session, which clients 2.2 and 2.3 can join.
pub(super) fn protocol() -> ProtocolVersion {
    ProtocolVersion::dp(4, 24, 0)
}

/// The settings of its session; the title is the name of the file.
pub(super) fn metadata(alias: &str) -> Metadata {
    Metadata {
        founder: "-".into(),
        title: alias.to_owned(),
        max_users: DEFAULT_MAX_USERS,
        ..Metadata::default()
    }
}

/// Makes its messages; blocks.
pub(super) fn messages(path: &Path, importer: &PictureImporter) -> Result<Messages, TemplateError> {
    let size = fs::metadata(path)?.len();
    if size > MAX_PICTURE as u64 {
        return Err(PictureError::TooLarge.into());
    }
    let mut picture = Vec::new();
    File::open(path)?.take(MAX_PICTURE as u64 + 1).read_to_end(&mut picture)?;
    let job = PictureJob { protocol: protocol(), background: BACKGROUND, max_bytes: MAX_MESSAGES };
    Ok(importer.import(&picture, &job)?)
}

/// Messages of a picture in a temporary file without a name.
#[derive(Debug)]
pub(super) struct StoredMessages {
    file: File,
    /// Without the bytes, which are in the file.
    rest: Messages,
    len: usize,
}

impl StoredMessages {
    pub(super) fn new(messages: &Messages) -> io::Result<StoredMessages> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&messages.bytes)?;
        let rest = Messages { bytes: Vec::new(), count: messages.count, warnings: messages.warnings.clone() };
        Ok(StoredMessages { file, rest, len: messages.bytes.len() })
    }

    pub(super) fn read(&self) -> io::Result<Messages> {
        let mut bytes = vec![0; self.len];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Messages { bytes, ..self.rest.clone() })
    }
}
