//! Finds the units that are held: those of images that are skipped because their Dockerfile is broken,
//! and all that depend on them. Pure.

use std::collections::BTreeSet;

use super::diagnostics::Diagnostics;
use super::graph::Dependency;
use super::image::ResolvedImage;
use super::workspace::Unit;
use crate::base::name::ImageName;

/// Help for a unit that is held.
const HELP: &str =
    "`on_error: skip` leaves its image and its record as they are until this is corrected";

/// Returns true for each unit that is held, and warns about it. `depths` are the lengths of the
/// dependency chains below the units.
pub(super) fn find(
    images: &[ResolvedImage<'_>],
    units: &[Unit],
    dependencies: &[Dependency],
    depths: &[usize],
    diagnostics: &mut Diagnostics,
) -> Vec<bool> {
    let mut reasons: Vec<Option<String>> = vec![None; units.len()];
    for image in images {
        for &unit in image.units.iter().filter(|_| image.broken.is_some()) {
            reasons[unit] = Some("its Dockerfile has an error".to_owned());
        }
    }
    let mut dependencies: Vec<&Dependency> = dependencies.iter().collect();
    // The reason of a base is final before its dependents ask for it.
    dependencies.sort_by_key(|dependency| depths[dependency.dependent]);
    for &Dependency { dependent, base, .. } in dependencies {
        if reasons[base].is_some() && reasons[dependent].is_none() {
            reasons[dependent] = Some(format!("it depends on {}", units[base].shown()));
        }
    }
    for (unit, reason) in units.iter().zip(&reasons) {
        if let Some(reason) = reason {
            diagnostics.warn(format!("{} is skipped: {reason}", unit.shown()), unit.span, HELP);
        }
    }
    reasons.iter().map(Option::is_some).collect()
}

/// Returns the names, of today and earlier, of the units that are held.
pub(super) fn names(units: &[Unit], is_held: &[bool]) -> BTreeSet<ImageName> {
    let held = units.iter().zip(is_held).filter(|(_, is_held)| **is_held);
    held.flat_map(|(unit, _)| {
        let earlier = unit.old_names.iter().map(|old| old.name.clone());
        [unit.key.name.clone()].into_iter().chain(earlier)
    })
    .collect()
}
