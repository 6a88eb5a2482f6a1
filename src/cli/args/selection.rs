//! Flags that select images and say what is looked up, shared by `plan`, `why` and `apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{duration, named};
use crate::plan::Pattern;

/// Which units, and what of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(in crate::cli) struct SelectionArgs {
    /// Only these and what they need that is not current: a name, `name:tag` or `label=value`, with
    /// `*` for any run of characters; may be repeated
    #[arg(long = "target", value_name = "PATTERN", env = "IMGPLAN_TARGET", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) targets: Vec<Pattern>,
    /// The same from a file: one a line, `#` begins a comment
    #[arg(long, value_name = "FILE", env = "IMGPLAN_TARGET_FILE")]
    pub(in crate::cli) target_file: Vec<PathBuf>,
    /// Only the images of this group, likewise; may be repeated
    #[arg(long = "group", value_name = "GROUP", env = "IMGPLAN_GROUP", value_delimiter = ',')]
    pub(in crate::cli) groups: Vec<String>,
    /// Not these, and nothing that needs them; may be repeated
    #[arg(long = "exclude", value_name = "PATTERN", env = "IMGPLAN_EXCLUDE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) excludes: Vec<Pattern>,
    /// The same from a file
    #[arg(long, value_name = "FILE", env = "IMGPLAN_EXCLUDE_FILE")]
    pub(in crate::cli) exclude_file: Vec<PathBuf>,
    /// Make these again though nothing changed, and what is built on them; may be repeated
    #[arg(long = "replace", value_name = "PATTERN", env = "IMGPLAN_REPLACE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) replace: Vec<Pattern>,
    /// Delete images that the manifest no longer has; without it they are only forgotten
    #[arg(long, env = "IMGPLAN_PRUNE")]
    pub(in crate::cli) prune: bool,
}

/// Who is asked, and what for.
// Each is a flag of its own on the command line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct LookupArgs {
    /// Whether to ask the service what became of the images on record
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true",
          num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
          env = "IMGPLAN_REFRESH")]
    pub(in crate::cli) refresh: bool,
    /// Ask the service only about images that are to be changed anyway
    #[arg(long, env = "IMGPLAN_MINIMAL_REFRESH")]
    pub(in crate::cli) minimal_refresh: bool,
    /// Ask registries what sources and bases stand for now, and go by that
    #[arg(long, env = "IMGPLAN_UPGRADE")]
    pub(in crate::cli) upgrade: bool,
    /// The same for some images only; may be repeated
    #[arg(long, value_name = "PATTERN", env = "IMGPLAN_UPGRADE_IMAGE", value_delimiter = ',',
          value_parser = named::<Pattern>)]
    pub(in crate::cli) upgrade_image: Vec<Pattern>,
    /// How old an answer of a registry may be: 1h, 0s
    #[arg(long, value_name = "D", default_value = "5m", env = "IMGPLAN_MAX_AGE",
          value_parser = duration)]
    pub(in crate::cli) max_age: Duration,
    /// Fail where the lockfile has not just the pins that the manifest needs
    #[arg(long, env = "IMGPLAN_LOCKED")]
    pub(in crate::cli) locked: bool,
    /// Take the pins of the lockfile as they are, and ask no registry; there has to be a lockfile
    #[arg(long, env = "IMGPLAN_FROZEN")]
    pub(in crate::cli) frozen: bool,
}
