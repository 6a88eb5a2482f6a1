//! Looks up references in their registries, and prints the progress.

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure::Failure;
use super::settings::Settings;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::base::reference::RegistryRef;
use crate::base::text::{duration, plural};
use crate::http::Notice;
use crate::registry::{Credentials, Registries, RegistryCache, RegistryConfig};
use crate::state::State;
use crate::survey::{self, LookupProgress, Lookups, RegistryLookup};

/// Shortest wait that is printed.
const MIN_PRINTED_WAIT: Duration = Duration::from_secs(2);

/// A line is printed after every so many lookups.
const LOOKUPS_PER_LINE: usize = 500;

/// Creates the client of all registries, with the user's credentials.
pub(super) fn connect() -> Result<Registries, Failure> {
    Registries::new(RegistryConfig { credentials: credentials(), ..RegistryConfig::default() })
        .map_err(|error| Failure::new(format!("cannot connect to registries: {}", error.message)))
}

/// Returns the user's credentials, as Docker stores them.
pub(super) fn credentials() -> Credentials {
    let home = std::env::home_dir();
    Credentials::from_env(&|name| std::env::var_os(name), home.as_deref())
}

/// Looks up references and prints the progress.
pub(super) async fn look_up(
    ui: &Ui,
    settings: &Settings,
    max_age: Duration,
    references: BTreeMap<String, RegistryRef>,
    state: &State,
) -> Result<Lookups, Failure> {
    let registries = connect()?;
    let writer = BackgroundWriter::start(ui)?;
    let lookup = RegistryLookup {
        references,
        upgrade: false,
        registries: &registries,
        cache: RegistryCache::read(&settings.work_dir()),
        max_age,
        progress: &|progress| print(&writer, progress),
    };
    let lookups = survey::look_up(lookup, state).await;
    writer.flush().await?;
    Ok(lookups)
}

/// Prints the progress of the lookups, as far as users want to know it.
pub(super) fn print(writer: &BackgroundWriter, progress: LookupProgress<'_>) {
    if let Some(line) = line(progress) {
        writer.message(line);
    }
}

fn line(progress: LookupProgress<'_>) -> Option<String> {
    match progress {
        LookupProgress::Waiting { registry, done, total } => {
            let references = if total == 1 { "reference" } else { "references" };
            Some(format!("{done}/{total} {references} done, waiting for {registry}"))
        }
        LookupProgress::Notice(Notice::LookupDone { done, total, .. }) => {
            (done % LOOKUPS_PER_LINE == 0 && done < total)
                .then(|| format!("{done}/{} done", plural(*total, "reference")))
        }
        LookupProgress::Notice(Notice::RegistryPaused { registry, wait })
            if *wait >= MIN_PRINTED_WAIT =>
        {
            Some(format!("{registry} limits requests: paused for {}", duration(*wait)))
        }
        LookupProgress::Notice(Notice::Retry { registry: Some(registry), why, wait, .. })
            if *wait >= MIN_PRINTED_WAIT =>
        {
            Some(format!("{registry}: {why}; retry in {}", duration(*wait)))
        }
        LookupProgress::Notice(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_print_their_progress_and_long_waits() {
        let line = |notice| line(LookupProgress::Notice(&notice));
        let done = |done| Notice::LookupDone { registry: "ghcr.io".to_owned(), done, total: 600 };
        assert_eq!(line(done(499)), None);
        assert_eq!(line(done(500)).unwrap(), "500/600 references done");
        let retry = |secs| Notice::Retry {
            registry: Some("docker.io".to_owned()),
            action: "query the registry",
            class: None,
            attempt: 1,
            status: Some(503),
            why: "HTTP 503".to_owned(),
            wait: Duration::from_secs(secs),
        };
        assert_eq!(line(retry(1)), None);
        assert_eq!(line(retry(12)).unwrap(), "docker.io: HTTP 503; retry in 12s");
        let waiting = LookupProgress::Waiting { registry: "ghcr.io", done: 0, total: 3 };
        assert_eq!(super::line(waiting).unwrap(), "0/3 references done, waiting for ghcr.io");
    }
}
