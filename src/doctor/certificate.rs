//! Checks of certificate, chain and key.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{Context, Findings};
use crate::rules::time::Timestamp;
use crate::storage::private::is_exposed;
use crate::text;
use crate::transport::tls::CertificateError;

/// A certificate that expires sooner should have been renewed.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// What makes a certificate.
const RENEW: &str = "renew it; a self-signed one is created by `drawhall certificate NAME`";

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let Some(files) = &context.setup.certificate else { return };
    if is_exposed(&files.key) {
        let key = files.key.display();
        findings.error(
            "certificate-key-exposed",
            format!("every user of this machine can read the private key {key}"),
            format!("chmod 600 {key}"),
        );
    }
    if let Err(error) = files.load() {
        let id = match &error {
            CertificateError::Read { .. } => "certificate-unreadable",
            CertificateError::Pair { .. } => "certificate-key-mismatch",
            CertificateError::None { .. }
            | CertificateError::Unsupported { .. }
            | CertificateError::Algorithm { .. } => "certificate-invalid",
        };
        findings.error(
            id,
            error.to_string(),
            "name files with --ssl-cert and --ssl-key that belong together",
        );
    }
    let chain = chain_of(&files.certificate);
    let Some(first) = chain.first() else { return };
    let path = files.certificate.display().to_string();
    validity(first, &path, RENEW, findings);
    names(first, &path, &context.setup.source.local_host, findings);
    issuers(&chain, &path, findings);
}

/// The certificates of a PEM file; what is no certificate is left out.
pub(super) fn chain_of(path: &Path) -> Vec<Certificate> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = text::decode(&bytes);
    let chain = CertificateDer::pem_slice_iter(text.as_bytes()).flatten();
    chain.filter_map(|der| Certificate::from_der(&der).ok()).collect()
}

/// Whether the certificate is valid today, and for a while; `renew` says what to do if not.
pub(super) fn validity(certificate: &Certificate, path: &str, renew: &str, findings: &mut Findings) {
    let validity = certificate.tbs_certificate().validity();
    let (begin, end) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
    let now = Duration::from_millis(u64::try_from(Timestamp::now().utc_ms).unwrap_or(0));
    let day = |time: Duration| {
        let time = jiff::Timestamp::from_second(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        time.map_or_else(|_| "an unknown day".to_owned(), |time| time.strftime("%Y-%m-%d").to_string())
    };
    // One that is valid for few days is renewed later.
    let soon = SOON.min(end.saturating_sub(begin) / 3);
    if now > end {
        findings.error(
            "certificate-expired",
            format!("the certificate {path} has expired on {}", day(end)),
            renew,
        );
    } else if now < begin {
        let text = format!("the certificate {path} is not valid before {}", day(begin));
        findings.error("certificate-not-yet-valid", text, "set the clock of this machine, or wait");
    } else if end - now < soon {
        let days = (end - now).as_secs() / 86_400;
        let text = format!("the certificate {path} expires in {days} days, on {}", day(end));
        findings.warning("certificate-expires-soon", text, renew);
    }
}

/// Whether the certificate is for the server's public host name.
fn names(certificate: &Certificate, path: &str, host: &str, findings: &mut Findings) {
    if host.is_empty() {
        return;
    }
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    if names.iter().any(|name| is_for(name, host)) {
        return;
    }
    let known: Vec<String> = names.iter().filter_map(shown).collect();
    let known = if known.is_empty() { "no name".to_owned() } else { known.join(", ") };
    findings.warning(
        "certificate-name",
        format!("the certificate {path} is for {known}, not for {host} (--local-host)"),
        format!("get a certificate for {host}; browsers refuse this one"),
    );
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Whether a name of a certificate, possibly with a wildcard, is for a host.
fn is_for(name: &GeneralName, host: &str) -> bool {
    match name {
        GeneralName::DnsName(name) => {
            let name = name.as_str().trim_end_matches('.');
            let host = host.trim_end_matches('.');
            let parent = host.split_once('.').map(|(_, parent)| parent);
            let wildcard = name.strip_prefix("*.").zip(parent);
            name.eq_ignore_ascii_case(host)
                || wildcard.is_some_and(|(of, parent)| of.eq_ignore_ascii_case(parent))
        }
        GeneralName::IpAddress(bytes) => {
            let wanted = host.trim_matches(['[', ']']).parse().ok();
            wanted.is_some() && address(bytes.as_bytes()) == wanted
        }
        _ => false,
    }
}

/// Whether each certificate is issued by the next. The root need not be there.
fn issuers(chain: &[Certificate], path: &str, findings: &mut Findings) {
    let is_self_signed = |certificate: &Certificate| {
        certificate.tbs_certificate().issuer() == certificate.tbs_certificate().subject()
    };
    let broken = chain
        .windows(2)
        .any(|pair| pair[0].tbs_certificate().issuer() != pair[1].tbs_certificate().subject());
    let is_alone = chain.len() == 1 && !is_self_signed(&chain[0]);
    if is_alone {
        findings.warning(
            "certificate-chain",
            format!("{path} holds no intermediate certificate: clients may not find who issued it"),
            "give the file with the whole chain, such as fullchain.pem",
        );
    } else if broken {
        findings.warning(
            "certificate-chain",
            format!("in {path} a certificate is not issued by the one that follows it"),
            "put the server's certificate first, then the one that issued it, and so on",
        );
    }
}
