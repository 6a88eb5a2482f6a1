//! Copies of shards as they were before a run: what `imgplan state history` lists, and what an operator
//! puts back by hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::object::PutError;
use super::objects::Objects;
use super::shard::{Holder, ShardId};

/// Number of runs whose copies are kept: those of three nights with 16 runs each.
const KEPT_RUNS: usize = 50;

/// Maximum number of copies that a run removes: more than it keeps.
const MAX_REMOVED: usize = 200;

/// Folder of the copies.
const FOLDER: &str = "history";

/// Suffix of the description of a run.
const RUN_SUFFIX: &str = "run.json";

/// Suffix of the copy of a shard.
const COPY_SUFFIX: &str = ".gz";

/// The copies of one run.
#[derive(Debug)]
pub(super) struct RunHistory {
    /// Names of its objects begin with the time and the ID of the run.
    name: String,
    /// True once the description of the run is kept; the first copy follows it.
    is_described: AtomicBool,
}

/// A run that changed the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastRun {
    /// The run.
    pub(crate) holder: Holder,
    /// The shards that it changed.
    pub(crate) shards: Vec<String>,
}

impl RunHistory {
    pub(super) fn of(holder: &Holder) -> Self {
        let time = holder.since.strftime("%Y-%m-%dT%H-%M-%SZ");
        Self { name: format!("{time}-{}", holder.run), is_described: AtomicBool::new(false) }
    }

    /// Keeps a shard as it was before the run.
    ///
    /// # Errors
    ///
    /// Fails with the error of the store.
    pub(super) async fn keep(
        &self,
        objects: &Objects,
        shard: ShardId,
        before: &[u8],
        holder: &Holder,
    ) -> Result<(), String> {
        if !self.is_described.load(Ordering::Relaxed) {
            let run = serde_json::to_vec(holder).unwrap_or_default();
            self.put(objects, RUN_SUFFIX, run).await?;
            self.is_described.store(true, Ordering::Relaxed);
        }
        self.put(objects, &format!("{shard}{COPY_SUFFIX}"), before.to_vec()).await
    }

    async fn put(&self, objects: &Objects, suffix: &str, bytes: Vec<u8>) -> Result<(), String> {
        let name = format!("{FOLDER}/{}.{suffix}", self.name);
        match objects.put_if(&name, bytes, None).await {
            // Another shard wrote the description, or a lost response was repeated.
            Ok(_) | Err(PutError::Conflict) => Ok(()),
            Err(PutError::Failed(error)) => Err(error.to_string()),
        }
    }
}

/// Returns the last runs that changed the state, the latest one first. A run of which no description
/// can be read is left out.
///
/// # Errors
///
/// Fails with the error of the store.
pub(super) async fn past_runs(objects: &Objects) -> Result<Vec<PastRun>, String> {
    let mut runs = Vec::new();
    for (run, suffixes) in kept(objects).await?.into_iter().rev().take(KEPT_RUNS) {
        let read = objects.get(&format!("{FOLDER}/{run}.{RUN_SUFFIX}")).await;
        let Some((bytes, _)) = read.map_err(|error| error.to_string())? else { continue };
        let Ok(holder) = serde_json::from_slice(&bytes) else { continue };
        let shards = suffixes.iter().filter_map(|suffix| suffix.strip_suffix(COPY_SUFFIX));
        runs.push(PastRun { holder, shards: shards.map(str::to_owned).collect() });
    }
    Ok(runs)
}

/// Removes the copies of all but the last runs, after a run that kept some. Stops at the first error, for
/// example without permission, and after some copies: the next run goes on.
pub(super) async fn prune(objects: &Objects, run: &RunHistory) {
    if !run.is_described.load(Ordering::Relaxed) {
        return;
    }
    let Ok(runs) = kept(objects).await else { return };
    let old = runs.len().saturating_sub(KEPT_RUNS);
    let names = runs.into_iter().take(old).flat_map(|(run, suffixes)| {
        suffixes.into_iter().map(move |suffix| format!("{FOLDER}/{run}.{suffix}"))
    });
    for name in names.take(MAX_REMOVED) {
        if objects.delete(&name).await.is_err() {
            return;
        }
    }
}

/// Returns the suffixes of the objects of each run, the earliest one first: names begin with the time.
async fn kept(objects: &Objects) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut runs = BTreeMap::<String, Vec<String>>::new();
    for name in objects.list(FOLDER).await.map_err(|error| error.to_string())? {
        if let Some((run, suffix)) = name.split_once('.') {
            runs.entry(run.to_owned()).or_default().push(suffix.to_owned());
        }
    }
    Ok(runs)
}
