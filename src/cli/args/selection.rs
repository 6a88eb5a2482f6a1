//! Flags shared by `plan`, `why` and `apply`: which images to plan, and what to look up for it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{duration, named};
use crate::plan::{Partition, Pattern};

/// The images to plan, and the actions allowed on them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Selection")]
pub(in crate::cli) struct SelectionArgs {
    /// Only matching images and the bases they need
    ///
    /// A pattern is `name`, `name:tag` or `label=value`; `*` matches any characters. Bases are
    /// included only if they are not up to date. May be repeated.
    #[arg(long = "target", value_name = "PATTERN", env = "IMGPLAN_TARGET", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) targets: Vec<Pattern>,
    /// Read `--target` patterns from a file, one per line
    ///
    /// Text after `#` is a comment.
    #[arg(long, value_name = "FILE", env = "IMGPLAN_TARGET_FILE", hide_short_help = true)]
    pub(in crate::cli) target_file: Vec<PathBuf>,
    /// Only images of this group and the bases they need
    ///
    /// May be repeated.
    #[arg(long = "group", value_name = "GROUP", env = "IMGPLAN_GROUP", value_delimiter = ',')]
    pub(in crate::cli) groups: Vec<String>,
    /// Leave out matching images and their dependents
    ///
    /// May be repeated, and used together with `--target` and `--group`.
    #[arg(long = "exclude", value_name = "PATTERN", env = "IMGPLAN_EXCLUDE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) excludes: Vec<Pattern>,
    /// Read `--exclude` patterns from a file, one per line
    ///
    /// Text after `#` is a comment.
    #[arg(long, value_name = "FILE", env = "IMGPLAN_EXCLUDE_FILE", hide_short_help = true)]
    pub(in crate::cli) exclude_file: Vec<PathBuf>,
    /// Only one part of the selected targets
    ///
    /// `trunk` has the targets that others are built on. `hash:K/N` and `slice:K/N` have one of N parts
    /// of the rest, K from 1 to N: by a digest of `name:tag`, or every Nth. Apply `trunk` first; then
    /// the N parts may run at the same time.
    #[arg(long, value_name = "PART", env = "IMGPLAN_PARTITION", value_parser = named::<Partition>,
          hide_short_help = true)]
    pub(in crate::cli) partition: Option<Partition>,
    /// Force a rebuild of matching images
    ///
    /// Images built on them are rebuilt too. May be repeated.
    #[arg(long = "replace", value_name = "PATTERN", env = "IMGPLAN_REPLACE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) replace: Vec<Pattern>,
    /// Delete images that the manifest no longer has
    ///
    /// Without this flag, imgplan only forgets them: they are dropped from the lockfile and stay
    /// in the service.
    #[arg(long, env = "IMGPLAN_PRUNE", help_heading = "Planning")]
    pub(in crate::cli) prune: bool,
}

/// Requests to the service and to registries before planning.
// One flag of the command line each.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(in crate::cli) struct LookupArgs {
    /// Compare the lockfile with the service first
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
          env = "IMGPLAN_REFRESH", help_heading = "Planning", hide_possible_values = true)]
    pub(in crate::cli) refresh: bool,
    /// Refresh only images that are about to change
    #[arg(
        long,
        env = "IMGPLAN_MINIMAL_REFRESH",
        help_heading = "Planning",
        hide_short_help = true
    )]
    pub(in crate::cli) minimal_refresh: bool,
    /// Move all pins to the current digests
    ///
    /// Registries are asked for the current digest of every source and external base. Without
    /// this flag, existing pins do not move.
    #[arg(long, env = "IMGPLAN_UPGRADE")]
    pub(in crate::cli) upgrade: bool,
    /// Move only the pins of matching images
    ///
    /// May be repeated.
    #[arg(long, value_name = "PATTERN", env = "IMGPLAN_UPGRADE_IMAGE", value_delimiter = ',',
          value_parser = named::<Pattern>, hide_short_help = true)]
    pub(in crate::cli) upgrade_image: Vec<Pattern>,
    /// Maximum age of cached registry lookups
    ///
    /// A number and a unit: 0s, 5m, 1h.
    #[arg(long, value_name = "D", default_value = "5m", env = "IMGPLAN_MAX_AGE",
          value_parser = duration, hide_short_help = true)]
    pub(in crate::cli) max_age: Duration,
    /// Fail if the pins in the lockfile are out of date
    #[arg(long, env = "IMGPLAN_LOCKED")]
    pub(in crate::cli) locked: bool,
    /// Use the pins in the lockfile without asking registries
    ///
    /// Fails if there is no lockfile.
    #[arg(long, env = "IMGPLAN_FROZEN", hide_short_help = true)]
    pub(in crate::cli) frozen: bool,
}
