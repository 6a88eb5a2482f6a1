//! Compares the external references of a workspace with the pins of facts and lockfile. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;
use super::pins::references;
use crate::base::name::{NameError, Platform};
use crate::base::reference::RegistryRef;
use crate::base::span::{Problem, Span};
use crate::base::text::list;
use crate::manifest::workspace::{Origin, Unit, Workspace};
use crate::state::State;

/// A reference without a digest, and the units that use it.
#[derive(Debug)]
pub(crate) struct ReferenceUse {
    /// The reference, or the reason why no registry can be queried for it.
    pub reference: Result<RegistryRef, NameError>,
    /// Units that use it, by name, and the platform that they need; `None` if only the builder
    /// knows.
    pub units: BTreeSet<(String, Option<Platform>)>,
    /// First place of the reference in the manifest.
    pub span: Span,
}

/// Cause for a missing pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnpinnedCause {
    /// No registry was queried, or it did not respond.
    Unknown,
    /// The reference is not valid, so that no registry can be queried.
    Unreadable(NameError),
    /// The image is not available for a platform.
    Absent {
        /// The missing platform.
        platform: Platform,
        /// The available platforms.
        has: Vec<Platform>,
    },
}

/// A reference without a pin for some of the units that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unpinned {
    /// Full form of the reference; as it is written if it is not valid.
    pub reference: String,
    /// Names of the units.
    pub units: BTreeSet<String>,
    /// First place of the reference in the manifest.
    pub span: Span,
    /// Cause.
    pub cause: UnpinnedCause,
}

/// Differences between the pins of a lockfile and the references of the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OutdatedPins {
    /// References without a pin, or without one for a platform that needs it.
    pub missing: Vec<Unpinned>,
    /// Pins of references that no unit uses.
    pub unused: Vec<String>,
}

impl OutdatedPins {
    /// True if the lockfile has a pin for each reference and no others.
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty()
    }
}

/// Compares the pins of a lockfile with the references of the manifest. A pin is not outdated
/// because its tag has moved: pins only move on request.
pub(crate) fn outdated_pins(workspace: &Workspace, state: &State) -> OutdatedPins {
    let used = references(workspace.units.iter());
    let missing = unpinned(workspace, &Facts::default(), state);
    // The references of a broken Dockerfile are not known: it may use any of the pins.
    let unused =
        state.pins.keys().filter(|key| workspace.held.is_empty() && !used.contains_key(*key));
    let unused = unused.cloned();
    OutdatedPins { missing, unused: unused.collect() }
}

/// Returns the external references of a unit with the platform that it needs and their place in the
/// manifest.
fn references_of(unit: &Unit) -> Vec<(&str, Option<Platform>, Span)> {
    match &unit.origin {
        Origin::Mirror(source) => vec![(source.as_str(), Some(unit.platform), unit.span)],
        Origin::Build(build) => {
            let bases = build.externals.iter();
            bases.map(|base| (base.image.as_str(), base.platform, base.span)).collect()
        }
    }
}

/// Returns the name of a unit whose tag may not be resolved yet.
fn name(unit: &Unit) -> String {
    if unit.content_tag.is_some() { unit.key.name.to_string() } else { unit.key.to_string() }
}

/// Returns all references without a digest by their full form; an invalid one as it is written.
pub(crate) fn uses(workspace: &Workspace) -> BTreeMap<String, ReferenceUse> {
    let mut uses: BTreeMap<String, ReferenceUse> = BTreeMap::new();
    for unit in &workspace.units {
        for (text, platform, span) in references_of(unit) {
            let reference = text.parse::<RegistryRef>();
            let has_digest = match &reference {
                Ok(reference) => reference.digest().is_some(),
                Err(_) => text.contains('@'),
            };
            if has_digest {
                continue;
            }
            let key = reference.as_ref().map_or_else(|_| text.to_owned(), ToString::to_string);
            let entry = uses.entry(key);
            let first = || ReferenceUse { reference, units: BTreeSet::new(), span };
            entry.or_insert_with(first).units.insert((name(unit), platform));
        }
    }
    uses
}

/// Returns the references without a pin in the facts or the lockfile.
pub(crate) fn unpinned(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Unpinned> {
    let mut unpinned = Vec::new();
    for (key, ReferenceUse { reference, units, span }) in uses(workspace) {
        let mut add = |units: BTreeSet<String>, cause| {
            unpinned.push(Unpinned { reference: key.clone(), units, span, cause });
        };
        let names = || units.iter().map(|(name, _)| name.clone()).collect();
        let pin = facts.pins.get(&key).or_else(|| state.pins.get(&key));
        match (reference, pin) {
            (Err(error), _) => add(names(), UnpinnedCause::Unreadable(error)),
            (Ok(_), None) => add(names(), UnpinnedCause::Unknown),
            (Ok(_), Some(pin)) => {
                let needed: BTreeSet<Platform> = units.iter().filter_map(|(_, on)| *on).collect();
                for platform in needed.into_iter().filter(|on| pin.for_platform(*on).is_none()) {
                    let units = units.iter().filter(|(_, on)| *on == Some(platform));
                    let has = pin.platforms.keys().copied().collect();
                    let cause = UnpinnedCause::Absent { platform, has };
                    add(units.map(|(name, _)| name.clone()).collect(), cause);
                }
            }
        }
    }
    unpinned
}

impl Unpinned {
    /// Returns the problem in one sentence.
    pub(crate) fn message(&self) -> String {
        let reference = &self.reference;
        match &self.cause {
            UnpinnedCause::Unknown => format!("{reference} has no pin"),
            UnpinnedCause::Unreadable(error) => {
                format!("`{reference}` cannot be pinned: {}", error.message)
            }
            UnpinnedCause::Absent { platform, has } => {
                let has = list(has, usize::MAX);
                format!("{reference} is not available for {platform}, only for {has}")
            }
        }
    }

    /// Returns an error at the reference that names the units.
    pub(crate) fn problem(&self) -> Problem {
        let label = format!("needed by {}", list(&self.units, 1));
        let help = match &self.cause {
            UnpinnedCause::Unknown => "run `imgplan lock` to pin it",
            UnpinnedCause::Unreadable(error) => &error.help,
            UnpinnedCause::Absent { .. } => {
                "use an image that is available for this platform, or remove the platform"
            }
        };
        Problem::new(self.message(), self.span, label).help(help)
    }

    /// Returns a warning for a project in which other references are pinned.
    pub(crate) fn warning(&self) -> Problem {
        let mut problem = self.problem().warning();
        let units = list(&self.units, 1);
        problem.message = format!("{}; it is used unpinned by {units}", self.message());
        problem
    }
}
