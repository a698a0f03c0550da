//! What a run is about: one server with its files, or three servers of a cluster with PostgreSQL.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::common::eventually;
use super::database::Pair;
use super::observed::Row;
use super::proxy::{Passage, Proxy};
use super::server::Server;

/// Of the account that moderates.
pub(crate) const MODERATOR: (&str, &str) = ("mod", "modpw");
const SETTINGS: [(&str, &str); 4] = [
    ("emptySessionLingerTime", "1h"),
    ("loginRateLimit", "0"),
    ("connectionRateLimit", "0"),
    ("passwordRateLimit", "0"),
];

/// How servers share sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One server, with its files.
    Alone,
    /// Three servers with links. Each has its own sessions.
    Linked,
    /// Three servers; sessions are in PostgreSQL, and any server can take one over.
    Shared,
}

/// PostgreSQL and the way of each server to it.
pub(crate) struct Database {
    pub(crate) pair: Pair,
    proxies: Vec<Proxy>,
}

impl Database {
    /// Lets a server through to PostgreSQL or not.
    pub(crate) fn set_passage(&self, server: usize, passage: Passage) {
        self.proxies[server].set(passage);
    }

    /// Makes the standby the primary, to which all servers are led.
    pub(crate) fn fail_over(&mut self, wait: impl FnOnce()) {
        self.pair.kill_primary();
        wait();
        self.pair.promote();
        self.proxies.iter().for_each(|proxy| proxy.lead_to(self.pair.address()));
    }
}

/// The servers, and what they need. All of it ends with this.
pub(crate) struct Site {
    pub(crate) sharing: Sharing,
    pub(crate) servers: Vec<Server>,
    pub(crate) database: Option<Database>,
    _folder: TempDir,
}

impl Site {
    /// Starts all; `None` where there is no PostgreSQL and it needs it.
    pub(crate) fn start(sharing: Sharing, program: &Path) -> Option<Site> {
        let folder = tempfile::tempdir().unwrap();
        let mut site = Site { sharing, servers: Vec::new(), database: None, _folder: folder };
        let folder = site._folder.path().to_owned();
        if sharing == Sharing::Alone {
            let config = folder.join("server.cfg");
            std::fs::write(&config, ini()).unwrap();
            let options = ["--config".to_owned(), config.display().to_string()];
            let server = Server::new(Ipv4Addr::LOCALHOST.into(), &folder.join("server"), program, &options);
            site.servers.push(server);
        } else {
            let pair = Pair::start()?;
            let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::start(pair.address())).collect();
            for (n, proxy) in (0..3u8).zip(&proxies) {
                let ip = IpAddr::from([127, 0, 0, 2 + n]);
                let name = format!("server{n}");
                let mut options = vec!["--cluster".to_owned(), Pair::url(proxy.address, &name)];
                options.extend(["--cluster-listen".to_owned(), format!("{ip}:0")]);
                options.extend((sharing == Sharing::Shared).then(|| "--cluster-sessions".to_owned()));
                site.servers.push(Server::new(ip, &folder.join(name), program, &options));
            }
            site.database = Some(Database { pair, proxies });
        }
        site.servers[0].start();
        if let Some(Database { pair, .. }) = &site.database {
            // The first server has made the tables.
            pair.query(&sql()).unwrap();
            let first = &site.servers[0];
            eventually("the settings are read", || first.log().contains("settings were read again"));
        }
        site.servers[1..].iter_mut().for_each(Server::start);
        Some(site)
    }

    pub(crate) fn addresses(&self) -> Arc<[SocketAddr]> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Which server has a session: in a cluster whose sessions are shared, PostgreSQL says it, else it is the first.
    pub(crate) fn owner(&self, session: &str) -> Option<usize> {
        if self.sharing != Sharing::Shared {
            return Some(0);
        }
        let sql = "SELECT n.name FROM drawhall_sessions s JOIN drawhall_nodes n ON n.incarnation = s.owner \
                   WHERE s.id = ";
        let name = self.database.as_ref()?.pair.query(&format!("{sql}'{session}'")).ok()?;
        name.strip_prefix("server")?.parse().ok()
    }

    /// The pieces of a session's files in PostgreSQL.
    pub(crate) fn rows(&self, session: &str) -> Vec<Row> {
        if self.sharing != Sharing::Shared {
            return Vec::new();
        }
        let sql = "SELECT file, start, epoch, length(bytes) FROM drawhall_session_data WHERE session = ";
        let answer = self.database.as_ref().unwrap().pair.query(&format!("{sql}'{session}'")).unwrap();
        let row = |line: &str| {
            let columns: Vec<&str> = line.split('|').collect();
            let number = |n: usize| columns[n].parse().unwrap();
            Row { file: columns[0].to_owned(), start: number(1), epoch: number(2), bytes: number(3) }
        };
        answer.lines().map(row).collect()
    }

    /// The file of a session's history as it is stored.
    pub(crate) fn stored(&self, session: &str) -> Vec<u8> {
        let name = format!("{session}.dprec");
        let Some(database) = self.database.as_ref().filter(|_| self.sharing == Sharing::Shared) else {
            let servers = self.servers.iter().map(|server| server.sessions().join(&name));
            return servers.filter_map(|path| std::fs::read(path).ok()).next().unwrap_or_default();
        };
        let sql =
            "SELECT encode(string_agg(bytes, ''::bytea ORDER BY start), 'hex') FROM drawhall_session_data";
        let sql = format!("{sql} WHERE session = '{session}' AND file = '{name}'");
        let hex = database.pair.query(&sql).unwrap();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(byte).collect()
    }

    /// Starts servers that do not run, and lets all through to PostgreSQL; `lose` ends their connections before, so
    /// that what was held is lost.
    pub(crate) fn heal(&mut self, lose: bool) {
        if let Some(database) = &self.database {
            for server in 0..self.servers.len() {
                if lose {
                    database.set_passage(server, Passage::Cut);
                }
                database.set_passage(server, Passage::Open);
            }
        }
        for server in self.servers.iter_mut().filter(|server| !server.is_running()) {
            server.start();
        }
    }

    /// The servers that have ended by themselves.
    pub(crate) fn ended(&mut self) -> Vec<usize> {
        let servers = self.servers.iter_mut().enumerate();
        servers.filter_map(|(number, server)| server.has_ended().then_some(number)).collect()
    }

    /// Copies the logs of all servers to a new directory; returns its path.
    pub(crate) fn keep_logs(&self) -> String {
        let folder = tempfile::Builder::new().prefix("drawhall-failover-").tempdir().unwrap().keep();
        for (number, server) in self.servers.iter().enumerate() {
            std::fs::write(folder.join(format!("server{number}.log")), server.log()).unwrap();
        }
        folder.display().to_string()
    }
}

fn ini() -> String {
    let settings: String = SETTINGS.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let (name, password) = MODERATOR;
    format!("[config]\n{settings}[users]\n{name}:plain;{password}:MOD\n")
}

fn sql() -> String {
    let setting = |(key, value): &(&str, &str)| {
        format!(
            "INSERT INTO settings (key, value) VALUES ('{key}', '{value}') \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value;"
        )
    };
    let settings: String = SETTINGS.iter().map(setting).collect();
    let (name, password) = MODERATOR;
    format!(
        "{settings}INSERT INTO users (username, password, flags) VALUES ('{name}', 'plain;{password}', 'MOD')"
    )
}
