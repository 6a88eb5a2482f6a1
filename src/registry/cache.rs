//! The cache of registry lookups, in `.imgplan/registry-cache` (JSON). It can be deleted at any time.

use std::collections::BTreeMap;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::registries::Resolved;
use crate::base::file::{AtPath, PathError};
use crate::base::input::InputKind;
use crate::base::reference::RegistryRef;
use crate::base::work_dir::{WorkDir, WorkName};

/// Version of the format. A file of another version is ignored.
const VERSION: u32 = 1;

/// Age at which an entry is removed from the file.
const MAX_ENTRY_AGE: Duration = Duration::from_secs(90 * 86_400);

/// Results of registry lookups, by the full form of the reference.
#[derive(Debug)]
pub struct RegistryCache {
    work: PathBuf,
    entries: BTreeMap<String, CacheEntry>,
    is_changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CacheEntry {
    #[serde(flatten)]
    resolved: Resolved,
    /// Time of the lookup.
    asked: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct CacheDocument<Entries> {
    version: u32,
    #[serde(rename = "answers")]
    entries: Entries,
}

impl RegistryCache {
    /// Reads the cache in `work_dir` (`.imgplan`). The cache is empty if the file is missing, damaged or
    /// of another version.
    pub fn read(work_dir: &Path) -> Self {
        let entries = read_entries(work_dir).unwrap_or_default();
        Self { work: work_dir.to_owned(), entries, is_changed: false }
    }

    /// Returns the cached result for a reference. `None` if there is none, if it is older than
    /// `max_age`, or if its time is in the future, which means that a clock was wrong.
    pub fn get(
        &self,
        reference: &RegistryRef,
        max_age: Duration,
        now: Timestamp,
    ) -> Option<Resolved> {
        let entry = self.entries.get(&reference.to_string())?;
        (entry.age(now)? <= max_age).then(|| entry.resolved.clone())
    }

    /// Returns the age of the cached result for a reference.
    pub fn age(&self, reference: &RegistryRef, now: Timestamp) -> Option<Duration> {
        self.entries.get(&reference.to_string())?.age(now)
    }

    /// Adds the result of a lookup at the time `now`.
    pub fn insert(&mut self, reference: &RegistryRef, resolved: &Resolved, now: Timestamp) {
        let entry = CacheEntry { resolved: resolved.clone(), asked: now };
        self.entries.insert(reference.to_string(), entry);
        self.is_changed = true;
    }

    /// Writes the file if an entry was added. Removes entries older than 90 days.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(&mut self, now: Timestamp) -> Result<(), PathError> {
        if !self.is_changed {
            return Ok(());
        }
        self.entries.retain(|_, entry| entry.age(now).unwrap_or_default() <= MAX_ENTRY_AGE);
        let work = WorkDir::create(&self.work)?;
        let document = CacheDocument { version: VERSION, entries: &self.entries };
        let text = serde_json::to_vec(&document).map_err(Into::into);
        let text = text.at("write", &work.path_of(WorkName::REGISTRY_CACHE))?;
        work.replace_cache(&WorkName::REGISTRY_CACHE, &[&text])?;
        self.is_changed = false;
        Ok(())
    }
}

impl CacheEntry {
    /// Returns the age of the entry. `None` if its time is in the future.
    fn age(&self, now: Timestamp) -> Option<Duration> {
        Duration::try_from(now.duration_since(self.asked)).ok()
    }
}

fn read_entries(work_dir: &Path) -> Option<BTreeMap<String, CacheEntry>> {
    let work = WorkDir::open(work_dir).ok()??;
    let bytes = work.read(&WorkName::REGISTRY_CACHE, InputKind::RegistryCache).ok()??;
    // Check the version before the entries: another version may have another form of them.
    let document: CacheDocument<serde_json::Value> = serde_json::from_slice(&bytes).ok()?;
    if document.version != VERSION {
        return None;
    }
    serde_json::from_value(document.entries).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::name::Platform;
    use crate::base::reference::OciDigest;

    fn resolved(text: &str) -> Resolved {
        let digest = OciDigest::of(text.as_bytes());
        Resolved { digest, platforms: [(Platform::Arm64, digest)].into() }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn entries_are_used_up_to_their_maximum_age() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(".imgplan");
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let [redis, other] = ["redis:7", "ghcr.io/a/b"].map(|text| text.parse().unwrap());
        let mut cache = RegistryCache::read(&dir);
        cache.save(now).unwrap();
        assert!(!dir.exists(), "an empty cache needs no file");
        cache.insert(&redis, &resolved("1"), now);
        cache.insert(&redis, &resolved("2"), now);
        cache.save(now).unwrap();
        assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), "*\n");

        let cache = RegistryCache::read(&dir);
        let same: RegistryRef = "docker.io/library/redis:7".parse().unwrap();
        assert_eq!(cache.get(&same, HOUR, now + HOUR), Some(resolved("2")));
        assert_eq!(cache.get(&redis, HOUR, now + HOUR + Duration::from_secs(1)), None);
        assert_eq!(cache.age(&redis, now + HOUR), Some(HOUR));
        assert_eq!(cache.get(&redis, HOUR, now - HOUR), None, "a clock was wrong");
        assert_eq!(cache.get(&redis, Duration::MAX, now + MAX_ENTRY_AGE), Some(resolved("2")));
        assert_eq!(cache.get(&other, HOUR, now), None);
    }

    #[test]
    fn old_entries_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let [old, new] = ["old", "new"].map(|text| text.parse::<RegistryRef>().unwrap());
        let mut cache = RegistryCache::read(dir.path());
        cache.insert(&old, &resolved("1"), now - MAX_ENTRY_AGE - HOUR);
        cache.insert(&new, &resolved("1"), now - MAX_ENTRY_AGE + HOUR);
        cache.save(now).unwrap();
        let cache = RegistryCache::read(dir.path());
        let cached = |reference| cache.get(reference, Duration::MAX, now);
        assert_eq!((cached(&old), cached(&new)), (None, Some(resolved("1"))));
    }

    #[test]
    fn a_damaged_file_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let redis: RegistryRef = "redis".parse().unwrap();
        let mut cache = RegistryCache::read(dir.path());
        cache.insert(&redis, &resolved("1"), now);
        cache.save(now).unwrap();
        let path = dir.path().join("registry-cache");
        let good = fs::read_to_string(&path).unwrap();
        let cached = || RegistryCache::read(dir.path()).get(&redis, HOUR, now);
        assert!(cached().is_some());
        for bad in [
            good.replacen(":1", ":2", 1),
            good.replace("sha256:", "sha512:"),
            good.replace("linux/", "plan9/"),
            good[..good.len() / 2].to_owned(),
            String::new(),
            "{\"version\":1}".to_owned(),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(cached().is_none(), "{bad}");
        }
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(cached().is_none());
    }
}
