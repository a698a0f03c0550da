//! What a session that is made from a template begins with.

use std::path::PathBuf;
use std::time::SystemTime;

use drawhall_protocol::ProtocolVersion;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::metadata::Metadata;

/// A template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Template {
    /// Alias of its session.
    pub alias: String,
    pub path: PathBuf,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) len: u64,
    /// Settings of its session; passwords may be plain text or hashes.
    pub metadata: Metadata,
    /// Protocol version of its session.
    pub protocol: ProtocolVersion,
}

impl Template {
    /// A template without a file, for sessions that are created over the admin API.
    pub fn without_file(metadata: Metadata, protocol: ProtocolVersion) -> Template {
        let alias = metadata.alias.clone();
        Template { alias, path: PathBuf::new(), modified: None, len: 0, metadata, protocol }
    }

    /// Its entry in session lists.
    pub fn description(&self) -> Value {
        let Metadata { flags, founder, title, max_users, password, .. } = &self.metadata;
        json!({
            "alias": self.alias,
            "protocol": self.protocol.to_string(),
            "maxUserCount": max_users,
            "founder": founder,
            "hasPassword": !password.is_empty(),
            "title": title,
            "nsfm": flags.nsfm,
            "authOnly": flags.auth_only,
            "allowWeb": flags.allow_web,
            "invites": flags.invites,
            "unlisted": flags.unlisted,
        })
    }

    /// Whether session lists omit it.
    pub fn unlisted(&self) -> bool {
        self.metadata.flags.unlisted
    }
}

/// The initial content of a session from a template.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Messages {
    /// Whole frames.
    #[serde(with = "crate::rules::serde_base64")]
    pub bytes: Vec<u8>,
    /// Number of frames.
    pub count: u64,
    /// What was ignored, with line numbers or offsets.
    pub warnings: Vec<String>,
}
