//! External references of units, and how their digests enter inputs, Dockerfiles and requests.
//! Pure.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::ops::Range;

use crate::base::name::Platform;
use crate::base::reference::{RegistryRef, pinnable};
use crate::base::source_ref::SourceRef;
use crate::manifest::workspace::{BuildOrigin, ExternalBase, Origin, Unit};
use crate::state::Inputs;

/// Returns the name of the input with the digest of an external base: `from REFERENCE`, with ` on
/// PLATFORM` if that is not the unit's platform. One reference may be used for several platforms.
pub(super) fn base_input(base: &ExternalBase, unit: Platform) -> String {
    match base.platform {
        Some(platform) if platform == unit => format!("from {}", base.image),
        Some(platform) => format!("from {} on {platform}", base.image),
        None => format!("from {} on any", base.image),
    }
}

/// Returns the reference of an external base from the name of its input; `None` for other inputs.
pub(crate) fn reference_of_input(name: &str) -> Option<&str> {
    let named = name.strip_prefix("from ")?;
    Some(named.split_once(" on ").map_or(named, |(reference, _)| reference))
}

/// Returns the references without a digest that units use, by their full form: sources of mirrors
/// and external bases.
pub(crate) fn references<'w>(
    units: impl Iterator<Item = &'w Unit>,
) -> BTreeMap<String, RegistryRef> {
    let texts = units.flat_map(|unit| match &unit.origin {
        Origin::Mirror(source) => vec![source.as_str()],
        Origin::Build(build) => build.externals.iter().map(|base| base.image.as_str()).collect(),
    });
    let distinct: HashSet<&str> = texts.collect();
    let references = distinct.into_iter().filter_map(pinnable);
    references.map(|reference| (reference.to_string(), reference)).collect()
}

/// Returns the byte ranges of the Dockerfile in which pinned external bases stand, and the
/// references with a digest that replace them.
pub(crate) fn pinned_bases(
    build: &BuildOrigin,
    platform: Platform,
    inputs: &Inputs,
) -> Vec<(Range<usize>, String)> {
    let pinned = |base: &ExternalBase| pinned_base(base, inputs.get(&base_input(base, platform))?);
    build.externals.iter().filter_map(pinned).collect()
}

/// Returns the byte range of a base in its Dockerfile, and its reference with a digest. The
/// reference has no tag: a tag means nothing beside a digest, and some builders reject both
/// together.
pub(crate) fn pinned_base(
    base: &ExternalBase,
    digest: impl Display,
) -> Option<(Range<usize>, String)> {
    let name = base.image.parse::<RegistryRef>().ok()?.name();
    Some((base.range.clone(), format!("{name}@{digest}")))
}

/// Returns the source of a mirror with its pinned digest, if it has one, so that the service
/// mirrors what was planned. The tag stays: the service derives the tag of the image from it.
pub(crate) fn pinned_source(source: &SourceRef, inputs: &Inputs) -> SourceRef {
    let pinned = || {
        let digest = inputs.get("digest")?;
        let has_tag = source.as_str().rsplit('/').next()?.contains(':');
        let latest = if has_tag { "" } else { ":latest" };
        format!("{source}{latest}@{digest}").parse().ok()
    };
    pinned().unwrap_or_else(|| source.clone())
}
