//! Stored sessions: a journal, a history file and a picture each, in one directory, as drawpile-srv has them.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`journal`] | entries and their lines |
//! | [`metadata`] | the state that a journal's entries add up to |
//! | [`history_file`] | headers, looking through a history, reading pieces of it |
//! | [`store`] | the files of one session: appending, replacing, removing |
//! | [`folder`] | the directory: listing, loading, what was left over |
//! | [`syncer`] | forcing what was written to the disk |
//! | [`check`] | listing, checking and mending without serving |
//! | [`names`] | names of files |
//! | [`private`] | keeping others out of it all |
//! | [`recorder`] | recordings of sessions |
//! | [`template`] | recordings that sessions are made from |
//!
//! Nothing here knows clients or rules. `docs/DATA.md` says what survives what.

pub mod check;
pub mod history_file;
pub mod journal;
pub mod metadata;
pub mod names;
pub mod private;
pub mod recorder;
pub mod session_dir;
pub mod session_files;
pub mod syncer;
pub mod template;
#[cfg(test)]
mod tests;
