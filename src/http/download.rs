//! Reading of answers, and downloads, which are large and may take minutes.

use std::time::Duration;

use drawhall_protocol::from_json;
use reqwest::{Method, Response};

use super::{Http, HttpAnswer, HttpError, cause};

/// The answer to a request for a file.
#[derive(Debug)]
pub enum Download {
    /// The file.
    File(Vec<u8>),
    /// An answer with the status of an error.
    Refused(HttpAnswer),
}

/// A response as it came.
pub(super) struct Received {
    status: u16,
    bytes: Vec<u8>,
    etag: String,
}

impl Received {
    pub(super) fn into_answer(self) -> HttpAnswer {
        let Received { status, bytes, etag } = self;
        let text = String::from_utf8_lossy(&bytes);
        // Some editors put a byte order mark at the beginning of files, and servers send them as they are.
        let text = text.trim_start_matches('\u{feff}').to_owned();
        HttpAnswer { status, json: from_json(&bytes).ok(), text, etag }
    }
}

pub(super) async fn read(mut answer: Response, limit: usize) -> Result<Received, HttpError> {
    let etag = answer.headers().get("etag").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|e| HttpError::Failed(cause(&e)))? {
        if bytes.len() + chunk.len() > limit {
            return Err(HttpError::TooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { status, bytes, etag })
}

impl Http {
    /// Gets a file of at most `limit` bytes within `timeout`.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn download(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        timeout: Duration,
        limit: usize,
    ) -> Result<Download, HttpError> {
        let received = self.receive(Method::GET, url, headers, None, timeout, limit).await?;
        match received.status {
            200 => Ok(Download::File(received.bytes)),
            _ => Ok(Download::Refused(received.into_answer())),
        }
    }
}
