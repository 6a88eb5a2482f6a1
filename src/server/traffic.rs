//! What the server saw: every request in order, and its budgets. Tests and benches ask it, not the
//! client, whether a limit was kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Refusal;
use super::fault::{FaultClass, FaultKind, Faults, InjectedFault};
use super::limits::{LimitExceeded, Window};
use crate::base::limit::{Class, ClassLimit, Limit, TEAM_TRANSFER_LIMIT};

/// How many requests are remembered one by one. A server may run for months.
const LOG_LENGTH: usize = 100_000;
/// How the service words the two limits of a rate.
pub(super) const TOKEN_LIMIT: &str = "Too Many Requests (per-token limit)";
pub(super) const IMAGE_LIMIT: &str = "Image transfer rate limit exceeded: 10/10 images";

/// What the server itself counted since it started.
#[derive(Debug, Clone, Default)]
pub struct RequestCounts {
    /// By class of request; a class that saw nothing is not here, see [`Counts::of`].
    pub classes: BTreeMap<Class, ClassCounts>,
    /// Of the uploads, which have no limit: all are let through.
    pub uploads: ClassCounts,
    /// The requests in the order in which they came; the last hundred thousand.
    pub log: Vec<LoggedRequest>,
}

impl RequestCounts {
    /// What was counted of one class.
    pub fn of(&self, class: Class) -> ClassCounts {
        self.classes.get(&class).copied().unwrap_or_default()
    }
}

/// What was counted of one class: requests, or images for [`Class::Images`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// How many the limit let through.
    pub accepted: u64,
    /// How many it did not: each got a 429. The 429 of a fault is not one of these.
    pub refused: u64,
    /// How many of the accepted ones a fault struck.
    pub faulted: u64,
    /// The most that came, let through or not, in any window of the limit's length, for any one
    /// token (or account, for images). Above the limit's count: a client did not keep it.
    pub peak: u32,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// The budget it drew on; `None` for uploads, the account's endpoints and unknown paths.
    pub class: Option<Class>,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, without a query: no signature is kept.
    pub path: String,
    /// When it came, counted from the server's start.
    pub at: Duration,
    /// For an accepted initiate, `name:tag`; several between commas.
    pub image: Option<String>,
    /// How it was answered; 0 while it is not, or where a fault cut it off.
    pub status: u16,
    /// What it was struck with.
    pub fault: Option<FaultKind>,
}

/// A request's place in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

/// A request that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) ticket: Ticket,
    /// What goes wrong with it.
    pub(super) fault: Option<InjectedFault>,
}

/// Who draws on a budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum BudgetKey {
    /// A token, by its digest: the token itself is not kept.
    Token([u8; 32]),
    /// The account itself.
    Personal,
    /// A team.
    Team(String),
}

/// The log and all budgets; behind one lock, so that their order is one.
pub(super) struct Traffic {
    started: Instant,
    overrides: HashMap<Class, Limit>,
    windows: HashMap<(Class, BudgetKey), Window>,
    counts: BTreeMap<Class, ClassCounts>,
    uploads: ClassCounts,
    faults: Faults,
    /// How many requests of a class came.
    numbers: HashMap<FaultClass, u64>,
    log: VecDeque<LoggedRequest>,
    dropped: u64,
}

impl Traffic {
    pub(super) fn new(limits: &[ClassLimit], faults: Faults) -> Self {
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
        }
    }

    /// Notes that a request came, draws it on the budget of its token, and says what it is struck
    /// with. All at one moment, so that the log, the windows and the faults tell the same story.
    pub(super) fn arrived(
        &mut self,
        class: Option<FaultClass>,
        token: Option<&BudgetKey>,
        method: &str,
        path: &str,
    ) -> (Arrival, Result<(), Refusal>) {
        let now = Instant::now();
        if self.log.len() == LOG_LENGTH {
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

    /// Notes how a request was answered.
    pub(super) fn answered(&mut self, ticket: Ticket, status: u16) {
        if let Some(seen) = self.entry(ticket) {
            seen.status = status;
        }
    }

    /// Notes which image a request initiated.
    pub(super) fn initiated(&mut self, ticket: Ticket, image: String) {
        if let Some(seen) = self.entry(ticket) {
            seen.image = Some(image);
        }
    }

    fn entry(&mut self, ticket: Ticket) -> Option<&mut LoggedRequest> {
        let index = ticket.0.checked_sub(self.dropped)?;
        self.log.get_mut(usize::try_from(index).ok()?)
    }

    /// Draws images on an account's budget of transfers: all of them or none.
    pub(super) fn draw_images(&mut self, account: BudgetKey, images: u32) -> Result<(), Refusal> {
        let count = self.limit(Class::Images, &account).count;
        self.admit(Class::Images, account, Instant::now(), images).map_err(|full| {
            let used = full.used;
            let detail = format!("Image transfer rate limit exceeded: {used}/{count} images");
            Refusal::too_many(detail, full.retry_after)
        })
    }

    /// How many images an account's budget of transfers can ever hold.
    pub(super) fn images_at_most(&self, account: &BudgetKey) -> u32 {
        self.limit(Class::Images, account).count
    }

    fn admit(
        &mut self,
        class: Class,
        payer: BudgetKey,
        now: Instant,
        weight: u32,
    ) -> Result<(), LimitExceeded> {
        let window = self.window(class, payer);
        let verdict = window.admit(now, weight);
        let peak = window.peak();
        let counts = self.counts.entry(class).or_default();
        match verdict {
            Ok(()) => counts.accepted += u64::from(weight),
            Err(_) => counts.refused += u64::from(weight),
        }
        counts.peak = counts.peak.max(peak);
        verdict
    }

    fn window(&mut self, class: Class, payer: BudgetKey) -> &mut Window {
        let limit = self.limit(class, &payer);
        self.windows.entry((class, payer)).or_insert_with(|| Window::new(limit))
    }

    fn limit(&self, class: Class, payer: &BudgetKey) -> Limit {
        let default = match payer {
            BudgetKey::Team(_) => TEAM_TRANSFER_LIMIT,
            BudgetKey::Token(_) | BudgetKey::Personal => class.default_limit(),
        };
        self.overrides.get(&class).copied().unwrap_or(default)
    }

    pub(super) fn counts(&self) -> RequestCounts {
        RequestCounts {
            classes: self.counts.clone(),
            uploads: self.uploads,
            log: self.log.iter().cloned().collect(),
        }
    }

    /// What was counted of one class, without the log.
    pub(super) fn counts_of(&self, class: Class) -> ClassCounts {
        self.counts.get(&class).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_apart() {
        let limits = ["status=1/60s".parse().unwrap()];
        let mut traffic = Traffic::new(&limits, Faults::default());
        let (one, two) = (BudgetKey::Token([1; 32]), BudgetKey::Token([2; 32]));
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
        let mut traffic = Traffic::new(&[], Faults::default());
        assert!(traffic.draw_images(BudgetKey::Personal, 10).is_ok());
        let refusal = traffic.draw_images(BudgetKey::Personal, 1).unwrap_err();
        assert_eq!(refusal.message(), IMAGE_LIMIT);
        assert!(traffic.draw_images(BudgetKey::Team("t".to_owned()), 60).is_ok());
        assert!(traffic.draw_images(BudgetKey::Team("t".to_owned()), 1).is_err());
    }
}
