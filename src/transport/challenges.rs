//! Answers to the challenges by which a certificate authority checks that a name leads to this server (ACME, RFC 8555):
//! HTTP-01 on a port of its own, TLS-ALPN-01 (RFC 8737) on ports where a connection begins with TLS.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::tls;

/// The protocol (ALPN) of TLS-ALPN-01.
const ACME_TLS: &[u8] = b"acme-tls/1";

/// An answer to a TLS-ALPN-01 challenge cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AnswerError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// The challenges of the present order, with their answers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    /// By token.
    http: HashMap<String, String>,
    /// By host name.
    tls: HashMap<String, Arc<ServerConfig>>,
}

impl Challenges {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock()
    }

    /// Adds the answer to an HTTP-01 challenge.
    pub fn add_http(&self, token: &str, answer: &str) {
        self.answers().http.insert(token.to_owned(), answer.to_owned());
    }

    /// Adds the answer to a TLS-ALPN-01 challenge: a self-signed certificate with the digest (SHA-256, 32 bytes) of the
    /// key authorization in an extension.
    ///
    /// # Errors
    /// When the certificate cannot be made, as for an invalid name.
    pub fn add_tls(&self, name: &str, digest: &[u8]) -> Result<(), AnswerError> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
        // Not `with_single_cert`, which refuses certificates with critical extensions that it does not know.
        let key = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.into()], key));
        let mut config = tls::builder()?.with_no_client_auth().with_cert_resolver(Arc::new(key));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        self.answers().tls.insert(name.to_owned(), Arc::new(config));
        Ok(())
    }

    /// Forgets all: the order has succeeded or failed.
    pub fn clear(&self) {
        *self.answers() = Answers::default();
    }

    /// The answer to the HTTP-01 challenge with this token.
    pub fn http_answer(&self, token: &str) -> Option<String> {
        self.answers().http.get(token).cloned()
    }

    /// How to answer if a connection is a TLS-ALPN-01 challenge.
    pub(super) fn tls_answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        if !hello.alpn()?.any(|protocol| protocol == ACME_TLS) {
            return None;
        }
        self.answers().tls.get(hello.server_name()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
    use tokio::net::{TcpListener, TcpStream};
    use x509_cert::der::Decode as _;
    use x509_cert::der::asn1::ObjectIdentifier;

    use super::*;
    use crate::transport::tls::self_signed;

    /// An authority looks at the certificate itself.
    #[derive(Debug)]
    struct AcceptsAll;

    impl ServerCertVerifier for AcceptsAll {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    /// The certificate that a client gets which offers these protocols, and the protocol that was chosen.
    async fn handshake(challenges: &Challenges, name: &str, alpn: &[&[u8]]) -> (Vec<u8>, Option<Vec<u8>>) {
        let own = self_signed(&["draw.example.org".to_owned()]).unwrap().with_challenges(challenges.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { own.accept(listener.accept().await.unwrap().0).await });
        let provider = Arc::new(ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.dangerous().with_custom_certificate_verifier(Arc::new(AcceptsAll));
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap();
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().unwrap()[0].to_vec();
        let protocol = session.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(server.await.unwrap().is_err(), protocol.is_some(), "a challenge ends with its handshake");
        (certificate, protocol)
    }

    #[actix_rt::test]
    async fn only_a_tls_alpn_01_challenge_gets_the_certificate_with_the_digest() {
        let challenges = Challenges::default();
        challenges.add_tls("draw.example.org", &[7; 32]).unwrap();
        let is_answer = |certificate: &[u8]| {
            let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
            let id = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");
            let extensions = certificate.tbs_certificate().extensions().cloned().unwrap_or_default();
            extensions
                .iter()
                .any(|e| e.extn_id == id && e.critical && e.extn_value.as_bytes().ends_with(&[7; 32]))
        };
        let (certificate, protocol) = handshake(&challenges, "draw.example.org", &[ACME_TLS]).await;
        assert!(is_answer(&certificate) && protocol.as_deref() == Some(ACME_TLS));
        for (name, alpn) in [
            ("draw.example.org", &[&b"http/1.1"[..]][..]),
            ("draw.example.org", &[]),
            ("other.example.org", &[ACME_TLS]),
        ] {
            let (certificate, protocol) = handshake(&challenges, name, alpn).await;
            assert!(!is_answer(&certificate) && protocol.is_none(), "{name} {alpn:?}");
        }
        challenges.clear();
        assert!(!is_answer(&handshake(&challenges, "draw.example.org", &[ACME_TLS]).await.0));
    }
}
