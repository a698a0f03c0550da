//! Deleting many rows a part at a time: on PostgreSQL a statement has seconds only, and others wait for its locks.

use crate::db::DbError;

/// Rows that one statement deletes at most.
const CHUNK: usize = 5000;

/// Calls `delete`, which deletes at most so many rows, until none are left. Returns the number of all.
pub(super) fn in_chunks(mut delete: impl FnMut(i64) -> Result<usize, DbError>) -> Result<usize, DbError> {
    let mut all = 0;
    loop {
        let deleted = delete(CHUNK as i64)?;
        all += deleted;
        if deleted < CHUNK {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_deleted_until_none_are_left() {
        for rows in [0, 1, CHUNK, 2 * CHUNK + 7] {
            let (mut left, mut statements) = (rows, 0);
            let deleted = in_chunks(|count| {
                let deleted = left.min(usize::try_from(count).unwrap());
                (left, statements) = (left - deleted, statements + 1);
                Ok(deleted)
            });
            assert_eq!((deleted.unwrap(), left, statements), (rows, 0, rows / CHUNK + 1));
        }
        assert!(in_chunks(|_| Err(DbError::Query("away".into()))).is_err());
    }
}
