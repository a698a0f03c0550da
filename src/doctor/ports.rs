//! Checks of the ports to listen on.

use super::process::{Process, holder_of, listeners};
use super::{Context, Findings, Port};

/// The service manager, which opens ports for the server.
const SERVICE_MANAGER: &str = "systemd";

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let ports = &context.setup.ports;
    for (index, port) in ports.iter().enumerate() {
        if let Some(other) = ports[..index].iter().find(|other| is_same(other, port)) {
            findings.error(
                "port-twice",
                format!("{} and {} are both port {}", other.option, port.option, port.port),
                format!("give another {}", port.option),
            );
        }
    }
    // Its own ports are not in its way.
    if context.setup.is_server {
        return;
    }
    let listeners = listeners();
    for port in ports {
        let used = listeners.iter().find(|listener| listener.conflicts_with(port));
        let Some(holder) = used.map(|listener| holder_of(listener.inode)) else { continue };
        let by = match (&holder, &context.server) {
            // Without permission to see the holder, it is most likely the server that runs.
            (None, Some(_)) => continue,
            (Some(holder), Some(server)) if holder.id == server.id => continue,
            (Some(Process { name, .. }), _) if name == SERVICE_MANAGER => continue,
            (Some(holder), _) => format!("{} (process {})", holder.name, holder.id),
            (None, None) => "another program (root can see which)".to_owned(),
        };
        findings.error(
            "port-in-use",
            format!("port {} ({}) is used by {by}", port.port, port.option),
            format!("end that program, or give another {}", port.option),
        );
    }
}

fn is_same(one: &Port, two: &Port) -> bool {
    let overlap = match (one.address, two.address) {
        (Some(one), Some(two)) => one == two || one.is_unspecified() || two.is_unspecified(),
        _ => true,
    };
    one.port == two.port && overlap
}
