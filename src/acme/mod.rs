//! Certificates by themselves (`--acme`): ordered from a certificate authority by ACME (RFC 8555), kept in the data
//! directory, renewed before they expire.
//!
//! | file | what it does |
//! | --- | --- |
//! | `schedule` | when to renew, when to try again: pure functions |
//! | `order` | one order at the authority |
//! | `client` | requests to it |
//! | `http01` | the HTTP server for HTTP-01 challenges |
//! | `store` | the files: account, certificate |
//!
//! The answers to challenges are in `transport::challenges`: TLS-ALPN-01 is answered by the listeners with TLS.

mod client;
mod http01;
mod order;
mod schedule;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::rules::time::Timestamp;
use crate::transport::challenges::Challenges;
use crate::transport::tls::{Certificate, self_signed, show_expiry};
use order::{Challenge, OrderError, Orders};
use schedule::{Validity, pause_after, renew_at};
pub use store::StoreError;
use store::{Issued, Store};

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The clock is looked at so often at least: it may be set, and machines are suspended.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);
/// Attempts without a pause while the authority refuses nonces, or does not know the account any more.
const MAX_AT_ONCE: u32 = 10;

/// How to get certificates.
#[derive(Debug, Clone)]
pub struct AcmeOptions {
    /// Host names of the certificate, in lower case; at least one.
    pub names: Vec<String>,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// URL of the authority's directory.
    pub directory: String,
    /// Certificate (PEM) that the authority's own certificate is checked with, besides the usual ones.
    pub ca: Option<PathBuf>,
    /// Port for HTTP-01 challenges; none for TLS-ALPN-01 only.
    pub http_port: Option<u16>,
    /// The data directory.
    pub data: PathBuf,
}

impl AcmeOptions {
    /// The file of the certificate; not there before the first one is issued.
    pub fn certificate_file(&self) -> PathBuf {
        store::certificate_file(&self.data, &self.directory)
    }
}

/// Why certificates cannot be got.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AcmeError {
    #[error("{0}; check the data directory and its permissions")]
    Store(#[from] StoreError),
    #[error("--acme-ca: no certificate in {path}: {reason}; name a PEM file")]
    Ca { path: PathBuf, reason: String },
    #[error(
        "the certificate authority must reach this server: give --acme-http-port 80, or --websocket-port and let port \
         443 lead there"
    )]
    NoPort,
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
}

/// Everything that is needed to get certificates, opened and read.
pub struct Acme {
    orders: Orders,
    kinds: Vec<Challenge>,
    certificate: Certificate,
    issued: Option<Validity>,
    http: Option<TcpListener>,
}

impl Acme {
    /// Opens the store and reads what is there. Blocking. `http` is the listener for HTTP-01, `tls` whether there is one
    /// on which connections begin with TLS.
    ///
    /// # Errors
    /// When a file cannot be read, or the authority could not reach any port.
    pub fn prepare(options: AcmeOptions, http: Option<TcpListener>, tls: bool) -> Result<Acme, AcmeError> {
        let kinds = [http.is_some().then_some(Challenge::Http01), tls.then_some(Challenge::TlsAlpn01)];
        let kinds: Vec<Challenge> = kinds.into_iter().flatten().collect();
        if kinds.is_empty() {
            return Err(AcmeError::NoPort);
        }
        let roots = options.ca.as_ref().map(read_roots).transpose()?.unwrap_or_default();
        let store = Store::open(&options.data, &options.directory)?;
        let challenges = Challenges::default();
        let issued = store.certificate()?.filter(|issued| {
            let same = issued.names == sorted(&options.names);
            if !same {
                tracing::info!(
                    "a new certificate is needed: the one that is kept is for {}",
                    issued.names.join(", ")
                );
            }
            same
        });
        let (certificate, issued) = match issued {
            Some(Issued { certificate, validity, .. }) => {
                log_certificate("the certificate is", validity, &options.names);
                (certificate, Some(validity))
            }
            None => {
                tracing::info!(
                    "until the first certificate is there, connections are encrypted with a self-signed one"
                );
                (self_signed(&options.names).map_err(|e| AcmeError::SelfSigned(e.to_string()))?, None)
            }
        };
        let certificate = certificate.with_challenges(challenges.clone());
        Ok(Acme { orders: Orders { options, roots, store, challenges }, kinds, certificate, issued, http })
    }

    /// The certificate to begin with: the one that was kept, or else a self-signed one.
    pub fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }

    /// Orders and renews certificates forever. What comes is sent to `current`; open connections keep theirs. After a
    /// failure, `reload` makes the next attempt begin at once.
    pub async fn run(
        mut self,
        current: watch::Sender<Certificate>,
        mut reload: watch::Receiver<()>,
        metrics: Arc<Metrics>,
    ) {
        let challenges = self.orders.challenges.clone();
        let answering = async {
            match self.http.take() {
                Some(listener) => http01::serve(listener, challenges).await,
                None => std::future::pending().await,
            }
        };
        if self.issued.is_some() {
            show_expiry(&self.certificate, &metrics);
        }
        let current = Current { certificate: current, metrics };
        let renewing = renew(self.orders, self.kinds, self.issued, current, &mut reload);
        tokio::join!(answering, renewing);
    }
}

/// When the next attempt is due.
enum Due {
    /// At this time, in seconds since 1970.
    Renewal(u64),
    Retry(Instant),
}

impl Due {
    fn renewal(validity: Validity) -> Due {
        Due::Renewal(renew_at(validity, random()))
    }

    fn remaining(&self) -> Duration {
        match self {
            Due::Renewal(at) => Duration::from_secs(at.saturating_sub(now())),
            Due::Retry(at) => at.saturating_duration_since(Instant::now()),
        }
    }

    async fn wait(&self, reload: &mut watch::Receiver<()>) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            // `changed` fails when the server stops.
            tokio::select! {
                () = tokio::time::sleep(remaining.min(LOOK_INTERVAL)) => {}
                Ok(()) = reload.changed() => if matches!(self, Due::Retry(_)) { return },
            }
        }
    }
}

/// The certificate in use.
struct Current {
    certificate: watch::Sender<Certificate>,
    metrics: Arc<Metrics>,
}

impl Current {
    fn replace(&self, certificate: Certificate) {
        show_expiry(&certificate, &self.metrics);
        self.certificate.send_replace(certificate);
    }
}

async fn renew(
    orders: Orders,
    kinds: Vec<Challenge>,
    issued: Option<Validity>,
    current: Current,
    reload: &mut watch::Receiver<()>,
) {
    let mut due = issued.map_or_else(|| Due::Retry(Instant::now()), Due::renewal);
    let mut expires = issued.map(|validity| validity.not_after);
    let (mut failures, mut at_once, mut kind) = (0, 0, 0);
    loop {
        due.wait(reload).await;
        let challenge = kinds[kind % kinds.len()];
        match orders.order(challenge).await {
            Ok(Issued { certificate, validity, .. }) => {
                (failures, at_once) = (0, 0);
                log_certificate("there is a new certificate", validity, &orders.options.names);
                let certificate = certificate.with_challenges(orders.challenges.clone());
                current.replace(certificate);
                expires = Some(validity.not_after);
                due = Due::renewal(validity);
                // A clock that is wrong by years must not make orders follow each other.
                if due.remaining().is_zero() {
                    let life = validity.not_after.saturating_sub(validity.not_before);
                    due = Due::Retry(Instant::now() + Duration::from_secs(life / 3));
                }
            }
            Err(error) if at_once < MAX_AT_ONCE && may_retry_at_once(&error, &orders.store) => {
                at_once += 1;
                due = Due::Retry(Instant::now());
            }
            Err(error) => {
                at_once = 0;
                failures += 1;
                // Where both kinds are possible the other one may work.
                kind += usize::from(error.is_of_challenge());
                let pause = pause_after(failures, random());
                log_failure(&error, challenge, &orders.options.directory, expires, pause);
                due = Due::Retry(Instant::now() + pause);
            }
        }
    }
}

fn may_retry_at_once(error: &OrderError, store: &Store) -> bool {
    error.is_bad_nonce() || (error.is_unknown_account() && store.forget_account().is_ok())
}

fn log_certificate(what: &str, validity: Validity, names: &[String]) {
    let renewal = renew_at(validity, 0);
    tracing::info!(
        "{what} for {}, valid until {}, to be renewed by {}",
        names.join(", "),
        date(validity.not_after),
        date(renewal)
    );
}

fn log_failure(
    error: &OrderError,
    challenge: Challenge,
    directory: &str,
    expires: Option<u64>,
    pause: Duration,
) {
    let remedy = error.remedy(challenge, directory);
    let minutes = pause.as_secs().div_ceil(60);
    let stays = match expires {
        Some(at) if at > now() => format!("the one in use is valid until {}", date(at)),
        Some(at) => format!("the one in use has expired at {}", date(at)),
        None => "a self-signed one is used until then".to_owned(),
    };
    tracing::error!(
        "no new certificate: {error}; {remedy}. Next attempt in {minutes} min or at a reload; {stays}"
    );
}

fn read_roots(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, AcmeError> {
    let failed = |reason: String| AcmeError::Ca { path: path.clone(), reason };
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let roots = roots.map_err(|e| failed(e.to_string()))?;
    if roots.is_empty() { Err(failed("it has no PEM block of one".into())) } else { Ok(roots) }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness nothing is spread, which does no harm.
    let _ = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

fn now() -> u64 {
    Timestamp::now().utc_ms.max(0) as u64 / 1000
}

fn date(seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX));
    time.map_or_else(|_| "?".to_owned(), |time| time.to_string())
}
