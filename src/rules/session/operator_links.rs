//! Links for operators: each lets one operator undo what others drew, on a page that needs no account.
//!
//! A link holds a random token of 256 bits, of which only the digest is kept. It ends after `LINK_LIFETIME_MS`, and
//! at once when its operator leaves or is no operator any more. Links are not stored: a session without members has
//! none. Source: docs/spec/session.md#links-for-operators.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::admin::ADMINISTRATOR;
use super::{ConnId, Cx, MemberKey, SessionMachine, SessionState};
use crate::rules::rng::Rng;
use crate::rules::time::Timestamp;

/// How long a link is valid, in milliseconds.
const LINK_LIFETIME_MS: u64 = 15 * 60 * 1000;
/// Links of one operator at once; beyond, the oldest ends.
const MAX_LINKS_EACH: usize = 32;

/// A link, without its token.
#[derive(Debug)]
struct OperatorLink {
    digest: [u8; 32],
    conn: ConnId,
    /// Monotonic milliseconds.
    expires: u64,
}

/// The links of a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct OperatorLinks(Vec<OperatorLink>);

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl OperatorLinks {
    /// Creates a link for the operator of this connection; returns its token. `None` without random numbers.
    fn create(&mut self, conn: ConnId, rng: &mut Rng, now_ms: u64) -> Option<String> {
        let token = URL_SAFE_NO_PAD.encode(rng.bytes::<32>()?);
        self.0.retain(|link| now_ms < link.expires);
        if self.0.iter().filter(|link| link.conn == conn).count() >= MAX_LINKS_EACH
            && let Some(oldest) = self.0.iter().position(|link| link.conn == conn)
        {
            self.0.remove(oldest);
        }
        self.0.push(OperatorLink { digest: digest(&token), conn, expires: now_ms + LINK_LIFETIME_MS });
        Some(token)
    }

    /// The connection that a token belongs to, and when the link expires. Compares in constant time.
    fn find(&self, token: &str, now_ms: u64) -> Option<(ConnId, u64)> {
        let given = digest(token);
        let mut found = None;
        for link in &self.0 {
            if bool::from(link.digest.ct_eq(&given)) {
                found = Some((link.conn, link.expires));
            }
        }
        found.filter(|(_, expires)| now_ms < *expires)
    }

    /// Ends the links of a connection.
    pub(super) fn revoke(&mut self, conn: ConnId) {
        self.0.retain(|link| link.conn != conn);
    }
}

/// The token of a link that a request came with.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkToken(pub String);

impl fmt::Debug for LinkToken {
    /// Without the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken")
    }
}

/// Who asks for a change of the history.
#[derive(Debug, Clone)]
pub struct Asker {
    /// For the log and the users.
    pub name: String,
    /// The link of an operator; administrators have none.
    pub link: Option<LinkToken>,
}

impl Asker {
    /// The server's administrator.
    pub fn administrator() -> Asker {
        Asker { name: ADMINISTRATOR.to_owned(), link: None }
    }

    /// The server itself.
    pub fn server() -> Asker {
        Asker { name: "the server".to_owned(), link: None }
    }
}

/// Whoever uses a link, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkHolder {
    /// Name of the operator.
    pub name: String,
    /// Title of the session.
    pub title: String,
    /// How long the link is still valid, in seconds.
    pub seconds_left: u64,
}

impl SessionMachine {
    /// A link for an operator; `None` if the page has no public address or the member is no operator.
    pub(super) fn link_for(&mut self, key: MemberKey, cx: &mut Cx<'_>) -> Option<String> {
        let page = self.shared.page_url.as_deref()?.trim_end_matches('/');
        let conn = self.members.get(key).filter(|member| member.is_operator())?.conn();
        let token = self.operator_links.create(conn, cx.rng, cx.now.monotonic_ms)?;
        // Browsers do not send what is behind the hash: it is in no log of a proxy and in no referrer.
        Some(format!("{page}/operator/#{}/{token}", self.id()))
    }

    /// Whether a request that came by this link, if by any, may still be met: reading a history takes a while, in which
    /// the operator may have lost that status.
    pub fn is_still_valid(&self, link: Option<&LinkToken>, now: Timestamp) -> bool {
        link.is_none_or(|link| self.operator_by_link(&link.0, now).is_some())
    }

    /// Who may use the link with this token; `None` if nobody may.
    pub fn operator_by_link(&self, token: &str, now: Timestamp) -> Option<LinkHolder> {
        let (conn, expires) = self.operator_links.find(token, now.monotonic_ms)?;
        let member = self.members.iter().find(|member| member.conn() == conn && member.is_operator())?;
        (self.state() != SessionState::Shutdown).then(|| LinkHolder {
            name: member.name().to_owned(),
            title: self.properties.title().to_owned(),
            seconds_left: (expires - now.monotonic_ms).div_ceil(1000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_256_bits_and_is_found_until_it_expires() {
        let (mut links, mut rng) = (OperatorLinks::default(), Rng::from_seed([1; 32]));
        let token = links.create(7, &mut rng, 1000).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(&token).unwrap().len(), 32);
        assert_eq!(links.find(&token, 1000), Some((7, 1000 + LINK_LIFETIME_MS)));
        assert_eq!(links.find(&token, 999 + LINK_LIFETIME_MS).map(|(conn, _)| conn), Some(7));
        assert_eq!(links.find(&token, 1000 + LINK_LIFETIME_MS), None);
        for wrong in ["", "x", &token[1..], &token.to_uppercase()] {
            assert_eq!(links.find(wrong, 1000), None, "{wrong}");
        }
        assert_eq!(links.create(7, &mut Rng::unseeded(), 1000), None);
    }

    #[test]
    fn an_operator_has_few_links_at_once_and_none_when_they_are_revoked() {
        let (mut links, mut rng) = (OperatorLinks::default(), Rng::from_seed([1; 32]));
        let other = links.create(8, &mut rng, 0).unwrap();
        let tokens = [(); MAX_LINKS_EACH + 1].map(|()| links.create(7, &mut rng, 0).unwrap());
        assert_eq!(links.find(&tokens[0], 0), None, "the oldest ends");
        assert!(tokens[1..].iter().all(|token| links.find(token, 0).is_some()));
        links.revoke(7);
        assert!(tokens.iter().all(|token| links.find(token, 0).is_none()));
        assert!(links.find(&other, 0).is_some());
    }
}
