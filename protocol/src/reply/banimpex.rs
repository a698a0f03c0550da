//! `banimpex`: result of a ban list export or import.

members! {
    /// `banimpex`.
    BanImpEx {
        /// The exported text.
        #[serde(skip_serializing_if = "Option::is_none")]
        export: Option<String>,
        /// Number of imported bans.
        #[serde(skip_serializing_if = "Option::is_none")]
        imported: Option<u32>,
        /// Number of bans in the imported text.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u32>,
        /// Error message for display.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Translation key.
        #[serde(rename = "T", skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ServerReply;
    use super::super::tests::assert_round_trip;
    use super::*;

    #[test]
    fn an_import_has_counts_or_an_error() {
        let imported = BanImpEx { imported: Some(1), total: Some(2), ..Default::default() };
        let json = r#"{"type":"banimpex","imported":1,"total":2}"#;
        assert_round_trip(&ServerReply::BanImpEx(imported), json);
        let failed = BanImpEx { error: Some("e".into()), key: Some("k".into()), ..Default::default() };
        assert_round_trip(&ServerReply::BanImpEx(failed), r#"{"type":"banimpex","error":"e","T":"k"}"#);
    }
}
