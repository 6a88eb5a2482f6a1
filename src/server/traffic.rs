//! Counts requests: the log and the rate limits. Tests and benches read a client's use of the limits
//! from here, and not from the client.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::config::ApiVersion;
use super::error::Refusal;
use super::fault::{FaultClass, FaultKind, Faults, InjectedFault};
use super::limits::{LimitExceeded, Window};
use crate::base::limit::{Class, ClassLimit, Limit, TEAM_TRANSFER_LIMIT};

/// Maximum number of requests in the log. A server may run for months.
const MAX_LOG_ENTRIES: usize = 100_000;
/// The service's text for a request over the rate limit of a token.
pub(super) const TOKEN_LIMIT: &str = "Too Many Requests (per-token limit)";

/// The server's counts since its start.
#[cfg(feature = "test-support")]
#[derive(Debug, Clone, Default)]
pub struct RequestCounts {
    /// Counts by class of request; a class without requests is missing, see [`RequestCounts::of`].
    pub classes: BTreeMap<Class, ClassCounts>,
    /// Counts of the uploads, which have no rate limit.
    pub uploads: ClassCounts,
    /// The last 100,000 requests, in order of arrival.
    pub log: Vec<LoggedRequest>,
}

#[cfg(feature = "test-support")]
impl RequestCounts {
    /// Returns the counts of one class.
    pub fn of(&self, class: Class) -> ClassCounts {
        self.classes.get(&class).copied().unwrap_or_default()
    }
}

/// The counts of one class: requests, or images for [`Class::Images`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Number within the rate limit.
    pub accepted: u64,
    /// Number over the rate limit, each answered with 429. Does not count injected 429s.
    pub refused: u64,
    /// Number of accepted ones with an injected fault.
    pub faulted: u64,
    /// Maximum number that arrived within any window of the limit's length, for one token (or one
    /// account, for images). If it exceeds the limit, a client did not respect the limit.
    pub peak: u32,
}

/// One request in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Class whose rate limit it used; `None` for uploads, the account's endpoints and unknown paths.
    pub class: Option<Class>,
    /// HTTP method.
    pub method: String,
    /// Path without the query, which may have a signature.
    pub path: String,
    /// Time of arrival since the server's start.
    pub at: Duration,
    /// `name:tag` of an accepted initiate; several are separated by commas.
    pub image: Option<String>,
    /// Status of the response; 0 before it is sent, or if a fault closed the connection.
    pub status: u16,
    /// Injected fault.
    pub fault: Option<FaultKind>,
}

/// The position of a request in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

/// A request that has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) ticket: Ticket,
    /// The fault to inject.
    pub(super) fault: Option<InjectedFault>,
}

/// The owner of a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RateLimitKey {
    /// A token, by its digest, so that the token is not kept.
    Token([u8; 32]),
    /// The account, for transfers.
    Personal,
    /// A team, for transfers.
    Team(String),
}

/// The log and all rate limits, behind one lock, so that both see the same order of requests.
pub(super) struct Traffic {
    started: Instant,
    overrides: HashMap<Class, Limit>,
    windows: HashMap<(Class, RateLimitKey), Window>,
    counts: BTreeMap<Class, ClassCounts>,
    uploads: ClassCounts,
    faults: Faults,
    /// Number of requests of each class.
    numbers: HashMap<FaultClass, u64>,
    log: VecDeque<LoggedRequest>,
    dropped: u64,
    api: ApiVersion,
}

impl Traffic {
    pub(super) fn new(limits: &[ClassLimit], faults: Faults, api: ApiVersion) -> Self {
        Self {
            started: Instant::now(),
            overrides: limits.iter().map(|limit| (limit.class, limit.limit)).collect(),
            windows: HashMap::new(),
            counts: BTreeMap::new(),
            uploads: ClassCounts::default(),
            faults,
            numbers: HashMap::new(),
            log: VecDeque::new(),
            dropped: 0,
            api,
        }
    }

    /// Logs a request, draws it on the rate limit of its token, and picks a fault for it. All in one
    /// call, so that the log, the limits and the faults see the same order.
    pub(super) fn arrived(
        &mut self,
        class: Option<FaultClass>,
        token: Option<&RateLimitKey>,
        method: &str,
        path: &str,
    ) -> (Arrival, Result<(), Refusal>) {
        let now = Instant::now();
        if self.log.len() == MAX_LOG_ENTRIES {
            self.log.pop_front();
            self.dropped += 1;
        }
        let ticket = Ticket(self.dropped + self.log.len() as u64);
        let number = class.map(|class| {
            let number = self.numbers.entry(class).or_default();
            *number += 1;
            (class, *number - 1)
        });
        let (admitted, fault) = match (number, token) {
            (Some((FaultClass::Class(class), number)), Some(token)) => {
                let admitted = self.admit(class, token.clone(), now, 1);
                let admitted =
                    admitted.map_err(|full| Refusal::too_many(TOKEN_LIMIT, full.retry_after));
                let fault = admitted.is_ok().then(|| self.pick_fault(class, number)).flatten();
                (admitted, fault)
            }
            (Some((FaultClass::Upload, number)), _) => {
                let fault = self.faults.pick(FaultClass::Upload, number);
                self.uploads.accepted += 1;
                self.uploads.faulted += u64::from(fault.is_some());
                (Ok(()), fault)
            }
            _ => (Ok(()), None),
        };
        self.log.push_back(LoggedRequest {
            class: class.and_then(FaultClass::api),
            method: method.to_owned(),
            path: path.to_owned(),
            at: now.duration_since(self.started),
            image: None,
            status: 0,
            fault: fault.map(|fault| fault.kind),
        });
        (Arrival { ticket, fault }, admitted)
    }

    fn pick_fault(&mut self, class: Class, number: u64) -> Option<InjectedFault> {
        let fault = self.faults.pick(FaultClass::Class(class), number)?;
        self.counts.entry(class).or_default().faulted += 1;
        Some(fault)
    }

    /// Logs the status of a response.
    pub(super) fn answered(&mut self, ticket: Ticket, status: u16) {
        if let Some(seen) = self.entry(ticket) {
            seen.status = status;
        }
    }

    /// Logs the image that a request initiated.
    pub(super) fn initiated(&mut self, ticket: Ticket, image: String) {
        if let Some(seen) = self.entry(ticket) {
            seen.image = Some(image);
        }
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut LoggedRequest> {
        let index = ticket.0.checked_sub(self.dropped)?;
        self.log.get_mut(usize::try_from(index).ok()?)
    }

    /// Draws images on an account's rate limit of transfers: all of them or none.
    ///
    /// # Errors
    /// Fails with 429 if the limit has no room for all of them.
    pub(super) fn draw_images(
        &mut self,
        account: RateLimitKey,
        images: u32,
    ) -> Result<(), Refusal> {
        let count = self.limit(Class::Images, &account).count;
        self.admit(Class::Images, account, Instant::now(), images).map_err(|full| {
            let detail = self.api.transfer_limit_text(full.used, count);
            Refusal::too_many(detail, full.retry_after)
        })
    }

    /// Returns the maximum number of images of one request to transfer.
    pub(super) fn max_images(&self, account: &RateLimitKey) -> u32 {
        self.limit(Class::Images, account).count
    }

    fn admit(
        &mut self,
        class: Class,
        charged: RateLimitKey,
        now: Instant,
        weight: u32,
    ) -> Result<(), LimitExceeded> {
        let window = self.window(class, charged);
        let admission = window.admit(now, weight);
        let peak = window.peak();
        let counts = self.counts.entry(class).or_default();
        match admission {
            Ok(()) => counts.accepted += u64::from(weight),
            Err(_) => counts.refused += u64::from(weight),
        }
        counts.peak = counts.peak.max(peak);
        admission
    }

    fn window(&mut self, class: Class, charged: RateLimitKey) -> &mut Window {
        let limit = self.limit(class, &charged);
        self.windows.entry((class, charged)).or_insert_with(|| Window::new(limit))
    }

    fn limit(&self, class: Class, charged: &RateLimitKey) -> Limit {
        let default = match charged {
            RateLimitKey::Team(_) => TEAM_TRANSFER_LIMIT,
            RateLimitKey::Token(_) | RateLimitKey::Personal => class.default_limit(),
        };
        self.overrides.get(&class).copied().unwrap_or(default)
    }

    #[cfg(feature = "test-support")]
    pub(super) fn counts(&self) -> RequestCounts {
        RequestCounts {
            classes: self.counts.clone(),
            uploads: self.uploads,
            log: self.log.iter().cloned().collect(),
        }
    }

    /// Returns the counts of one class, without copying the log.
    #[cfg(feature = "test-support")]
    pub(super) fn counts_of(&self, class: Class) -> ClassCounts {
        self.counts.get(&class).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_own_rate_limit() {
        let limits = ["status=1/60s".parse().unwrap()];
        let mut traffic = Traffic::new(&limits, Faults::default(), ApiVersion::default());
        let (one, two) = (RateLimitKey::Token([1; 32]), RateLimitKey::Token([2; 32]));
        let mut draw = |class, token| {
            traffic.arrived(Some(FaultClass::Class(class)), Some(token), "GET", "/").1
        };
        assert!(draw(Class::Status, &one).is_ok());
        assert!(draw(Class::Status, &two).is_ok());
        assert!(draw(Class::Start, &one).is_ok());
        let refusal = draw(Class::Status, &one).unwrap_err();
        assert_eq!(refusal.message(), TOKEN_LIMIT);
        let counts = traffic.counts().of(Class::Status);
        assert_eq!(counts, ClassCounts { accepted: 2, refused: 1, faulted: 0, peak: 2 });
    }

    #[test]
    fn transfers_count_images() {
        let mut traffic = Traffic::new(&[], Faults::default(), ApiVersion::November2026);
        assert!(traffic.draw_images(RateLimitKey::Personal, 10).is_ok());
        let refusal = traffic.draw_images(RateLimitKey::Personal, 1).unwrap_err();
        assert_eq!(refusal.message(), "Source image build rate limit exceeded: 10/10 images");
        assert!(traffic.draw_images(RateLimitKey::Team("t".to_owned()), 60).is_ok());
        assert!(traffic.draw_images(RateLimitKey::Team("t".to_owned()), 1).is_err());
    }
}
