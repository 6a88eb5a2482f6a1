//! Warns of mirrors that today's service does not make as the manifest says (API contract, section 2).
//! They are no errors: an earlier version of the service made them. Pure.

use std::collections::HashMap;

use super::diagnostics::Diagnostics;
use super::workspace::Unit;
use crate::base::name::{ImageRef, Owner, Platform, Visibility};
use crate::base::source_ref::{RegistryKind, SUPPORTED_REGISTRIES};
use crate::base::span::Problem;
use crate::base::text::{list, plural};

/// Maximum number of mirrors that a warning names.
const MAX_MIRRORS_SHOWN: usize = 3;

/// Kinds of mirrors that the service makes differently or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsupported {
    Private,
    Platforms,
    Name,
    Registry,
}

impl Unsupported {
    const ALL: [Self; 4] = [Self::Private, Self::Platforms, Self::Name, Self::Registry];

    fn of(unit: &Unit, platforms: &HashMap<String, Vec<Platform>>) -> Option<Self> {
        let source = unit.source()?;
        match source.registry_kind() {
            RegistryKind::Supported => None,
            RegistryKind::Other => (!source.is_loopback()).then_some(Self::Registry),
            RegistryKind::DockerHub if unit.visibility == Some(Visibility::Private) => {
                Some(Self::Private)
            }
            RegistryKind::DockerHub if platforms.get(source.as_str())?.len() > 1 => {
                Some(Self::Platforms)
            }
            RegistryKind::DockerHub => {
                let derived = source.destination(unit.owner == Some(Owner::Platform)).ok()?;
                let derived = ImageRef { name: derived.0, tag: derived.1 };
                (unit.content_tag.is_some() || unit.key != derived).then_some(Self::Name)
            }
        }
    }

    /// Returns the message, from the number and the names of the mirrors.
    fn message(self, count: usize, names: &str) -> String {
        match self {
            Self::Private => {
                format!("the service makes mirrors of Docker Hub public, also {names}")
            }
            Self::Platforms => {
                format!("the service keeps one platform of a mirror of Docker Hub: {names}")
            }
            Self::Name => {
                format!("the service chooses the names of Docker Hub mirrors, also of {names}")
            }
            Self::Registry => {
                let mirrors = plural(count, "mirror");
                format!("the service may refuse the registry of {mirrors}: {names}")
            }
        }
    }

    fn help(self) -> String {
        match self {
            Self::Private => "remove `visibility: private`, or copy the image to another registry \
                              and mirror it from there"
                .to_owned(),
            Self::Platforms => {
                "list one platform, or copy the image to another registry and mirror \
                                it from there"
                    .to_owned()
            }
            Self::Name => "remove `name:` and `tag:`, or copy the image to another registry and \
                           mirror it from there"
                .to_owned(),
            Self::Registry => {
                format!("it supports Docker Hub, {}", list(SUPPORTED_REGISTRIES, usize::MAX))
            }
        }
    }
}

/// Warns of each kind once, at the first mirror.
pub(super) fn warn(units: &[Unit], diagnostics: &mut Diagnostics) {
    let mut platforms: HashMap<String, Vec<Platform>> = HashMap::new();
    for unit in units {
        let Some(source) = unit.source() else { continue };
        let of_source = platforms.entry(source.as_str().to_owned()).or_default();
        if !of_source.contains(&unit.platform) {
            of_source.push(unit.platform);
        }
    }
    let found: Vec<(&Unit, Unsupported)> =
        units.iter().filter_map(|unit| Some((unit, Unsupported::of(unit, &platforms)?))).collect();
    for kind in Unsupported::ALL {
        let of_kind = found.iter().filter(|(_, of)| *of == kind).map(|(unit, _)| *unit);
        let units: Vec<&Unit> = of_kind.collect();
        let Some(first) = units.first() else { continue };
        let names = list(units.iter().map(|unit| described(unit, kind)), MAX_MIRRORS_SHOWN);
        let problem = Problem::new(kind.message(units.len(), &names), first.span, "");
        diagnostics.push(problem.help(kind.help()).warning());
    }
}

fn described(unit: &Unit, kind: Unsupported) -> String {
    match (kind, unit.source()) {
        (Unsupported::Registry, Some(source)) => source.to_string(),
        (_, _) => unit.shown(),
    }
}
