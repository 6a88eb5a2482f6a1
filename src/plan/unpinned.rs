//! Which public references the units stand on, who does, and which of them have no pin. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use crate::base::name::{NameError, Platform};
use crate::base::reference::RegistryRef;
use crate::base::span::{Problem, Span};
use crate::manifest::workspace::{Origin, Unit, Workspace};
use crate::state::State;

/// A reference without a digest of its own, and who stands on it.
#[derive(Debug)]
pub struct Use {
    /// The reference; an error where no registry could be asked for it.
    pub reference: Result<RegistryRef, NameError>,
    /// The units that stand on it, by name, and the platforms that they need it for; none where only
    /// the builder knows.
    pub by: BTreeSet<(String, Option<Platform>)>,
    /// Where it is written first.
    pub span: Span,
}

/// Why a reference has no pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nobody was asked, or did not answer.
    Unknown,
    /// No registry could be asked for it.
    Unreadable(NameError),
    /// It has images for other platforms only.
    Absent {
        /// The platform that it has none for.
        platform: Platform,
        /// Those that it has one for.
        has: Vec<Platform>,
    },
}

/// A reference that some units have no pin of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpinned {
    /// In full; as it is written where no registry could be asked for it.
    pub reference: String,
    /// The units, by name.
    pub by: BTreeSet<String>,
    /// Where it is written first.
    pub span: Span,
    /// Why.
    pub why: Why,
}

/// What a unit stands on outside of the manifest: the reference, the platform that it is needed for,
/// and where it is written.
fn stands_on(unit: &Unit) -> Vec<(&str, Option<Platform>, Span)> {
    match &unit.origin {
        Origin::Mirror(source) => vec![(source.as_str(), Some(unit.platform), unit.span)],
        Origin::Build(build) => {
            let bases = build.externals.iter();
            bases.map(|base| (base.image.as_str(), base.platform, base.span)).collect()
        }
    }
}

/// What a unit is called before its tag is known.
fn name(unit: &Unit) -> String {
    if unit.content_tag.is_some() { unit.key.name.to_string() } else { unit.key.to_string() }
}

/// All references that have no digest of their own, by their full form; one that is not readable by
/// how it is written.
pub fn uses(workspace: &Workspace) -> BTreeMap<String, Use> {
    let mut uses: BTreeMap<String, Use> = BTreeMap::new();
    for unit in &workspace.units {
        for (text, platform, span) in stands_on(unit) {
            let reference = text.parse::<RegistryRef>();
            let held = match &reference {
                Ok(reference) => reference.digest().is_some(),
                Err(_) => text.contains('@'),
            };
            if held {
                continue;
            }
            let key = reference.as_ref().map_or_else(|_| text.to_owned(), ToString::to_string);
            let of =
                uses.entry(key).or_insert_with(|| Use { reference, by: BTreeSet::new(), span });
            of.by.insert((name(unit), platform));
        }
    }
    uses
}

/// What has no pin, neither in the facts nor in the lockfile.
pub fn unpinned(workspace: &Workspace, facts: &Facts, state: &State) -> Vec<Unpinned> {
    let mut found = Vec::new();
    for (key, Use { reference, by, span }) in uses(workspace) {
        let mut add = |by: BTreeSet<String>, why| {
            found.push(Unpinned { reference: key.clone(), by, span, why });
        };
        let names = || by.iter().map(|(name, _)| name.clone()).collect();
        let pin = facts.pins.get(&key).or_else(|| state.pins.get(&key));
        match (reference, pin) {
            (Err(error), _) => add(names(), Why::Unreadable(error)),
            (Ok(_), None) => add(names(), Why::Unknown),
            (Ok(_), Some(pin)) => {
                let platforms: BTreeSet<Platform> = by.iter().filter_map(|(_, on)| *on).collect();
                for platform in platforms.into_iter().filter(|on| pin.for_platform(*on).is_none()) {
                    let of = by.iter().filter(|(_, on)| *on == Some(platform));
                    let has = pin.platforms.keys().copied().collect();
                    add(of.map(|(name, _)| name.clone()).collect(), Why::Absent { platform, has });
                }
            }
        }
    }
    found
}

/// `api:1`, or `api:1 and 3 more`.
pub fn some_of(names: &BTreeSet<String>) -> String {
    let first = names.first().map(String::as_str).unwrap_or_default();
    match names.len().saturating_sub(1) {
        0 => first.to_owned(),
        more => format!("{first} and {more} more"),
    }
}

impl Unpinned {
    /// What is wrong, in one sentence.
    pub fn message(&self) -> String {
        let reference = &self.reference;
        match &self.why {
            Why::Unknown => format!("{reference} has no pin"),
            Why::Unreadable(error) => format!("`{reference}` cannot be pinned: {}", error.message),
            Why::Absent { platform, has } => {
                let has: Vec<&str> = has.iter().map(|platform| platform.as_str()).collect();
                format!("{reference} has no {platform}; it has {}", has.join(", "))
            }
        }
    }

    /// An error at the place where it is written, that names who needs it.
    pub fn problem(&self) -> Problem {
        let label = format!("needed by {}", some_of(&self.by));
        let help = match &self.why {
            Why::Unknown => "`imgplan lock` pins it",
            Why::Unreadable(error) => &error.help,
            Why::Absent { .. } => "name an image that has it, or leave the platform out",
        };
        Problem::new(self.message(), self.span, label).help(help)
    }

    /// A warning, where a project has pins and makes something without.
    pub fn warning(&self) -> Problem {
        let mut problem = self.problem().warning();
        problem.message =
            format!("{}: {} is made of whatever it stands for", problem.message, some_of(&self.by));
        problem
    }
}
