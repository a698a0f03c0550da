//! `export-bans` and `import-bans`: the session's ban list as text.

use super::{Command, CommandError, RawCommand};
use crate::lenient::Lenient;

/// `export-bans`: export the ban list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportBans {
    /// Not encrypted.
    pub plain: bool,
}

/// `import-bans`: import a ban list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportBans {
    /// The exported text.
    pub text: String,
}

impl Command for ExportBans {
    const NAME: &'static str = "export-bans";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        Ok(Self { plain: raw.kwarg("plain").boolean() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.put("plain", self.plain);
    }
}

impl Command for ImportBans {
    const NAME: &'static str = "import-bans";

    fn parse(raw: &RawCommand) -> Result<Self, CommandError> {
        raw.expect_args(1, "Expected one argument: bans")?;
        Ok(Self { text: raw.arg(0).text() })
    }

    fn write(&self, raw: &mut RawCommand) {
        raw.push(self.text.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_round_trip, parse};
    use super::*;

    #[test]
    fn an_export_is_encrypted_unless_plain() {
        assert_round_trip(&ExportBans { plain: true }, r#"{"cmd":"export-bans","kwargs":{"plain":true}}"#);
        assert_eq!(parse(r#"{"cmd":"export-bans"}"#), Ok(ExportBans { plain: false }));
    }

    #[test]
    fn an_import_needs_one_text() {
        assert_round_trip(&ImportBans { text: "t".into() }, r#"{"cmd":"import-bans","args":["t"]}"#);
        let refused = Err(CommandError::Arguments("Expected one argument: bans"));
        assert_eq!(parse::<ImportBans>(r#"{"cmd":"import-bans"}"#), refused);
    }
}
