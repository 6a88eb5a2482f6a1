//! Finds the paths that a Dockerfile copies and that its context does not contain. A build fails
//! there, after its context was packed and sent.

use std::collections::BTreeMap;
use std::path::Path;

use super::reads::reach;
use crate::base::span::{Problem, Span};
use crate::base::text::list;
use crate::dockerfile::reached::ReadBy;
use crate::manifest::Workspace;
use crate::manifest::workspace::{BuildOrigin, Origin, Unit};
use crate::plan::facts::Context;

/// Maximum number of contexts that a warning lists.
const MAX_CONTEXTS_SHOWN: usize = 3;

/// A build that copies a path, for each of the contexts without that path.
type Missing<'w> = BTreeMap<&'w Path, (&'w Unit, &'w BuildOrigin)>;

/// Returns a warning for each copied path that is missing, in the order of the Dockerfiles. Paths
/// with a variable whose value is not known, and stages that are not built, give none.
pub(super) fn warnings(workspace: &Workspace, contexts: &[Option<Context>]) -> Vec<Problem> {
    let mut missing: BTreeMap<(Span, String), Missing<'_>> = BTreeMap::new();
    for (unit, context) in workspace.units.iter().zip(contexts) {
        let (Origin::Build(build), Some(context)) = (&unit.origin, context) else { continue };
        let Some(reach) = reach(workspace, unit, build) else { continue };
        for source in reach.paths {
            let is_known = source.certain && source.resolved && source.read_by != ReadBy::Mount;
            let (true, Some(span)) = (is_known, source.span) else { continue };
            let inside = build.dockerfile_inside.as_deref();
            if !context.tree.can_copy(&source.path, inside) {
                let start = build.dockerfile_start + span.start;
                let key = (Span::new(start, span.len()), source.path);
                missing.entry(key).or_default().insert(&build.context, (unit, build));
            }
        }
    }
    missing.iter().map(|((span, path), missing)| warning(*span, path, missing)).collect()
}

fn warning(span: Span, path: &str, missing: &Missing<'_>) -> Problem {
    let contexts = list(missing.keys().map(|root| root.display()), MAX_CONTEXTS_SHOWN);
    let noun = if missing.len() == 1 { "context" } else { "contexts" };
    let message = format!("`{path}` is not in the {noun} {contexts}");
    let exists = |(root, _): &(&&Path, _)| root.join(path.trim_start_matches('/')).exists();
    let help = match missing.iter().find(exists) {
        Some((_, (unit, _))) => format!(
            "it exists but is not sent: `imgplan context why {} {path}` says why",
            unit.image
        ),
        None => "create it, or correct the path, which is relative to the context".to_owned(),
    };
    Problem::new(message, span, "").help(help).warning()
}
