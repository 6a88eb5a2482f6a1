//! Finds what each build reads from its context. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::copies::{self, CopiedPath};
use crate::base::digest::Digest;
use crate::context::{ContextRead, escape_pattern};
use crate::dockerfile::ReachRequest;
use crate::dockerfile::model::ReferenceKind;
use crate::dockerfile::reach::{BuildReach, WholeContext};
use crate::dockerfile::reached::{ReachedPath, ReadBy, Trigger};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, InputScope, Origin, Unit};

/// The parts of a context and of a Dockerfile that a build reads.
pub(crate) struct BuildReads {
    /// The paths of the context; `None` for the whole context.
    pub paths: Option<Arc<[ContextRead]>>,
    /// Digest of the instructions that the build runs; `None` if the whole Dockerfile counts.
    pub instructions: Option<Digest>,
    /// The paths that the build copies for certain.
    pub(super) copied: Vec<CopiedPath>,
}

/// Returns what a build reads.
pub(crate) fn reads(workspace: &Workspace, unit: &Unit, build: &BuildOrigin) -> BuildReads {
    let Some(reach) = reach(workspace, unit, build) else {
        return BuildReads { paths: None, instructions: None, copied: Vec::new() };
    };
    let copied = copies::copied(&reach);
    if build.inputs == InputScope::Context {
        return BuildReads { paths: None, instructions: None, copied };
    }
    let instructions = match reach.whole {
        // A foreign frontend may read the file in its own way.
        Some(WholeContext::Frontend(_)) => Digest::of(build.dockerfile.text().as_bytes()),
        _ => build.dockerfile.digest_of(&reach),
    };
    let paths = reason_for_whole(workspace, unit, build, &reach).is_none().then(|| {
        let mut paths: Vec<ContextRead> = reach.paths.iter().flat_map(context_reads).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.into()
    });
    BuildReads { paths, instructions: Some(instructions), copied }
}

/// Returns what the build of a unit reaches, with the triggers of its bases. `None` if the
/// Dockerfile does not have its target, which the manifest reports.
pub(crate) fn reach(workspace: &Workspace, unit: &Unit, build: &BuildOrigin) -> Option<BuildReach> {
    let request = ReachRequest::new(unit.platform);
    let reach = build.dockerfile.reach(&request).ok()?;
    let mut triggers: BTreeMap<String, Vec<Trigger>> = BTreeMap::new();
    for base in &build.bases {
        let Origin::Build(origin) = &workspace.unit(base.unit).origin else { continue };
        let inherited = origin.dockerfile.triggers();
        let reference =
            reach.references.iter().find(|reference| reference.span.start == base.range.start);
        if let Some(Ok(image)) = reference.map(|reference| &reference.image)
            && !inherited.is_empty()
        {
            triggers.insert(image.clone(), inherited);
        }
    }
    if triggers.is_empty() {
        return Some(reach);
    }
    build.dockerfile.reach(&ReachRequest { triggers: &triggers, ..request }).ok()
}

/// Returns the reason why the whole context counts although no instruction reads it, for messages.
pub(crate) fn reason_for_whole(
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    reach: &BuildReach,
) -> Option<String> {
    match &reach.whole {
        Some(WholeContext::Frontend(frontend)) => {
            Some(format!("the frontend `{frontend}` may read any file"))
        }
        Some(WholeContext::Variable(path)) => {
            let path = &reach.paths.get(*path)?.path;
            Some(format!("a variable in `{path}` has no value that is known before the build"))
        }
        Some(WholeContext::Root(_)) | None => {
            let image = unknown_triggers(workspace, unit, build, reach)?;
            Some(format!("`{image}` has ONBUILD triggers, which may copy any file"))
        }
    }
}

/// Returns an image that has `ONBUILD` triggers, of which it is not known which files they copy: by its
/// name, if it comes from outside of the manifest, or because no reference says where its triggers run.
fn unknown_triggers(
    workspace: &Workspace,
    unit: &Unit,
    build: &BuildOrigin,
    reach: &BuildReach,
) -> Option<String> {
    let is_own = |at: usize| build.bases.iter().any(|base| base.range.start == at);
    let outside = reach
        .references
        .iter()
        .filter(|reference| reference.kind == ReferenceKind::From && !is_own(reference.span.start));
    let outside = outside.filter_map(|reference| reference.image.clone().ok());
    let needs = || unit.needs.iter().copied();
    let mirrored = needs().filter_map(|need| Some(workspace.unit(need).source()?.to_string()));
    let mut named = outside.chain(mirrored).filter(|image| image.contains("onbuild"));
    let unreferenced = needs().filter(|need| build.bases.iter().all(|base| base.unit != *need));
    let mut unreferenced = unreferenced.map(|need| workspace.unit(need));
    let has_triggers = |need: &&Unit| match &need.origin {
        Origin::Build(origin) => !origin.dockerfile.triggers().is_empty(),
        Origin::Mirror(_) => false,
    };
    named.next().or_else(|| unreferenced.find(has_triggers).map(|need| need.key.to_string()))
}

/// Returns the paths to send for a path that the build reads.
pub(crate) fn context_reads(path: &ReachedPath) -> Vec<ContextRead> {
    let from_root = path.path_from_root();
    // `--parents` copies folders above the path too, so exclusions are not relative to it.
    let excludes = if path.parents { Vec::new() } else { path.excludes.clone() };
    let read = ContextRead { path: from_root, excludes };
    match path.read_by {
        ReadBy::Copy | ReadBy::Add => vec![read],
        // A mount takes special characters literally. BuildKit sends what they match as a pattern.
        ReadBy::Mount => {
            let literal = ContextRead { path: escape_pattern(&read.path), excludes: Vec::new() };
            vec![read, literal]
        }
    }
}
