//! Scans the contexts of all units and lints them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;

use rayon::prelude::*;

use super::copies;
use super::error::{ContextError, SurveyError};
use crate::base::size::bytes;
use crate::base::span::Problem;
use crate::context::lint::{self, LintFindings, SizeLimits, warnings};
use crate::context::{self, ScanRequest, StatCache, Tree};
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, ServiceSettings, Unit};
use crate::plan::facts::Context;

/// The parts of the contexts that a scan reads.
pub(super) enum ScanDepth {
    /// Names, sizes and modes. The digests of the contexts are wrong.
    NamesOnly,
    /// Everything. The cache has the digests of files that have not changed.
    Contents(StatCache),
}

/// Context of a unit that is built.
struct UnitScan {
    /// Index of the unit.
    unit: usize,
    request: ScanRequest,
    /// Path of the Dockerfile within the context; empty if it lies outside.
    dockerfile_inside: Vec<u8>,
}

/// Scans every context once, however many units share it. Returns the contexts by unit, and the warnings about them.
pub(super) async fn scan(
    workspace: &Workspace,
    depth: ScanDepth,
) -> Result<(Vec<Option<Context>>, Vec<Problem>), SurveyError> {
    let scan = |(index, unit): (usize, &Unit)| {
        let Origin::Build(build) = &unit.origin else { return None };
        let (root, dockerfile) = (build.context.clone(), Some(build.dockerfile_path.clone()));
        let dockerfile_inside = build.dockerfile_inside.clone().unwrap_or_default().into_bytes();
        let request = ScanRequest { root, dockerfile };
        Some(UnitScan { unit: index, request, dockerfile_inside })
    };
    let scans: Vec<UnitScan> = workspace.units.iter().enumerate().filter_map(scan).collect();
    let limits = limits(&workspace.settings);
    let scan = tokio::task::spawn_blocking(move || {
        // The units of one image share a context.
        let mut request_of: HashMap<(&OsStr, Option<&OsStr>), usize> = HashMap::new();
        let mut requests: Vec<ScanRequest> = Vec::new();
        let request_of_scan: Vec<usize> = scans
            .iter()
            .map(|UnitScan { request, .. }| {
                let dockerfile = request.dockerfile.as_ref().map(|path| path.as_os_str());
                *request_of.entry((request.root.as_os_str(), dockerfile)).or_insert_with(|| {
                    requests.push(request.clone());
                    requests.len() - 1
                })
            })
            .collect();
        let trees = match depth {
            ScanDepth::Contents(cache) => context::scan_all(&requests, Some(cache)),
            ScanDepth::NamesOnly => context::scan_names(&requests),
        };
        let trees = trees.map_err(SurveyError::from)?;
        let context = |(scan, &request): (&UnitScan, &usize)| {
            let tree = Arc::clone(&trees[request]);
            (scan.unit, Context { digest: tree.digest_without(&scan.dockerfile_inside), tree })
        };
        let contexts: Vec<_> = scans.par_iter().zip(&request_of_scan).map(context).collect();
        let findings = lint(&trees, limits)?;
        Ok::<_, SurveyError>((contexts, findings))
    });
    let (scanned, findings) = match scan.await {
        Ok(result) => result?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let mut contexts: Vec<Option<Context>> = workspace.units.iter().map(|_| None).collect();
    for (unit, context) in scanned {
        contexts[unit] = Some(context);
    }
    let mut warnings = warnings::warnings(&findings, limits);
    warnings.extend(copies::warnings(workspace, &contexts));
    Ok((contexts, warnings))
}

/// Returns the size limits of the manifest.
fn limits(settings: &ServiceSettings) -> SizeLimits {
    let default = SizeLimits::default();
    SizeLimits { warn: settings.context_warn.unwrap_or(default.warn), max: settings.context_max }
}

/// Lints each tree once. Fails if one is larger than allowed.
fn lint(trees: &[Arc<Tree>], limits: SizeLimits) -> Result<Vec<LintFindings>, SurveyError> {
    let mut seen = HashSet::new();
    let distinct: Vec<&Arc<Tree>> =
        trees.iter().filter(|tree| seen.insert(Arc::as_ptr(tree))).collect();
    let findings: Vec<LintFindings> =
        distinct.par_iter().map(|tree| lint::check(tree, limits)).collect();
    let too_large = |findings: &LintFindings| {
        let (large, max) = (findings.large.as_ref()?, limits.max?);
        (large.size > max).then(|| ContextError::TooLarge {
            root: findings.root.clone(),
            size: warnings::size(large),
            max: bytes(max),
            ignore: findings.ignore_file.clone(),
        })
    };
    let errors: Vec<ContextError> = findings.iter().filter_map(too_large).collect();
    if errors.is_empty() { Ok(findings) } else { Err(SurveyError::Contexts { errors }) }
}
