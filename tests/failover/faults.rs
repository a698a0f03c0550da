//! What is done to servers and database while people draw.

use std::time::Duration;

use super::numbers::Numbers;
use super::proxy::Passage;
use super::site::{Database, Site};

/// What happens in a run. Who is meant is the server that has the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start later.
    Kill,
    /// SIGTERM, and a start later.
    Stop,
    /// SIGSTOP, SIGCONT after ten seconds.
    Pause,
    /// Its connections to PostgreSQL end, and it gets no new ones.
    Cut,
    /// Its connections to PostgreSQL stay, and nothing gets through; then all of it does, or they end, and it is lost.
    Hold,
    /// The same, and then SIGKILL: what it had not committed by then nobody may have seen.
    HoldAndKill,
    /// SIGKILL and a start, three times, for the one that has the session by then.
    KillInTurn,
    /// SIGTERM and a start, for each server in turn.
    Roll,
    /// SIGKILL, and what it has written last to its files is removed before it starts: loses strokes for sure.
    Lose,
    /// All processes of the primary are killed, and it is started again.
    KillPrimary,
    /// The primary is killed for good, and the standby becomes the primary. A new standby is made later.
    Promote,
    /// The standby is killed, and started again: commits wait meanwhile.
    KillStandby,
    /// All connections to PostgreSQL are ended, again and again.
    Terminate,
}

impl Fault {
    /// Those that need no other server and no PostgreSQL.
    pub(crate) const ALONE: [Fault; 3] = [Fault::Kill, Fault::Stop, Fault::Pause];
    /// All after which everything is to be there.
    pub(crate) const ALL: [Fault; 12] = [
        Fault::Kill,
        Fault::Stop,
        Fault::Pause,
        Fault::Cut,
        Fault::Hold,
        Fault::HoldAndKill,
        Fault::KillInTurn,
        Fault::Roll,
        Fault::KillPrimary,
        Fault::Promote,
        Fault::KillStandby,
        Fault::Terminate,
    ];

    /// Whether other servers can go on with the session before [`Site::heal`].
    pub(crate) fn is_survived(self) -> bool {
        matches!(self, Fault::Kill | Fault::Stop | Fault::Cut | Fault::Hold | Fault::HoldAndKill)
    }

    /// Has it happen to the server that has the session. What is still away then comes back with [`Site::heal`].
    pub(crate) fn strike(self, site: &mut Site, session: &str, numbers: &mut Numbers) {
        let owner = site.owner(session).unwrap_or(0);
        let short = 200 + numbers.below(1000);
        match self {
            Fault::Kill => site.servers[owner].kill(),
            Fault::Stop => site.servers[owner].stop(),
            Fault::Lose => {
                site.servers[owner].kill();
                site.servers[owner].lose_the_end(session);
            }
            Fault::Pause => {
                site.servers[owner].pause();
                sleep(10_000);
                site.servers[owner].resume();
            }
            Fault::KillInTurn => {
                for _ in 0..3 {
                    let owner = site.owner(session).unwrap_or(0);
                    site.servers[owner].kill();
                    sleep(short);
                    site.servers[owner].start();
                    sleep(numbers.below(1000));
                }
            }
            Fault::Roll => {
                for server in &mut site.servers {
                    server.stop();
                    sleep(short);
                    server.start();
                    sleep(numbers.below(1000));
                }
            }
            Fault::Cut | Fault::Hold | Fault::HoldAndKill => {
                let Some(database) = &site.database else { return };
                let passage = if self == Fault::Cut { Passage::Cut } else { Passage::Held };
                database.set_passage(owner, passage);
                sleep(short);
                if self == Fault::HoldAndKill {
                    site.servers[owner].kill();
                }
            }
            Fault::KillPrimary | Fault::Promote | Fault::KillStandby | Fault::Terminate => {
                if let Some(database) = &mut site.database {
                    self.strike_database(database, numbers);
                }
            }
        }
        sleep(short);
    }

    fn strike_database(self, database: &mut Database, numbers: &mut Numbers) {
        match self {
            Fault::KillPrimary => {
                database.pair.kill_primary();
                sleep(numbers.below(2000));
                database.pair.start_primary();
            }
            Fault::Promote => {
                database.fail_over(|| sleep(numbers.below(2000)));
                sleep(numbers.below(2000));
                database.pair.add_standby();
            }
            Fault::KillStandby => {
                database.pair.kill_standby();
                sleep(numbers.below(2000));
                database.pair.start_standby();
            }
            _ => {
                for _ in 0..20 {
                    // It ends the connection that asks for it, too.
                    let _ = database.pair.terminate_backends();
                    sleep(numbers.below(150));
                }
            }
        }
    }
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
