//! One order: account, challenges, certificate signing request, certificate. Source: RFC 8555, section 7.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;

use super::AcmeOptions;
use super::client::Client;
use super::store::{Issued, Store, StoreError};
use crate::http::HttpError;
use crate::transport::challenges::{AnswerError, Challenges};

/// How the order is polled while the authority checks the challenges, and while it makes the certificate.
const POLLING: RetryPolicy = RetryPolicy::new().initial_delay(Duration::from_millis(250)).timeout(LIMIT);
const LIMIT: Duration = Duration::from_secs(90);

/// How the authority checks that names lead to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    Http01,
    TlsAlpn01,
}

impl Challenge {
    fn kind(self) -> ChallengeType {
        match self {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Challenge::Http01 => "HTTP-01",
            Challenge::TlsAlpn01 => "TLS-ALPN-01",
        }
    }

    /// The port at which the authority connects, whatever the server's own is called.
    fn port(self) -> u16 {
        match self {
            Challenge::Http01 => 80,
            Challenge::TlsAlpn01 => 443,
        }
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority cannot be reached, or refuses.
    #[error("{0}")]
    Authority(#[from] Error),
    /// The authority could not confirm a name.
    #[error("{name} was not confirmed: {}", .problem.detail.as_deref().unwrap_or("no reason was given"))]
    Name { name: String, problem: Box<Problem> },
    /// The authority offers other kinds of challenges only.
    #[error("the certificate authority does not offer {} for {name}", challenge.name())]
    NotOffered { name: String, challenge: Challenge },
    /// The order ended without a certificate and without a reason.
    #[error("the certificate authority has ended the order without a reason")]
    Ended,
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot set up requests: {0}")]
    Http(#[from] HttpError),
    #[error(transparent)]
    Request(#[from] rcgen::Error),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A panic on a blocking thread.
    #[error("reading or writing files failed")]
    Files,
}

/// The part after `urn:ietf:params:acme:error:` of an authority's error.
fn kind(problem: &Problem) -> &str {
    problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
}

impl OrderError {
    fn problem(&self) -> Option<&Problem> {
        match self {
            OrderError::Authority(Error::Api(problem)) => Some(problem),
            OrderError::Name { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// The authority does not know the account any more, as one for tests after its restart.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.problem().is_some_and(|problem| kind(problem) == "accountDoesNotExist")
    }

    /// The authority has refused the nonces of several requests in a row. That says nothing about the order.
    pub(super) fn is_bad_nonce(&self) -> bool {
        self.problem().is_some_and(|problem| kind(problem) == "badNonce")
    }

    /// The authority could not confirm a name by this kind of challenge.
    pub(super) fn is_of_challenge(&self) -> bool {
        matches!(self, OrderError::Name { .. } | OrderError::NotOffered { .. })
    }

    /// What the operator can do.
    pub(super) fn remedy(&self, challenge: Challenge, directory: &str) -> String {
        let port = challenge.port();
        match self.problem().map(kind) {
            Some("dns" | "connection" | "tls") => format!(
                "check that the name has an A or AAAA record with the address of this machine, and that port {port} there \
                 leads to this server ({}), through router and firewall",
                challenge.name()
            ),
            Some("unauthorized" | "incorrectResponse") => format!(
                "another server answers at port {port} of the name: check its addresses (A and AAAA) and what listens there"
            ),
            Some("rateLimited") => {
                "the limit of the authority is reached; wait, or try out with its staging directory \
                                    (--acme-directory)"
                    .to_owned()
            }
            Some("rejectedIdentifier" | "malformed" | "caa") => {
                "check the names of --acme, and the CAA records of their domain".to_owned()
            }
            Some("invalidContact" | "unsupportedContact") => "check --acme-email".to_owned(),
            Some(_) => format!("{directory} has refused; its text says why"),
            None => match self {
                OrderError::Store(_) => "check the data directory and its permissions".to_owned(),
                OrderError::NotOffered { .. } => "use the other kind of challenge: --acme-http-port 80, or \
                                                  --websocket-port reached at port 443"
                    .to_owned(),
                _ => format!(
                    "check the connection to {directory} (--acme-directory), and --acme-ca if it is no public authority"
                ),
            },
        }
    }
}

/// What an order needs.
pub(super) struct Orders {
    pub(super) options: AcmeOptions,
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) store: Store,
    pub(super) challenges: Challenges,
}

impl Orders {
    /// Orders a certificate and keeps it.
    ///
    /// # Errors
    /// When the authority cannot be reached or refuses, or a file cannot be written.
    pub(super) async fn order(&self, challenge: Challenge) -> Result<Issued, OrderError> {
        let account = self.account().await?;
        let names = self.options.names.iter();
        let identifiers: Vec<Identifier> = names.map(|name| Identifier::Dns(name.clone())).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let confirmed = self.confirm(&mut order, challenge).await;
        self.challenges.clear();
        confirmed?;
        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new(self.options.names.clone())?;
        request.distinguished_name = DistinguishedName::new();
        order.finalize_csr(request.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        let pem = chain + &key.serialize_pem();
        let issued = Issued::from_pem(pem.as_bytes()).map_err(OrderError::Unusable)?;
        self.on_files(move |store| store.keep_certificate(&pem)).await?;
        Ok(issued)
    }

    /// Uses the files on a thread that may block.
    async fn on_files<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, OrderError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || job(&store)).await;
        Ok(done.map_err(|_| OrderError::Files)??)
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let builder = Account::builder_with_http(Box::new(Client::new(&self.roots)?));
        if let Some(credentials) = self.on_files(Store::account).await? {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact = self.options.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.options.directory.clone(), None).await?;
        self.on_files(move |store| store.keep_account(&credentials)).await?;
        tracing::info!("there is a new account at {}", self.options.directory);
        Ok(account)
    }

    /// Answers the challenges, and waits until the authority has checked them.
    async fn confirm(&self, order: &mut Order, challenge: Challenge) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let Some(mut handle) = authorization.challenge(challenge.kind()) else {
                return Err(OrderError::NotOffered { name, challenge });
            };
            let key = handle.key_authorization();
            match challenge {
                Challenge::Http01 => self.challenges.add_http(&handle.token, key.as_str()),
                Challenge::TlsAlpn01 => self.challenges.add_tls(&name, key.digest().as_ref())?,
            }
            handle.set_ready().await?;
        }
        match order.poll_ready(&POLLING).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(refused_name(order).await.unwrap_or(OrderError::Ended)),
            Err(error @ Error::Api(_)) => {
                Err(refused_name(order).await.unwrap_or(OrderError::Authority(error)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The name that the authority has not confirmed, with its reason; the order itself does not tell.
async fn refused_name(order: &mut Order) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let state = authorization.refresh().await.ok()?;
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.clone());
        if let Some(problem) = problem {
            return Some(OrderError::Name {
                name: state.identifier().to_string(),
                problem: Box::new(problem),
            });
        }
    }
    None
}
