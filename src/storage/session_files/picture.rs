//! The thumbnail of a session.

use std::fs;

use bytes::Bytes;

use super::{SessionFiles, StorageError, failed};
use crate::storage::file_names;
use crate::storage::shared::FileChange;

impl SessionFiles {
    /// Replaces the thumbnail, or removes it.
    pub(super) fn set_picture(&mut self, picture: Option<&Bytes>, archive: bool) -> Result<(), StorageError> {
        let name = file_names::thumbnail(self.id());
        let path = self.dir.path().join(&name);
        let done = match picture {
            None => file_names::remove(self.dir.path(), &name, archive),
            Some(bytes) => {
                let new = self.dir.path().join(format!("{name}{}", file_names::NEW));
                let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
                written.inspect_err(|_| drop(fs::remove_file(&new)))
            }
        };
        self.dir.syncer().queue(self.dir.directory());
        done.map_err(failed("store", &path))?;
        match picture.cloned() {
            Some(bytes) => self.share(|| FileChange::Put { file: name, bytes }),
            None => self.share_removal(&name),
        }
        Ok(())
    }
}
