//! Options of a plan: the selection of units, forced rebuilds and pruning. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::partition::Partition;
use crate::base::glob::Glob;
use crate::base::name::{ImageRef, NameError, deserialize_text, text_value};
use crate::manifest::workspace::Unit;

/// Options of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Units to rebuild although nothing changed.
    pub replace: Vec<Pattern>,
    /// True to delete orphans instead of forgetting them.
    pub prune: bool,
    /// Units that the plan covers.
    #[serde(flatten)]
    pub selection: Selection,
}

/// Units that a plan covers; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only these units, and the bases that they need and that are not up to date.
    pub targets: Vec<Pattern>,
    /// Only units of these groups, likewise.
    pub groups: BTreeSet<String>,
    /// Not these units, and not their dependents.
    pub excludes: Vec<Pattern>,
    /// Only this part of all these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
}

impl Selection {
    /// True if all units are selected.
    pub fn is_all(&self) -> bool {
        self.selects_by_default() && self.excludes.is_empty() && self.partition.is_none()
    }

    /// True if a unit is selected, exclusions and the partition aside.
    pub fn selects(&self, unit: &Unit) -> bool {
        self.selects_by_default()
            || self.targets.iter().any(|pattern| pattern.matches(unit))
            || self.groups.iter().any(|group| unit.groups.contains(group))
    }

    /// True if an orphan is selected, by its own name or as one of the units that it was moved to, the
    /// partition aside.
    /// Its labels are not known any more: if a label is excluded, no orphan is selected.
    pub(super) fn selects_orphan(&self, key: &ImageRef, moved_to: &[&Unit]) -> bool {
        if self.excludes.iter().any(|pattern| matches!(pattern, Pattern::Label { .. })) {
            return false;
        }
        let matches = |pattern: &Pattern| {
            pattern.matches_key(key) || moved_to.iter().any(|unit| pattern.matches(unit))
        };
        (self.selects_by_default() || self.targets.iter().any(matches))
            && !self.excludes.iter().any(matches)
    }

    fn selects_by_default(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty()
    }
}

/// Pattern of a unit's name (`api*`), `name:tag` (`api:v*`) or label (`team=core`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Pattern of the name, or of `name:tag` if it has a `:`.
    Name(Glob),
    /// Pattern of a label's value.
    Label {
        /// Name of the label.
        name: String,
        /// Pattern of the value.
        value: Glob,
    },
}

impl Pattern {
    /// True if the pattern matches a name of the unit: its key, the name or `name:tag` of its image,
    /// or a name that it had before a move.
    pub fn matches(&self, unit: &Unit) -> bool {
        match self {
            Self::Name(glob) => {
                glob.matches_image(&unit.key)
                    || glob.matches(unit.image.as_str())
                    || unit.other_names().any(|name| glob.matches_image(&name))
            }
            Self::Label { name, value } => {
                unit.labels.get(name).is_some_and(|label| value.matches(label))
            }
        }
    }

    /// True if the pattern matches a key. A pattern of a label matches none.
    pub fn matches_key(&self, key: &ImageRef) -> bool {
        match self {
            Self::Name(glob) => glob.matches_image(key),
            Self::Label { .. } => false,
        }
    }
}

text_value!(Pattern);

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Self::Label { name: name.to_owned(), value: value.parse()? })
            }
            _ => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(glob) => glob.fmt(f),
            Self::Label { name, value } => write!(f, "{name}={value}"),
        }
    }
}
