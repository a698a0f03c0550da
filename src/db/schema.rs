//! Which migrations a database has.

use diesel::backend::Backend;
use diesel::migration::Migration;

/// The first of the `applied` migrations that this program does not know: a later version has changed the database, and
/// what its tables mean is not known here.
pub(super) fn first_unknown<DB: Backend>(
    known: &[Box<dyn Migration<DB>>],
    applied: &[String],
) -> Option<String> {
    let known: Vec<String> = known.iter().map(|migration| migration.name().version().to_string()).collect();
    applied.iter().find(|version| !known.contains(version)).cloned()
}
