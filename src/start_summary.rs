//! What a start prints on a terminal: addresses to connect to, the admin page, where the data is, who may do what.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use drawhall::admin::AccessRules;
use drawhall::app::{RunningServer, ServeOptions};
use drawhall::config::Settings;
use drawhall::db::Database;
use drawhall::text::shown;

use crate::addresses::Addresses;
use crate::data_paths::DataPaths;

/// Width of the labels.
const LABEL: usize = 20;
/// Stands above the addresses.
pub(crate) const HEADING: &str = "Server address to enter in Drawpile, on";

/// Text for a terminal, of at most twelve lines.
#[derive(Debug, Clone)]
pub(crate) struct StartSummary {
    addresses: Addresses,
    admin: Option<AdminPage>,
    /// URL that makes the first administrator.
    first_admin: Option<String>,
    data: String,
    may: &'static str,
}

/// The admin page.
#[derive(Debug, Clone)]
struct AdminPage {
    address: SocketAddr,
    scheme: &'static str,
    /// Only this machine may use it.
    is_local: bool,
    needs_login: bool,
}

/// Who may join and host.
fn permission_text(settings: &Settings) -> &'static str {
    match (settings.allow_guests, settings.allow_guest_hosts) {
        (true, true) => "everybody who can connect may join and host",
        (true, false) => "everybody who can connect may join, accounts with HOST may host",
        (false, _) => "accounts only",
    }
}

fn data_text(paths: &DataPaths, shared: Option<&Database>) -> String {
    let show = |path: &Path| shown(&path.display().to_string());
    if let Some(database) = shared {
        let sessions = match &paths.sessions {
            Some(sessions) => format!("sessions {}", show(sessions)),
            None => "sessions in memory only".to_owned(),
        };
        return format!("{}, {sessions}", shown(&database.location()));
    }
    match (&paths.data, &paths.database, &paths.sessions) {
        (Some(data), database, Some(sessions))
            if sessions.starts_with(data) && database.as_ref().is_none_or(|path| path.starts_with(data)) =>
        {
            show(data)
        }
        (_, None, None) => "in memory only, nothing is kept".to_owned(),
        (_, Some(database), Some(sessions)) => format!("{}, sessions {}", show(database), show(sessions)),
        (_, Some(database), None) => format!("{}, sessions in memory only", show(database)),
        (_, None, Some(sessions)) => format!("sessions {}", show(sessions)),
    }
}

impl AdminPage {
    /// The page at its own port, else at that of WebSocket, else none.
    fn of(running: &RunningServer, options: &ServeOptions) -> Option<AdminPage> {
        let AccessRules { networks, .. } = &options.admin_access;
        let shared = running.websocket_address().filter(|_| options.admin_on_websocket);
        let is_shared = running.admin_address().is_none();
        let is_encrypted = options.is_encrypted() && (is_shared || options.admin_tls);
        Some(AdminPage {
            address: running.admin_address().or(shared)?,
            scheme: if is_encrypted { "https" } else { "http" },
            is_local: networks.is_empty(),
            needs_login: is_shared || options.admin_access.needs_login(),
        })
    }
}

impl StartSummary {
    pub(crate) fn of(running: &RunningServer, options: &ServeOptions, paths: &DataPaths) -> StartSummary {
        StartSummary {
            addresses: Addresses::of_running(running, options),
            admin: AdminPage::of(running, options),
            first_admin: running.first_admin_link().map(str::to_owned),
            data: data_text(paths, running.database().filter(|database| database.is_shared())),
            may: permission_text(running.rules().borrow().settings()),
        }
    }
}

/// Writes labels and their texts, a line each.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write_rows(f: &mut impl fmt::Write, rows: &[(&str, String)]) -> fmt::Result {
    rows.iter().try_for_each(|(label, text)| writeln!(f, "{label:LABEL$} {text}"))
}

impl fmt::Display for StartSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "drawhall {}\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "{HEADING}")?;
        let addresses = &self.addresses;
        let mut rows = addresses.reaches();
        if let Some(admin) = &self.admin {
            let login = if admin.needs_login { "login needed" } else { "no login needed" };
            let from = if admin.is_local { "this machine only" } else { "networks of --web-admin-access" };
            let host = addresses.nearest(admin.address, !admin.is_local);
            rows.push(("Admin page", format!("{}://{host}/ ({from}, {login})", admin.scheme)));
        }
        if let Some(link) = &self.first_admin {
            rows.push(("First administrator", link.clone()));
        }
        let encryption = if addresses.is_encrypted { "encrypted" } else { "not encrypted" };
        rows.push(("Open to", format!("{}; connections are {encryption}", self.may)));
        rows.push(("Data", self.data.clone()));
        write_rows(f, &rows)?;
        writeln!(f, "Ctrl+C stops the server. --log-level info shows what happens.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> StartSummary {
        StartSummary {
            addresses: Addresses {
                main: "[::]:27750".parse().unwrap(),
                is_websocket_only: false,
                websocket: "[::]:27751".parse().ok(),
                public: None,
                own: vec!["192.168.1.5".parse().unwrap(), "9.9.9.9".parse().unwrap()],
                is_encrypted: false,
            },
            admin: None,
            first_admin: None,
            data: "/home/ada/.local/share/drawhall".into(),
            may: permission_text(&Settings::default()),
        }
    }

    #[test]
    fn it_has_at_most_twelve_lines() {
        let full = StartSummary {
            admin: Some(AdminPage {
                address: "[::]:27780".parse().unwrap(),
                scheme: "http",
                is_local: false,
                needs_login: true,
            }),
            first_admin: Some("http://localhost:27780/#/first-admin/token".into()),
            ..summary()
        };
        let text = full.to_string();
        assert!(text.lines().count() <= 12, "{text}");
        assert!(text.contains("http://192.168.1.5:27780/ (networks of --web-admin-access, login needed)"));
        assert!(text.contains("ws://192.168.1.5:27751/"));
    }
}
