//! Turns what was written into what is meant: defaults filled in, a unit for each platform, paths
//! found, bases matched, units in order. Everything that is wrong is gathered on the way.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::bases::{self, Named};
use super::diagnostics::{Note, Notes};
use super::expand::Scope;
use super::files;
use super::graph;
use super::image::{Content, Draft};
use super::model::Manifest;
use super::workspace::{BuildOrigin, Origin, Unit, Workspace};
use crate::base::name::{ImageName, ImageRef, NameError, Platform, TagTemplate};
use crate::base::span::{Problem, SourceMap, Span};

/// What resolving works on, and what it finds.
pub(super) struct Resolver<'a> {
    /// The folder that paths are relative to.
    pub(super) root: PathBuf,
    /// What was written in the file at hand; in the first one at the start.
    pub(super) manifest: &'a Manifest,
    /// All files with their images.
    pub(super) scopes: &'a [Scope],
    /// Whether something was reported of the image at hand already.
    pub(super) damaged: bool,
    /// Whether images are missing for a reason that was reported.
    pub(super) incomplete: bool,
    /// All texts; Dockerfiles are added.
    pub(super) sources: &'a mut SourceMap,
    /// What was found so far.
    pub(super) problems: Vec<Problem>,
    /// What is worth a look.
    pub(super) warnings: Vec<Problem>,
    /// In which row or for which match it was found.
    pub(super) notes: &'a mut Notes,
}

/// Where an image is said, and its row or match.
type Place<'n> = (Span, Option<&'n Note>);

pub(super) fn resolve(mut resolver: Resolver<'_>) -> Result<Workspace, Vec<Problem>> {
    let settings = resolver.settings();
    let mut drafts = resolver.drafts();
    let mut units = resolver.units(&mut drafts);
    if resolver.incomplete && !resolver.problems.is_empty() {
        // Who needs what, and what is gone, cannot be judged where some are missing.
        return Err(resolver.problems);
    }
    let (scopes, notes) = (resolver.scopes, &mut *resolver.notes);
    let (problems, warnings) = (&mut resolver.problems, &mut resolver.warnings);
    let mut told = bases::Told { problems, warnings, notes };
    let (named, edges) = bases::find(scopes, &drafts, &units, &mut told);
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
        skipped: Vec::new(),
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
        // What is wrong with `defaults` is told once in the end, and not once an image.
        self.problems.push(Problem::new(message, span, "here").help(help));
    }

    pub(super) fn report_name(&mut self, error: NameError, span: Span) {
        self.report(error.message, span, error.help);
    }

    fn units(&mut self, drafts: &mut [Draft<'_>]) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut taken: HashMap<ImageRef, Place<'_>> = HashMap::new();
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
                        let mark = Notes::mark(&self.problems, &self.warnings);
                        self.report_name(error, draft.span);
                        self.notes.since(mark, &self.problems, &self.warnings, draft.note);
                        continue;
                    }
                };
                let unit = unit(draft, tag, platform);
                if !draft.damaged {
                    if let Some(&first) = taken.get(&unit.key) {
                        self.meet(&unit.shown(), first, (draft.span, draft.note));
                        continue;
                    }
                    taken.insert(unit.key.clone(), (draft.span, draft.note));
                }
                draft.units.push(units.len());
                units.push(unit);
            }
        }
        self.open_tags(&taken, &units);
        units
    }

    /// A tag that is written out may be one that an open tag could become.
    fn open_tags(&mut self, taken: &HashMap<ImageRef, Place<'_>>, units: &[Unit]) {
        let mut open: HashMap<&ImageName, Vec<(&TagTemplate, Span)>> = HashMap::new();
        for unit in units {
            if let Some(tag) = &unit.content_tag {
                open.entry(&unit.image).or_default().push((tag, unit.span));
            }
        }
        for unit in
            units.iter().filter(|unit| taken.get(&unit.key).map(|at| at.0) == Some(unit.span))
        {
            let mut same = open.get(&unit.image).into_iter().flatten();
            if unit.content_tag.is_none()
                && let Some((_, at)) = same.find(|(tag, _)| tag.matches(&unit.key.tag))
            {
                let (first, second) = (unit.span.min(*at), unit.span.max(*at));
                self.meet(&unit.key.to_string(), (first, None), (second, None));
            }
        }
    }

    fn meet(&mut self, what: &str, first: Place<'_>, second: Place<'_>) {
        let label = |word: &str, note: Option<&Note>| match note {
            Some(note) => format!("{word}, {}", note.words),
            None => word.to_owned(),
        };
        let message = format!("two images land on {what}");
        if let ((at, Some(note)), (same, Some(other))) = (first, second)
            && at == same
        {
            let label = format!("here, {} and {}", note.words, other.words);
            let help = "put what tells them apart into the `name:` or the `tag:`";
            self.problems.push(Problem::new(message, at, label).help(help));
            return;
        }
        let problem = Problem::new(message, second.0, label("and here", second.1));
        let help = "give one of them another `name:` or `tag:`";
        self.problems.push(problem.and(first.0, label("here", first.1)).help(help));
    }
}

fn unit(draft: &Draft<'_>, tag: TagTemplate, platform: Platform) -> Unit {
    Unit {
        key: ImageRef { name: draft.name.clone(), tag: tag.placeholder_tag() },
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
