//! Finds out what planning needs, and tells meanwhile who is waited for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::args::LookupArgs;
use super::failure::Failure;
use super::registries;
use super::selection::check_upgrades;
use super::settings::Settings;
use super::ui::Ui;
use super::writer::BackgroundWriter;
use crate::api::Client;
use crate::base::name::Owner;
use crate::base::reference::RegistryRef;
use crate::base::text::{list, plural};
use crate::event::RunEvent;
use crate::manifest::Workspace;
use crate::plan::reason::short;
use crate::plan::unpinned::Unpinned;
use crate::plan::{Facts, PlanOptions, SavedPlan, pins};
use crate::registry::RegistryCache;
use crate::state::{Pin, State, StatePaths};
use crate::survey::{self, Caches, PinSource, Query, Refresh, RegistryLookup, ServiceQuery};

/// Names that stand for a long list in a message.
const MAX_NAMES_SHOWN: usize = 3;

/// Who is asked, and for what.
pub(super) struct Asking<'a> {
    pub(super) settings: &'a Settings,
    pub(super) look: &'a LookupArgs,
    pub(super) options: &'a PlanOptions,
    /// The service; `None` where it is not to be asked.
    pub(super) client: Option<&'a Client>,
    /// Who owns a new unit of which the manifest does not say.
    pub(super) owner: &'a Owner,
    /// Whether nobody at all is to be asked.
    pub(super) offline: bool,
    pub(super) paths: &'a StatePaths,
    /// Whether git left the marks of a merge in the lockfile.
    pub(super) merged: bool,
    /// The plan whose pins are those to go by.
    pub(super) saved: Option<&'a SavedPlan>,
}

impl Asking<'_> {
    /// Looks at everything that planning needs.
    pub(super) async fn facts(
        &self,
        ui: &mut Ui,
        workspace: &Workspace,
        state: &State,
        caches: Caches,
    ) -> Result<Facts, Failure> {
        check_upgrades(&self.look.upgrade_image, workspace, state)?;
        self.check_pins(workspace, state)?;
        let references = self.references(workspace, state);
        let registries = if references.is_empty() { None } else { Some(registries::connect()?) };
        let writer = BackgroundWriter::start(ui)?;
        let pins = match (self.saved, &registries) {
            (Some(saved), _) => PinSource::Saved(saved.pins()),
            (None, None) => PinSource::Lockfile,
            (None, Some(registries)) => PinSource::Registries(RegistryLookup {
                references,
                upgrade: self.look.upgrade || !self.look.upgrade_image.is_empty(),
                registries,
                cache: RegistryCache::read(&self.settings.work_dir()),
                max_age: self.look.max_age,
                progress: &|progress| registries::print(&writer, progress),
            }),
        };
        let client = self.client.map(|client| observed(client, &writer));
        let service = client.as_ref().map(|client| ServiceQuery {
            client,
            default_owner: self.owner,
            refresh: match self.look {
                LookupArgs { minimal_refresh: true, .. } => Refresh::Minimal(self.options),
                LookupArgs { refresh: true, .. } => Refresh::Full,
                _ => Refresh::None,
            },
        });
        let notes = if self.merged { merged(&self.paths.lockfile, state) } else { Vec::new() };
        let query = Query { workspace, state, caches, service, pins, notes };
        let facts = survey::facts(query).await?;
        writer.flush().await?;
        Ok(facts)
    }

    /// The references that registries are asked about: those that are to move, and, where a project
    /// has pins, those that have none yet.
    fn references(&self, workspace: &Workspace, state: &State) -> BTreeMap<String, RegistryRef> {
        let LookupArgs { upgrade, upgrade_image, locked, frozen, .. } = self.look;
        let units = workspace.units.iter();
        let mut wanted = if *upgrade {
            pins::references(units.filter(|unit| self.options.selection.wants(unit)))
        } else {
            let named = |unit: &&_| upgrade_image.iter().any(|pattern| pattern.matches(unit));
            pins::references(units.filter(named))
        };
        if !(state.pins.is_empty() || self.offline || *locked || *frozen) {
            let all = pins::references(workspace.units.iter()).into_iter();
            wanted.extend(all.filter(|(key, _)| !state.pins.contains_key(key)));
        }
        wanted
    }

    /// What `--locked` and `--frozen` ask for.
    fn check_pins(&self, workspace: &Workspace, state: &State) -> Result<(), Failure> {
        let lockfile = &self.paths.lockfile;
        if (self.look.frozen || self.look.locked) && !lockfile.exists() {
            let flag = if self.look.frozen { "--frozen" } else { "--locked" };
            let message = format!("there is no {}, and {flag} needs one", lockfile.display());
            return Err(Failure::with_help(message, "`imgplan lock` makes one; commit it"));
        }
        if self.look.locked {
            check_merged(self.merged, state, "--locked was given", lockfile)?;
            check_locked(workspace, state, "--locked was given", lockfile)?;
        }
        Ok(())
    }
}

/// What is made of a lockfile that git could not merge.
pub(super) fn merged(lockfile: &Path, state: &State) -> Vec<String> {
    let taken = match state.entry_conflicts.len() {
        0 => "all of both sides is taken".to_owned(),
        1 => "1 unit differs, and its later build is taken".to_owned(),
        many => format!("{many} units differ, and the later build of each is taken"),
    };
    let name = lockfile.display();
    let mut notes = vec![format!(
        "{name} has conflict markers of a merge: {taken}; `imgplan apply` writes it without them"
    )];
    notes.extend(state.entry_conflicts.iter().filter_map(|(key, theirs)| {
        let (ours, theirs) = (state.entries.get(key)?.pending.as_ref()?, theirs.pending.as_ref()?);
        let (ours, theirs) = (&ours.build, &theirs.build);
        (ours != theirs).then(|| {
            format!(
                "both sides of the merge have a build of {key} under way: {ours} is waited for, and \
                 {theirs} is not; if that ends later, `imgplan apply --replace {key}` makes it anew"
            )
        })
    }));
    notes.extend(state.pin_conflicts.iter().map(|(reference, theirs)| {
        let digest = |pin: &Pin| short(&pin.digest.to_string()).to_owned();
        let ours = state.pins.get(reference).map(digest).unwrap_or_default();
        let theirs = digest(theirs);
        format!(
            "the sides of the merge pin {reference} to {ours} and to {theirs}: {ours} is taken; \
             `imgplan lock --upgrade` pins what it stands for now"
        )
    }));
    notes
}

/// Settles of a merge what `imgplan lock` cannot.
const SETTLE: &str = "`imgplan apply` settles them, and so does `imgplan apply --refresh-only`";

/// Fails where git left the marks of a merge: what the lockfile says is not settled.
pub(super) fn check_merged(
    merged: bool,
    state: &State,
    why: &str,
    lockfile: &Path,
) -> Result<(), Failure> {
    if !merged {
        return Ok(());
    }
    let message = format!("{} has conflict markers of a merge, and {why}", lockfile.display());
    if state.entry_conflicts.is_empty() {
        return Err(Failure::with_help(message, "run `imgplan lock`, and commit the lockfile"));
    }
    Err(Failure::with_help(message, format!("{SETTLE}; then commit the lockfile")))
}

/// Fails where the sides of a merge do not agree on units, or on pins where these count: a command that
/// does not look at the contexts, or at what the service has, would drop one side unseen.
pub(super) fn check_settled(state: &State, pins: bool, lockfile: &Path) -> Result<(), Failure> {
    let mut names: Vec<String> = state.entry_conflicts.keys().map(ToString::to_string).collect();
    if pins {
        names.extend(state.pin_conflicts.keys().cloned());
    }
    if names.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} holds the conflicts of a merge ({}); nothing was written",
        lockfile.display(),
        list(&names, MAX_NAMES_SHOWN)
    );
    Err(Failure::with_help(message, SETTLE))
}

/// Returns the client with an observer that prints retries and waits.
fn observed(client: &Client, writer: &BackgroundWriter) -> Client {
    let writer = writer.clone();
    client.with_observer(Arc::new(move |notice| {
        writer.event(RunEvent::Notice { unit: None, notice });
    }))
}

/// Fails where the pins are not just those that the manifest needs, and names them.
pub(super) fn check_locked(
    workspace: &Workspace,
    state: &State,
    why: &str,
    lockfile: &Path,
) -> Result<(), Failure> {
    let outdated = pins::outdated(workspace, state);
    if outdated.is_empty() {
        return Ok(());
    }
    let missing = outdated.missing.iter().map(Unpinned::message);
    let unused = outdated.unused.iter().map(|key| format!("nothing needs {key}"));
    let all: Vec<String> = missing.chain(unused).collect();
    let (entries, words) = (plural(all.len(), "entry"), list(&all, MAX_NAMES_SHOWN));
    let message = format!("{} is out of date ({entries}), and {why}: {words}", lockfile.display());
    Err(Failure::with_help(message, "run `imgplan lock`, and commit the lockfile"))
}
