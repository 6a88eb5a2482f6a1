//! Asks foreign registries for what references stand for, and keeps their answers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use super::failure::Failure;
use super::settings::Settings;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::base::reference::RegistryRef;
use crate::base::text::duration;
use crate::http::Notice;
use crate::plan::Facts;
use crate::registry::{Credentials, Registries, RegistryCache, RegistryConfig, RegistryError};
use crate::state::State;
use crate::survey::{self, RegistryLookup};

/// A wait that people want to know of.
const LONG: Duration = Duration::from_secs(2);

/// How often it is told that something is still waited for.
const EVERY: Duration = Duration::from_secs(10);

/// Finds out what references stand for now. What could not be found out is returned.
pub(super) async fn ask(
    ui: &Ui,
    settings: &Settings,
    max_age: Duration,
    wanted: BTreeMap<String, RegistryRef>,
    state: &State,
    facts: &mut Facts,
) -> Result<Vec<RegistryError>, Failure> {
    let home = std::env::home_dir();
    let credentials = Credentials::from_env(&|name| std::env::var_os(name), home.as_deref());
    let registries =
        Registries::new(RegistryConfig { credentials, ..RegistryConfig::default() })
            .map_err(|broken| Failure::new(format!("cannot ask registries: {}", broken.message)))?;
    let mut cache = RegistryCache::read(&settings.work_dir());
    let writer = BackgroundWriter::start(ui)?;
    let now = Timestamp::now();
    let unknown = wanted.values().filter(|wanted| cache.get(wanted, max_age, now).is_none());
    let waiting = Mutex::new(Waiting::of(unknown));
    let tell = |notice| {
        let Ok(mut waiting) = waiting.lock() else { return };
        if let Some(line) = waiting.hear(&notice) {
            writer.message(line);
        }
    };
    let from = RegistryLookup { registries: &registries, cache: &mut cache, max_age };
    let still = || {
        let line = waiting.lock().ok().and_then(|waiting| waiting.line());
        if let Some(line) = line {
            writer.message(line);
        }
    };
    let errors =
        telling(survey::resolve_references(wanted, state, from, facts, &tell), still).await;
    writer.flush().await?;
    // It only saves time: a folder that cannot be written is no reason not to plan.
    let _ = cache.save(Timestamp::now());
    Ok(errors)
}

/// Waits for what is asked, and tells now and then that it does.
async fn telling<T>(asked: impl Future<Output = T>, still: impl Fn()) -> T {
    let mut asked = std::pin::pin!(asked);
    loop {
        match tokio::time::timeout(EVERY, &mut asked).await {
            Ok(answers) => return answers,
            Err(_) => still(),
        }
    }
}

/// Who is waited for.
struct Waiting {
    /// By registry, the references that have no answer yet.
    left: BTreeMap<String, usize>,
    done: usize,
    of: usize,
}

impl Waiting {
    fn of<'r>(wanted: impl Iterator<Item = &'r RegistryRef>) -> Self {
        let mut left = BTreeMap::new();
        for reference in wanted {
            *left.entry(reference.registry().to_owned()).or_insert(0) += 1;
        }
        let of = left.values().sum();
        Self { left, done: 0, of }
    }

    /// Takes in what happened, and says what people want to know of it.
    fn hear(&mut self, notice: &Notice) -> Option<String> {
        match notice {
            Notice::LookupDone { registry, done, total } => {
                if let Some(left) = self.left.get_mut(registry) {
                    *left = left.saturating_sub(1);
                }
                (self.done, self.of) = (*done, *total);
                (done % 500 == 0 && done < total)
                    .then(|| format!("Asked registries for {done} of {total} references"))
            }
            Notice::RegistryPaused { registry, wait } if *wait >= LONG => {
                Some(format!("{registry} asks for a pause of {}", duration(*wait)))
            }
            Notice::Retry { registry: Some(registry), why, wait, .. } if *wait >= LONG => {
                Some(format!("{registry}: {why}; asked again in {}", duration(*wait)))
            }
            _ => None,
        }
    }

    /// How far it is, and whom most of what is left is asked of.
    fn line(&self) -> Option<String> {
        let (host, _) =
            self.left.iter().filter(|(_, left)| **left > 0).max_by_key(|(_, left)| **left)?;
        let Self { done, of, .. } = self;
        let references = if *of == 1 { "reference" } else { "references" };
        Some(format!("{done} of {of} {references}, waiting for {host}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_is_told() {
        let texts = ["ghcr.io/a/b:1", "ghcr.io/a/c:1", "redis:7"];
        let wanted = texts.map(|text| text.parse().unwrap());
        let mut waiting = Waiting::of(wanted.iter());
        assert_eq!(waiting.line().unwrap(), "0 of 3 references, waiting for ghcr.io");
        let answered = |registry: &str, done| Notice::LookupDone {
            registry: registry.to_owned(),
            done,
            total: 3,
        };
        assert_eq!(waiting.hear(&answered("ghcr.io", 1)), None);
        assert_eq!(waiting.hear(&answered("ghcr.io", 2)), None);
        assert_eq!(waiting.line().unwrap(), "2 of 3 references, waiting for docker.io");
        let retry = |secs| Notice::Retry {
            registry: Some("docker.io".to_owned()),
            action: "query the registry",
            class: None,
            attempt: 1,
            status: Some(503),
            why: "HTTP 503".to_owned(),
            wait: Duration::from_secs(secs),
        };
        assert_eq!(waiting.hear(&retry(1)), None);
        assert_eq!(waiting.hear(&retry(12)).unwrap(), "docker.io: HTTP 503; asked again in 12s");
        waiting.hear(&answered("docker.io", 3));
        assert_eq!(waiting.line(), None);
    }
}
