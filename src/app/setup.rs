//! What the doctor is to know of a server's options.

use super::ServeOptions;
use crate::doctor::{AcmeSetup, AdminSetup, Port, Setup};
use crate::pictures::PictureImporter;
use crate::renderer::Renderer;

impl ServeOptions {
    /// What reads pictures.
    pub(super) fn importer(&self) -> PictureImporter {
        PictureImporter::new(self.picture_program.clone(), self.metrics.clone())
    }

    /// What makes pictures of sessions.
    pub(super) fn renderer(&self) -> Renderer {
        let (program, wrapper) = (self.canvas_renderer.clone(), self.picture_program.clone());
        Renderer::new(program, wrapper, self.metrics.clone()).with_ffmpeg(self.ffmpeg.clone())
    }

    /// Whether connections to the listeners of the drawing protocol are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.certificate.is_some() || self.acme.is_some()
    }

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
        let http01 = self.acme.as_ref().and_then(|acme| acme.http_port).map(|port| Port {
            option: "--acme-http-port",
            address: self.listen,
            port,
        });
        let links = self.cluster_listen.map(|at| Port {
            option: "--cluster-listen",
            address: Some(at.ip()),
            port: at.port(),
        });
        let ports = [Some(drawing), websocket, admin, provider, http01, links].into_iter().flatten();
        let access = &self.admin_access;
        // At the WebSocket port a login is always needed.
        let is_shared = self.admin_port.is_none();
        let listens_at = if is_shared { self.websocket_listen.or(self.listen) } else { admin_address };
        let has_admin = self.admin_port.is_some() || self.admin_on_websocket;
        Setup {
            source: self.source.clone(),
            sessions: self.sessions.clone(),
            templates: self.templates.clone(),
            canvas_renderer: self.canvas_renderer.clone(),
            ffmpeg: self.ffmpeg.clone(),
            certificate: self.certificate.clone(),
            acme: self.acme.as_ref().map(|acme| AcmeSetup {
                names: acme.names.clone(),
                certificate: acme.certificate_file(),
                has_port: acme.http_port.is_some()
                    || self.websocket_port.is_some()
                    || self.inherited.is_some(),
            }),
            // Those of a service manager are open already.
            ports: ports.filter(|port| port.port > 0 && self.inherited.is_none()).collect(),
            admin: has_admin.then(|| AdminSetup {
                is_reachable: listens_at.is_none_or(|address| !address.is_loopback()),
                is_for_all: access.networks.iter().any(|network| network.is_everything()),
                is_encrypted: self.is_encrypted() && (is_shared || self.admin_tls),
                needs_login: is_shared || access.needs_login(),
                is_open_by_mistake: !is_shared && access.is_open_by_mistake(),
                is_open: !is_shared && access.open,
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
