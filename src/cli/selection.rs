//! Which units a plan is about, and how much is asked for it: the flags that `plan`, `why` and `apply`
//! share, and what they mean.

use std::collections::BTreeSet;
use std::path::Path;

use super::args::{LookupArgs, SelectionArgs};
use super::env::env;
use super::failure::Failure;
use crate::base::name::ImageRef;
use crate::base::nearest::nearest;
use crate::manifest::Workspace;
use crate::plan::{self, Pattern, Selection, pins};
use crate::state::State;

impl LookupArgs {
    /// Fails where two flags contradict each other. By their values: a variable of the environment
    /// that says `false` says nothing.
    pub(super) fn check(&self, offline: bool) -> Result<(), Failure> {
        let images = !self.upgrade_image.is_empty();
        let upgrades = [("--upgrade", self.upgrade), ("--upgrade-image", images)];
        apart(("--locked", self.locked), &[("--frozen", self.frozen)])?;
        for one in [("--locked", self.locked), ("--frozen", self.frozen), ("--offline", offline)] {
            apart(one, &upgrades)?;
        }
        Ok(())
    }
}

/// The variables of the environment that say what to plan, as far as they say anything.
pub(super) fn variables() -> Vec<&'static str> {
    let all = [
        "IMGPLAN_TARGET",
        "IMGPLAN_TARGET_FILE",
        "IMGPLAN_GROUP",
        "IMGPLAN_EXCLUDE",
        "IMGPLAN_EXCLUDE_FILE",
        "IMGPLAN_REPLACE",
        "IMGPLAN_PRUNE",
        "IMGPLAN_UPGRADE",
        "IMGPLAN_UPGRADE_IMAGE",
    ];
    let says = |name: &&str| env(name).is_some_and(|text| !text.is_empty() && text != "false");
    all.into_iter().filter(says).collect()
}

/// Fails where a flag is on, and one of others that it cannot be used with.
pub(super) fn apart(one: (&str, bool), others: &[(&str, bool)]) -> Result<(), Failure> {
    let Some((other, _)) = others.iter().find(|(_, on)| one.1 && *on) else { return Ok(()) };
    let message = format!("{} cannot be used with {other}", one.0);
    Err(Failure::usage(message, "leave one out, on the command line and in the environment"))
}

/// Fails where a pattern of --upgrade-image names no image, or none that could be pinned.
pub(super) fn check_upgrades(
    patterns: &[Pattern],
    workspace: &Workspace,
    state: &State,
) -> Result<(), Failure> {
    Known { workspace, state }.check("--upgrade-image", patterns)?;
    let pinned = |pattern: &Pattern| {
        let named = workspace.units.iter().filter(|unit| pattern.matches(unit));
        !pins::references(named).is_empty()
    };
    let Some(none) = patterns.iter().find(|pattern| !pinned(pattern)) else { return Ok(()) };
    let help = "name an image whose source or base has no digest of its own";
    Err(Failure::usage(
        format!("--upgrade-image `{none}` names nothing that could be pinned"),
        help,
    ))
}

impl SelectionArgs {
    /// The flags that say what these options are, but for what was to be made again: of that only some may be left.
    pub(super) fn of(options: &plan::PlanOptions) -> Self {
        let Selection { targets, groups, excludes } = options.selection.clone();
        let groups = groups.into_iter().collect();
        Self { targets, groups, excludes, prune: options.prune, ..Self::default() }
    }

    /// What the flags and the files that they name say, if it means something here.
    pub(super) fn options(
        &self,
        workspace: &Workspace,
        state: &State,
    ) -> Result<plan::PlanOptions, Failure> {
        let mut targets = self.targets.clone();
        let mut excludes = self.excludes.clone();
        for path in &self.target_file {
            targets.extend(read(path)?);
        }
        for path in &self.exclude_file {
            excludes.extend(read(path)?);
        }
        if targets.is_empty() && !self.target_file.is_empty() {
            let help = "name an image a line, or leave the flag out for all";
            return Err(Failure::usage("the target file names no image", help));
        }
        let known = Known { workspace, state };
        known.check("--target", &targets)?;
        known.check("--exclude", &excludes)?;
        known.check("--replace", &self.replace)?;
        known.check_groups(&self.groups)?;
        let groups: BTreeSet<String> = self.groups.iter().cloned().collect();
        let selection = Selection { targets, groups, excludes };
        Ok(plan::PlanOptions { replace: self.replace.clone(), prune: self.prune, selection })
    }
}

/// Patterns of a file, one a line.
fn read(path: &Path) -> Result<Vec<Pattern>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let mut patterns = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        patterns.push(line.parse().map_err(|error: crate::base::name::NameError| {
            let at = format!("{}:{}: {}", path.display(), index + 1, error.message);
            Failure::usage(at, error.help)
        })?);
    }
    Ok(patterns)
}

/// What patterns may mean.
struct Known<'a> {
    workspace: &'a Workspace,
    state: &'a State,
}

impl Known<'_> {
    /// A pattern that means nothing is most likely a slip, and a plan without what was meant looks
    /// as if all were well.
    fn check(&self, flag: &str, patterns: &[Pattern]) -> Result<(), Failure> {
        let gone: Vec<&ImageRef> = self.state.entries.keys().collect();
        let lost: Vec<&Pattern> = patterns
            .iter()
            .filter(|pattern| {
                !self.workspace.units.iter().any(|unit| pattern.matches(unit))
                    && !gone.iter().any(|key| pattern.matches_key(key))
            })
            .collect();
        let Some(first) = lost.first() else { return Ok(()) };
        let words: Vec<String> = lost.iter().map(|pattern| format!("`{pattern}`")).collect();
        let units = self.workspace.units.iter();
        let names: Vec<String> =
            units.flat_map(|unit| [unit.image.as_str().to_owned(), unit.key.to_string()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let help = match nearest(&first.to_string(), &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`imgplan validate` and `imgplan show` name what there is".to_owned(),
        };
        let message = format!("{flag} {}: there is no such image", words.join(", "));
        Err(Failure { exit: super::failure::Exit::Usage, ..Failure::with_help(message, help) })
    }

    fn check_groups(&self, groups: &[String]) -> Result<(), Failure> {
        let known: BTreeSet<&str> = self
            .workspace
            .units
            .iter()
            .flat_map(|unit| unit.groups.iter().map(String::as_str))
            .collect();
        let Some(lost) = groups.iter().find(|group| !known.contains(group.as_str())) else {
            return Ok(());
        };
        let known: Vec<&str> = known.into_iter().collect();
        let help = match (nearest(lost, &known), known.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, false) => format!("the groups are {}", known.join(", ")),
            (None, true) => "the manifest has no groups: add `groups:` to images".to_owned(),
        };
        Err(Failure::usage(format!("no image is in a group `{lost}`"), help))
    }
}
