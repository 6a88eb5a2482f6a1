//! Counts what a plan asks of the service, and for how long the service's limits alone hold it up.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::words::count;
use super::{PlanView, elapsed};
use crate::base::kind::ImageKind;
use crate::base::limit::{Class, Limit, transfer_limit};
use crate::base::name::{ImageRef, Owner};
use crate::base::size::bytes;
use crate::base::source_ref::SourceRef;
use crate::manifest::workspace::Origin;
use crate::plan::{Action, Create, Step};

/// What a plan asks of the service.
#[derive(Debug, Default)]
pub(super) struct Cost {
    builds: usize,
    /// Bytes of files to pack.
    context: u64,
    transfers: BTreeMap<Owner, Transfers>,
    starts: usize,
    updates: usize,
    deletions: usize,
}

/// Transfers of one owner.
#[derive(Debug, Clone, Copy, Default)]
struct Transfers {
    /// Those that go alone, since a list of sources has no place for names.
    alone: usize,
    /// Those that share requests.
    shared: usize,
}

/// Updates that one request has at most (`api.md` §1), and transfers, roughly: their list may be as
/// long as a URL.
const SHARED: usize = 100;

impl Transfers {
    fn count(self) -> usize {
        self.alone + self.shared
    }

    /// The fewest requests: none asks for more than may leave at once.
    fn requests(self, limit: Option<Limit>) -> usize {
        let most = limit.map_or(SHARED, |limit| SHARED.min(limit.count.max(1) as usize));
        self.alone + self.shared.div_ceil(most)
    }
}

/// Requests of one budget.
#[derive(Debug)]
struct Load {
    what: String,
    count: usize,
    limit: Limit,
}

impl Load {
    /// How long it takes at least until the last of them may leave: each window lets so many
    /// through, the first at once.
    fn least(&self) -> Duration {
        let windows = self.count.div_ceil(self.limit.count.max(1) as usize).saturating_sub(1);
        self.limit.window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    }

    /// How long they take at the pace of the limit.
    fn pace(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "only compared")]
        let count = self.count as f64;
        self.limit.window.as_secs_f64() * count / f64::from(self.limit.count.max(1))
    }
}

impl Cost {
    /// What a plan asks for.
    pub(super) fn of(view: &PlanView<'_>) -> Self {
        let mut cost = Self::default();
        for step in &view.plan.steps {
            match &step.action {
                Action::Create(make) => cost.make(view, step, make),
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

    fn make(&mut self, view: &PlanView<'_>, step: &Step, make: &Create) {
        match make.kind {
            ImageKind::Build => {
                self.builds += 1;
                self.starts += 1;
                let context = view.facts.context(make.unit);
                self.context += context.map_or(0, |context| context.tree.size());
            }
            ImageKind::Mirror => {
                let built = view.state.entries.get(&step.key).and_then(|it| it.built.as_ref());
                let recorded = built.map(|built| &built.owner);
                let said = view.workspace.unit(make.unit).owner.as_ref();
                let owner = said.or(recorded).unwrap_or(view.owner);
                let transfers = self.transfers.entry(owner.clone()).or_default();
                match &view.workspace.unit(make.unit).origin {
                    Origin::Mirror(source) if lands(source, owner, &step.key) => {
                        transfers.shared += 1;
                    }
                    _ => transfers.alone += 1,
                }
            }
        }
    }

    fn transferred(&self) -> usize {
        self.transfers.values().map(|transfers| transfers.count()).sum()
    }

    /// How many requests of each budget, but for the listings that show how things get on.
    fn requests(&self, images: Option<Limit>) -> [(Class, usize); 4] {
        let transfers = self.transfers.iter();
        let asked =
            transfers.map(|(owner, it)| it.requests(transfer_limit(owner, images))).sum::<usize>();
        [
            (Class::Initiate, self.builds + asked),
            (Class::Start, self.starts),
            (Class::Update, self.updates.div_ceil(SHARED)),
            (Class::Delete, self.deletions),
        ]
    }

    /// The budget that holds up the plan for longest.
    fn tightest(&self, limits: &[(Class, Limit)]) -> Option<Load> {
        let given = |class| given(limits, class);
        let load = |(class, count): (Class, usize)| {
            let limit = given(class).unwrap_or_else(|| class.default_limit());
            Load { what: class.to_string(), count, limit }
        };
        let requests = self.requests(given(Class::Images));
        let transfers = self.transfers.iter().filter_map(|(owner, of)| {
            let limit = transfer_limit(owner, given(Class::Images))?;
            let what = match (self.transfers.len(), owner) {
                (1, _) => "transfers".to_owned(),
                (_, owner) => format!("transfers of {owner}"),
            };
            Some(Load { what, count: of.count(), limit })
        });
        let all = requests.into_iter().map(load).chain(transfers);
        let all = all.filter(|load| load.count > 0);
        all.max_by(|a, b| a.least().cmp(&b.least()).then(a.pace().total_cmp(&b.pace())))
    }

    /// All of it in words; `None` where the service is asked for nothing.
    pub(super) fn words(&self, limits: &[(Class, Limit)]) -> Option<String> {
        let tightest = self.tightest(limits)?;
        let mut parts = Vec::new();
        if self.builds > 0 {
            let size = bytes(self.context);
            parts.push(format!("{} with {size} of context to pack", count(self.builds, "build")));
        }
        let others = [
            (self.transferred(), "transfer"),
            (self.updates, "update"),
            (self.deletions, "deletion"),
        ];
        parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| count(*n, word)));
        let Load { what, count: load, limit } = &tightest;
        let requests = self.requests(given(limits, Class::Images)).map(|(_, count)| count);
        let requests = count(requests.iter().sum(), "request");
        let tightest = match tightest.least() {
            Duration::ZERO => format!("{what}: {load} of {limit}"),
            least => format!("{what}: {load} at {limit}, at least {}", elapsed(least)),
        };
        parts.push(format!("about {requests} ({tightest})"));
        Some(format!("Cost: {}.", parts.join(", ")))
    }
}

/// The limit that was given for a class.
fn given(limits: &[(Class, Limit)], class: Class) -> Option<Limit> {
    limits.iter().rev().find(|(of, _)| *of == class).map(|(_, limit)| *limit)
}

/// Whether the service itself gives a transfer its name.
fn lands(source: &SourceRef, owner: &Owner, key: &ImageRef) -> bool {
    let derived = source.destination(*owner == Owner::Platform);
    derived.is_ok_and(|(name, tag)| name == key.name && tag == key.tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(cost: &Cost, limits: &[&str]) -> String {
        let limit = |text: &&str| {
            let given: crate::base::limit::ClassLimit = text.parse().unwrap();
            (given.class, given.limit)
        };
        cost.words(&limits.iter().map(limit).collect::<Vec<_>>()).unwrap_or_default()
    }

    fn transfers(counts: &[(Owner, usize)]) -> Cost {
        let of = |(owner, shared): &(Owner, usize)| {
            (owner.clone(), Transfers { alone: 0, shared: *shared })
        };
        Cost { transfers: counts.iter().map(of).collect(), ..Cost::default() }
    }

    #[test]
    fn the_tightest_limit_is_named() {
        let team = Owner::Team("t".to_owned());
        let mixed = Cost { builds: 3, context: 1_200_000, starts: 3, ..Cost::default() };
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
            // The first ten leave at once, the last after eleven windows.
            (
                transfers(&[(Owner::Personal, 120)]),
                &[],
                "120 transfers, about 12 requests (transfers: 120 at 10/60s, at least 11m00s)",
            ),
            // The platform's are not counted, but the requests are, and those with a name of their
            // own share none.
            (
                transfers(&[(Owner::Platform, 301)]),
                &[],
                "301 transfers, about 4 requests (initiate: 4 of 150/60s)",
            ),
            (
                Cost {
                    transfers: [(Owner::Platform, Transfers { alone: 301, shared: 0 })].into(),
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
            let words = words(cost, limits);
            assert_eq!(words.trim_start_matches("Cost: ").trim_end_matches('.'), *expected);
        }
    }
}
