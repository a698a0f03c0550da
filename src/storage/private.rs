//! What is kept is nobody else's business: hashes, keys, invites, chat, addresses.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Mode of directories that are made.
const OWNER_ONLY: u32 = 0o700;

/// Makes a directory, and those above it, that only its owner may look into. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path)
}

/// Whether every user of the machine may read a file, or what is in a directory. Directories further up are not looked
/// at: they may keep others out as well.
pub fn is_exposed(path: &Path) -> bool {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.mode());
    let is_open = |path: &Path| mode(path) & 0o001 != 0;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if path.is_dir() { is_open(path) } else { mode(path) & 0o004 != 0 && folder.is_none_or(is_open) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_made_is_the_owners_and_what_others_can_read_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_directory(&deep).unwrap();
        make_directory(&deep).unwrap();
        for made in [&deep, &folder.path().join("a")] {
            assert_eq!(std::fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
        let file = deep.join("x");
        write(&file, "").unwrap();
        let allow = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        allow(&file, 0o644);
        assert!(!is_exposed(&file) && !is_exposed(&deep), "the directory keeps others out");
        allow(&deep, 0o755);
        assert!(is_exposed(&file) && is_exposed(&deep));
        allow(&file, 0o640);
        assert!(!is_exposed(&file) && !is_exposed(Path::new("/nowhere")));
    }
}
