//! Asks foreign registries what public references stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::note;
use crate::base::reference::RegistryRef;
use crate::http::ObserverRef;
use crate::plan::Facts;
use crate::registry::{Registries, RegistryCache, RegistryError, Resolved};
use crate::state::{Pin, State};

/// Whom to ask, and what is remembered of their answers.
pub struct RegistryLookup<'a> {
    /// The registries.
    pub registries: &'a Registries,
    /// Answers of before.
    pub cache: &'a mut RegistryCache,
    /// How old an answer may be.
    pub max_age: Duration,
}

/// Finds out what references stand for now, and adds it to the facts. What could not be asked is
/// returned: its pin stays as it is.
pub async fn resolve_references(
    wanted: BTreeMap<String, RegistryRef>,
    state: &State,
    lookup: RegistryLookup<'_>,
    facts: &mut Facts,
    tell: ObserverRef<'_>,
) -> Vec<RegistryError> {
    let RegistryLookup { registries, cache, max_age } = lookup;
    let now = Timestamp::now();
    let mut unknown = Vec::new();
    for (key, reference) in wanted {
        if let Some(remembered) = cache.get(&reference, max_age, now) {
            let age = cache.age(&reference, now).unwrap_or_default();
            let (count, oldest) = facts.remembered.unwrap_or_default();
            facts.remembered = Some((count + 1, oldest.max(age)));
            facts.pins.insert(key, pin(&remembered));
        } else {
            let pinned = state.pins.get(&key).map(resolved);
            unknown.push((reference, pinned));
        }
    }
    let answers = registries.resolve_all(&unknown, tell).await;
    let mut errors = Vec::new();
    let platforms = unknown.iter().zip(&answers).map(async |((reference, known), answer)| {
        // An image that is pinned already is known by as much as was to be found out.
        let new = answer.as_ref().ok().filter(|new| {
            new.platforms.is_empty()
                && known.as_ref().is_none_or(|known| known.digest != new.digest)
        })?;
        registries.platform(reference, new.digest, tell).await
    });
    let platforms = futures::future::join_all(platforms).await;
    for (((reference, _), answer), platform) in unknown.iter().zip(answers).zip(platforms) {
        match answer {
            Ok(mut resolved) => {
                let digest = resolved.digest;
                resolved.platforms.extend(platform.map(|platform| (platform, digest)));
                cache.remember(reference, &resolved, now);
                facts.pins.insert(reference.to_string(), pin(&resolved));
            }
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Notes what could not be asked: a registry that fails for many is told of once.
pub fn note_unknown(errors: &[RegistryError], facts: &mut Facts) {
    let mut alike: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for error in errors {
        let of = (error.reference.registry(), error.message.as_str());
        alike.entry(of).or_default().insert(error.reference.to_string());
    }
    for ((registry, message), references) in alike {
        let first = references.first().map(String::as_str).unwrap_or_default();
        let what = match references.len() {
            1 => first.to_owned(),
            many => format!("{many} references at {registry}, {first} among them"),
        };
        note(facts, format!("cannot find out what {what} stands for: {message}"));
    }
}

fn pin(resolved: &Resolved) -> Pin {
    Pin { digest: resolved.digest, platforms: resolved.platforms.clone() }
}

fn resolved(pin: &Pin) -> Resolved {
    Resolved { digest: pin.digest, platforms: pin.platforms.clone() }
}
