//! What the machine can do without a server: the most that any server could reach.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Size of the writes of a catch-up, in bytes.
const LARGE: usize = 64 << 10;
/// Size of a short stroke with its header, in bytes.
const SMALL: usize = 64;
/// Clients that are written to in turn.
const CLIENTS: usize = 50;

/// Measures it, for this time each.
///
/// # Errors
/// When there is no loopback interface.
pub fn run(time: Duration) -> io::Result<Value> {
    let (large, seconds) = write(1, LARGE, time)?;
    let bytes = large as f64 * LARGE as f64 / seconds;
    let (small, seconds) = write(CLIENTS, SMALL, time)?;
    Ok(json!({
        "case": "limit", "loopback_bytes_per_cpu_second": bytes,
        "small_writes_per_cpu_second": small as f64 / seconds,
    }))
}

/// Writes to clients in turn, which drop everything. Returns the number of writes, and the CPU time of the thread that
/// wrote, in seconds.
fn write(clients: usize, size: usize, time: Duration) -> io::Result<(u64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut streams = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..clients {
        let mut reader = TcpStream::connect(listener.local_addr()?)?;
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        streams.push(stream);
        readers.push(thread::spawn(move || {
            let mut buffer = vec![0; LARGE];
            while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }));
    }
    let message = vec![7; size];
    let (begin, cpu) = (std::time::Instant::now(), cpu_of_this_thread());
    let mut writes = 0;
    while begin.elapsed() < time {
        for stream in &mut streams {
            stream.write_all(&message)?;
            writes += 1;
        }
    }
    let cpu = cpu_of_this_thread() - cpu;
    drop(streams);
    for reader in readers {
        reader.join().map_err(|_| io::Error::other("a reader has panicked"))?;
    }
    Ok((writes, cpu))
}

fn cpu_of_this_thread() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_measured() {
        let limit = run(Duration::from_millis(20)).unwrap();
        for name in ["loopback_bytes_per_cpu_second", "small_writes_per_cpu_second"] {
            assert!(limit[name].as_f64().is_some_and(|figure| figure > 0.0), "{limit}");
        }
    }
}
