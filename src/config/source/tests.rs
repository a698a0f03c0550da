//! Tests of `source`.

use super::*;

#[test]
fn rules_are_kept_while_the_configuration_file_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server.ini");
    std::fs::write(&path, "serverTitle=One\n").unwrap();
    let mut source = RuleSource { config: Some(path.clone()), ..RuleSource::default() }.open().unwrap();
    source.read().unwrap();
    std::fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        assert!(source.read_if_changed().unwrap().is_none());
        assert!(source.is_missing);
    }
    std::fs::write(&path, "serverTitle=Other\n").unwrap();
    let rules = source.read_if_changed().unwrap();
    assert_eq!(rules.map(|rules| rules.settings().server_title.clone()).as_deref(), Some("Other"));
    assert!(!source.is_missing);
}

#[test]
fn invalid_content_of_a_database_is_reported_and_skipped() {
    let snapshot = Snapshot {
        settings: [
            ("clientTimeout", "soon"),
            ("serverTitle", "T"),
            ("_lock_admin_hash", "x"),
            ("_lock_admin_section_bans", "1"),
            ("_lock_admin_section_server", "0"),
            ("other", "1"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec(),
        ip_bans: vec![crate::db::IpBan { ip: "here".into(), subnet: 3, ..crate::db::IpBan::default() }],
        user_bans: vec![SubjectBan { subject: "x".into(), reaction: "hang".into(), ..SubjectBan::default() }],
        system_bans: vec![SubjectBan {
            subject: "s".into(),
            reaction: "nuke".into(),
            expires: "2031-01-01 00:00:00".into(),
            reason: "Because".into(),
        }],
        ..Snapshot::default()
    };
    let Content { file, errors, .. } = from_snapshot(snapshot, String::new());
    assert_eq!(file.settings.server_title, "T");
    assert_eq!(file.locked_sections, ["bans".to_owned()].into());
    let terms = BanTerms {
        reaction: BanAction::Normal,
        expires: "2031-01-01 00:00:00".into(),
        reason: "Because".into(),
    };
    assert_eq!(file.system_bans, [Ban { subject: "s".to_owned(), terms }]);
    assert_eq!(
        errors,
        [
            "clientTimeout: 'soon' is no time",
            "unknown setting 'other'",
            "invalid banned address 'here/3'",
            "unknown reaction 'nuke', using normal",
            "invalid banned user id 'x'",
        ]
    );
}

#[test]
fn a_changed_file_is_reloaded_and_a_failed_read_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.cfg");
    std::fs::write(&path, "serverTitle=one").unwrap();
    let mut source = RuleSource { config: Some(path.clone()), ..RuleSource::default() }.open().unwrap();
    assert_eq!(source.read().unwrap().settings().server_title, "one");
    assert!(source.read_if_changed().unwrap().is_none());
    std::fs::write(&path, "serverTitle=two").unwrap();
    let older = SystemTime::now() - Duration::from_secs(100);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(older).unwrap();
    assert_eq!(source.read_if_changed().unwrap().unwrap().settings().server_title, "two");
    // A failed read is retried at the next poll, though the file's metadata has not changed.
    let aside = folder.path().join("aside");
    std::fs::write(&aside, "serverTitle=three").unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert!(source.read_if_changed().is_err() && source.read_if_changed().is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(source.read_if_changed().unwrap().unwrap().settings().server_title, "three");
    std::fs::remove_file(&path).unwrap();
    assert!(source.read_if_changed().unwrap().is_none());
}
