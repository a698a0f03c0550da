//! Certificates: reading them, reading them again when they change, making them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SignatureAlgorithm};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::text;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Kind of key that `--ssl-key-algorithm` names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// Whatever it is.
    #[default]
    Guess,
    /// RSA.
    Rsa,
    /// Elliptic curves, Ed25519 among them.
    Ec,
    /// DSA, which TLS 1.2 and 1.3 do not know.
    Dsa,
    /// Diffie-Hellman, which certificates do not have any more.
    Dh,
}

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// Certificate, followed by those that vouch for it; PEM.
    pub certificate: PathBuf,
    /// Its private key; PEM, PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// Kind of key that it must be.
    pub algorithm: KeyAlgorithm,
}

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none in the file.
    #[error(
        "no {what} in {path}: {reason}; it must be a PEM file, and `drawhall certificate NAME` creates a pair"
    )]
    None {
        /// What should be there.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// TLS does not support the key.
    #[error(
        "the key in {path} is not supported: keys can be RSA (2048 to 8192 bits), ECDSA P-256 or P-384, or Ed25519; \
         `drawhall certificate NAME` creates one"
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
    },
    /// The key is of another kind.
    #[error("the key in {path} is no {wanted} key (--ssl-key-algorithm)")]
    Algorithm {
        /// The file.
        path: PathBuf,
        /// The kind that it should have.
        wanted: &'static str,
    },
    /// They do not belong together, or cannot be used.
    #[error(
        "the certificate in {certificate} and the key in {key} cannot be used: {reason}; give the key of that certificate"
    )]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
}

impl CertificateFiles {
    /// Reads certificate and key. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, or what is in them does not make a pair.
    pub fn load(&self) -> Result<LoadedCertificate, CertificateError> {
        // What is written while it is read is read again.
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
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13]);
        let config = builder.and_then(|b| b.with_no_client_auth().with_single_cert(chain, key));
        let config = config.map_err(|error| CertificateError::Pair {
            certificate: path,
            key: self.key.clone(),
            reason: error.to_string(),
        })?;
        Ok(Certificate(Arc::new(config)))
    }

    fn check_algorithm(&self, key: &PrivateKeyDer<'_>) -> Result<(), CertificateError> {
        let is = ring::sign::any_supported_type(key).map(|k| k.algorithm());
        let (wanted, fits) = match self.algorithm {
            KeyAlgorithm::Guess => return Ok(()),
            KeyAlgorithm::Rsa => ("RSA", is == Ok(SignatureAlgorithm::RSA)),
            KeyAlgorithm::Ec => {
                ("EC", matches!(is, Ok(SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519)))
            }
            KeyAlgorithm::Dsa => ("DSA", false),
            KeyAlgorithm::Dh => ("DH", false),
        };
        if fits { Ok(()) } else { Err(CertificateError::Algorithm { path: self.key.clone(), wanted }) }
    }

    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        Some((of(&self.certificate)?, of(&self.key)?))
    }
}

/// When both files were written, and their sizes.
type Stamp = ((SystemTime, u64), (SystemTime, u64));

/// A certificate as it was read.
#[derive(Debug)]
pub struct LoadedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// What the files were then.
    pub stamp: Option<Stamp>,
}

/// A certificate with its key, ready for use.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Certificate {
    /// Makes connections encrypted with it.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.clone())
    }
}

/// Reads the files again whenever they have changed. Connections keep the certificate that they began with.
/// What cannot be read, or makes no pair, is tried again at every look and told once.
pub async fn watch_files(
    files: CertificateFiles,
    mut known: Option<Stamp>,
    current: watch::Sender<Certificate>,
    mut again: watch::Receiver<()>,
) {
    let mut interval = crate::clock::every(LOOK_INTERVAL);
    let mut told = String::new();
    loop {
        // When nobody can ask any more the server stops.
        tokio::select! {
            _ = interval.tick() => {}
            Ok(()) = again.changed() => known = None,
        }
        let files = files.clone();
        let looked = actix_rt::task::spawn_blocking(move || {
            // One that is being replaced is looked at again.
            files.stamp().is_some_and(|stamp| Some(stamp) != known).then(|| files.load())
        });
        match looked.await {
            Ok(None) => told.clear(),
            Ok(Some(Ok(LoadedCertificate { certificate, stamp }))) => {
                known = stamp;
                told.clear();
                tracing::info!("the certificate was read again");
                current.send_replace(certificate);
            }
            Ok(Some(Err(error))) => {
                let text = error.to_string();
                if text != told {
                    tracing::error!("the certificate in use stays: {text}");
                }
                told = text;
            }
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}

/// A certificate that nobody vouches for cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The names make no sense.
    #[error("cannot make a certificate: {0}")]
    Names(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a certificate for host names or addresses that nobody vouches for, and its key, in new files.
///
/// # Errors
/// When a name makes no sense, or a file is there already or cannot be written.
pub fn make(hosts: &[String], certificate: &Path, key: &Path) -> Result<(), MakeError> {
    let made = rcgen::generate_simple_self_signed(hosts)?;
    // Nobody else may read the key; the certificate is for everybody.
    write_new(key, &made.signing_key.serialize_pem(), 0o600)?;
    write_new(certificate, &made.cert.pem(), 0o644)
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
        _folder: tempfile::TempDir,
        files: CertificateFiles,
    }

    fn pair() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        make(&["draw.example.org".into(), "192.0.2.1".into()], &certificate, &key).unwrap();
        let files = CertificateFiles { certificate, key, algorithm: KeyAlgorithm::Guess };
        Pair { _folder: folder, files }
    }

    #[test]
    fn what_is_made_can_be_used_and_is_not_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let Pair { files, .. } = &pair();
        assert!(files.load().is_ok());
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        let error = make(&["x".into()], &files.certificate, &files.key).unwrap_err();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let Pair { files, _folder: folder } = &pair();
        let other = folder.path().join("other.pem");
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
    async fn what_did_not_fit_is_tried_again_though_the_files_have_not_changed() {
        let (Pair { files, _folder: folder }, other) = (pair(), pair());
        let LoadedCertificate { certificate, stamp } = files.load().unwrap();
        let (current, mut seen) = watch::channel(certificate);
        let (_again, again) = watch::channel(());
        // The certificate of the other pair with the key of the first, as while they are being replaced.
        std::fs::copy(&other.files.certificate, &files.certificate).unwrap();
        assert!(files.load().is_err());
        let watching = actix_rt::spawn(watch_files(files.clone(), stamp, current, again));
        tokio::time::timeout(LOOK_INTERVAL / 2, seen.changed()).await.unwrap_err();
        // The right key comes with the size and the time of the wrong one.
        let key = std::fs::metadata(&files.key).unwrap();
        std::fs::copy(&other.files.key, &files.key).unwrap();
        let file = std::fs::File::options().write(true).open(&files.key).unwrap();
        file.set_modified(key.modified().unwrap()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), key.len());
        seen.changed().await.unwrap();
        watching.abort();
        drop(folder);
    }

    #[test]
    fn a_byte_order_mark_before_certificate_and_key_does_no_harm() {
        let Pair { files, _folder: _ } = &pair();
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
    fn the_kind_of_key_can_be_demanded() {
        let Pair { files, .. } = &pair();
        for (algorithm, fits) in [
            (KeyAlgorithm::Ec, true),
            (KeyAlgorithm::Rsa, false),
            (KeyAlgorithm::Dsa, false),
            (KeyAlgorithm::Dh, false),
        ] {
            let files = CertificateFiles { algorithm, ..files.clone() };
            assert_eq!(files.load().is_ok(), fits, "{algorithm:?}");
        }
    }
}
