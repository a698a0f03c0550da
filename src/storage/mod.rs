//! Stored sessions: a journal, a history file and a thumbnail each, in one directory, in the formats of drawpile-srv.
//!
//! | module | responsibility |
//! | --- | --- |
//! | [`history_file`] | history files: header, index, reading and writing |
//! | [`session_files`] | the files of one loaded session: appending, replacing, removing |
//! | [`session_dir`] | the directory: listing, loading, removing sessions, cleaning up after a crash |
//! | [`generations`] | the history files that resets have replaced |
//! | [`syncer`] | fsync of written files, in groups |
//! | [`check`] | checking and repairing sessions offline |
//! | [`file_names`] | names of files in the session directory |
//! | [`event_store`] | chat and events of sessions, for a while |
//! | [`private`] | file permissions |
//! | [`reclaim`] | what goes when a disk is nearly full |
//! | [`shared`] | sessions that several servers share, whose changes are committed in a database |
//! | [`recorder`] | recordings of sessions |
//! | [`template`] | recordings that sessions are created from |
//!
//! Nothing here depends on clients or session rules. `docs/DATA.md` says what survives a crash.

pub mod check;
pub mod event_store;
pub mod file_names;
pub mod generations;
pub mod history_file;
mod marks_file;
pub mod private;
pub mod reclaim;
pub mod recorder;
pub mod session_dir;
pub mod session_files;
pub mod shared;
pub mod syncer;
pub mod template;
#[cfg(test)]
mod tests;
