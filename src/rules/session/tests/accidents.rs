//! A session is not ended because its members were cut off.

use super::*;
use crate::rules::session::persistence::Suspended;
use crate::rules::session::timers::ACCIDENT_LINGER_MS;

fn cut(table: &mut Table, conn: ConnId) {
    table.act(|machine, cx| machine.handle(input::Input::Cut(conn), cx));
}

fn expire(table: &mut Table) {
    table.act(|machine, cx| machine.expire(cx));
}

fn with_two() -> Table {
    let mut table = Table::running(Settings::default());
    table.join(client(B, "B"));
    table
}

#[test]
fn a_session_emptied_by_the_server_lingers_for_a_minute() {
    let mut table = with_two();
    cut(&mut table, A);
    cut(&mut table, B);
    assert!(!table.ended);
    expire(&mut table);
    table.wait(ACCIDENT_LINGER_MS - 1);
    expire(&mut table);
    assert!(!table.ended, "a minute has not passed");
    table.wait(1);
    expire(&mut table);
    assert!(table.ended);
}

#[test]
fn getting_others_disconnected_does_not_end_the_session() {
    let mut table = with_two();
    cut(&mut table, A);
    table.wait(5000);
    table.leave(B);
    assert!(!table.ended);
}

#[test]
fn a_later_leave_ends_the_session_as_usual() {
    let mut table = with_two();
    cut(&mut table, A);
    table.wait(ACCIDENT_LINGER_MS + 1);
    table.leave(B);
    assert!(table.ended);

    let mut table = with_two();
    cut(&mut table, A);
    table.leave(B);
    table.join(client(C, "C"));
    table.leave(C);
    assert!(!table.ended, "who comes and goes does not end it either");
}

#[test]
fn suspended_state_keeps_the_linger_time() {
    let mut table = with_two();
    table.machine.store();
    let shared = ServerSettings::default();
    let over = |rest: &Suspended, ms| {
        rest.is_over(false, false, &shared, Timestamp { monotonic_ms: ms, utc_ms: ms as i64 })
    };
    let now = table.now;
    let fault = table.machine.rest().after_accident(now);
    assert!(
        !over(&fault, now.monotonic_ms + ACCIDENT_LINGER_MS - 1)
            && over(&fault, now.monotonic_ms + ACCIDENT_LINGER_MS)
    );
    cut(&mut table, A);
    cut(&mut table, B);
    let rest = table.machine.rest();
    assert!(
        !over(&rest, now.monotonic_ms + ACCIDENT_LINGER_MS - 1)
            && over(&rest, table.now.monotonic_ms + ACCIDENT_LINGER_MS + 1)
    );
}
