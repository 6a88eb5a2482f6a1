//! Counts the requests of a plan, and the least time that the service's rate limits allow for them.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PlanView;
use crate::base::budget::Budget;
use crate::base::kind::ImageKind;
use crate::base::limit::{Class, Limit};
use crate::base::name::{ImageRef, Owner};
use crate::base::size::bytes;
use crate::base::source_ref::SourceRef;
use crate::base::text::{duration, plural};
use crate::manifest::workspace::Origin;
use crate::plan::{Action, Create, Step};

/// Work of a plan at the service.
#[derive(Debug, Default)]
pub(super) struct Cost {
    builds: usize,
    /// Size of all contexts to pack.
    context_bytes: u64,
    transfers: BTreeMap<Owner, TransferCounts>,
    starts: usize,
    updates: usize,
    deletions: usize,
    /// Durations of the last builds and transfers of its targets, in seconds.
    last: LastDurations,
}

/// Builds that all took less time are not mentioned.
const MIN_SECONDS_SHOWN: u64 = 5;

/// Recorded durations, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct LastDurations {
    count: u64,
    sum: u64,
    longest: u64,
}

impl LastDurations {
    fn add(&mut self, seconds: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(seconds);
        self.longest = self.longest.max(seconds);
    }

    /// Returns the durations as a sentence; `None` if none is recorded that is worth a sentence.
    fn text(self) -> Option<String> {
        let mean =
            self.sum.checked_div(self.count).filter(|_| self.longest >= MIN_SECONDS_SHOWN)?;
        let time = |seconds| duration(Duration::from_secs(seconds));
        let (mean, longest) = (time(mean), time(self.longest));
        Some(if self.count == 1 {
            format!(" The last one took {longest}.")
        } else {
            format!(" The last ones took {mean} on average, {longest} at most.")
        })
    }
}

/// Transfers of one owner.
#[derive(Debug, Clone, Copy, Default)]
struct TransferCounts {
    /// Transfers with a request each: a list of sources cannot carry names.
    single: usize,
    /// Transfers that share requests.
    batched: usize,
}

/// Maximum number of updates in one request (API contract, section 1). Transfers share it as an
/// estimate: their list is limited by its length.
const MAX_BATCH_SIZE: usize = 100;

impl TransferCounts {
    fn count(self) -> usize {
        self.single + self.batched
    }

    /// Smallest number of requests. No batch is larger than the rate limit.
    fn requests(self, limit: Option<Limit>) -> usize {
        let batch =
            limit.map_or(MAX_BATCH_SIZE, |limit| MAX_BATCH_SIZE.min(limit.count.max(1) as usize));
        self.single + self.batched.div_ceil(batch)
    }
}

/// Requests under one rate limit.
#[derive(Debug)]
struct Load {
    name: String,
    count: usize,
    limit: Limit,
}

impl Load {
    /// Least time until the last request may be sent: the first window is sent at once.
    fn min_duration(&self) -> Duration {
        let windows = self.count.div_ceil(self.limit.count.max(1) as usize).saturating_sub(1);
        self.limit.window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    }

    /// Seconds that the requests take at the average rate of the limit.
    fn seconds_at_rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "only compared")]
        let count = self.count as f64;
        self.limit.window.as_secs_f64() * count / f64::from(self.limit.count.max(1))
    }
}

impl Cost {
    /// Counts the work of a plan.
    pub(super) fn of(view: &PlanView<'_>) -> Self {
        let mut cost = Self::default();
        for step in &view.plan.steps {
            match &step.action {
                Action::Create(create) => {
                    let built = view.state.entries.get(&step.key).and_then(|it| it.built.as_ref());
                    if let Some(seconds) = built.and_then(|built| built.seconds) {
                        cost.last.add(seconds);
                    }
                    cost.add(view, step, create);
                }
                Action::Adopt { start, then, .. } => {
                    cost.starts += usize::from(*start);
                    cost.updates += usize::from(then.is_some());
                }
                Action::Update { .. } => cost.updates += 1,
                Action::Forget { .. } => {}
                Action::Delete { .. } => cost.deletions += 1,
            }
        }
        cost
    }

    fn add(&mut self, view: &PlanView<'_>, step: &Step, create: &Create) {
        match create.kind {
            ImageKind::Build => {
                self.builds += 1;
                self.starts += 1;
                let context = view.facts.context(create.unit);
                self.context_bytes += context.map_or(0, |context| context.tree.size());
            }
            ImageKind::Mirror => {
                let built = view.state.entries.get(&step.key).and_then(|it| it.built.as_ref());
                let recorded = built.map(|built| &built.owner);
                let unit = view.workspace.unit(create.unit);
                let owner = unit.owner.as_ref().or(recorded).unwrap_or(&view.owner.owner);
                let transfers = self.transfers.entry(owner.clone()).or_default();
                match &unit.origin {
                    Origin::Mirror(source) if has_default_name(source, owner, &step.key) => {
                        transfers.batched += 1;
                    }
                    _ => transfers.single += 1,
                }
            }
        }
    }

    fn transferred(&self) -> usize {
        self.transfers.values().map(|transfers| transfers.count()).sum()
    }

    /// Number of requests of each class, without the listings that poll for progress.
    fn requests(&self, budget: &Budget) -> [(Class, usize); 4] {
        let transfers = self.transfers.iter();
        let limit = |owner| budget.of_transfers(owner).map(|run| run.limit);
        let transfers = transfers.map(|(owner, it)| it.requests(limit(owner))).sum::<usize>();
        [
            (Class::Initiate, self.builds + transfers),
            (Class::Start, self.starts),
            (Class::Update, self.updates.div_ceil(MAX_BATCH_SIZE)),
            (Class::Delete, self.deletions),
        ]
    }

    /// The rate limit that delays the plan for longest.
    fn tightest(&self, budget: &Budget) -> Option<Load> {
        let load = |(class, count): (Class, usize)| Load {
            name: class.to_string(),
            count,
            limit: budget.of(class).limit,
        };
        let requests = self.requests(budget);
        let transfers = self.transfers.iter().filter_map(|(owner, counts)| {
            let limit = budget.of_transfers(owner)?.limit;
            let name = match self.transfers.len() {
                1 => "transfers".to_owned(),
                _ => format!("transfers of {owner}"),
            };
            Some(Load { name, count: counts.count(), limit })
        });
        let all = requests.into_iter().map(load).chain(transfers);
        let all = all.filter(|load| load.count > 0);
        all.max_by(|a, b| {
            a.min_duration()
                .cmp(&b.min_duration())
                .then(a.seconds_at_rate().total_cmp(&b.seconds_at_rate()))
        })
    }

    /// Returns the cost as a line of text; `None` if the plan sends nothing to the service.
    pub(super) fn text(&self, budget: &Budget) -> Option<String> {
        let tightest = self.tightest(budget)?;
        let mut parts = Vec::new();
        if self.builds > 0 {
            let size = bytes(self.context_bytes);
            parts.push(format!("{} with {size} of context to pack", plural(self.builds, "build")));
        }
        let rest = [
            (self.transferred(), "transfer"),
            (self.updates, "update"),
            (self.deletions, "deletion"),
        ];
        parts.extend(rest.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| plural(*n, noun)));
        let Load { name, count, limit } = &tightest;
        let requests = self.requests(budget).map(|(_, count)| count);
        let requests = plural(requests.iter().sum(), "request");
        let tightest = match tightest.min_duration() {
            Duration::ZERO => format!("{name}: {count} of {limit}"),
            least => format!("{name}: {count} at {limit}, at least {}", duration(least)),
        };
        parts.push(format!("about {requests} ({tightest})"));
        Some(format!("Cost: {}.{}", parts.join(", "), self.last.text().unwrap_or_default()))
    }
}

/// True if the service derives the name of a target from its source.
fn has_default_name(source: &SourceRef, owner: &Owner, key: &ImageRef) -> bool {
    let derived = source.destination(*owner == Owner::Platform);
    derived.is_ok_and(|(name, tag)| name == key.name && tag == key.tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cost: &Cost, limits: &[&str]) -> String {
        let limit = |text: &&str| {
            let limit: crate::base::limit::ClassLimit = text.parse().unwrap();
            (limit.class, limit.limit)
        };
        cost.text(&Budget::new(limits.iter().map(limit).collect())).unwrap_or_default()
    }

    fn transfers(counts: &[(Owner, usize)]) -> Cost {
        let counts = counts.iter().map(|(owner, batched)| {
            (owner.clone(), TransferCounts { single: 0, batched: *batched })
        });
        Cost { transfers: counts.collect(), ..Cost::default() }
    }

    #[test]
    fn the_durations_of_the_last_builds_are_told() {
        let text = |seconds: &[u64]| {
            let mut last = LastDurations::default();
            for &seconds in seconds {
                last.add(seconds);
            }
            last.text().unwrap_or_default()
        };
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[4, 0]), "");
        assert_eq!(text(&[185]), " The last one took 3m05s.");
        assert_eq!(text(&[10, 30]), " The last ones took 20s on average, 30s at most.");
        assert!(text(&[u64::MAX, u64::MAX]).starts_with(" The last ones took "));
    }

    #[test]
    fn the_tightest_limit_is_named() {
        let team = Owner::Team("t".to_owned());
        let mixed = Cost { builds: 3, context_bytes: 1_200_000, starts: 3, ..Cost::default() };
        let table: &[(Cost, &[&str], &str)] = &[
            (Cost::default(), &[], ""),
            (
                mixed,
                &[],
                "3 builds with 1.2 MB of context to pack, about 6 requests (initiate: 3 of 150/60s)",
            ),
            (
                transfers(&[(Owner::Personal, 10)]),
                &[],
                "10 transfers, about 1 request (transfers: 10 of 10/60s)",
            ),
            // The first ten are sent at once, the last after eleven windows.
            (
                transfers(&[(Owner::Personal, 120)]),
                &[],
                "120 transfers, about 12 requests (transfers: 120 at 10/60s, at least 11m00s)",
            ),
            // Transfers of the platform are not limited, but their requests are; transfers with
            // names of their own share none.
            (
                transfers(&[(Owner::Platform, 301)]),
                &[],
                "301 transfers, about 4 requests (initiate: 4 of 150/60s)",
            ),
            (
                Cost {
                    transfers: [(Owner::Platform, TransferCounts { single: 301, batched: 0 })]
                        .into(),
                    ..Cost::default()
                },
                &[],
                "301 transfers, about 301 requests (initiate: 301 at 150/60s, at least 2m00s)",
            ),
            (
                transfers(&[(Owner::Personal, 30), (team.clone(), 90)]),
                &[],
                "120 transfers, about 5 requests (transfers of personal: 30 at 10/60s, at least \
                 2m00s)",
            ),
            (
                transfers(&[(team, 4)]),
                &["images=2/1s", "images=1/1s"],
                "4 transfers, about 4 requests (transfers: 4 at 1/1s, at least 3.0s)",
            ),
            (
                Cost { updates: 120, deletions: 2, ..Cost::default() },
                &["delete=1/30s"],
                "120 updates, 2 deletions, about 4 requests (delete: 2 at 1/30s, at least 30s)",
            ),
        ];
        for (cost, limits, expected) in table {
            let text = text(cost, limits);
            assert_eq!(text.trim_start_matches("Cost: ").trim_end_matches('.'), *expected);
        }
    }
}
