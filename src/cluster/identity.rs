//! The key that all servers of a cluster have, and TLS with it: whoever has the key is one of them, in both directions.

use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Name in the certificate of all servers.
const NAME: &str = "node.drawhall.internal";
/// The same for rustls.
pub(super) static SERVER_NAME: LazyLock<ServerName<'static>> =
    LazyLock::new(|| ServerName::try_from(NAME).expect("a valid name"));

/// TLS 1.3 with the key of the cluster.
#[derive(Clone)]
pub(super) struct LinkIdentity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    #[cfg(test)]
    certificate: CertificateDer<'static>,
}

impl LinkIdentity {
    /// A new private key, PKCS#8 in DER.
    pub(super) fn generate_key() -> Result<Vec<u8>, String> {
        KeyPair::generate().map(|pair| pair.serialize_der()).map_err(|error| error.to_string())
    }

    /// With a private key, PKCS#8 in DER. Each server makes a certificate of its own for it; certificates of one key
    /// trust one another.
    pub(super) fn new(key: &[u8]) -> Result<LinkIdentity, String> {
        fn text(error: impl ToString) -> String {
            error.to_string()
        }
        let pair = KeyPair::try_from(key).map_err(text)?;
        let certificate =
            CertificateParams::new([NAME.to_owned()]).and_then(|params| params.self_signed(&pair));
        let certificate: CertificateDer<'static> = certificate.map_err(text)?.into();
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec()));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).map_err(text)?;
        let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(text)?
            .with_client_cert_verifier(verifier.build().map_err(text)?)
            .with_single_cert(vec![certificate.clone()], key())
            .map_err(text)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(text)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.clone()], key())
            .map_err(text)?;
        Ok(LinkIdentity {
            server: Arc::new(server),
            client: Arc::new(client),
            #[cfg(test)]
            certificate,
        })
    }

    #[cfg(test)]
    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.client.clone())
    }
}
