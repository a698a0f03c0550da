//! Checks of `--acme`: can the names be certified, and is the certificate renewed?

use super::access::has_address;
use super::certificate::{chain_of, validity};
use super::{AcmeSetup, Context, Findings};

/// What to do when the server does not get a certificate.
const LOOK: &str =
    "the log of the server says why it gets none; `systemctl reload drawhall` or SIGHUP tries at once";

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let Some(acme) = &context.setup.acme else { return };
    if !acme.has_port {
        findings.error(
            "acme-no-port",
            "the certificate authority cannot check the names of --acme: there is no port for that",
            "give --acme-http-port 80, or --websocket-port and let port 443 lead there",
        );
    }
    names(acme, &context.setup.source.local_host, findings);
    let path = acme.certificate.display().to_string();
    match chain_of(&acme.certificate).first() {
        Some(certificate) => validity(certificate, &path, LOOK, findings),
        None if context.server.is_some() => {
            let names = acme.names.join(", ");
            findings.warning("acme-no-certificate", format!("there is no certificate for {names} yet"), LOOK);
        }
        // It is ordered by the first start.
        None => {}
    }
}

fn names(acme: &AcmeSetup, host: &str, findings: &mut Findings) {
    for name in acme.names.iter().filter(|name| !has_address(name)) {
        findings.error(
            "acme-name-unknown",
            format!("the name {name} (--acme) has no address: nobody certifies it"),
            "add it to your domain's DNS, with the address of this machine",
        );
    }
    let host = host.trim_end_matches('.');
    if !host.is_empty() && !acme.names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        findings.warning(
            "certificate-name",
            format!("the certificate is for {}, not for {host} (--local-host)", acme.names.join(", ")),
            format!("give --acme the name {host}, too"),
        );
    }
}
