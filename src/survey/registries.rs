//! Looks up the digests of external references in their registries.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::base::reference::RegistryRef;
use crate::http::Notice;
use crate::plan::facts::CachedLookups;
use crate::registry::{Registries, RegistryCache, RegistryError, Resolved};
use crate::state::{Pin, State};

/// Interval of [`LookupProgress::Waiting`].
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// References to look up, and how.
pub struct RegistryLookup<'a> {
    /// The references, by their full form.
    pub references: BTreeMap<String, RegistryRef>,
    /// True if the user requested an upgrade: a plan without changes then names the age of cached
    /// lookups.
    pub upgrade: bool,
    /// Client of all registries.
    pub registries: &'a Registries,
    /// Earlier lookups. Saved afterwards.
    pub cache: RegistryCache,
    /// Maximum age of a cached lookup.
    pub max_age: Duration,
    /// Receives the progress. Must return quickly.
    pub progress: &'a (dyn Fn(LookupProgress<'_>) + Sync),
}

/// Progress of the lookups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupProgress<'a> {
    /// A lookup ended, is retried or waits.
    Notice(&'a Notice),
    /// Lookups are still running; reported every ten seconds.
    Waiting {
        /// Registry with the most running lookups, such as `ghcr.io`.
        registry: &'a str,
        /// Number of lookups that have ended.
        done: usize,
        /// Number of lookups in all.
        total: usize,
    },
}

/// Results of a lookup.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    /// Digests found, by the full form of the reference.
    pub pins: BTreeMap<String, Pin>,
    /// Number and age of the lookups answered from the cache, if an upgrade was requested.
    pub cached: Option<CachedLookups>,
    /// References that could not be looked up; their pins stay as they are.
    pub errors: Vec<RegistryError>,
}

/// Looks up references, from the cache where its entry is young enough.
pub(crate) async fn look_up(lookup: RegistryLookup<'_>, state: &State) -> Lookups {
    let RegistryLookup { references, upgrade, registries, mut cache, max_age, progress } = lookup;
    let now = Timestamp::now();
    let mut lookups = Lookups::default();
    let mut uncached = Vec::new();
    for (key, reference) in references {
        if let Some(resolved) = cache.get(&reference, max_age, now) {
            let age = cache.age(&reference, now).unwrap_or_default();
            if upgrade {
                let cached = lookups.cached.get_or_insert_default();
                cached.count += 1;
                cached.oldest = cached.oldest.max(age);
            }
            lookups.pins.insert(key, pin(&resolved));
        } else {
            let pinned = state.pins.get(&key).map(resolved_pin);
            uncached.push((reference, pinned));
        }
    }
    let running = Mutex::new(Running::new(uncached.iter().map(|(reference, _)| reference)));
    let observer = |notice: Notice| {
        if let (Notice::LookupDone { registry, .. }, Ok(mut running)) = (&notice, running.lock()) {
            running.end(registry);
        }
        progress(LookupProgress::Notice(&notice));
    };
    let heartbeat = || {
        let Ok(running) = running.lock() else { return };
        if let Some(waiting) = running.progress() {
            progress(waiting);
        }
    };
    let query = resolve(registries, &uncached, &observer);
    let answers = with_heartbeat(query, heartbeat).await;
    for ((reference, _), answer) in uncached.iter().zip(answers) {
        match answer {
            Ok(resolved) => {
                cache.insert(reference, &resolved, now);
                lookups.pins.insert(reference.to_string(), pin(&resolved));
            }
            Err(error) => lookups.errors.push(error),
        }
    }
    // The cache only saves time: a folder that cannot be written does not prevent a plan.
    let _ = cache.save(Timestamp::now());
    lookups
}

/// Looks up references with their pins, and for a new image without an index its platform.
async fn resolve(
    registries: &Registries,
    references: &[(RegistryRef, Option<Resolved>)],
    observer: &(dyn Fn(Notice) + Sync),
) -> Vec<Result<Resolved, RegistryError>> {
    let answers = registries.resolve_all(references, observer).await;
    let with_platform = async |((reference, pinned), answer): (&(_, Option<Resolved>), _)| {
        let mut resolved: Resolved = answer?;
        let is_pinned = pinned.as_ref().is_some_and(|pinned| pinned.digest == resolved.digest);
        if resolved.platforms.is_empty() && !is_pinned {
            let platform = registries.image_platform(reference, resolved.digest, observer).await?;
            resolved.platforms.extend(platform.map(|platform| (platform, resolved.digest)));
        }
        Ok(resolved)
    };
    futures::future::join_all(references.iter().zip(answers).map(with_platform)).await
}

/// Awaits a future and calls `heartbeat` at intervals meanwhile.
async fn with_heartbeat<T>(query: impl Future<Output = T>, heartbeat: impl Fn()) -> T {
    let mut query = std::pin::pin!(query);
    loop {
        match tokio::time::timeout(HEARTBEAT_INTERVAL, &mut query).await {
            Ok(output) => return output,
            Err(_) => heartbeat(),
        }
    }
}

/// Lookups that have not ended, by registry.
struct Running {
    by_registry: BTreeMap<String, usize>,
    total: usize,
}

impl Running {
    fn new<'r>(references: impl Iterator<Item = &'r RegistryRef>) -> Self {
        let mut by_registry = BTreeMap::new();
        for reference in references {
            *by_registry.entry(reference.registry().to_owned()).or_insert(0) += 1;
        }
        let total = by_registry.values().sum();
        Self { by_registry, total }
    }

    fn end(&mut self, registry: &str) {
        if let Some(running) = self.by_registry.get_mut(registry) {
            *running = running.saturating_sub(1);
        }
    }

    /// Returns the progress, unless all lookups have ended.
    fn progress(&self) -> Option<LookupProgress<'_>> {
        let running = self.by_registry.iter().filter(|(_, count)| **count > 0);
        let (registry, _) = running.max_by_key(|(_, count)| **count)?;
        let done = self.total - self.by_registry.values().sum::<usize>();
        Some(LookupProgress::Waiting { registry, done, total: self.total })
    }
}

/// Returns a note per registry and cause, however many references failed.
pub(super) fn notes(errors: &[RegistryError]) -> Vec<String> {
    let mut references: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for error in errors {
        let cause = (error.reference.registry(), error.message.as_str());
        references.entry(cause).or_default().insert(error.reference.to_string());
    }
    let note = |((registry, message), references): (_, BTreeSet<String>)| {
        let first = references.first().map(String::as_str).unwrap_or_default();
        let what = match references.len() {
            1 => first.to_owned(),
            many => format!("{many} references in {registry}, such as {first}"),
        };
        format!("cannot look up {what}: {message}")
    };
    references.into_iter().map(note).collect()
}

fn pin(resolved: &Resolved) -> Pin {
    Pin { digest: resolved.digest, platforms: resolved.platforms.clone() }
}

fn resolved_pin(pin: &Pin) -> Resolved {
    Resolved { digest: pin.digest, platforms: pin.platforms.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_the_registry_with_the_most_running_lookups() {
        let references = ["ghcr.io/a/b:1", "ghcr.io/a/c:1", "redis:7"];
        let references = references.map(|text| text.parse().unwrap());
        let mut running = Running::new(references.iter());
        let waiting = |registry, done| Some(LookupProgress::Waiting { registry, done, total: 3 });
        assert_eq!(running.progress(), waiting("ghcr.io", 0));
        running.end("ghcr.io");
        running.end("ghcr.io");
        assert_eq!(running.progress(), waiting("docker.io", 2));
        running.end("docker.io");
        assert_eq!(running.progress(), None);
    }
}
