//! TLS certificates: loading, certificate reload when the files change, creation of self-signed ones.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use rustls::{ConfigBuilder, ServerConfig, SignatureAlgorithm, WantsVerifier};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use x509_cert::der::Decode as _;

use super::challenges::Challenges;
use crate::metrics::Metrics;
use crate::text;

/// How often the certificate files are checked for a reload.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Key types of `--ssl-key-algorithm`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyAlgorithm {
    /// Accepts any.
    #[default]
    Guess,
    Rsa,
    /// ECDSA or Ed25519.
    Ec,
    /// Always an error: TLS 1.2 and 1.3 have no DSA.
    Dsa,
    /// Always an error: certificates have no Diffie-Hellman keys.
    Dh,
}

/// Paths of certificate and key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate ones; PEM.
    pub certificate: PathBuf,
    /// The private key; PEM with PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// The type that the key must have.
    pub algorithm: KeyAlgorithm,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CertificateError {
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "no {what} in {path}: {reason}; it must be a PEM file, and `drawhall certificate NAME` creates a pair"
    )]
    None { what: &'static str, path: PathBuf, reason: String },
    #[error(
        "the key in {path} is not supported: keys can be RSA (2048 to 8192 bits), ECDSA P-256 or P-384, or Ed25519; \
         `drawhall certificate NAME` creates one"
    )]
    Unsupported { path: PathBuf },
    #[error("the key in {path} is not a {wanted} key (--ssl-key-algorithm)")]
    Algorithm { path: PathBuf, wanted: &'static str },
    /// The key does not belong to the certificate, or TLS cannot use them.
    #[error(
        "the certificate in {certificate} and the key in {key} cannot be used: {reason}; give the key of that certificate"
    )]
    Pair { certificate: PathBuf, key: PathBuf, reason: String },
}

impl CertificateFiles {
    /// Reads certificate and key. Blocking.
    ///
    /// # Errors
    /// When a file cannot be read, or certificate and key do not match.
    pub fn load(&self) -> Result<LoadedCertificate, CertificateError> {
        // Taken before reading: a change while reading differs from it and causes a reload.
        let stamp = self.stamp();
        let certificate = self.read()?;
        Ok(LoadedCertificate { certificate, stamp })
    }

    fn read(&self) -> Result<Certificate, CertificateError> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path);
            let bytes = bytes.map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
            Ok(text::decode(&bytes).into_owned())
        };
        let path = self.certificate.clone();
        let none = |what, path: &Path, reason: String| CertificateError::None {
            what,
            path: path.to_owned(),
            reason,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(read(&path)?.as_bytes()).collect();
        let chain = chain.map_err(|e| none("certificate", &path, e.to_string()))?;
        if chain.is_empty() {
            return Err(none("certificate", &path, "it holds no PEM block of a certificate".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(read(&self.key)?.as_bytes())
            .map_err(|e| none("private key", &self.key, e.to_string()))?;
        if ring::sign::any_supported_type(&key).is_err() {
            return Err(CertificateError::Unsupported { path: self.key.clone() });
        }
        self.check_algorithm(&key)?;
        Certificate::new(chain, key).map_err(|error| CertificateError::Pair {
            certificate: path,
            key: self.key.clone(),
            reason: error.to_string(),
        })
    }

    fn check_algorithm(&self, key: &PrivateKeyDer<'_>) -> Result<(), CertificateError> {
        let actual = ring::sign::any_supported_type(key).map(|k| k.algorithm());
        let (wanted, is_wanted) = match self.algorithm {
            KeyAlgorithm::Guess => return Ok(()),
            KeyAlgorithm::Rsa => ("RSA", actual == Ok(SignatureAlgorithm::RSA)),
            KeyAlgorithm::Ec => {
                ("EC", matches!(actual, Ok(SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519)))
            }
            KeyAlgorithm::Dsa => ("DSA", false),
            KeyAlgorithm::Dh => ("DH", false),
        };
        if is_wanted { Ok(()) } else { Err(CertificateError::Algorithm { path: self.key.clone(), wanted }) }
    }

    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        Some((of(&self.certificate)?, of(&self.key)?))
    }
}

/// Modification times and sizes of both files.
type Stamp = ((SystemTime, u64), (SystemTime, u64));

/// A certificate and the state of its files.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct LoadedCertificate {
    pub certificate: Certificate,
    /// Taken before the files were read; `None` if that failed.
    pub stamp: Option<Stamp>,
}

/// A certificate with its key, as a TLS configuration. Clones share it.
#[derive(Debug, Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// When it expires, in seconds since 1970, if that can be read.
    not_after: Option<u64>,
    /// Challenges that connections may ask to be answered.
    challenges: Option<Challenges>,
}

/// The beginning of a configuration for servers.
///
/// # Errors
/// When TLS cannot be set up.
pub(super) fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
}

/// When a certificate expires, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

impl Certificate {
    /// A certificate chain, the server's own certificate first, with its key.
    ///
    /// # Errors
    /// When the key does not belong to the certificate, or TLS cannot use them.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Certificate, rustls::Error> {
        let not_after = chain.first().and_then(expiry);
        let config = builder()?.with_no_client_auth().with_single_cert(chain, key)?;
        Ok(Certificate { config: Arc::new(config), not_after, challenges: None })
    }

    /// The same, where connections may ask for the answer to a TLS-ALPN-01 challenge, too.
    #[must_use]
    pub fn with_challenges(self, challenges: Challenges) -> Certificate {
        Certificate { challenges: Some(challenges), ..self }
    }

    /// Performs the handshake of a connection that begins with it.
    ///
    /// # Errors
    /// When the handshake fails, and when the connection was a challenge, which has been answered.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let Some(challenges) = &self.challenges else { return self.acceptor().accept(stream).await };
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        match challenges.tls_answer(&begun.client_hello()) {
            None => begun.into_stream(self.config.clone()).await,
            Some(answer) => {
                // The handshake is the whole answer.
                begun.into_stream(answer).await?.shutdown().await?;
                Err(io::Error::other("it was a TLS-ALPN-01 challenge, which was answered"))
            }
        }
    }

    /// Performs TLS handshakes with this certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }
}

/// Sets the metric of the certificate in use.
pub fn show_expiry(certificate: &Certificate, metrics: &Metrics) {
    metrics.certificate_not_after.set(certificate.not_after.unwrap_or(0));
}

/// Certificate reload: loads the files whenever they have changed, or when `reload` is notified. Open connections
/// keep their certificate. If loading fails the current certificate stays, and it is retried at every check; the same
/// error is logged once.
pub async fn watch_files(
    files: CertificateFiles,
    mut loaded: Option<Stamp>,
    current: watch::Sender<Certificate>,
    mut reload: watch::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let mut interval = crate::clock::every(CHECK_INTERVAL);
    let mut logged_error = String::new();
    show_expiry(&current.borrow(), &metrics);
    loop {
        // `changed` fails when the server stops; the interval goes on then.
        tokio::select! {
            _ = interval.tick() => {}
            Ok(()) = reload.changed() => loaded = None,
        }
        let files = files.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // `None` also if a file is missing, as while it is being replaced: the next check finds it.
            files.stamp().is_some_and(|stamp| Some(stamp) != loaded).then(|| files.load())
        });
        match checked.await {
            Ok(None) => logged_error.clear(),
            Ok(Some(Ok(LoadedCertificate { certificate, stamp }))) => {
                loaded = stamp;
                logged_error.clear();
                tracing::info!("the certificate was read again");
                show_expiry(&certificate, &metrics);
                current.send_replace(certificate);
            }
            Ok(Some(Err(error))) => {
                let text = error.to_string();
                if text != logged_error {
                    tracing::error!("the certificate in use stays: {text}");
                }
                logged_error = text;
            }
            Err(error) => tracing::error!(%error, "checking the certificate files failed"),
        }
    }
}

/// A self-signed certificate could not be created.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MakeError {
    #[error("cannot create a certificate: {0}")]
    Names(#[from] rcgen::Error),
    #[error("cannot use a new certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Creates a self-signed certificate for host names or addresses, and its key, in new files.
///
/// # Errors
/// When a name is invalid, or a file exists or cannot be written.
pub fn make(hosts: &[String], certificate: &Path, key: &Path) -> Result<(), MakeError> {
    let pair = rcgen::generate_simple_self_signed(hosts)?;
    // Only the owner may read the key.
    write_new(key, &pair.signing_key.serialize_pem(), 0o600)?;
    write_new(certificate, &pair.cert.pem(), 0o644)
}

/// A self-signed certificate for host names or addresses that is in no file.
///
/// # Errors
/// When a name is invalid.
pub fn self_signed(hosts: &[String]) -> Result<Certificate, MakeError> {
    let pair = rcgen::generate_simple_self_signed(hosts)?;
    let key = PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    Ok(Certificate::new(vec![pair.cert.into()], key)?)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), MakeError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|source| MakeError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        _dir: tempfile::TempDir,
        files: CertificateFiles,
    }

    fn pair() -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        make(&["draw.example.org".into(), "192.0.2.1".into()], &certificate, &key).unwrap();
        let files = CertificateFiles { certificate, key, algorithm: KeyAlgorithm::Guess };
        Pair { _dir: dir, files }
    }

    #[test]
    fn a_created_certificate_can_be_loaded_and_is_not_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let Pair { files, .. } = &pair();
        assert!(files.load().is_ok());
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        let error = make(&["x".into()], &files.certificate, &files.key).unwrap_err();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }

    #[test]
    fn load_errors_name_the_file() {
        let Pair { files, _dir: dir } = &pair();
        let other = dir.path().join("other.pem");
        let with = |certificate: &Path, key: &Path| CertificateFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            algorithm: KeyAlgorithm::Guess,
        };
        let error = |files: CertificateFiles| files.load().unwrap_err().to_string();
        assert!(error(with(&other, &files.key)).contains("cannot read"));
        std::fs::write(&other, "rubbish").unwrap();
        assert!(error(with(&other, &files.key)).starts_with("no certificate in"));
        assert!(error(with(&files.certificate, &other)).starts_with("no private key in"));
        let second = pair();
        let text = error(with(&files.certificate, &second.files.key));
        assert!(text.contains("cannot be used"), "{text}");
    }

    #[actix_rt::test]
    async fn a_failed_certificate_reload_is_retried_even_if_the_files_look_unchanged() {
        let (Pair { files, _dir: dir }, other) = (pair(), pair());
        let LoadedCertificate { certificate, stamp } = files.load().unwrap();
        let (current, mut certificates) = watch::channel(certificate);
        let (_notify, reload) = watch::channel(());
        // The certificate of the other pair with the key of the first, as in the middle of a replacement.
        std::fs::copy(&other.files.certificate, &files.certificate).unwrap();
        assert!(files.load().is_err());
        let watching = actix_rt::spawn(watch_files(files.clone(), stamp, current, reload, Arc::default()));
        tokio::time::timeout(CHECK_INTERVAL / 2, certificates.changed()).await.unwrap_err();
        // The right key has the size and modification time of the wrong one.
        let key = std::fs::metadata(&files.key).unwrap();
        std::fs::copy(&other.files.key, &files.key).unwrap();
        let file = std::fs::File::options().write(true).open(&files.key).unwrap();
        file.set_modified(key.modified().unwrap()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), key.len());
        certificates.changed().await.unwrap();
        watching.abort();
        drop(dir);
    }

    #[test]
    fn a_byte_order_mark_in_certificate_and_key_is_skipped() {
        let Pair { files, _dir: _ } = &pair();
        for path in [&files.certificate, &files.key] {
            let text = std::fs::read_to_string(path).unwrap();
            std::fs::write(path, format!("\u{feff}{text}")).unwrap();
            assert!(files.load().is_ok());
            let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            std::fs::write(path, [&[0xff, 0xfe], &utf16[..]].concat()).unwrap();
            assert!(files.load().is_ok());
        }
    }

    #[test]
    fn ssl_key_algorithm_restricts_the_key_type() {
        let Pair { files, .. } = &pair();
        for (algorithm, accepted) in [
            (KeyAlgorithm::Ec, true),
            (KeyAlgorithm::Rsa, false),
            (KeyAlgorithm::Dsa, false),
            (KeyAlgorithm::Dh, false),
        ] {
            let files = CertificateFiles { algorithm, ..files.clone() };
            assert_eq!(files.load().is_ok(), accepted, "{algorithm:?}");
        }
    }
}
