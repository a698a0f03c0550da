//! A server in a process of its own: this test program, started again for its test `child`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Starts the test `child` and returns what it says behind "listening on "; nothing if it ends without. It ends by
/// itself when its standard input is closed.
pub fn spawn_child(command: &mut Command) -> (Child, Option<String>) {
    let mut process = command
        .args(["--exact", "child", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let told = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("listening on ").map(str::to_owned));
    (process, told)
}
