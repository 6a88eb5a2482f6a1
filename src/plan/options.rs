//! What was asked for besides what the manifest says: which units, what to make anew, whether to
//! delete what is gone. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::base::glob::Glob;
use crate::base::name::{ImageRef, NameError};
use crate::manifest::workspace::Unit;

/// What a plan is to be besides a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Units to make again though nothing changed.
    pub replace: Vec<Pattern>,
    /// Delete what the manifest no longer has, instead of only forgetting it.
    pub prune: bool,
    /// Which units the plan is about.
    pub selection: Selection,
}

/// Which units a plan is about; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these, and of what they need that which is not current.
    pub targets: Vec<Pattern>,
    /// Only units of these groups, likewise.
    pub groups: BTreeSet<String>,
    /// Not these, and nothing that needs them.
    pub excludes: Vec<Pattern>,
}

impl Selection {
    /// Whether it is about all units.
    pub fn is_all(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty() && self.excludes.is_empty()
    }

    /// Whether a unit is asked for, exclusion aside.
    pub fn wants(&self, unit: &Unit) -> bool {
        let all = self.targets.is_empty() && self.groups.is_empty();
        all || self.targets.iter().any(|pattern| pattern.matches(unit))
            || self.groups.iter().any(|group| unit.groups.contains(group))
    }

    /// Whether what the manifest no longer has is asked for: groups and labels are gone with it, and so
    /// nobody knows of it whether a label that is excluded was its own.
    pub(super) fn wants_gone(&self, key: &ImageRef) -> bool {
        if self.excludes.iter().any(|pattern| matches!(pattern, Pattern::Label { .. })) {
            return false;
        }
        let all = self.targets.is_empty() && self.groups.is_empty();
        (all || self.targets.iter().any(|pattern| pattern.matches_key(key)))
            && !self.excludes.iter().any(|pattern| pattern.matches_key(key))
    }
}

/// Units by their name (`api*`), their `name:tag` (`api:v*`) or a label (`team=core`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// By name, or by `name:tag` where there is a `:`.
    Name(Glob),
    /// By a label, and a pattern of its value.
    Label {
        /// The label.
        name: String,
        /// Its value.
        value: Glob,
    },
}

impl Pattern {
    /// Whether a unit is meant: the image's own name, and the tag with or without the platform.
    pub fn matches(&self, unit: &Unit) -> bool {
        match self {
            Self::Name(glob) => glob.matches_image(&unit.key) || glob.matches(unit.image.as_str()),
            Self::Label { name, value } => {
                unit.labels.get(name).is_some_and(|label| value.matches(label))
            }
        }
    }

    /// Whether a unit is meant of which only the key is known.
    pub fn matches_key(&self, key: &ImageRef) -> bool {
        match self {
            Self::Name(glob) => glob.matches_image(key),
            Self::Label { .. } => false,
        }
    }
}

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
