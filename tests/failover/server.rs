//! A server: the program in a process of its own, at an address of its own, with its own directory of sessions.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::common::PATIENCE;

pub(crate) struct Server {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    program: PathBuf,
    options: Vec<String>,
    folder: PathBuf,
    process: Option<Child>,
}

impl Server {
    /// A server at a free port of this address, that does not run yet. Its files are in a new directory.
    pub(crate) fn new(ip: IpAddr, folder: &Path, program: &Path, options: &[String]) -> Server {
        std::fs::create_dir(folder).unwrap();
        let address = free(ip);
        Server {
            address,
            program: program.to_owned(),
            options: options.to_vec(),
            folder: folder.to_owned(),
            process: None,
        }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let process = Command::new(&self.program)
            .args(["--listen", &ip, "--port", &port, "--allow-root", "--log-level", "info"])
            .arg("--sessions")
            .arg(self.sessions())
            .args(&self.options)
            .env("XDG_DATA_HOME", &self.folder)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begin.elapsed() < PATIENCE, "it starts: {ended:?} {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its directory of sessions.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.folder.join("sessions")
    }

    /// Removes the last bytes of a session's history, as a disk that has not written what it said it had.
    pub(crate) fn lose_the_end(&self, session: &str) {
        let path = self.sessions().join(format!("{session}.dprec"));
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - 3000).unwrap();
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// SIGTERM; waits for its end.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        if let Some(mut process) = self.process.take() {
            process.wait().unwrap();
        }
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            // It may have ended.
            let _ = kill_process(Pid::from_child(process), signal);
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens at.
fn free(ip: IpAddr) -> SocketAddr {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}
