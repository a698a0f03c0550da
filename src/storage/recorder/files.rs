//! Files of recordings: their names, what says that a server has made them, and which of them are being written.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use drawhall_protocol::recording::dprec::DprecReader;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Recorder, SERVER_RECORDING, completed, home};

/// Extension of recordings. Patterns may have it in capital letters.
pub(super) const EXTENSION: &str = ".dprec";

impl Recorder {
    /// Regular files in the directory itself whose names may be those of recordings, with errors of reading it. Whether
    /// a server has made one, [`open_recording`] says.
    ///
    /// # Errors
    /// When the directory cannot be opened. Without it there are none.
    pub(in crate::storage) fn files(
        &self,
    ) -> io::Result<impl Iterator<Item = io::Result<(String, Metadata)>>> {
        let entries = match fs::read_dir(self.existing_directory()) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let may_lack_extension = self.may_lack_extension();
        let described = move |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            if !may_lack_extension && !has_extension(&name) {
                return None;
            }
            // Those of a link are its own. Without any it is gone.
            let file = entry.metadata().ok()?;
            file.is_file().then_some((name, file))
        };
        Ok(entries.into_iter().flatten().filter_map(move |entry| entry.map(described).transpose()))
    }

    /// Whether a recording can have this name, by its extension.
    pub(super) fn may_be_named(&self, name: &str) -> bool {
        has_extension(name) || self.may_lack_extension()
    }

    fn may_lack_extension(&self) -> bool {
        !has_extension(&completed(&self.pattern, &home()))
    }

    /// The path of a file in the directory.
    pub(in crate::storage) fn path_of(&self, name: &str) -> PathBuf {
        self.existing_directory().join(name)
    }

    /// Device and inode of the files that are being written: paths may be spelled differently.
    pub(in crate::storage) fn open_inodes(&self) -> HashSet<(u64, u64)> {
        let files = self.open.lock().clone().into_iter();
        files.filter_map(|path| fs::metadata(path).ok()).map(|file| inode(&file)).collect()
    }

    fn existing_directory(&self) -> PathBuf {
        let directory = self.directory();
        // That of `%i.dprec` has no name.
        if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory }
    }
}

/// Opens a regular file, through no link, whose header says that a server has recorded it. `None` if it is another file,
/// or gone.
pub(in crate::storage) fn open_recording(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // There is none, no file has such a name, it is a link, a socket, or somebody else's.
        Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let is_ours = DprecReader::new(BufReader::new(&file))
        .is_ok_and(|reader| reader.header().get(SERVER_RECORDING) == Some("true"));
    file.rewind()?;
    Ok(is_ours.then_some((file, metadata)))
}

/// Device and inode.
pub(in crate::storage) fn inode(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// When a file was last written, seconds since 1970.
pub(in crate::storage) fn changed(file: &Metadata) -> u64 {
    let time = file.modified().unwrap_or(UNIX_EPOCH);
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn has_extension(name: &str) -> bool {
    without_extension(name).len() < name.len()
}

/// A name or path without the extension of recordings, if it has that.
pub(super) fn without_extension(name: &str) -> &str {
    let end = name.len().saturating_sub(EXTENSION.len());
    match name.get(end..) {
        Some(extension) if extension.eq_ignore_ascii_case(EXTENSION) => &name[..end],
        _ => name,
    }
}
