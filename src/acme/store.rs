//! Files of the account and of the certificate, in the data directory: `acme/AUTHORITY/account.json` and
//! `certificate.pem`. Only their owner can read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::schedule::Validity;
use crate::storage::private::create_directory;
use crate::transport::tls::Certificate;

const ACCOUNT: &str = "account.json";
const CERTIFICATE: &str = "certificate.pem";

/// A file of the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
#[allow(missing_docs, reason = "the names say it")]
pub struct StoreError {
    pub path: PathBuf,
    pub source: io::Error,
}

/// A certificate of the authority, ready for use.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) certificate: Certificate,
    pub(super) validity: Validity,
    /// Host names, sorted.
    pub(super) names: Vec<String>,
}

impl Issued {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// When one is missing or invalid, or they do not belong together.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Issued, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(|e| e.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|e| e.to_string())?;
        let first = chain.first().ok_or("it holds no certificate")?;
        let parsed = x509_cert::Certificate::from_der(first).map_err(|e| e.to_string())?;
        let parsed = parsed.tbs_certificate();
        let validity = Validity {
            not_before: parsed.validity().not_before.to_unix_duration().as_secs(),
            not_after: parsed.validity().not_after.to_unix_duration().as_secs(),
        };
        let alternative = parsed.get_extension::<SubjectAltName>().map_err(|e| e.to_string())?;
        let mut names: Vec<String> = Vec::new();
        if let Some((_, alternative)) = alternative {
            names.extend(alternative.0.iter().filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(name.to_string().to_ascii_lowercase()),
                _ => None,
            }));
        }
        names.sort();
        let certificate = Certificate::new(chain, key).map_err(|e| e.to_string())?;
        Ok(Issued { certificate, validity, names })
    }
}

/// Where the files of an authority with this directory URL are.
fn directory_of(data: &Path, authority: &str) -> PathBuf {
    let name = authority.split_once("://").map_or(authority, |(_, rest)| rest);
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    data.join("acme").join(name.trim_start_matches('.'))
}

/// The file of the certificate that an authority has issued.
pub(super) fn certificate_file(data: &Path, authority: &str) -> PathBuf {
    directory_of(data, authority).join(CERTIFICATE)
}

/// The files of one certificate authority.
#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the store for the authority with this directory URL; each has a directory of its own.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub(super) fn open(data: &Path, authority: &str) -> Result<Store, StoreError> {
        let directory = directory_of(data, authority);
        create_directory(&directory)
            .map_err(|source| StoreError { path: directory.clone(), source })
            .map(|()| Store { directory })
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError { path, source }),
        }
    }

    /// Replaces a file: after a crash it is the old or the new one.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, new) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.directory)?.sync_all()
        })();
        written.map_err(|source| StoreError { path, source })
    }

    /// The account, if there is one. A file that is no account counts as none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn account(&self) -> Result<Option<AccountCredentials>, StoreError> {
        Ok(self.read(ACCOUNT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps the account.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn keep_account(&self, account: &AccountCredentials) -> Result<(), StoreError> {
        let text = serde_json::to_vec(account).map_err(|error| StoreError {
            path: self.directory.join(ACCOUNT),
            source: io::Error::other(error),
        })?;
        self.replace(ACCOUNT, &text)
    }

    /// Forgets the account, which the authority does not know any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub(super) fn forget_account(&self) -> Result<(), StoreError> {
        let path = self.directory.join(ACCOUNT);
        fs::remove_file(&path).map_err(|source| StoreError { path, source })
    }

    /// The certificate, if there is one. One that cannot be used counts as none: a new one is ordered.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn certificate(&self) -> Result<Option<Issued>, StoreError> {
        let Some(pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let issued = Issued::from_pem(&pem);
        if let Err(reason) = &issued {
            let path = self.directory.join(CERTIFICATE);
            tracing::warn!("a new certificate is needed, {} cannot be used: {reason}", path.display());
        }
        Ok(issued.ok())
    }

    /// Keeps a certificate chain and its key, in one file, so that they always belong together.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn keep_certificate(&self, pem: &str) -> Result<(), StoreError> {
        self.replace(CERTIFICATE, pem.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pem(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        pair.cert.pem() + &pair.signing_key.serialize_pem()
    }

    #[test]
    fn a_certificate_is_kept_in_a_file_that_only_its_owner_can_read() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), "https://ca.example.org/directory").unwrap();
        assert!(store.certificate().unwrap().is_none());
        store.keep_certificate(&pem(&["b.example.org", "a.example.org"])).unwrap();
        let issued = store.certificate().unwrap().unwrap();
        assert_eq!(issued.names, ["a.example.org", "b.example.org"]);
        assert!(issued.validity.not_before < issued.validity.not_after);
        let path = data.path().join("acme/ca.example.org-directory/certificate.pem");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_counts_as_none_and_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), "ca").unwrap();
        let own = pem(&["a.example.org"]);
        let (half, other_key) = (&own[..own.len() / 2], pem(&["b"]));
        let mixed = own.split("-----BEGIN PRIVATE").next().unwrap().to_owned()
            + &other_key[other_key.find("-----BEGIN PRIVATE").unwrap()..];
        for damaged in ["", "rubbish", half, &mixed] {
            store.keep_certificate(damaged).unwrap();
            assert!(store.certificate().unwrap().is_none(), "{damaged}");
        }
        fs::write(data.path().join("acme/ca/account.json"), "{").unwrap();
        assert!(store.account().unwrap().is_none());
        // A process that was killed while it wrote has left this.
        fs::write(data.path().join("acme/ca/certificate.pem.new"), half).unwrap();
        store.keep_certificate(&own).unwrap();
        assert!(store.certificate().unwrap().is_some());
    }

    #[test]
    fn each_authority_has_a_directory_of_its_own() {
        let data = tempfile::tempdir().unwrap();
        Store::open(data.path(), "https://one.example/dir").unwrap().keep_certificate(&pem(&["a"])).unwrap();
        assert!(
            Store::open(data.path(), "https://two.example/dir").unwrap().certificate().unwrap().is_none()
        );
        let odd = Store::open(data.path(), "../../../../etc").unwrap();
        assert!(odd.directory.starts_with(data.path().join("acme")) && !odd.directory.ends_with("etc"));
    }
}
