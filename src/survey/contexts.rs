//! Scans the contexts of all units and lints them.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::copies::{self, CopiedPath};
use super::error::{ContextError, SurveyError};
use super::reads::{BuildReads, reads};
use crate::base::digest::Digest;
use crate::base::size::bytes;
use crate::base::span::Problem;
use crate::context::lint::{self, LintFindings, SizeLimits, warnings};
use crate::context::{self, ContextRead, ScanRequest, StatCache, Tree};
use crate::dockerfile::Dockerfile;
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, ServiceSettings, Unit, UnitId};
use crate::plan::PreviousLookup;
use crate::plan::facts::Context;
use crate::state::{Inputs, State};

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
    /// Indexes of the request for what the build reads, and of that for everything, if the lockfile
    /// recorded everything.
    reached: usize,
    whole: Option<usize>,
    /// Digest of the instructions that the build runs; `None` if the whole Dockerfile counts.
    instructions: Option<Digest>,
    dockerfile: Arc<Dockerfile>,
    /// Path of the Dockerfile within the context; empty if it lies outside.
    dockerfile_inside: String,
    /// The paths that the build copies for certain.
    copied: Vec<CopiedPath>,
}

/// The result of scanning the contexts of a workspace.
pub(super) struct Scanned {
    /// Contexts by unit.
    pub(super) contexts: Vec<Option<Context>>,
    /// The trees of what the builds read.
    trees: Vec<Arc<Tree>>,
    /// The copied paths that are missing, with the indexes of their units.
    missing: Vec<(usize, CopiedPath)>,
}

/// The scans of a workspace. Units with equal requests share one.
pub(super) struct Scans {
    units: Vec<UnitScan>,
    requests: Vec<ScanRequest>,
}

impl Scans {
    /// Returns the scans of the selected units.
    pub(super) fn new(
        workspace: &Workspace,
        state: &State,
        selected: &(dyn Fn(UnitId) -> bool + Sync),
    ) -> Self {
        let lookup = PreviousLookup::new(workspace, state);
        let read = |(index, unit): (usize, &Unit)| {
            let Origin::Build(build) = &unit.origin else { return None };
            selected(UnitId(index)).then(|| (index, reads(workspace, unit, build)))
        };
        let all: Vec<(usize, BuildReads)> =
            workspace.units.par_iter().enumerate().filter_map(read).collect();
        let mut units = Vec::with_capacity(all.len());
        // Many builds read the same paths.
        let mut shared: HashSet<Arc<[ContextRead]>> = HashSet::new();
        let mut share = |paths: Arc<[ContextRead]>| {
            let known = shared.get(&paths).cloned();
            known.unwrap_or_else(|| {
                shared.insert(Arc::clone(&paths));
                paths
            })
        };
        let mut indexes: HashMap<ScanRequest, usize> = HashMap::new();
        let mut requests: Vec<ScanRequest> = Vec::new();
        let mut index_of = |request: ScanRequest| {
            *indexes.entry(request).or_insert_with_key(|request| {
                requests.push(request.clone());
                requests.len() - 1
            })
        };
        for (index, BuildReads { paths, instructions, copied }) in all {
            let unit = &workspace.units[index];
            let Origin::Build(build) = &unit.origin else { continue };
            let request = |reads| ScanRequest {
                root: build.context.clone(),
                dockerfile: Some(build.dockerfile_path.clone()),
                reads,
            };
            let recorded_whole = instructions.is_some()
                && lookup
                    .all(workspace, unit)
                    .iter()
                    .any(|previous| previous.entry.inputs().any(Inputs::has_whole_context));
            units.push(UnitScan {
                unit: index,
                reached: index_of(request(paths.map(&mut share))),
                whole: recorded_whole.then(|| index_of(request(None))),
                instructions,
                dockerfile: Arc::clone(&build.dockerfile),
                dockerfile_inside: unit.dockerfile_inside().to_owned(),
                copied,
            });
        }
        Self { units, requests }
    }

    /// Scans all contexts of a workspace with this number of units.
    pub(super) fn run(self, units: usize, depth: ScanDepth) -> Result<Scanned, SurveyError> {
        let Self { units: mut scans, requests } = self;
        let trees = match depth {
            ScanDepth::Contents(cache) => context::scan_all(&requests, Some(cache)),
            ScanDepth::NamesOnly => context::scan_names(&requests),
        };
        let trees = trees.map_err(SurveyError::from)?;
        let scanned: Vec<_> =
            scans.par_iter_mut().map(|scan| (scan.unit, scan.context(&trees))).collect();
        let mut contexts: Vec<Option<Context>> = (0..units).map(|_| None).collect();
        for (unit, context) in scanned {
            contexts[unit] = Some(context);
        }
        let reached = scans.iter().map(|scan| Arc::clone(&trees[scan.reached])).collect();
        let missing = scans
            .into_iter()
            .flat_map(|scan| scan.copied.into_iter().map(move |copied| (scan.unit, copied)));
        Ok(Scanned { contexts, trees: reached, missing: missing.collect() })
    }
}

impl UnitScan {
    /// Returns the context. Of the copied paths, keeps those that are missing.
    fn context(&mut self, trees: &[Arc<Tree>]) -> Context {
        let tree = Arc::clone(&trees[self.reached]);
        let inside = self.dockerfile_inside.as_bytes();
        let digest = |tree: &Tree| tree.digest_without(inside);
        // A build that copies its Dockerfile makes another image for another comment.
        let text = || Digest::of(self.dockerfile.text().as_bytes());
        let copied = tree.get(inside).map(|_| text());
        let instructions = self.instructions.map(|needed| copied.unwrap_or(needed));
        copies::retain_missing(&mut self.copied, &tree, &self.dockerfile_inside);
        Context {
            digest: digest(&tree),
            instructions,
            whole: self.whole.map(|whole| digest(&trees[whole])),
            tree,
        }
    }
}

/// Scans every context once, however many units share it. Returns the contexts by unit, and the
/// warnings about them.
pub(super) async fn scan(
    workspace: &Workspace,
    state: &State,
    depth: ScanDepth,
) -> Result<(Vec<Option<Context>>, Vec<Problem>), SurveyError> {
    let scans = Scans::new(workspace, state, &|_| true);
    let (limits, units) = (limits(&workspace.settings), workspace.units.len());
    let manifests = workspace.files.clone();
    let scan = tokio::task::spawn_blocking(move || {
        let scanned = scans.run(units, depth)?;
        let findings = lint(&scanned.trees, &manifests, limits)?;
        Ok::<_, SurveyError>((scanned, findings))
    });
    let (Scanned { contexts, missing, .. }, findings) = match scan.await {
        Ok(result) => result?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let mut warnings = warnings::warnings(&findings, limits);
    warnings.extend(copies::warnings(workspace, missing));
    Ok((contexts, warnings))
}

/// Returns the size limits of the manifest.
fn limits(settings: &ServiceSettings) -> SizeLimits {
    let default = SizeLimits::default();
    SizeLimits { warn: settings.context_warn.unwrap_or(default.warn), max: settings.context_max }
}

/// Lints each tree once. Fails if one is larger than allowed.
fn lint(
    trees: &[Arc<Tree>],
    manifests: &[PathBuf],
    limits: SizeLimits,
) -> Result<Vec<LintFindings>, SurveyError> {
    let mut seen = HashSet::new();
    let distinct: Vec<&Arc<Tree>> =
        trees.iter().filter(|tree| seen.insert(Arc::as_ptr(tree))).collect();
    let findings: Vec<LintFindings> =
        distinct.par_iter().filter_map(|tree| lint::check(tree, manifests, limits)).collect();
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
