//! Which rows about people make room when there are too many: those of the network that has most of them, so that
//! nobody displaces what is known of others.

use std::collections::HashMap;
use std::net::IpAddr;

use diesel::deserialize::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Text};

use super::super::{Number, Sql, Value, int};
use crate::rules::network::neighbourhood;

/// Rows that one statement deletes: few different numbers, so that the statements stay prepared.
const DELETED_AT_ONCE: [usize; 3] = [500, 20, 1];

#[derive(QueryableByName)]
struct RowLine {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    address: String,
}

/// The network of an address; the text itself of what is no address.
fn network_of(address: &str) -> String {
    let ip = address.parse::<IpAddr>();
    ip.map_or_else(|_| address.to_owned(), |ip| neighbourhood(ip).to_string())
}

/// How many each may keep, so that all together have at most `room`: those with less keep all.
fn share(mut sizes: Vec<usize>, mut room: usize) -> usize {
    sizes.sort_unstable();
    let mut left = sizes.len();
    for size in sizes {
        if size.saturating_mul(left) > room {
            return room / left;
        }
        room -= size;
        left -= 1;
    }
    usize::MAX
}

/// The rows to delete so that at most `room` stay; `rows` are the ids and networks, newest first.
fn displaced(rows: &[(i64, String)], room: usize) -> Vec<i64> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    rows.iter().for_each(|(_, network)| *sizes.entry(network).or_default() += 1);
    let share = share(sizes.into_values().collect(), room);
    let mut kept: HashMap<&str, usize> = HashMap::new();
    let mut deleted = Vec::new();
    for (id, network) in rows {
        let kept = kept.entry(network).or_default();
        *kept += 1;
        if *kept > share {
            deleted.push(*id);
        }
    }
    deleted
}

/// Deletes rows beyond `most`, and a twentieth more, so that not every batch deletes. Returns how many there are.
pub(super) fn keep_within(connection: &mut impl Sql, most: i64) -> QueryResult<i64> {
    let count: Number = connection.row("SELECT COUNT(*) AS n FROM drawhall_sightings", &[])?;
    if count.n <= most {
        return Ok(count.n);
    }
    let lines: Vec<RowLine> =
        connection.rows("SELECT id, address FROM drawhall_sightings ORDER BY last_ms DESC, id DESC", &[])?;
    let rows: Vec<_> = lines.into_iter().map(|line| (line.id, network_of(&line.address))).collect();
    let deleted = displaced(&rows, usize::try_from(most - most / 20).unwrap_or_default());
    let mut ids = deleted.as_slice();
    for size in DELETED_AT_ONCE {
        let places: Vec<String> = (1..=size).map(|number| format!("?{number}")).collect();
        let sql = format!("DELETE FROM drawhall_sightings WHERE id IN ({})", places.join(", "));
        while let Some((first, rest)) = ids.split_at_checked(size) {
            let values: Vec<Value<'_>> = first.iter().copied().map(int).collect();
            connection.execute(&sql, &values)?;
            ids = rest;
        }
    }
    Ok(count.n - deleted.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_most_rows_makes_room_and_others_keep_theirs() {
        let flood = (0..100).map(|n| (n, network_of(&format!("2001:db8:1:{n:x}::1"))));
        let others = (100..110).map(|n| (n, network_of(&format!("192.0.{n}.1"))));
        let rows: Vec<_> = flood.chain(others).collect();
        assert_eq!(displaced(&rows, 50), (40..100).collect::<Vec<_>>(), "the oldest of the flood");
        assert!(displaced(&rows, 110).is_empty());
        assert_eq!(displaced(&rows[..100], 20).len(), 80);
    }

    #[test]
    fn addresses_count_by_their_networks() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("", ""),
        ] {
            assert_eq!(network_of(address), expected);
        }
    }
}
