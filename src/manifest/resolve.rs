//! Turns what was written into what is meant: defaults filled in, a unit for each platform, paths
//! found, bases matched, units in order. Everything that is wrong is gathered on the way.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::bases::{self, Named};
use super::draft::{Content, Draft};
use super::files;
use super::graph;
use super::model::Manifest;
use super::workspace::{BuildOrigin, Origin, Unit, Workspace};
use crate::base::name::{ImageName, ImageRef, NameError, Platform, TagTemplate};
use crate::base::source::{Problem, SourceSet, Span};

/// What resolving works on, and what it finds.
pub(super) struct Resolver<'a> {
    /// The folder that paths are relative to.
    pub(super) root: PathBuf,
    /// What was written.
    pub(super) manifest: &'a Manifest,
    /// The images of which something was reported already.
    pub(super) damaged: &'a [Span],
    /// All texts; Dockerfiles are added.
    pub(super) sources: &'a mut SourceSet,
    /// What was found so far.
    pub(super) problems: Vec<Problem>,
    /// What is worth a look.
    pub(super) warnings: Vec<Problem>,
}

pub(super) fn resolve(mut resolver: Resolver<'_>) -> Result<Workspace, Vec<Problem>> {
    let settings = resolver.settings();
    let manifest = resolver.manifest;
    let mut drafts = resolver.drafts();
    let mut units = resolver.units(&mut drafts);
    let (named, edges) =
        bases::find(manifest, &drafts, &units, &mut resolver.problems, &mut resolver.warnings);
    resolver.groups(&drafts, &mut units);
    let (moved, removed) = resolver.moves(&drafts, &units);
    let depths = match graph::depths(units.len(), &edges) {
        Ok(depths) => depths,
        Err(cycles) => {
            let name = |unit: usize| units[unit].shown();
            let shown = cycles.iter().map(|cycle| graph::cycle_problem(cycle, &name));
            resolver.problems.extend(shown);
            Vec::new()
        }
    };
    if !resolver.problems.is_empty() {
        return Err(resolver.problems);
    }
    for (unit, Named { bases, externals }) in units.iter_mut().zip(named) {
        if let Origin::Build(build) = &mut unit.origin {
            build.bases = bases;
            build.externals = externals;
        }
    }
    Ok(Workspace {
        root: resolver.root,
        units: graph::in_order(units, &edges, &depths),
        images: drafts.len(),
        settings,
        moved,
        removed,
        warnings: resolver.warnings,
        sources: Arc::default(),
    })
}

impl Resolver<'_> {
    pub(super) fn report(
        &mut self,
        message: impl Into<String>,
        span: Span,
        help: impl Into<String>,
    ) {
        let problem = Problem::new(message, span, "here").help(help);
        // What is wrong with `defaults` is wrong once, and not once an image.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn report_name(&mut self, error: NameError, span: Span) {
        self.report(error.message, span, error.help);
    }

    fn units(&mut self, drafts: &mut [Draft<'_>]) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut taken: HashMap<ImageRef, Span> = HashMap::new();
        for draft in drafts {
            for &platform in &draft.platforms {
                let tag = match draft.platforms.len() {
                    0 | 1 => Ok(draft.tag.for_platform(platform)),
                    _ if draft.tag.has_arch() => Ok(draft.tag.for_platform(platform)),
                    _ => draft.tag.with_suffix(platform),
                };
                let tag = match tag {
                    Ok(tag) => tag,
                    Err(error) => {
                        self.report_name(error, draft.span);
                        continue;
                    }
                };
                let unit = unit(draft, tag, platform);
                if !draft.damaged {
                    if let Some(&first) = taken.get(&unit.key) {
                        self.meet(&unit.shown(), first, draft.span);
                        continue;
                    }
                    taken.insert(unit.key.clone(), draft.span);
                }
                draft.units.push(units.len());
                units.push(unit);
            }
        }
        self.open_tags(&taken, &units);
        units
    }

    /// A tag that is written out may be one that an open tag could become.
    fn open_tags(&mut self, taken: &HashMap<ImageRef, Span>, units: &[Unit]) {
        let mut open: HashMap<&ImageName, Vec<(&TagTemplate, Span)>> = HashMap::new();
        for unit in units {
            if let Some(tag) = &unit.content_tag {
                open.entry(&unit.image).or_default().push((tag, unit.span));
            }
        }
        for unit in units.iter().filter(|unit| taken.get(&unit.key) == Some(&unit.span)) {
            let mut same = open.get(&unit.image).into_iter().flatten();
            if unit.content_tag.is_none()
                && let Some((_, at)) = same.find(|(tag, _)| tag.matches(&unit.key.tag))
            {
                self.meet(&unit.key.to_string(), unit.span.min(*at), unit.span.max(*at));
            }
        }
    }

    fn meet(&mut self, what: &str, first: Span, second: Span) {
        let problem = Problem::new(format!("two images land on {what}"), second, "and here");
        let help = "give one of them another `name:` or `tag:`";
        self.problems.push(problem.and(first, "here").help(help));
    }
}

fn unit(draft: &Draft<'_>, tag: TagTemplate, platform: Platform) -> Unit {
    Unit {
        key: ImageRef { name: draft.name.clone(), tag: tag.open_tag() },
        content_tag: Some(tag).filter(TagTemplate::has_fingerprint),
        image: draft.name.clone(),
        platform,
        owner: draft.owner.clone(),
        visibility: draft.visibility,
        timeout: draft.fields.timeout,
        max_age: draft.fields.max_age,
        protect: draft.fields.protect,
        groups: draft.fields.groups.clone(),
        labels: draft.fields.labels.clone(),
        origin: match &draft.content {
            Content::Mirror(source) => Origin::Mirror(source.clone()),
            Content::Build { context, dockerfile, args, target, .. } => {
                Origin::Build(BuildOrigin {
                    context: context.clone(),
                    dockerfile_path: dockerfile.path.clone(),
                    dockerfile_inside: files::inside(context, &dockerfile.path),
                    args: args.clone(),
                    target: target.clone(),
                    dockerfile: Arc::clone(&dockerfile.parsed),
                    bases: Vec::new(),
                    externals: Vec::new(),
                })
            }
        },
        needs: Vec::new(),
        depth: 0,
        span: draft.span,
    }
}
