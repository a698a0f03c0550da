//! What the doctor is to know of a server's options.

use super::ServeOptions;
use crate::doctor::{AdminSetup, Port, Setup};

impl ServeOptions {
    /// What a server with these options runs with.
    pub fn setup(&self) -> Setup {
        let drawing = Port { option: "--port", address: self.listen, port: self.port };
        let websocket = self.websocket_port.map(|port| Port {
            option: "--websocket-port",
            address: self.websocket_listen,
            port,
        });
        let admin_address = super::prepare::admin_address(self);
        let admin =
            self.admin_port.map(|port| Port { option: "--web-admin-port", address: admin_address, port });
        let provider = self.extauth_provider.map(|at| Port {
            option: "--extauth-provider",
            address: Some(at.ip()),
            port: at.port(),
        });
        let ports = [Some(drawing), websocket, admin, provider].into_iter().flatten();
        let access = &self.admin_access;
        Setup {
            source: self.source.clone(),
            sessions: self.sessions.clone(),
            templates: self.templates.clone(),
            certificate: self.certificate.clone(),
            // Those of a service manager are open already.
            ports: ports.filter(|port| port.port > 0 && self.inherited.is_none()).collect(),
            admin: self.admin_port.map(|_| AdminSetup {
                is_reachable: admin_address.is_none_or(|address| !address.is_loopback()),
                is_for_all: access.networks.iter().any(|network| network.is_everything()),
                needs_login: access.needs_login(),
                is_open_by_mistake: access.is_open_by_mistake(),
                is_open: access.open,
                password_length: access.credentials.as_ref().map(|credentials| credentials.password_length()),
            }),
            trusted: self.trusted.clone(),
            announce_private: self.announce_private,
            keep_ended: self.keep_ended,
            last_backup: self.last_backup.clone(),
            is_server: false,
        }
    }
}
