//! Cleaning up what an interrupted operation has left.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::{SessionDir, file_names};
use crate::rules::metadata::SessionSummary;
use crate::rules::session::KeepGenerations;
use crate::storage::generations;

impl SessionDir {
    /// Completes deletions, archivings and creations that a crash has interrupted.
    pub(super) fn finish_interrupted(&self, files: &mut BTreeSet<String>) {
        let remove = |name: &str, archive: bool| self.remove_leftover(name, archive);
        for name in files.clone() {
            let journal_of =
                |ending: &str| name.strip_suffix(ending).and_then(file_names::journal_id).map(str::to_owned);
            if let Some(id) = journal_of(file_names::DELETED) {
                for other in self.files_without_journal(&id, files) {
                    remove(&other, false);
                }
                remove(&name, false);
            } else if let Some(id) = journal_of(file_names::ARCHIVED) {
                let journal = name.trim_end_matches(file_names::ARCHIVED);
                if !files.contains(journal) && file_names::journal(&id) == journal {
                    for other in self.files_without_journal(&id, files) {
                        remove(&other, true);
                    }
                }
            } else if let Some(id) = journal_of(file_names::NEW) {
                if !files.contains(name.trim_end_matches(file_names::NEW)) {
                    // The journal was never renamed into place, so no client has joined that session.
                    for other in self.files_without_journal(&id, files) {
                        remove(&other, false);
                    }
                }
                remove(&name, false);
            } else if name.ends_with(&format!(".thumbnail{}", file_names::NEW)) {
                remove(&name, false);
            }
        }
        if let Ok(now) = file_names(&self.path) {
            *files = now;
        }
    }

    /// Removes time marks without a history. Comes after [`SessionDir::finish_ended`]: until then the history of a session
    /// that has ended may be with the ended ones, and its marks still here.
    pub(super) fn remove_orphaned_marks(&self, files: &mut BTreeSet<String>) {
        let is_orphaned = |name: &&String| {
            file_names::history_of_marks(name)
                .is_some_and(|history| name.ends_with(file_names::NEW) || !files.contains(&history))
        };
        let orphaned: Vec<String> = files.iter().filter(is_orphaned).cloned().collect();
        for name in orphaned {
            self.remove_leftover(&name, false);
            files.remove(&name);
        }
    }

    fn remove_leftover(&self, name: &str, archive: bool) {
        tracing::info!("removing {name}, left over from an interrupted operation");
        if let Err(error) = file_names::remove(&self.path, name, archive) {
            tracing::warn!(%error, "cannot remove {name}");
        }
    }

    /// History files, time marks and thumbnail of a session that has no journal any more.
    pub(super) fn files_without_journal(&self, id: &str, files: &BTreeSet<String>) -> Vec<String> {
        let journal_names: HashSet<&str> = files.iter().filter_map(|f| file_names::journal_id(f)).collect();
        let belongs = |name: &&String| {
            let own = name.split('.').next().is_some_and(|stem| stem == id || !journal_names.contains(stem));
            let is_history = |name: &str| file_names::is_history_of(name, id);
            let is_marks = || file_names::history_of_marks(name).is_some_and(|history| is_history(&history));
            own && (is_history(name) || is_marks() || **name == file_names::thumbnail(id))
        };
        files.iter().filter(belongs).cloned().collect()
    }

    /// Removes history files of a session that are neither the current one nor a generation that is kept.
    pub(super) fn remove_stale_histories(
        &self,
        session: &SessionSummary,
        files: &BTreeSet<String>,
        ids: &HashSet<&str>,
        archive: bool,
        keep: KeepGenerations,
    ) {
        let archive = session.metadata.archive.unwrap_or(archive);
        let current = session.metadata.file.as_deref().map(Path::new).and_then(Path::file_name);
        let current_name = current.and_then(|name| name.to_str()).unwrap_or_default();
        let kept = generations::kept(&self.path, files.iter(), &session.id, current_name, keep);
        for name in files.iter().filter(|n| file_names::is_history_of(n, &session.id)) {
            let stem = name.split('.').next().unwrap_or_default();
            let of_another = stem != session.id && ids.contains(stem);
            let is_kept = name == current_name || kept.contains(&name.as_str());
            if is_kept || of_another {
                continue;
            }
            tracing::info!("stored session {}: removing {name}, which is no longer used", session.id);
            if let Err(error) = file_names::remove(&self.path, name, archive) {
                tracing::warn!(%error, "cannot remove {name}");
            }
        }
    }
}
