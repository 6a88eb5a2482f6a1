//! Checks the flags that select images, and turns them into the options of a plan.

use std::collections::BTreeSet;
use std::path::Path;

use super::args::{LookupArgs, SelectionArgs};
use super::env::env;
use super::failure::Failure;
use crate::base::input::{self, InputKind};
use crate::base::name::NameError;
use crate::base::nearest::nearest;
use crate::base::text::plural;
use crate::manifest::Workspace;
use crate::plan::{Blocked, Pattern, PlanOptions, Selection, pins, selects_nothing};
use crate::state::State;

/// Maximum number of blocked targets named in an error.
const MAX_BLOCKED_SHOWN: usize = 5;

/// Returns the environment variables that are set and change what is planned.
pub(super) fn set_variables() -> Vec<&'static str> {
    const VARIABLES: [&str; 10] = [
        "IMGPLAN_TARGET",
        "IMGPLAN_TARGET_FILE",
        "IMGPLAN_GROUP",
        "IMGPLAN_EXCLUDE",
        "IMGPLAN_EXCLUDE_FILE",
        "IMGPLAN_PARTITION",
        "IMGPLAN_REPLACE",
        "IMGPLAN_PRUNE",
        "IMGPLAN_UPGRADE",
        "IMGPLAN_UPGRADE_IMAGE",
    ];
    let is_set = |name: &&str| env(name).is_some_and(|text| !text.is_empty() && text != "false");
    VARIABLES.into_iter().filter(is_set).collect()
}

/// Fails if a flag is used together with one of the others. Each flag comes with whether it is
/// used.
pub(super) fn check_conflicts(flag: (&str, bool), others: &[(&str, bool)]) -> Result<(), Failure> {
    let (flag, used) = flag;
    let Some((other, _)) = others.iter().find(|(_, other)| used && *other) else { return Ok(()) };
    let message = format!("{flag} cannot be used with {other}");
    Err(Failure::usage(message, "omit one of them, on the command line and in the environment"))
}

/// Fails if a pattern of `--upgrade-image` matches no image, or only images without pins.
pub(super) fn check_upgrades(
    patterns: &[Pattern],
    workspace: &Workspace,
    state: &State,
) -> Result<(), Failure> {
    check_patterns("--upgrade-image", patterns, workspace, state)?;
    let has_pins = |pattern: &Pattern| {
        let matches = workspace.units.iter().filter(|unit| pattern.matches(unit));
        !pins::references(matches).is_empty()
    };
    let Some(pattern) = patterns.iter().find(|pattern| !has_pins(pattern)) else { return Ok(()) };
    let message = format!("--upgrade-image: `{pattern}` has no reference that can be pinned");
    let help = "name an image whose source or external base has no digest of its own";
    Err(Failure::usage(message, help))
}

/// Fails if pins would move in one part of several: the runs of the other parts must use the same pins.
pub(super) fn check_partition_keeps_pins(
    selection: &SelectionArgs,
    lookup: &LookupArgs,
) -> Result<(), Failure> {
    let flag = match (selection.partition, lookup.upgrade, lookup.upgrade_image.is_empty()) {
        (None, ..) | (Some(_), false, true) => return Ok(()),
        (Some(_), true, _) => "--upgrade",
        (Some(_), false, false) => "--upgrade-image PATTERN",
    };
    let name = flag.split(' ').next().unwrap_or(flag);
    let message =
        format!("--partition cannot be used with {name}: all parts must use the same pins");
    let help = format!("run `imgplan lock {flag}` first, then plan or apply the parts");
    Err(Failure::usage(message, help))
}

/// Fails if targets of a partition wait for bases. `trunk` is the command that brings the bases up to
/// date.
pub(super) fn check_blocked(
    blocked: &[Blocked],
    trunk: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if blocked.is_empty() {
        return Ok(());
    }
    let verb = if blocked.len() == 1 { "waits" } else { "wait" };
    let targets = plural(blocked.len(), "target");
    let message = format!(
        "{targets} of this part {verb} for a base that is not up to date; nothing was sent"
    );
    let line = |Blocked { unit, base }: &Blocked| format!("  {unit} waits for {base}");
    let mut lines: Vec<String> = blocked.iter().take(MAX_BLOCKED_SHOWN).map(line).collect();
    if let more @ 1.. = blocked.len().saturating_sub(MAX_BLOCKED_SHOWN) {
        lines.push(format!("  and {more} more"));
    }
    let help = format!("bring the bases up to date first: {}", trunk());
    Err(Failure::with_lines(message, lines, help))
}

impl SelectionArgs {
    /// True without a flag that selects.
    pub(super) fn selects_all(&self) -> bool {
        let Self { targets, target_file, groups, excludes, exclude_file, .. } = self;
        self.partition.is_none()
            && targets.is_empty()
            && target_file.is_empty()
            && groups.is_empty()
            && excludes.is_empty()
            && exclude_file.is_empty()
    }

    /// Returns the flags that select what these options select, without `--replace`: only part of
    /// that may remain.
    pub(super) fn from_options(options: &PlanOptions) -> Self {
        let Selection { targets, groups, excludes, partition } = options.selection.clone();
        let groups = groups.into_iter().collect();
        Self { targets, groups, excludes, partition, prune: options.prune, ..Self::default() }
    }

    /// Returns the options of a plan.
    ///
    /// # Errors
    ///
    /// Fails if a pattern, a group or the whole selection matches nothing, and if a file cannot be
    /// read.
    pub(super) fn plan_options(
        &self,
        workspace: &Workspace,
        state: &State,
    ) -> Result<PlanOptions, Failure> {
        let mut targets = self.targets.clone();
        let mut excludes = self.excludes.clone();
        for path in &self.target_file {
            targets.extend(read_patterns(path)?);
        }
        for path in &self.exclude_file {
            excludes.extend(read_patterns(path)?);
        }
        if targets.is_empty() && !self.target_file.is_empty() {
            let help = "write one pattern per line, or omit the flag to plan all images";
            return Err(Failure::with_help("the target file has no patterns", help));
        }
        check_patterns("--target", &targets, workspace, state)?;
        check_patterns("--exclude", &excludes, workspace, state)?;
        check_patterns("--replace", &self.replace, workspace, state)?;
        check_groups(&self.groups, workspace)?;
        let groups: BTreeSet<String> = self.groups.iter().cloned().collect();
        let selection = Selection { targets, groups, excludes, partition: self.partition };
        if selects_nothing(workspace, state, &selection) {
            let help = "each image is excluded, or depends on one that is excluded";
            return Err(Failure::with_help("the selection matches no image", help));
        }
        Ok(PlanOptions { replace: self.replace.clone(), prune: self.prune, selection })
    }
}

/// Reads a file with one pattern per line.
fn read_patterns(path: &Path) -> Result<Vec<Pattern>, Failure> {
    let text = input::read_text_argument(path, InputKind::TargetFile)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let mut patterns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        patterns.push(line.parse().map_err(|error: NameError| {
            let message = format!("{}:{}: {}", path.display(), index + 1, error.message);
            Failure::usage(message, error.help)
        })?);
    }
    Ok(patterns)
}

/// Fails if a pattern matches no image. It is most likely misspelled, and the plan without the
/// image that was meant would look complete.
fn check_patterns(
    flag: &str,
    patterns: &[Pattern],
    workspace: &Workspace,
    state: &State,
) -> Result<(), Failure> {
    let matches_nothing = |pattern: &&Pattern| {
        !workspace.units.iter().any(|unit| pattern.matches(unit))
            && !state.entries.keys().any(|key| pattern.matches_key(key))
    };
    let unknown: Vec<String> =
        patterns.iter().filter(matches_nothing).map(ToString::to_string).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let names: Vec<String> = workspace
        .units
        .iter()
        .flat_map(|unit| [unit.image.as_str().to_owned(), unit.key.to_string()])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let help = match nearest(first, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`imgplan graph` and `imgplan show` list the images".to_owned(),
    };
    let message = format!("{flag}: no image matches `{}`", unknown.join("`, `"));
    Err(Failure::with_help(message, help))
}

/// Fails if a group has no images.
fn check_groups(groups: &[String], workspace: &Workspace) -> Result<(), Failure> {
    let known: BTreeSet<&str> =
        workspace.units.iter().flat_map(|unit| unit.groups.iter().map(String::as_str)).collect();
    let Some(unknown) = groups.iter().find(|group| !known.contains(group.as_str())) else {
        return Ok(());
    };
    let known: Vec<&str> = known.into_iter().collect();
    let help = match (nearest(unknown, &known), known.is_empty()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, false) => format!("the groups are {}", known.join(", ")),
        (None, true) => "the manifest has no groups: add `groups:` to images".to_owned(),
    };
    Err(Failure::with_help(format!("no image is in group `{unknown}`"), help))
}
