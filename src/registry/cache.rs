//! Keeps what references pointed to, and when that was asked, so that it need not be asked again soon:
//! `.imgplan/registry-cache`, JSON. A cache: without it, all is asked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::registries::Resolved;
use crate::base::file::{self, PathError};
use crate::base::reference::RegistryRef;

/// The file's name in `.imgplan`.
const FILE: &str = "registry-cache";

/// Raised when older programs would misread the file; they ask anew then, as we do of theirs.
const VERSION: u32 = 1;

/// No file of ours is longer: some 200,000 references.
const MOST_BYTES: u64 = 64 << 20;

/// What was not asked for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(90 * 86_400);

/// Answers of registries, by the full form of what was asked.
#[derive(Debug)]
pub struct RegistryCache {
    path: PathBuf,
    answers: BTreeMap<String, Remembered>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    resolved: Resolved,
    asked: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Text<Answers> {
    version: u32,
    answers: Answers,
}

impl RegistryCache {
    /// Reads the file in the folder `dir`, which is `.imgplan`. One that is broken, or of another
    /// version, is as none.
    pub fn read(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let answers = read(&path).unwrap_or_default();
        Self { path, answers, changed: false }
    }

    /// What a reference pointed to when it was asked last, if that was no longer ago than `max_age`.
    /// An answer from the future is none: a clock was wrong.
    pub fn get(
        &self,
        reference: &RegistryRef,
        max_age: Duration,
        now: Timestamp,
    ) -> Option<Resolved> {
        let remembered = self.answers.get(&reference.to_string())?;
        let age = Duration::try_from(now.duration_since(remembered.asked)).ok()?;
        (age <= max_age).then(|| remembered.resolved.clone())
    }

    /// How long ago a reference was asked for last.
    pub fn age(&self, reference: &RegistryRef, now: Timestamp) -> Option<Duration> {
        let remembered = self.answers.get(&reference.to_string())?;
        Duration::try_from(now.duration_since(remembered.asked)).ok()
    }

    /// Takes in an answer that came at `now`.
    pub fn remember(&mut self, reference: &RegistryRef, resolved: &Resolved, now: Timestamp) {
        let remembered = Remembered { resolved: resolved.clone(), asked: now };
        self.answers.insert(reference.to_string(), remembered);
        self.changed = true;
    }

    /// Writes the file, if there is anything new, without what was not asked for 90 days.
    pub fn save(&mut self, now: Timestamp) -> Result<(), PathError> {
        if !self.changed {
            return Ok(());
        }
        let age = |asked| Duration::try_from(now.duration_since(asked)).unwrap_or_default();
        self.answers.retain(|_, remembered| age(remembered.asked) <= FORGOTTEN);
        if let Some(dir) = self.path.parent() {
            file::create_work_dir(dir)?;
        }
        let text = Text { version: VERSION, answers: &self.answers };
        file::replace_with(&self.path, |file| {
            let mut buffered = std::io::BufWriter::new(file);
            serde_json::to_writer(&mut buffered, &text)?;
            std::io::Write::flush(&mut buffered)
        })?;
        self.changed = false;
        Ok(())
    }
}

fn read(path: &Path) -> Option<BTreeMap<String, Remembered>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    // The version first: the rest may have another form.
    let text: Text<serde_json::Value> = serde_json::from_slice(&bytes).ok()?;
    if text.version != VERSION {
        return None;
    }
    serde_json::from_value(text.answers).ok()
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
    fn answers_are_remembered_for_as_long_as_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join(".imgplan");
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let [redis, other] = ["redis:7", "ghcr.io/a/b"].map(|text| text.parse().unwrap());
        let mut memory = RegistryCache::read(&dir);
        memory.save(now).unwrap();
        assert!(!dir.exists(), "nothing to say");
        memory.remember(&redis, &resolved("1"), now);
        memory.remember(&redis, &resolved("2"), now);
        memory.save(now).unwrap();
        assert_eq!(fs::read_to_string(dir.join(".gitignore")).unwrap(), "*\n");

        let memory = RegistryCache::read(&dir);
        let same: RegistryRef = "docker.io/library/redis:7".parse().unwrap();
        assert_eq!(memory.get(&same, HOUR, now + HOUR), Some(resolved("2")));
        assert_eq!(memory.get(&redis, HOUR, now + HOUR + Duration::from_secs(1)), None);
        assert_eq!(memory.age(&redis, now + HOUR), Some(HOUR));
        assert_eq!(memory.get(&redis, HOUR, now - HOUR), None, "a clock was wrong");
        assert_eq!(memory.get(&redis, Duration::MAX, now + FORGOTTEN), Some(resolved("2")));
        assert_eq!(memory.get(&other, HOUR, now), None);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let [old, new] = ["old", "new"].map(|text| text.parse::<RegistryRef>().unwrap());
        let mut memory = RegistryCache::read(dir.path());
        memory.remember(&old, &resolved("1"), now - FORGOTTEN - HOUR);
        memory.remember(&new, &resolved("1"), now - FORGOTTEN + HOUR);
        memory.save(now).unwrap();
        let memory = RegistryCache::read(dir.path());
        let known = |reference| memory.get(reference, Duration::MAX, now);
        assert_eq!((known(&old), known(&new)), (None, Some(resolved("1"))));
    }

    #[test]
    fn a_broken_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let redis: RegistryRef = "redis".parse().unwrap();
        let mut memory = RegistryCache::read(dir.path());
        memory.remember(&redis, &resolved("1"), now);
        memory.save(now).unwrap();
        let path = dir.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let known = || RegistryCache::read(dir.path()).get(&redis, HOUR, now);
        assert!(known().is_some());
        for bad in [
            good.replacen(":1", ":2", 1),
            good.replace("sha256:", "sha512:"),
            good.replace("linux/", "plan9/"),
            good[..good.len() / 2].to_owned(),
            String::new(),
            "{\"version\":1}".to_owned(),
        ] {
            fs::write(&path, &bad).unwrap();
            assert!(known().is_none(), "{bad}");
        }
        fs::write(&path, [0xff; 64]).unwrap();
        assert!(known().is_none());
    }
}
