//! Commands of the book.

use std::path::Path;

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;

use crate::common::{Client, fixtures};
use crate::shell::Shell;
use crate::text::{blocks, page, pages};

const UNDO_POINT: u8 = 128;
const DABS: u8 = 148;
const UNDO: u8 = 255;

/// Pages with commands that other tests run: of proxies, and with people who draw.
const ELSEWHERE: [&str; 5] =
    ["guide/nginx.md", "guide/nginx-stream.md", "guide/caddy.md", "guide/haproxy.md", "guide/moderators.md"];

/// The database and sessions of a drawpile-srv.
fn be_a_drawpile_srv(directory: &Path) {
    let sessions = directory.join("sessions");
    std::fs::create_dir_all(&sessions).unwrap();
    for file in std::fs::read_dir(fixtures().join("sessions")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), sessions.join(file.file_name())).unwrap();
    }
    let database = directory.join("config.db");
    let mut connection = SqliteConnection::establish(database.to_str().unwrap()).unwrap();
    connection.batch_execute(&std::fs::read_to_string(fixtures().join("config.sql")).unwrap()).unwrap();
}

#[test]
fn the_commands_of_every_page_work() {
    let mut count = 0;
    for path in pages() {
        let commands = blocks(&page(&path), "sh run");
        if commands.is_empty() || ELSEWHERE.contains(&path.as_str()) {
            continue;
        }
        eprintln!("{path}");
        let mut shell = Shell::start();
        if path == "guide/upgrading.md" {
            be_a_drawpile_srv(&shell.home().join("var/lib/drawpile-srv"));
        }
        for block in &commands {
            shell.run(block);
        }
        count += commands.len();
        shell.finish();
    }
    assert!(count >= 5, "{count} blocks were run");
    assert!(ELSEWHERE.iter().all(|path| !blocks(&page(path), "sh run").is_empty()));
}

/// A block that fails is noticed, or the test above could not fail.
#[test]
#[should_panic(expected = "this block failed")]
fn a_command_that_fails_is_noticed() {
    let mut shell = Shell::start();
    shell.run("drawhall ctl status\ntrue");
}

/// Somebody has spoiled the canvas: what moderators are told to do then.
#[test]
fn moderators_undo_and_ban() {
    let commands = blocks(&page("guide/moderators.md"), "sh run");
    let mut shell = Shell::start();
    shell.run("export DRAWHALL_WEB_ADMIN_AUTH=alice:secret DRAWHALL_WEB_ADMIN_PORT=27780 DRAWHALL_CTL_AUTH=alice:secret");
    shell.run("drawhall --data ~/draw\ndrawhall ctl make-session title=Lobby alias=lobby");
    let mut vandal = Client::connect(shell.address("27750"));
    let user = vandal.join("Vandal", "lobby");
    let mut member = Client::connect(shell.address("27750"));
    member.join("Member", "lobby");
    for _ in 0..6 {
        vandal.send(UNDO_POINT, 0, &[]);
        vandal.send(DABS, 0, &[7; 40]);
    }
    for _ in 0..6 {
        member.until(|m| m.kind == DABS && m.user == user);
    }
    let printed: String = commands.iter().map(|block| shell.run(block)).collect();
    assert!(printed.contains("Vandal"), "{printed}");
    for _ in 0..5 {
        assert_eq!(member.until(|m| m.kind == UNDO).payload, [user, 0]);
    }
    shell.finish();
}
