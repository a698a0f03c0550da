//! Where the certificate comes from, and the task that keeps it current.

use std::sync::Arc;

use actix_rt::task::JoinHandle;
use tokio::sync::watch;

use super::ServeOptions;
use super::prepare::StartError;
use crate::acme::Acme;
use crate::actors::server::acceptor::Listeners;
use crate::metrics::Metrics;
use crate::transport::listen;
use crate::transport::tls::{self, Certificate, CertificateFiles, LoadedCertificate};

/// Where the certificate comes from.
pub(super) enum CertificateSource {
    Files(CertificateFiles, LoadedCertificate),
    Acme(Box<Acme>),
}

impl CertificateSource {
    pub(super) fn open(
        options: &ServeOptions,
        listeners: &Listeners,
    ) -> Result<Option<CertificateSource>, StartError> {
        if let Some(acme) = &options.acme {
            let failed = |error| StartError::Listen { option: "--acme-http-port", error };
            let http = acme.http_port.map(|port| listen(options.listen, port)).transpose().map_err(failed)?;
            let acme = Acme::prepare(acme.clone(), http, !listeners.websocket.is_empty())?;
            return Ok(Some(CertificateSource::Acme(Box::new(acme))));
        }
        let Some(files) = &options.certificate else { return Ok(None) };
        Ok(Some(CertificateSource::Files(files.clone(), files.load()?)))
    }

    /// The certificate to begin with.
    fn certificate(&self) -> Certificate {
        match self {
            CertificateSource::Files(_, loaded) => loaded.certificate.clone(),
            CertificateSource::Acme(acme) => acme.certificate(),
        }
    }

    /// Keeps it current in a task: whenever `reload` is notified, files have changed, or it has to be renewed.
    pub(super) fn watch(
        self,
        reload: watch::Receiver<()>,
        metrics: Arc<Metrics>,
    ) -> (watch::Receiver<Certificate>, JoinHandle<()>) {
        let (current, certificate) = watch::channel(self.certificate());
        let task = match self {
            CertificateSource::Files(files, LoadedCertificate { stamp, .. }) => {
                actix_rt::spawn(tls::watch_files(files, stamp, current, reload, metrics))
            }
            CertificateSource::Acme(acme) => actix_rt::spawn(acme.run(current, reload, metrics)),
        };
        (certificate, task)
    }
}
