//! Finds out what became of transfers of which the answer does not say it: it was lost, or speaks of
//! something else. The service has no key by which it would know a request that comes twice, so it
//! is looked for by name and time before it is asked for again.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Desk;
use super::batch;
use super::request::{Ask, Sorted};
use crate::api::poll::{self, Listing, Lookup, Wanted};
use crate::api::{Accepted, ApiError, BuildView, ErrorKind};
use crate::base::name::{BuildId, ImageRef};
use crate::run::dispatch::StepFailure;
use crate::run::step::{api_failure, failure};

/// Waits before further looks, where a gateway answered in the service's place or nobody did: what it
/// gave up on may yet take effect.
const FURTHER: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(12)];

/// After so long a request of an earlier run is taken for lost where the service shows no builds that
/// would tell. A transfer that is made twice lands on its tag twice, and no more.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(15);

/// What a look found.
#[derive(Default)]
struct Looked {
    found: Vec<(Ask, Accepted)>,
    not_there: Vec<Ask>,
    /// Transfers that it cannot tell of, and why.
    unknown: Vec<(Ask, StepFailure)>,
}

impl Desk {
    /// What an error means for each of a request's transfers.
    pub(in crate::run) async fn not_answered(&self, batch: Vec<Ask>, error: &ApiError) -> Sorted {
        let bulk = batch.len() > 1;
        match error.kind {
            ErrorKind::Lost | ErrorKind::Server | ErrorKind::BadAnswer => {
                tokio::time::sleep(error.look_after.unwrap_or_default()).await;
                self.look_for(batch, error).await
            }
            // One may be at fault, or the service takes no lists.
            ErrorKind::Rejected | ErrorKind::NotFound if bulk => {
                let again = batch.into_iter().map(|ask| Ask { alone: true, ..ask }).collect();
                Sorted { again, ..Sorted::default() }
            }
            _ => {
                let failed = batch.into_iter().map(|ask| (ask, api_failure(error, None)));
                Sorted { failed: failed.collect(), ..Sorted::default() }
            }
        }
    }

    /// Looks for transfers whose answer was lost; those that are not there are asked for again.
    async fn look_for(&self, batch: Vec<Ask>, error: &ApiError) -> Sorted {
        // The service itself knows what it did not do.
        let own = error.kind == ErrorKind::Server && !matches!(error.status, Some(502 | 504));
        let further = if own { &[][..] } else { &FURTHER };
        let mut looked = self.look(batch, Some(error)).await;
        let mut sorted = Sorted::default();
        for wait in further {
            sorted.accepted.append(&mut looked.found);
            sorted.failed.append(&mut looked.unknown);
            if looked.not_there.is_empty() {
                break;
            }
            tokio::time::sleep(*wait).await;
            looked = self.look(looked.not_there, Some(error)).await;
        }
        sorted.accepted.append(&mut looked.found);
        sorted.failed.append(&mut looked.unknown);
        for ask in looked.not_there {
            if !ask.may_fail_again() {
                sorted.failed.push((ask, api_failure(error, None)));
                continue;
            }
            // A list whose answer is lost twice may be what the service is in trouble with.
            let alone = ask.alone || ask.failures > 0;
            sorted.again.push(Ask { alone, ..ask.failed() });
        }
        sorted
    }

    /// Looks for transfers that an earlier run asked for, and that it could not find out about.
    pub(in crate::run) async fn of_earlier(&self, batch: Vec<Ask>) -> Sorted {
        let looked = self.look(batch, None).await;
        let mut sorted = Sorted::default();
        for (ask, accepted) in looked.found {
            if ask.unanswered.is_some_and(|earlier| !earlier.same) {
                // It stays on record as asked for: the next plan finds it.
                let message =
                    format!("build {} of what it was before is under way", accepted.build);
                let help = "the next apply waits for its end, and asks then".to_owned();
                let failure = failure(&message, Some(help), None);
                sorted.failed.push((ask, StepFailure { pending: true, ..failure }));
            } else {
                sorted.accepted.push((ask, accepted));
            }
        }
        sorted.again.extend(looked.not_there);
        for (ask, failure) in looked.unknown {
            let age = ask.unanswered.map(|earlier| Timestamp::now().duration_since(earlier.at));
            if age.is_some_and(|age| age > FORGOTTEN) {
                sorted.again.push(ask);
            } else {
                sorted.failed.push((ask, failure));
            }
        }
        sorted.again.iter_mut().for_each(|ask| ask.unanswered = None);
        sorted
    }

    /// Finds out about transfers of which an answer that was a success does not speak. `spare` are
    /// the builds in it that are nobody's yet. They are not asked for again: they may be there.
    pub(in crate::run) async fn unsaid(&self, batch: Vec<Ask>, spare: Vec<BuildId>) -> Sorted {
        let named = self.names(&spare).await;
        let of: HashMap<&ImageRef, &BuildId> =
            named.iter().map(|(build, unit)| (unit, build)).collect();
        let mut sorted = Sorted::default();
        let mut rest = Vec::new();
        for ask in batch {
            match of.get(&ask.unit) {
                Some(&build) => {
                    let accepted = bare(build.clone(), None, &ask.source);
                    sorted.accepted.push((ask, accepted));
                }
                None => rest.push(ask),
            }
        }
        let looked = self.look(rest, None).await;
        sorted.accepted.extend(looked.found);
        sorted.failed.extend(looked.unknown);
        let unsaid = |ask| {
            let message = "the service's answer does not say what became of it";
            (ask, unknown(failure(message, None, None)))
        };
        sorted.failed.extend(looked.not_there.into_iter().map(unsaid));
        sorted
    }

    /// One look for transfers; `error` is what their request met.
    async fn look(&self, batch: Vec<Ask>, error: Option<&ApiError>) -> Looked {
        let mut looked = Looked::default();
        if batch.is_empty() {
            return looked;
        }
        let wanted: Vec<Wanted> = batch
            .iter()
            .map(|ask| Wanted {
                name: ask.unit.name.to_string(),
                tag: ask.unit.tag.to_string(),
                owner: ask.submission.owner.clone(),
                since: ask.unanswered.map_or(ask.submission.at, |earlier| earlier.at),
            })
            .collect();
        let answers = match poll::find(&self.client, &wanted, &self.known()).await {
            Ok(answers) => answers,
            Err(looking) => {
                let why = unknown(api_failure(error.unwrap_or(&looking), None));
                looked.unknown = batch.into_iter().map(|ask| (ask, why.clone())).collect();
                return looked;
            }
        };
        for (ask, answer) in batch.into_iter().zip(answers) {
            match answer {
                Lookup::Found(BuildView { build: Some(build), path, .. }) => {
                    let accepted = bare(build, path, &ask.source);
                    looked.found.push((ask, accepted));
                }
                Lookup::Found(_) | Lookup::Unknown => {
                    let message = "the listing of builds does not show what became of it";
                    let listing = || failure(message, None, None);
                    let why = error.map_or_else(listing, |error| api_failure(error, None));
                    // That one transfer is in doubt says nothing of the others.
                    looked.unknown.push((ask, StepFailure { stops_run: false, ..unknown(why) }));
                }
                Lookup::NotThere => looked.not_there.push(ask),
            }
        }
        looked
    }

    /// Checks whose builds those of one list are, where the answer did not say: by the names that
    /// the service gives them. The first and the last tell whether its order is ours; only where it
    /// is not, all are asked for. What cannot be asked is checked when the build has ended.
    pub(in crate::run) async fn by_name(&self, accepted: &mut [(Ask, Accepted)]) {
        let guessed = |part: &&(Ask, Accepted)| part.1.source.is_none();
        let all: Vec<&(Ask, Accepted)> = accepted.iter().filter(guessed).collect();
        let [first, .., last] = all[..] else { return };
        let named = self.names(&[first.1.build.clone(), last.1.build.clone()]).await;
        let is_right = |(ask, part): &(Ask, Accepted)| {
            named.get(&part.build).is_none_or(|name| *name == ask.unit)
        };
        if is_right(first) && is_right(last) {
            return;
        }
        let units: Vec<(ImageRef, BuildId)> =
            all.iter().map(|(ask, part)| (ask.unit.clone(), part.build.clone())).collect();
        let builds: Vec<BuildId> = units.iter().map(|(_, build)| build.clone()).collect();
        let named = self.names(&builds).await;
        let Some(right) = batch::by_name(&units, &named) else { return };
        let guessed = accepted.iter_mut().filter(|part| part.1.source.is_none());
        for ((_, part), build) in guessed.zip(right) {
            if part.build != build {
                // The one path of such an answer belongs to whichever build came first.
                *part = Accepted { build, path: None, ..part.clone() };
            }
        }
    }

    /// What the service calls the images of some builds.
    async fn names(&self, builds: &[BuildId]) -> HashMap<BuildId, ImageRef> {
        let name = |(build, answer): (BuildId, Result<BuildView, ApiError>)| {
            let (name, tag) = answer.ok()?.image?;
            Some((build, ImageRef { name: name.parse().ok()?, tag: tag.parse().ok()? }))
        };
        let looks = poll::look(&self.client, builds, &mut Listing::quick()).await;
        looks.into_iter().filter_map(name).collect()
    }
}

/// A build of which only this much is known.
fn bare(build: BuildId, path: Option<String>, source: &str) -> Accepted {
    let (upload, expires_in, visibility) = (None, None, None);
    Accepted { build, path, upload, expires_in, visibility, source: Some(source.to_owned()) }
}

/// It stays on record as asked for: the next apply looks for it first.
fn unknown(failure: StepFailure) -> StepFailure {
    let help = "whether the service took it is not known: the next apply looks for it first, and \
                asks again after a quarter of an hour";
    StepFailure { pending: true, help: Some(help.to_owned()), ..failure }
}
