//! A server in a process of its own: this test program, started again for its test `child`.

use std::io::{BufRead as _, BufReader, Write as _};
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

/// In the test `child`: says where a server listens, and waits until this process is killed, or whoever started it is gone.
pub fn run_child(listens_at: &str) {
    println!("\nlistening on {listens_at}");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {}
}

/// Whether strace is there. System calls have other names on other processors.
pub fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let traced = cfg!(target_arch = "x86_64") && traced.is_ok_and(|status| status.success());
    if !traced {
        super::skip::skip("strace", "strace cannot be run here");
    }
    traced
}
