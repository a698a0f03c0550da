//! Certificates for tests, and connections in clear or encrypted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use drawhall::transport::tls::{CertificateFiles, KeyAlgorithm, make};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

/// An encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A connection, in clear or encrypted.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket, below encryption.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Plain(stream)
    }
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Stream {
        Stream::Tls(Box::new(stream))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A new certificate for `localhost` in a directory.
pub fn certificate(folder: &Path) -> CertificateFiles {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    make(&["localhost".to_owned()], &certificate, &key).unwrap();
    CertificateFiles { certificate, key, algorithm: KeyAlgorithm::Guess }
}

/// Encrypts a connection to `localhost` as a client does that trusts this certificate.
pub fn encrypt(
    stream: TcpStream,
    files: &CertificateFiles,
    version: &'static SupportedProtocolVersion,
) -> io::Result<TlsStream> {
    encrypt_to("localhost", stream, &files.certificate, version)
}

/// Encrypts a connection to a host as a client does that trusts this certificate.
pub fn encrypt_to(
    host: &'static str,
    mut stream: TcpStream,
    certificate: &Path,
    version: &'static SupportedProtocolVersion,
) -> io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let mut tls = ClientConnection::new(config, host.try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}
