//! How a traced session came into being.

use drawhall_protocol::ProtocolVersion;
use serde::{Deserialize, Serialize};

use crate::rules::session::PasswordKind;
use crate::rules::session::persistence::Suspended;
use crate::rules::template::{Messages, Template};
use crate::storage::session_dir::StoredFile;

/// How a session came into being.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Origin {
    /// Hosted by a client.
    Hosted {
        /// Empty without an alias.
        alias: String,
        protocol: ProtocolVersion,
        /// User name of the host.
        founder: String,
    },
    /// Created from a template or by an administrator.
    Made {
        template: Box<Template>,
        messages: Messages,
        /// Passwords in clear text, as an administrator typed them.
        passwords: Vec<(PasswordKind, String)>,
    },
    /// Loaded from files.
    Loaded {
        /// State that survived the unload.
        rest: Suspended,
        /// The files as they were before loading.
        files: Vec<StoredFile>,
    },
}
