//! Tests of `template`.

use super::*;

const NEW: &str = "!version=dp:4.25.1\n!title=T\n1 resize {\"right\":9,\"bottom\":9}\n1 nosuch {}\n1 chat {\"message\":\"x\"}\n";

fn scan(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Templates, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let (templates, warnings) = Templates::default().scan(dir.path()).unwrap();
    (dir, templates, warnings)
}

fn binary(header: &str) -> Vec<u8> {
    let len = (header.len() as u16).to_be_bytes();
    [MAGIC.as_slice(), &len, header.as_bytes(), b"\0\x10\x81\x01", &[0; 16]].concat()
}

#[test]
fn malformed_lines_are_ignored_with_a_warning() {
    let (dir, templates, warnings) = scan(&[("a.dptxt", NEW.as_bytes())]);
    assert_eq!(warnings.len(), 1);
    let file = dir.path().join("a.dptxt");
    assert!(warnings[0].starts_with(&format!("template {}: line 4: ", file.display())), "{warnings:?}");
    let messages = templates.messages(templates.find("a").unwrap()).unwrap();
    assert_eq!((messages.count, messages.bytes[2]), (1, 129), "chat is not content");
}

#[test]
fn binary_text_and_legacy_text_recordings_are_read() {
    let seed = b"# two layers\n!title=Old\n!maxUsers=9\n\n0 owner users=1\n1 resize right=9 bottom=9\n";
    let files: [(&str, &[u8]); 3] = [
        ("new.dptxt", NEW.as_bytes()),
        ("seed.dptxt", seed),
        ("bin.dprec", &binary("{\"version\":\"dp:4.21.2\",\"nsfm\":true,\"maxUserCount\":\"12\"}")),
    ];
    let (_folder, templates, _) = scan(&files);
    let version = |alias: &str| templates.find(alias).map(|t| t.protocol.to_string()).unwrap_or_default();
    assert_eq!([version("new"), version("seed"), version("bin")], ["dp:4.25.1", "dp:4.24.0", "dp:4.21.2"]);
    let seed = templates.find("seed").unwrap();
    assert_eq!(
        (seed.metadata.title.as_str(), seed.metadata.max_users, templates.messages(seed).unwrap().count),
        ("Old", 9, 1)
    );
    let binary = &templates.find("bin").unwrap().metadata;
    assert_eq!((binary.flags.nsfm, binary.max_users, binary.founder.as_str()), (true, 12, "-"));
}

#[test]
fn unusable_templates_are_refused_with_a_reason() {
    let files: [(&str, &[u8]); 9] = [
        ("bad_alias.dptxt", NEW.as_bytes()),
        ("old24.dptxt", b"!version=dp:4.24.0\n1 resize {\"right\":9}\n"),
        ("none.dptxt", b"!title=x\n1 resize {\"right\":9}\n"),
        ("empty.dptxt", b"!version=dp:4.25.1\n"),
        ("ns.dprec", &binary("{\"version\":\"xy:4.24.0\"}")),
        ("five.dprec", &binary("{\"version\":\"dp:5.24.0\"}")),
        ("magic.dprec", b"DPREX\0\0\0"),
        ("cut.dprec", b"DPREC\0\0\xff{"),
        ("other.txt", b"x"),
    ];
    let (_folder, templates, warnings) = scan(&files);
    assert_eq!(templates.all().count(), 0);
    assert_eq!(warnings.len(), 8, "{warnings:#?}");
    let about = |name: &str| warnings.iter().find(|w| w.contains(name)).cloned().unwrap_or_default();
    assert!(about("old24").contains("protocol version dp:4.24.0 cannot be started"));
    assert!(about("none").contains("names no protocol version"));
    assert!(about("empty").contains("no message"));
    assert!(about("bad_alias").contains("is not a valid session alias"));
}

#[test]
fn the_later_file_name_wins_and_changes_are_detected() {
    let second = NEW.replace("=T\n", "=second\n");
    let files: [(&str, &[u8]); 2] = [("x.dptxt", NEW.as_bytes()), ("x.dptxt.bak", second.as_bytes())];
    let (dir, templates, _) = scan(&files);
    assert_eq!(templates.find("x").unwrap().metadata.title, "second");
    let (again, warnings) = templates.scan(dir.path()).unwrap();
    assert!(again.same_as(&templates));
    // Only the file that is not in use is read again.
    assert_eq!(warnings.len(), 1);
    fs::remove_file(dir.path().join("x.dptxt.bak")).unwrap();
    let (now, _) = again.scan(dir.path()).unwrap();
    assert!(!now.same_as(&again));
    assert_eq!(now.find("x").unwrap().metadata.title, "T");
}

#[test]
fn extensions_in_any_case_and_byte_order_marks_are_accepted() {
    let marked = format!("\u{feff}{NEW}");
    let files: [(&str, &[u8]); 2] = [("ROOM.DPTXT", NEW.as_bytes()), ("b.DpTxt.bak", marked.as_bytes())];
    let (_folder, templates, _) = scan(&files);
    assert_eq!(templates.all().map(|t| t.alias.as_str()).collect::<Vec<_>>(), ["ROOM", "b"]);
}

#[test]
fn an_unreadable_file_is_retried_and_its_old_state_stays_in_use() {
    let (dir, templates, _) = scan(&[("x.dptxt", NEW.as_bytes())]);
    let path = dir.path().join("x.dptxt");
    let error = TemplateError::Io(std::io::ErrorKind::PermissionDenied.into());
    let (mut found, mut warnings) = (Templates::default(), Vec::new());
    templates.keep_unreadable("x", path.clone(), &error, &mut found, &mut warnings);
    assert_eq!((found.find("x").is_some(), warnings.len()), (true, 1));
    let mut next = Templates::default();
    found.keep_unreadable("x", path.clone(), &error, &mut next, &mut warnings);
    assert_eq!(warnings.len(), 1, "returned once");
    assert!(next.rejected.is_empty());
    // The same file, unchanged but for its mode, is read at the next scan.
    fs::write(&path, NEW.replace("=T\n", "=again\n")).unwrap();
    let (now, _) = next.scan(dir.path()).unwrap();
    assert_eq!(now.find("x").unwrap().metadata.title, "again");
    assert!(now.unreadable.is_empty());
}

#[test]
fn each_problem_is_returned_once() {
    let (dir, templates, warnings) = scan(&[("empty.dptxt", b"")]);
    assert_eq!(warnings.len(), 1);
    assert!(templates.scan(dir.path()).unwrap().1.is_empty());
}

/// Templates whose pictures a script decodes, which notes each run in the file `runs` of `dir`.
fn with_pictures(dir: &Path) -> Templates {
    use std::os::unix::fs::PermissionsExt as _;
    let (program, runs) = (dir.join("program"), dir.join("runs"));
    let script = format!(
        "#!/bin/sh\nPATH=/bin:/usr/bin\ncat >/dev/null\necho run >>'{}'\nprintf '\\000\\000\\200\\000'\n",
        runs.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Templates::new(PictureImporter::new(Some(program), Arc::default()))
}

fn runs(dir: &Path) -> usize {
    fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
}

#[test]
fn a_picture_is_decoded_once_and_again_when_it_has_changed() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.png"), "picture").unwrap();
    let mut templates = with_pictures(outside.path()).scan(dir.path()).unwrap().0;
    let messages = |templates: &Templates| {
        let messages = templates.messages(templates.find("a").unwrap()).unwrap();
        (messages.bytes, messages.count)
    };
    for _ in 0..3 {
        assert_eq!(messages(&templates), (vec![0, 0, 128, 0], 1));
        templates = templates.scan(dir.path()).unwrap().0;
    }
    assert_eq!(runs(outside.path()), 1);
    fs::write(dir.path().join("a.png"), "another picture").unwrap();
    messages(&templates);
    assert_eq!(runs(outside.path()), 2, "it has changed since the scan");
    templates = templates.scan(dir.path()).unwrap().0;
    messages(&templates);
    assert_eq!(runs(outside.path()), 3);
}

#[test]
fn a_picture_beside_a_recording_is_not_decoded() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.ora"), "picture").unwrap();
    fs::write(dir.path().join("a.png"), "picture").unwrap();
    let mut templates = with_pictures(outside.path());
    for _ in 0..2 {
        templates = templates.scan(dir.path()).unwrap().0;
        assert!(templates.find("a").unwrap().path.ends_with("a.png"));
    }
    assert_eq!(runs(outside.path()), 1);
    fs::write(dir.path().join("a.dptxt"), NEW).unwrap();
    templates = templates.scan(dir.path()).unwrap().0;
    assert!(templates.find("a").unwrap().path.ends_with("a.dptxt"));
    assert_eq!(runs(outside.path()), 1);
}
