//! Listings of all sessions, with their states.

use drawhall_protocol::reply::SessionDescription;

use super::list_server::Failure;
use super::listing::REFRESH_INTERVAL;
use crate::rules::limits::Bucket;
use crate::rules::time::Timestamp;

/// Maximum number of attempts, with back-off over half a day, of an announcement after a start.
const MAX_TRIES: u32 = 20;

/// Listings of all sessions.
#[derive(Debug, Default)]
pub(super) struct Listings {
    pub(super) all: Vec<Listing>,
    /// Number of the newest listing; numbers are not reused.
    last_number: u64,
    pub(super) announcing: Bucket,
    /// Failed announcements of stored sessions, to be retried.
    pub(super) later: Vec<RetryLater>,
}

/// A retry of an announcement.
#[derive(Debug)]
pub(super) struct RetryLater {
    pub(super) session: String,
    pub(super) url: String,
    /// Attempts so far.
    pub(super) tries: u32,
    /// Monotonic milliseconds.
    pub(super) due_ms: u64,
}

/// A listing of a session at a list server.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) number: u64,
    pub(super) session: String,
    /// As it was given.
    pub(super) url: String,
    /// Normalized, without a trailing slash.
    pub(super) base: String,
    /// Automatic attempts; 0 if a client has asked for it.
    pub(super) tries: u32,
    pub(super) state: ListingState,
}

#[derive(Debug)]
pub(super) enum ListingState {
    /// The request is pending.
    Announcing,
    Listed(Announced),
    /// Being withdrawn; the entry stays while a request is pending.
    Withdrawing,
}

#[derive(Debug)]
pub(super) struct Announced {
    pub(super) id: i64,
    pub(super) key: String,
    /// Next refresh, monotonic milliseconds.
    pub(super) due_ms: u64,
    pub(super) every_ms: u64,
    /// The state that the list server knows.
    pub(super) known: AdvertisedState,
}

/// Fields whose changes are sent to list servers at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdvertisedState {
    title: String,
    nsfm: bool,
    password: bool,
    full: bool,
    allow_web: bool,
}

impl AdvertisedState {
    pub(super) fn of(session: &SessionDescription) -> AdvertisedState {
        AdvertisedState {
            title: session.title.clone(),
            nsfm: session.nsfm,
            password: session.has_password,
            full: session.user_count >= session.max_user_count,
            allow_web: session.allow_web.unwrap_or(false),
        }
    }
}

impl Listing {
    pub(super) fn announced(&self) -> Option<&Announced> {
        if let ListingState::Listed(announced) = &self.state { Some(announced) } else { None }
    }

    pub(super) fn is_withdrawing(&self) -> bool {
        matches!(self.state, ListingState::Withdrawing)
    }
}

impl Listings {
    pub(super) fn of<'a>(&'a self, session: &'a str) -> impl Iterator<Item = &'a Listing> {
        self.all.iter().filter(move |l| l.session == session)
    }

    pub(super) fn begin(&mut self, session: &str, url: &str, base: &str, tries: u32) -> u64 {
        self.last_number += 1;
        self.all.push(Listing {
            number: self.last_number,
            session: session.to_owned(),
            url: url.to_owned(),
            base: base.to_owned(),
            tries,
            state: ListingState::Announcing,
        });
        self.last_number
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Listing> {
        self.all.iter_mut().find(|l| l.number == number)
    }

    /// Schedules a retry of a stored session's announcement, if that may help.
    pub(super) fn try_later(&mut self, listing: &Listing, failure: &Failure) {
        let tries = listing.tries;
        if (1..MAX_TRIES).contains(&tries) && failure.is_transient && !listing.is_withdrawing() {
            let pause = (REFRESH_INTERVAL.as_millis() as u64 / 2) << (tries - 1).min(8);
            let (session, url) = (listing.session.clone(), listing.url.clone());
            self.later.push(RetryLater {
                session,
                url,
                tries,
                due_ms: Timestamp::now().monotonic_ms + pause,
            });
        }
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Listing> {
        let at = self.all.iter().position(|l| l.number == number)?;
        Some(self.all.remove(at))
    }
}
