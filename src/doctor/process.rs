//! The running server, and who listens on which port, as `/proc` tells.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Setup;
use crate::storage::file_names;

/// Name of the program, as the system shows it.
const PROGRAM: &str = "drawhall";
/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    /// Name of its program.
    pub(super) name: String,
    /// Its user.
    pub(super) uid: Option<u32>,
}

impl Process {
    fn find(id: u32) -> Option<Process> {
        let directory = Path::new("/proc").join(id.to_string());
        let name = fs::read_to_string(directory.join("comm")).ok()?.trim_end().to_owned();
        let uid = fs::metadata(&directory).ok().map(|directory| directory.uid());
        Some(Process { id, name, uid })
    }

    /// This process.
    pub(super) fn own() -> Process {
        let id = std::process::id();
        let user = rustix::process::geteuid().as_raw();
        Process::find(id).unwrap_or(Process { id, name: PROGRAM.to_owned(), uid: Some(user) })
    }

    /// How many files it may open; `None` if unknown.
    pub(super) fn open_files(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.id)).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        // The server raises the first, which is in force, to the second.
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// The server that uses the session directory, or else one that listens on the first port.
pub(super) fn server_of(setup: &Setup) -> Option<Process> {
    let locked = setup.sessions.as_ref().and_then(|sessions| {
        // The lock itself is not tried: a server that starts at that moment would find it taken.
        let mut number = String::new();
        fs::File::open(sessions.join(file_names::LOCK)).ok()?.take(16).read_to_string(&mut number).ok()?;
        Process::find(number.trim().parse().ok()?)
    });
    let is_server = |process: &Process| process.name == PROGRAM && process.id != std::process::id();
    let listening = || {
        let port = setup.ports.first()?;
        listeners().into_iter().filter(|l| l.conflicts_with(port)).find_map(|l| holder_of(l.inode))
    };
    locked.filter(is_server).or_else(|| listening().filter(|p| setup.sessions.is_none() && is_server(p)))
}

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Number of the socket.
    pub(super) inode: u64,
}

impl Listener {
    /// Whether nobody else can listen at this place.
    pub(super) fn conflicts_with(&self, wanted: &super::Port) -> bool {
        let same = match wanted.address {
            None => true,
            Some(address) => {
                address.is_unspecified()
                    || self.address.is_unspecified()
                    || address.to_canonical() == self.address.to_canonical()
            }
        };
        same && self.port == wanted.port
    }
}

/// All listening TCP sockets; none where the system does not tell.
pub(super) fn listeners() -> Vec<Listener> {
    let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let lines = read("tcp") + &read("tcp6");
    lines.lines().filter_map(parse_listener).collect()
}

/// Parses a line of `/proc/net/tcp` or `tcp6`.
fn parse_listener(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTENING {
        return None;
    }
    // Groups of four bytes, each in the machine's own order.
    let groups: Option<Vec<u32>> = address
        .as_bytes()
        .chunks(8)
        .map(|group| u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok())
        .collect();
    let bytes: Vec<u8> = groups?.iter().flat_map(|group| group.to_ne_bytes()).collect();
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|b| IpAddr::from(Ipv4Addr::from(b)));
    let v6 = <[u8; 16]>::try_from(bytes.as_slice()).map(|b| IpAddr::from(Ipv6Addr::from(b)));
    Some(Listener {
        address: v4.or(v6).ok()?,
        port: u16::from_str_radix(port, 16).ok()?,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The process that has a socket open. `None` if it is another user's, whose files are not shown.
pub(super) fn holder_of(inode: u64) -> Option<Process> {
    let socket = format!("socket:[{inode}]");
    let mut holders = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| link.as_os_str() == socket.as_str()) {
            holders.insert(id, Process::find(id));
        }
    }
    // Of several, such as a service manager and its service, the last one serves.
    holders.into_values().next_back().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Port;

    #[test]
    fn listeners_and_their_process_are_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found: Vec<Listener> = listeners().into_iter().filter(|l| l.port == port).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, "127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(holder_of(found[0].inode).map(|p| p.id), Some(std::process::id()));
        let wanted = |address: Option<&str>| Port {
            option: "--port",
            address: address.map(|address| address.parse().unwrap()),
            port,
        };
        for (address, expected) in [
            (None, true),
            (Some("0.0.0.0"), true),
            (Some("127.0.0.1"), true),
            (Some("::ffff:127.0.0.1"), true),
            (Some("127.0.0.2"), false),
        ] {
            assert_eq!(found[0].conflicts_with(&wanted(address)), expected, "{address:?}");
        }
    }

    #[test]
    fn a_line_for_ipv6_is_read() {
        let line = "  0: 00000000000000000000000001000000:6C66 00000000000000000000000000000000:0000 0A 00000000:00000000 \
             00:00000000 00000000  1000        0 4242 1 0000000000000000 100 0 0 10 0";
        let expected = Listener { address: Ipv6Addr::LOCALHOST.into(), port: 0x6c66, inode: 4242 };
        assert_eq!(parse_listener(line), Some(expected));
        assert_eq!(parse_listener(&line.replace(" 0A ", " 01 ")), None);
    }
}
