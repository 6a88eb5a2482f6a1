//! Resolves a decoded manifest: fills in defaults, reads Dockerfiles, splits images into units,
//! matches bases and orders the units.

use std::sync::Arc;

use super::bases::{self, FoundBases, UnitReferences};
use super::diagnostics::Diagnostics;
use super::expand::Scope;
use super::graph;
use super::groups;
use super::held;
use super::image::{self, ResolvedImage};
use super::mirrors;
use super::moves;
use super::settings;
use super::units;
use super::workspace::{Origin, Workspace};
use crate::base::reach::Reach;
use crate::base::span::SourceMap;

/// Resolves a manifest. Returns `None` if an error is or was reported. The Dockerfiles are added to
/// the source map.
pub(super) fn resolve(
    scopes: &[Scope],
    reach: &Reach,
    sources: &mut SourceMap,
    diagnostics: &mut Diagnostics,
) -> Option<Workspace> {
    let first = scopes.first()?;
    let settings = settings::resolve(first.manifest.settings.as_ref(), diagnostics);
    let mut images = image::resolve(scopes, reach, sources, diagnostics);
    let mut units = units::split(&mut images, settings.inputs, diagnostics);
    if diagnostics.incomplete && diagnostics.errors() > 0 {
        // Bases, moves and removals refer to images that may be missing.
        return None;
    }
    mirrors::warn(&units, diagnostics);
    let FoundBases { references, dependencies, broken } =
        bases::find(scopes, &images, &units, diagnostics);
    for (image, reason) in broken {
        images[image].broken.get_or_insert(reason);
    }
    let (moved, removed) = moves::resolve(scopes, &images, &units, diagnostics);
    moves::add_old_names(&mut units, &moved);
    groups::add(scopes, &mut units, diagnostics);
    let depths = graph::depths(units.len(), &dependencies).unwrap_or_else(|cycles| {
        for cycle in cycles {
            diagnostics.push(graph::cycle_problem(&cycle, &|unit| units[unit].shown()));
        }
        Vec::new()
    });
    if diagnostics.errors() > 0 {
        return None;
    }
    let is_held = held::find(&images, &units, &dependencies, &depths, diagnostics);
    let held = held::names(&units, &is_held);
    let is_planned = |image: &&ResolvedImage<'_>| image.units.iter().any(|unit| !is_held[*unit]);
    let image_count = images.iter().filter(is_planned).count();
    for (unit, UnitReferences { bases, externals }) in units.iter_mut().zip(references) {
        if let Origin::Build(build) = &mut unit.origin {
            build.bases = bases;
            build.externals = externals;
        }
    }
    // The units have all that is needed of them.
    drop(images);
    Some(Workspace {
        units: graph::in_order(units, &dependencies, &depths, &is_held),
        images: image_count,
        held,
        settings,
        moved,
        removed,
        warnings: Vec::new(),
        skipped: Vec::new(),
        files: Vec::new(),
        sources: Arc::default(),
    })
}
