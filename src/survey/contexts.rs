//! Scans the contexts of all units at once, and looks for what should not be sent.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;

use rayon::prelude::*;

use super::{ContextError, SurveyError};
use crate::base::size::bytes;
use crate::context::lint::{self, LintFindings, SizeLimits, warnings};
use crate::context::{self, ScanRequest, StatCache, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, ServiceSettings, Unit};
use crate::plan::Facts;
use crate::plan::facts::Context;

/// A unit that is built, the context that it wants, and the path of its Dockerfile in there.
type Build = (usize, ScanRequest, Vec<u8>);

/// Scans every context once, however many units share it.
pub(super) async fn scan(workspace: &Workspace, cache: StatCache) -> Result<Facts, SurveyError> {
    let build = |(unit, of): (usize, &Unit)| {
        let Origin::Build(build) = &of.origin else { return None };
        let (root, dockerfile) = (build.context.clone(), Some(build.dockerfile_path.clone()));
        let inside = build.dockerfile_inside.clone().unwrap_or_default().into_bytes();
        Some((unit, ScanRequest { root, dockerfile }, inside))
    };
    let builds: Vec<Build> = workspace.units.iter().enumerate().filter_map(build).collect();
    let limits = limits(&workspace.settings);
    let scan = tokio::task::spawn_blocking(move || {
        // The units of one image want the same.
        let mut place_of: HashMap<(&OsStr, Option<&OsStr>), usize> = HashMap::new();
        let mut wanted: Vec<ScanRequest> = Vec::new();
        let places: Vec<usize> = builds
            .iter()
            .map(|(_, of, _)| {
                let dockerfile = of.dockerfile.as_ref().map(|path| path.as_os_str());
                *place_of.entry((of.root.as_os_str(), dockerfile)).or_insert_with(|| {
                    wanted.push(of.clone());
                    wanted.len() - 1
                })
            })
            .collect();
        let trees = context::scan_all(&wanted, Some(cache)).map_err(SurveyError::from)?;
        let context = |((unit, _, inside), &place): (&Build, &usize)| {
            let tree = Arc::clone(&trees[place]);
            (*unit, Context { digest: tree.digest_without(inside), tree })
        };
        let contexts: Vec<_> = builds.par_iter().zip(&places).map(context).collect();
        let findings = look(&trees, limits)?;
        Ok::<_, SurveyError>((contexts, findings))
    });
    let (found, findings) = match scan.await {
        Ok(found) => found?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let mut contexts: Vec<Option<Context>> = workspace.units.iter().map(|_| None).collect();
    for (unit, context) in found {
        contexts[unit] = Some(context);
    }
    let warnings = warnings::warnings(&findings, limits);
    Ok(Facts { contexts, warnings, ..Facts::default() })
}

/// How large a context may be, by what the manifest says.
fn limits(settings: &ServiceSettings) -> SizeLimits {
    let default = SizeLimits::default();
    SizeLimits { warn: settings.context_warn.unwrap_or(default.warn), max: settings.context_max }
}

/// Looks for what should not be sent, once in each tree.
fn look(trees: &[Arc<Tree>], limits: SizeLimits) -> Result<Vec<LintFindings>, SurveyError> {
    let mut seen = HashSet::new();
    let distinct: Vec<&Arc<Tree>> =
        trees.iter().filter(|tree| seen.insert(Arc::as_ptr(tree))).collect();
    let findings: Vec<LintFindings> =
        distinct.par_iter().map(|tree| lint::check(tree, limits)).collect();
    let too_large = |found: &LintFindings| {
        let (large, max) = (found.large.as_ref()?, limits.max?);
        (large.size > max).then(|| ContextError::TooLarge {
            root: found.root.clone(),
            size: warnings::size(large),
            max: bytes(max),
            ignore: found.ignore_file.clone(),
        })
    };
    let errors: Vec<ContextError> = findings.iter().filter_map(too_large).collect();
    if errors.is_empty() { Ok(findings) } else { Err(SurveyError { errors }) }
}
