//! File permissions. Stored sessions hold password hashes, keys, invites, chat and addresses, so only the owner may
//! read them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Mode of new directories.
const OWNER_ONLY: u32 = 0o700;

/// Creates a directory and its missing parents, readable only by their owner. The mode of an existing directory is
/// not changed.
///
/// # Errors
/// When it cannot be created.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path)
}

/// Whether every user of the machine may read this file or directory. Of the parents only a file's own directory is
/// checked; one further up may still deny access.
pub fn is_exposed(path: &Path) -> bool {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.mode());
    let is_open = |path: &Path| mode(path) & 0o001 != 0;
    let dir = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if path.is_dir() { is_open(path) } else { mode(path) & 0o004 != 0 && dir.is_none_or(is_open) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn new_directories_are_private_and_exposed_files_are_detected() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        for created in [&deep, &dir.path().join("a")] {
            assert_eq!(std::fs::metadata(created).unwrap().mode() & 0o777, 0o700);
        }
        let file = deep.join("x");
        write(&file, "").unwrap();
        let allow = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        allow(&file, 0o644);
        assert!(!is_exposed(&file) && !is_exposed(&deep), "the directory denies access");
        allow(&deep, 0o755);
        assert!(is_exposed(&file) && is_exposed(&deep));
        allow(&file, 0o640);
        assert!(!is_exposed(&file) && !is_exposed(Path::new("/nowhere")));
    }
}
