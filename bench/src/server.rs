//! Servers that are started to be measured.

use std::io;
use std::process::Stdio;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::process::Process;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// Ports that are tried for servers: below those that systems give to clients.
const PORTS: std::ops::Range<u16> = 21000..30000;

/// Command line of a server. `{port}` in it stands for the port that clients connect to, `{other}` for another free
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand(Vec<String>);

impl FromStr for ServerCommand {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words = shell_words::split(line).map_err(|error| error.to_string())?;
        if words.is_empty() {
            return Err("no program".into());
        }
        if !words.iter().any(|word| word.contains("{port}")) {
            return Err("{port} is missing, which stands for the port to listen at".into());
        }
        Ok(ServerCommand(words))
    }
}

/// A server that runs. Dropping it ends it at once.
#[derive(Debug)]
pub struct RunningServer(std::process::Child);

impl ServerCommand {
    fn words(&self, port: u16, other: u16) -> Vec<String> {
        let fill =
            |word: &String| word.replace("{port}", &port.to_string()).replace("{other}", &other.to_string());
        self.0.iter().map(fill).collect()
    }

    /// Starts it, and waits until it listens at the port of this address. Its standard output is dropped.
    ///
    /// # Errors
    /// When it cannot be started, ends, or does not listen within a minute, or another server listens there.
    pub async fn start(&self, address: &str) -> io::Result<RunningServer> {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| io::Error::other(format!("{address} has no port")))?;
        if TcpStream::connect(address).await.is_ok() {
            return Err(io::Error::other(format!("another server listens at {address}")));
        }
        let words = self.words(port, free_port(Some(port))?);
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = RunningServer(command.spawn()?);
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.0.try_wait()? {
                return Err(io::Error::other(format!("{} has ended: {status}", words[0])));
            }
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{} does not listen at {address}", words[0])));
            }
            sleep(POLL).await;
        }
        Ok(server)
    }
}

impl RunningServer {
    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.0.id())
    }

    /// Asks it to end (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn stop(mut self) -> io::Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, Signal::TERM))?;
        let begin = Instant::now();
        while self.0.try_wait()?.is_none() {
            if begin.elapsed() > PATIENCE {
                return Err(io::Error::other("the server does not end"));
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of 127.0.0.1 at which nobody listens; not the one that is given.
///
/// # Errors
/// When there is none.
pub fn free_port(except: Option<u16>) -> io::Result<u16> {
    let offset = std::process::id() as u16 % (PORTS.end - PORTS.start);
    let from = PORTS.start + offset;
    let mut ports = (from..PORTS.end).chain(PORTS.start..from).filter(|port| Some(*port) != except);
    let free = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| io::Error::other("no port is free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_its_port() {
        let command: ServerCommand = "server --name 'a b' --port {port} --ws=[::1]:{other}".parse().unwrap();
        assert_eq!(command.words(1, 2), ["server", "--name", "a b", "--port", "1", "--ws=[::1]:2"]);
        assert!("server".parse::<ServerCommand>().is_err());
        assert!("".parse::<ServerCommand>().is_err());
        assert!("'{port}".parse::<ServerCommand>().is_err());
    }
}
