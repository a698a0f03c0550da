//! The operations of a database engine, from its queries.

use super::{Engine, Sql, Value, Writes, accounts, admin, int, log, snapshot, text};
use crate::db::{Account, AccountKey, Backend, BanKind, BanRow, DbError, LogQuery, LogRow, Snapshot};

#[derive(diesel::QueryableByName)]
struct Secret {
    #[diesel(sql_type = diesel::sql_types::Binary)]
    secret: Vec<u8>,
}

impl<E: Engine> Backend for E {
    fn may_have_changed(&self) -> bool {
        Engine::may_have_changed(self)
    }

    fn version(&self) -> Result<i64, DbError> {
        self.change_count()
    }

    fn snapshot(&self, now: &str) -> Result<Snapshot, DbError> {
        self.read_consistent(|connection| Ok(snapshot::read(connection, now)?))
    }

    fn accounts(&self) -> Result<Vec<Account>, DbError> {
        self.autocommit(accounts::all)
    }

    fn account(&self, key: AccountKey<'_>) -> Result<Option<Account>, DbError> {
        self.autocommit(|connection| accounts::find(connection, key))
    }

    fn add_account(&self, account: &Account) -> Result<Account, DbError> {
        accounts::add(self, account)
    }

    fn change_account(
        &self,
        key: AccountKey<'_>,
        change: &mut dyn FnMut(&mut Account),
    ) -> Result<Account, DbError> {
        accounts::change(self, key, change)
    }

    fn remove_account(&self, key: AccountKey<'_>) -> Result<(), DbError> {
        accounts::remove(self, key)
    }

    fn append_log(&self, rows: &[LogRow]) -> Result<(), DbError> {
        self.write(Writes::Records, |connection| Ok(log::append(connection, rows)?))
    }

    fn change_settings(&self, settings: &[(&str, Option<&str>)]) -> Result<(), DbError> {
        self.write(Writes::Rules, |connection| Ok(admin::change_settings(connection, settings)?))
    }

    fn key(&self, name: &str, fresh: &[u8]) -> Result<Vec<u8>, DbError> {
        self.autocommit(|connection| {
            connection.execute(
                "INSERT INTO drawhall_keys (name, secret) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                &[text(name), Value::Bytes(fresh)],
            )?;
            let key: Secret =
                connection.row("SELECT secret FROM drawhall_keys WHERE name = ?1", &[text(name)])?;
            Ok(key.secret)
        })
    }

    fn purge_log(&self, after: i64, before: &str, count: i64) -> Result<Option<(i64, usize)>, DbError> {
        self.write(Writes::Records, |connection| Ok(log::purge(connection, after, before, count)?))
    }

    fn shorten_log(&self, after: i64, before: &str, count: i64) -> Result<Option<(i64, usize)>, DbError> {
        self.write(Writes::Records, |connection| {
            Ok(log::shorten_addresses(connection, after, before, count)?)
        })
    }

    fn replace_settings(
        &self,
        only_while: (&str, &str),
        remove: &[&str],
        set: &[(&str, &str)],
    ) -> Result<bool, DbError> {
        self.write(Writes::Rules, |connection| {
            Ok(admin::exchange_settings(connection, only_while, remove, set)?)
        })
    }

    fn ban_rows(&self, kind: BanKind) -> Result<Vec<BanRow>, DbError> {
        self.autocommit(|connection| Ok(admin::bans_of(connection, kind)?))
    }

    fn add_ban(&self, kind: BanKind, ban: &BanRow) -> Result<BanRow, DbError> {
        self.write(Writes::Rules, |connection| Ok(admin::insert_ban(connection, kind, ban)?))
    }

    fn remove_ban(&self, kind: BanKind, id: i64) -> Result<bool, DbError> {
        self.write(Writes::Rules, |connection| Ok(admin::delete_ban_row(connection, kind, id)?))
    }

    fn set_listing_servers(&self, patterns: &[String]) -> Result<(), DbError> {
        self.write(Writes::Rules, |connection| Ok(admin::replace_listing_servers(connection, patterns)?))
    }

    fn switch_ext_ban(&self, id: i64, enabled: bool) -> Result<(), DbError> {
        let sql = if enabled {
            "DELETE FROM disabledextbans WHERE id = ?1"
        } else {
            "INSERT INTO disabledextbans (id) VALUES (?1) ON CONFLICT (id) DO NOTHING"
        };
        self.write(Writes::Rules, |connection| {
            connection.execute(sql, &[int(id)])?;
            Ok(())
        })
    }

    fn keep_newest_log(&self, count: i64) -> Result<(), DbError> {
        self.autocommit(|connection| Ok(log::delete_older(connection, count)?))
    }

    fn log_size(&self, after: i64, count: i64) -> Result<Option<(u64, i64)>, DbError> {
        self.autocommit(|connection| Ok(log::size(connection, after, count)?))
    }

    fn delete_oldest_log(&self, bytes: u64, count: i64) -> Result<u64, DbError> {
        self.write(Writes::Records, |connection| Ok(log::delete_oldest(connection, bytes, count)?))
    }

    fn log(&self, query: &LogQuery) -> Result<Vec<LogRow>, DbError> {
        self.autocommit(|connection| Ok(log::find(connection, query)?))
    }
}
