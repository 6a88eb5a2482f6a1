//! Checks of the lockfile: conflict markers of a merge, and pins that are out of date. Pure.

use std::path::Path;

use super::failure::Failure;
use crate::base::text::{list, plural};
use crate::manifest::Workspace;
use crate::plan::reason::short;
use crate::plan::unpinned::{Unpinned, UnpinnedCause, outdated_pins};
use crate::state::{Pin, State};

/// Maximum number of conflicts or pins named in an error.
const MAX_NAMES_SHOWN: usize = 3;

/// Help for a merge that only a command with contexts and service at hand can resolve.
const RESOLVE_HELP: &str = "`imgplan apply` or `imgplan apply --refresh-only` resolves them";

/// Returns notes about a lockfile with conflict markers: which side of each conflict is used.
pub(super) fn conflict_notes(lockfile: &Path, state: &State) -> Vec<String> {
    let used = match state.entry_conflicts.len() {
        0 => "the entries of both sides are used".to_owned(),
        1 => "1 target differs, and its later build is used".to_owned(),
        many => format!("{many} targets differ, and the later build of each is used"),
    };
    let name = lockfile.display();
    let mut notes =
        vec![format!("{name} has conflict markers: {used}; `imgplan apply` removes the markers")];
    notes.extend(state.entry_conflicts.iter().filter_map(|(key, theirs)| {
        let (ours, theirs) = (state.entries.get(key)?.pending.as_ref()?, theirs.pending.as_ref()?);
        let (ours, theirs) = (&ours.build, &theirs.build);
        (ours != theirs).then(|| {
            format!(
                "both sides of the merge have a build of {key} in progress: {ours} is tracked, \
                 {theirs} is not; if {theirs} ends last, run `imgplan apply --replace {key}`"
            )
        })
    }));
    notes.extend(state.pin_conflicts.iter().map(|(reference, theirs)| {
        let digest = |pin: &Pin| short(&pin.digest.to_string()).to_owned();
        let ours = state.pins.get(reference).map(digest).unwrap_or_default();
        let theirs = digest(theirs);
        format!(
            "the sides of the merge pin {reference} to {ours} and to {theirs}: {ours} is used; \
             `imgplan lock --upgrade` pins the current digest"
        )
    }));
    notes
}

/// Fails if the lockfile has conflict markers. `flag` is the flag that forbids them.
pub(super) fn check_no_conflicts(
    has_conflict_markers: bool,
    state: &State,
    flag: &str,
    lockfile: &Path,
) -> Result<(), Failure> {
    if !has_conflict_markers {
        return Ok(());
    }
    let message = format!("{} has conflict markers, and {flag} was given", lockfile.display());
    let help = if state.entry_conflicts.is_empty() {
        "run `imgplan lock` and commit the lockfile".to_owned()
    } else {
        format!("{RESOLVE_HELP}; then commit the lockfile")
    };
    Err(Failure::with_help(message, help))
}

/// Fails if the sides of a merge differ in targets, or in pins if `pins` is true. A command that
/// knows neither the contexts nor the service would drop one side unseen.
pub(super) fn check_resolved(state: &State, pins: bool, lockfile: &Path) -> Result<(), Failure> {
    let mut names: Vec<String> = state.entry_conflicts.keys().map(ToString::to_string).collect();
    if pins {
        names.extend(state.pin_conflicts.keys().cloned());
    }
    if names.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} has unresolved merge conflicts ({}); nothing was written",
        lockfile.display(),
        list(names, MAX_NAMES_SHOWN)
    );
    Err(Failure::with_help(message, RESOLVE_HELP))
}

/// Fails if pins are missing or unused. `flag` is the flag that asks for this check.
pub(super) fn check_pins(
    workspace: &Workspace,
    state: &State,
    flag: &str,
    lockfile: &Path,
) -> Result<(), Failure> {
    let outdated = outdated_pins(workspace, state);
    if outdated.is_empty() {
        return Ok(());
    }
    let missing = outdated.missing.iter().map(Unpinned::message);
    let unused = outdated.unused.iter().map(|key| format!("{key} is no longer used"));
    let problems: Vec<String> = missing.chain(unused).collect();
    let message = format!(
        "{} is out of date ({}), and {flag} was given: {}",
        lockfile.display(),
        plural(problems.len(), "entry"),
        list(problems, MAX_NAMES_SHOWN)
    );
    Err(Failure::with_help(message, "run `imgplan lock` and commit the lockfile"))
}

/// Fails if the project uses pins and some are missing. A run of a partition does not pin: the runs of the
/// other parts could get other digests.
pub(super) fn check_no_missing_pins(
    workspace: &Workspace,
    state: &State,
    lockfile: &Path,
) -> Result<(), Failure> {
    let mut missing = outdated_pins(workspace, state).missing;
    // Other references cannot be pinned, or their pin is the same for all parts.
    missing.retain(|unpinned| unpinned.cause == UnpinnedCause::Unknown);
    if state.pins.is_empty() || missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} has no pin for {}, and a run with --partition adds none: {}",
        lockfile.display(),
        plural(missing.len(), "reference"),
        list(missing.iter().map(Unpinned::message), MAX_NAMES_SHOWN)
    );
    Err(Failure::with_help(
        message,
        "run `imgplan lock` first, so that all parts use the same pins",
    ))
}
