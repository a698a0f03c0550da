//! Capabilities of a client, in `host` and `join`.

use serde::{Deserialize, Serialize};

/// Capabilities of a client, from the text `capabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// It supports keep-alive messages.
    pub keep_alive: bool,
    /// It can create thumbnails.
    pub thumbnail: bool,
}

impl Capabilities {
    pub(super) fn of(text: &str) -> Self {
        Self { keep_alive: text.contains("KEEPALIVE"), thumbnail: text.contains("THUMBNAIL") }
    }

    pub(super) fn to_text(self) -> String {
        let words = [(self.keep_alive, "KEEPALIVE"), (self.thumbnail, "THUMBNAIL")];
        words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_survive_writing_and_parsing() {
        for (keep_alive, thumbnail) in [(false, false), (true, false), (false, true), (true, true)] {
            let capabilities = Capabilities { keep_alive, thumbnail };
            assert_eq!(Capabilities::of(&capabilities.to_text()), capabilities);
        }
    }

    #[test]
    fn other_capabilities_are_ignored() {
        assert_eq!(Capabilities::of("FLYING,THUMBNAIL").to_text(), "THUMBNAIL");
    }
}
