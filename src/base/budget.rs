//! The rate limits of one run: those of the service, or a share of them if several runs use one API
//! key. Pure.

use std::time::Duration;

use super::limit::{Class, Limit, transfer_limit};
use super::name::Owner;
use super::share::Share;

/// Fraction of a window by which turns are further apart than the limit demands: for the delay of the
/// network, and for clocks that differ.
const TURN_TOLERANCE: u32 = 20;

/// The rate limits of a run: what is configured, else what the service documents, times a share.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Configured limits; the last one of a class wins.
    configured: Vec<(Class, Limit)>,
    share: Share,
    /// The number of this run among the runs that use the service at the same time, if it is known.
    run: Option<Share>,
}

/// The limit of one class for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunLimit {
    /// The limit.
    pub limit: Limit,
    /// When the run may use it, if its share is less than one request per window.
    pub turns: Option<Turns>,
}

/// The turns of a run whose share of a limit is less than one request per window. Runs that send one
/// request per lengthened window, and send it at the same moment, would exceed the limit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turns {
    /// Time from one turn of the run to its next.
    pub period: Duration,
    /// Beginning of the turns, counted from the Unix epoch, modulo the period.
    pub offset: Duration,
    /// Length of a turn: the request is sent in this time.
    pub length: Duration,
    /// Time from a turn of one run to the turn of the next run.
    pub step: Duration,
}

impl Budget {
    /// Returns the whole of these limits, and of the documented limits of all other classes.
    pub fn new(configured: Vec<(Class, Limit)>) -> Self {
        Self { configured, share: Share::WHOLE, run: None }
    }

    /// Takes a share. `run` is the number of this run among those that share the limits, if known.
    pub fn with_share(self, share: Share, run: Option<Share>) -> Self {
        Self { share, run, ..self }
    }

    /// Returns the configured limits, before they are shared.
    pub(crate) fn configured(&self) -> &[(Class, Limit)] {
        &self.configured
    }

    /// Returns the limit on requests of a class; for transfers, that of a personal account.
    pub(crate) fn of(&self, class: Class) -> RunLimit {
        self.shared(self.given(class).unwrap_or_else(|| class.default_limit()))
    }

    /// Returns the limit on transfers of an owner, counted in images. `None` means unlimited.
    pub(crate) fn of_transfers(&self, owner: &Owner) -> Option<RunLimit> {
        Some(self.shared(transfer_limit(owner, self.given(Class::Images))?))
    }

    fn given(&self, class: Class) -> Option<Limit> {
        let given = self.configured.iter().rev().find(|(limited, _)| *limited == class);
        given.map(|(_, limit)| *limit)
    }

    fn shared(&self, limit: Limit) -> RunLimit {
        share_of(limit, self.share, self.run)
    }
}

/// Returns a share of a limit: fewer requests in the same window or, if that is less than one, one
/// request in a longer window. N shares of `1/N` together never exceed the limit in any window, if each
/// of these runs has a number; without a number, a share of less than one request has no turns.
pub(crate) fn share_of(limit: Limit, share: Share, run: Option<Share>) -> RunLimit {
    let (part, parts) = (share.part(), share.parts());
    let count = u64::from(limit.count) * u64::from(part) / u64::from(parts);
    if let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) {
        return RunLimit { limit: Limit { count, ..limit }, turns: None };
    }
    // Whole numbers of runs: `2/33` leaves room for 16.
    let runs = parts / part;
    let Some(run) = run.filter(|run| run.parts() <= runs) else {
        let window = divided_up(limit.window * parts, u64::from(part) * u64::from(limit.count));
        return RunLimit { limit: Limit { count: 1, window }, turns: None };
    };
    let tolerance = limit.window / TURN_TOLERANCE;
    let step = divided_up(limit.window + tolerance, u64::from(limit.count));
    let (period, length) = (step * parts.div_ceil(part), tolerance / 2);
    let turns = Turns { period, offset: step * (run.part() - 1), length, step };
    RunLimit { limit: Limit { count: 1, window: period }, turns: Some(turns) }
}

/// Divides a time, and rounds it up to whole milliseconds.
fn divided_up(time: Duration, by: u64) -> Duration {
    let millis = time.as_nanos().div_ceil(u128::from(by.max(1)) * 1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(limit: &str, share: &str, run: Option<&str>) -> RunLimit {
        share_of(
            limit.parse().unwrap(),
            share.parse().unwrap(),
            run.map(|run| run.parse().unwrap()),
        )
    }

    #[test]
    fn a_share_has_fewer_requests_or_a_longer_window() {
        for (limit, share, expected) in [
            ("150/60s", "1/1", "150/60s"),
            ("150/60s", "1/16", "9/60s"),
            ("10/60s", "3/16", "1/60s"),
            ("10/60s", "1/10", "1/60s"),
            ("10/60s", "1/16", "1/96s"),
            ("7/60s", "1/16", "1/137.143s"),
            ("1/60s", "2/3", "1/90s"),
        ] {
            assert_eq!(shared(limit, share, None).limit.to_string(), expected, "{limit} {share}");
        }
        let turns = shared("10/60s", "1/16", Some("3/16")).turns.unwrap();
        let millis = |millis| Duration::from_millis(millis);
        let expected = Turns {
            period: millis(100_800),
            offset: millis(12_600),
            length: millis(1_500),
            step: millis(6_300),
        };
        assert_eq!(turns, expected, "5 % slower than the limit");
        assert_eq!(shared("10/60s", "1/16", Some("3/17")).turns, None, "more runs than shares");
    }

    /// Returns the times at which a run may send at worst: as soon as it may, or as late as it may.
    fn sent(run: RunLimit, late: bool, until: Duration) -> Vec<Duration> {
        let Limit { count, window } = run.limit;
        let mut times = Vec::new();
        let mut at = run.turns.map_or(Duration::ZERO, |turns| {
            turns.offset + if late { turns.length } else { Duration::ZERO }
        });
        while at < until {
            times.extend((0..count).map(|_| at));
            at += window;
        }
        times
    }

    proptest! {
        #[test]
        fn the_shares_of_all_runs_never_exceed_a_window(
            count in 1_u32..400,
            seconds in 1_u64..120,
            runs in 1_u32..80,
            late in prop::collection::vec(any::<bool>(), 80),
        ) {
            let limit = Limit { count, window: Duration::from_secs(seconds) };
            let until = limit.window * 3 + limit.window * 3 * runs / count;
            let mut times: Vec<Duration> = (1..=runs)
                .flat_map(|run| {
                    let number: Share = format!("{run}/{runs}").parse().unwrap();
                    let run_limit = share_of(limit, number.one(), Some(number));
                    sent(run_limit, late[run as usize - 1], until)
                })
                .collect();
            times.sort_unstable();
            // The service counts the requests that are less than a window apart.
            for (index, first) in times.iter().enumerate() {
                let next = times.get(index + count as usize);
                prop_assert!(
                    next.is_none_or(|next| *next >= *first + limit.window),
                    "{first:?} {next:?}"
                );
            }
        }
    }
}
