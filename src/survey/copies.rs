//! Finds the paths that a Dockerfile copies and that its context does not contain. A build fails
//! there, after its context was packed and sent.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use crate::base::clean_path::clean;
use crate::base::span::{Problem, Span};
use crate::base::text::list;
use crate::context::Tree;
use crate::dockerfile::reach::BuildReach;
use crate::dockerfile::reached::{ReadBy, from_root};
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};

/// Maximum number of contexts that a warning lists.
const MAX_CONTEXTS_SHOWN: usize = 3;

/// A build that copies a path, for each of the contexts without that path.
type Missing<'w> = BTreeMap<&'w Path, (&'w Unit, &'w BuildOrigin)>;

/// A path that a build copies from its context for certain.
pub(super) struct CopiedPath {
    path: String,
    /// The byte range in the Dockerfile.
    range: Range<usize>,
}

/// Returns the paths that a build copies for certain: not those with a variable whose value is not
/// known, and not those of mounts.
pub(super) fn copied(reach: &BuildReach) -> Vec<CopiedPath> {
    let known = reach
        .paths
        .iter()
        .filter(|path| path.certain && path.resolved && path.read_by != ReadBy::Mount);
    let copied = known
        .filter_map(|path| Some(CopiedPath { path: path.path.clone(), range: path.span.clone()? }));
    copied.collect()
}

/// Removes the paths that the context contains. `inside` is the path of the Dockerfile in it.
pub(super) fn retain_missing(copied: &mut Vec<CopiedPath>, tree: &Tree, inside: &str) {
    copied.retain(|copied| !tree.can_copy(&copied.path, Some(inside)));
}

/// Returns a warning for each copied path that is missing, in the order of the Dockerfiles. `missing`
/// has the paths by the index of the unit.
pub(super) fn warnings(
    workspace: &Workspace,
    missing: impl IntoIterator<Item = (usize, CopiedPath)>,
) -> Vec<Problem> {
    let mut contexts: BTreeMap<(Span, String), Missing<'_>> = BTreeMap::new();
    for (unit, CopiedPath { path, range }) in missing {
        let unit = &workspace.units[unit];
        let Origin::Build(build) = &unit.origin else { continue };
        let span = Span::new(build.dockerfile_start + range.start, range.len());
        contexts.entry((span, path)).or_default().insert(&build.context, (unit, build));
    }
    contexts.iter().map(|((span, path), missing)| warning(*span, path, missing)).collect()
}

fn warning(span: Span, path: &str, missing: &Missing<'_>) -> Problem {
    let contexts = list(missing.keys().map(|root| root.display()), MAX_CONTEXTS_SHOWN);
    let noun = if missing.len() == 1 { "context" } else { "contexts" };
    let message = format!("`{path}` is not in the {noun} {contexts}");
    let inside = from_root(path);
    let exists = |(root, _): &(&&Path, _)| root.join(&inside).exists();
    let leads_out = clean(Path::new(path)).starts_with("..");
    let help = match missing.iter().find(exists) {
        _ if leads_out => {
            "`..` does not lead out of a context: copy the file into it, or build from a folder \
             that contains both"
                .to_owned()
        }
        Some((_, (unit, _))) => format!(
            "it exists but is not sent: `imgplan context why {} {inside}` says why",
            unit.image
        ),
        None => "create it, or correct the path, which is relative to the context".to_owned(),
    };
    Problem::new(message, span, "").help(help).warning()
}
