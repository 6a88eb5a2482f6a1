//! Finds what a build reaches: the stages that it needs, the images that it pulls and the paths of
//! the context that it reads. Pure.
//!
//! Follows BuildKit's `dockerfile2llb`. A stage is needed if the target, or a stage that the target
//! needs, is based on it, copies from it or mounts it, whatever the type of the mount. Names, image
//! references and platforms are checked in all stages; everything else only in needed ones.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::instruction::{Instruction, Stage};
use super::lower::LowerError;
use super::model::{Dockerfile, DockerfileError, Reference, ReferenceKind};
use super::platform::ReferencePlatform;
use super::reached::{ReachedPath, StageInput, Trigger};
use super::resolve::{NameTarget, StageBases, literal};
use super::variables::BuildValues;
use super::walk::StageWalk;
use crate::base::name::Platform;
use crate::base::reference::RegistryRef;

/// No arguments.
static NO_ARGS: BTreeMap<String, String> = BTreeMap::new();

/// No triggers.
static NO_TRIGGERS: BTreeMap<String, Vec<Trigger>> = BTreeMap::new();

/// The names of Docker's own frontends, without registry and tag.
const DOCKER_FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// A build of a Dockerfile.
#[derive(Debug, Clone, Copy)]
pub struct ReachRequest<'a> {
    /// The values of arguments, by name.
    pub args: &'a BTreeMap<String, String>,
    /// The stage that is built; `None` or an empty text for the last one.
    pub target: Option<&'a str>,
    /// The platform that is built.
    pub platform: Platform,
    /// The platform of the machine that builds; `None` if it is not known.
    pub builder: Option<Platform>,
    /// The triggers of base images from outside of the file, by the image as `FROM` names it.
    pub triggers: &'a BTreeMap<String, Vec<Trigger>>,
}

impl ReachRequest<'_> {
    /// Returns a build of the last stage without arguments, on a machine that is not known.
    pub fn new(platform: Platform) -> Self {
        let (args, triggers) = (&NO_ARGS, &NO_TRIGGERS);
        Self { args, target: None, platform, builder: None, triggers }
    }
}

/// The stages, images and paths that a build reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildReach {
    /// The indexes of the needed stages.
    pub stages: BTreeSet<usize>,
    /// The references to images, in order: those of needed stages, and those of other stages that
    /// Docker refuses all the same. Triggers from outside of the file add none.
    pub references: Vec<Reference>,
    /// The paths of the context that the build reads, in order. Empty if the build does not read the
    /// context.
    pub paths: Vec<ReachedPath>,
    /// The reason why the build must be taken to read the whole context.
    pub whole: Option<WholeContext>,
    /// True if an instruction copies from a stage by its index, which counts all stages of the file.
    pub copies_by_index: bool,
    /// The byte ranges of the sources that `ADD` downloads, in order.
    pub downloads: Vec<Range<usize>>,
    /// The problems for which Docker refuses this build, in order. Problems with references are not
    /// among them: each reference has its own.
    pub errors: Vec<DockerfileError>,
}

/// The reason why a build must be taken to read the whole context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WholeContext {
    /// This path of [`BuildReach::paths`] is the root of the context.
    Root(usize),
    /// A variable in this path of [`BuildReach::paths`] is not known.
    Variable(usize),
    /// The directive `syntax` names this frontend, which may read anything.
    Frontend(String),
}

impl Dockerfile {
    /// Returns what a build reaches. If the platform of the machine that builds is not known and
    /// decides something, the result has everything that a build on any machine reaches, and only
    /// the problems of a build on every machine.
    ///
    /// # Errors
    ///
    /// Fails if the file does not have the target.
    ///
    /// ```
    /// use imgplan::test_support::base::name::Platform;
    /// use imgplan::test_support::dockerfile::{Dockerfile, ReachRequest};
    ///
    /// let text = "FROM go AS build\nCOPY src .\nFROM build AS test\nCOPY . .\nFROM base\nCOPY --from=build a b\n";
    /// let reach = Dockerfile::parse(text).unwrap().reach(&ReachRequest::new(Platform::Amd64)).unwrap();
    /// assert_eq!(reach.stages, [0, 2].into());
    /// assert_eq!(reach.paths.len(), 1);
    /// assert_eq!(reach.paths[0].path, "src");
    /// ```
    pub fn reach(&self, request: &ReachRequest<'_>) -> Result<BuildReach, LowerError> {
        let target_name = request.target.filter(|target| !target.is_empty());
        let target = self.target_index(target_name)?;
        let target = target.unwrap_or(self.stages.len().saturating_sub(1));
        let on = |builder: Platform| {
            let (args, platform) = (request.args, request.platform);
            let build = BuildValues { args, target: target_name, platform, builder };
            self.reach_on(build, target, request.triggers)
        };
        let mut reach = on(request.builder.unwrap_or(request.platform));
        let is_affected = self.text.contains("BUILD")
            || request.triggers.values().flatten().any(Trigger::may_depend_on_builder);
        if request.builder.is_none() && is_affected {
            for builder in Platform::ALL.into_iter().filter(|other| *other != request.platform) {
                reach.merge(on(builder));
            }
        }
        reach.set_whole(self.foreign_frontend());
        Ok(reach)
    }

    /// Returns the `ONBUILD` triggers of the image that a build of the last stage makes.
    pub fn triggers(&self) -> Vec<Trigger> {
        let last = self.stages.last().into_iter();
        last.flat_map(Stage::triggers).map(|trigger| Trigger(trigger.clone())).collect()
    }

    /// Returns the references of [`reach`](Self::reach) for a build of the last stage without
    /// arguments.
    pub fn references(&self, platform: Platform) -> Vec<Reference> {
        self.reach(&ReachRequest::new(platform)).map(|reach| reach.references).unwrap_or_default()
    }

    fn reach_on(
        &self,
        build: BuildValues<'_>,
        target: usize,
        outside: &BTreeMap<String, Vec<Trigger>>,
    ) -> BuildReach {
        let bases = StageBases::new(self, build);
        let stages = self.needed_stages(&bases, target, outside);
        let mut walk = StageWalk::new(self, build, &bases, outside);
        let mut errors = bases.globals.errors.clone();
        errors.extend(self.base_errors(&bases, build));
        for &index in &stages {
            walk.stage(index);
            errors.extend(self.order_errors(&bases, index, outside));
        }
        let StageWalk { paths, errors: walked, inputs, copies_by_index, downloads, .. } = walk;
        errors.extend(walked);
        errors.sort_by_key(|error| error.span.start);
        let read = self.read_inputs(&bases, &inputs, target);
        let references = self.references_of(&bases, build, &stages, &read.images);
        BuildReach {
            references,
            paths: if read.context { paths } else { Vec::new() },
            whole: None,
            copies_by_index,
            downloads,
            errors,
            stages,
        }
    }

    /// Returns the problems in the `FROM`s of all stages that are not those of a reference.
    fn base_errors(&self, bases: &StageBases<'_>, build: BuildValues<'_>) -> Vec<DockerfileError> {
        let mut errors = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            match &bases.images[index] {
                Some(Ok(name)) if self.stage_names.last(name, index).is_some() => {
                    let message = format!("`{name}` is not a stage: FROM takes lower case names");
                    let help = format!("write `{}`", name.to_ascii_lowercase());
                    errors.push(DockerfileError::new(message, help, stage.base.span.clone()));
                }
                Some(_) => {}
                None => {
                    if let Err(unset) = bases.platform_of(self, stage, build.platform) {
                        let span = stage.base.span.clone();
                        errors.push(DockerfileError::new(unset.message, unset.help, span));
                    }
                }
            }
        }
        errors
    }

    /// Follows the inputs of the target. `inputs` has those of each needed stage.
    fn read_inputs(
        &self,
        bases: &StageBases<'_>,
        inputs: &HashMap<usize, Vec<StageInput>>,
        target: usize,
    ) -> ReadInputs {
        let mut read = ReadInputs::default();
        let mut seen = BTreeSet::new();
        let mut unvisited = vec![target];
        while let Some(index) = unvisited.pop() {
            if !seen.insert(index) {
                continue;
            }
            match bases.parents[index] {
                Some(parent) => unvisited.push(parent),
                None => drop(read.images.insert(self.stages[index].base.span.start)),
            }
            for input in inputs.get(&index).into_iter().flatten() {
                match input {
                    StageInput::Stage(stage) => unvisited.push(*stage),
                    StageInput::Image(at) => drop(read.images.insert(*at)),
                    StageInput::Context => read.context = true,
                }
            }
        }
        read
    }

    fn references_of(
        &self,
        bases: &StageBases<'_>,
        build: BuildValues<'_>,
        stages: &BTreeSet<usize>,
        pulled: &BTreeSet<usize>,
    ) -> Vec<Reference> {
        let triggered: BTreeSet<usize> =
            stages.iter().filter_map(|&index| bases.parents[index]).collect();
        let mut references = Vec::new();
        let mut push = |mut reference: Reference, needed: bool| {
            reference.needed = needed;
            reference.pulled = needed && pulled.contains(&reference.span.start);
            if needed || reference.is_refused() {
                references.push(reference);
            }
        };
        for (index, stage) in self.stages.iter().enumerate() {
            let needed = stages.contains(&index);
            if let Some(image) = &bases.images[index] {
                let on = bases.platform_of(self, stage, build.platform);
                let image = image.clone();
                let (image, platform) = match on {
                    Ok(on) => (image, on),
                    Err(unset) => (image.and(Err(unset)), ReferencePlatform::Unit),
                };
                let from = self.reference(ReferenceKind::From, &stage.base, image);
                push(Reference { platform, ..from }, needed);
            }
            for instruction in &stage.instructions {
                // Of a trigger, Docker reads nothing until a stage runs it.
                let (instruction, needed) = match instruction {
                    Instruction::Onbuild(trigger) if triggered.contains(&index) => {
                        (&**trigger, true)
                    }
                    instruction => (instruction, needed),
                };
                for (kind, name) in instruction.source_names() {
                    if matches!(self.resolve_name(kind, &name.value), NameTarget::Image) {
                        push(self.reference(kind, name, literal(&name.value)), needed);
                    }
                }
            }
        }
        references
    }

    /// Returns the frontend of the directive `syntax`, if it is not one of Docker's own.
    fn foreign_frontend(&self) -> Option<String> {
        let image = self.syntax.as_deref()?.split_ascii_whitespace().next()?;
        let is_own = image.parse::<RegistryRef>().is_ok_and(|image| {
            image.registry() == "docker.io" && DOCKER_FRONTENDS.contains(&image.repository())
        });
        (!is_own).then(|| image.to_owned())
    }
}

/// The inputs of a build.
#[derive(Debug, Default)]
struct ReadInputs {
    /// The bytes of the text at which the names of the images begin.
    images: BTreeSet<usize>,
    context: bool,
}

impl Reference {
    /// Returns true if Docker refuses the file because of the reference, in any stage.
    fn is_refused(&self) -> bool {
        self.image.as_ref().map_or(true, |image| image.parse::<RegistryRef>().is_err())
    }
}

impl BuildReach {
    /// Adds what a build on another machine reaches.
    fn merge(&mut self, other: Self) {
        self.stages.extend(other.stages);
        self.copies_by_index |= other.copies_by_index;
        self.errors.retain(|error| other.errors.contains(error));
        let new = other.downloads.into_iter().filter(|span| !self.downloads.contains(span));
        let new: Vec<_> = new.collect();
        self.downloads.extend(new);
        let known: BTreeSet<usize> = self.references.iter().map(|r| r.span.start).collect();
        let new = other.references.into_iter().filter(|r| !known.contains(&r.span.start));
        self.references.extend(new);
        self.references.sort_by_key(|reference| reference.span.start);
        let key =
            |path: &ReachedPath| (path.span.clone().map(|span| span.start), path.path.clone());
        let known: HashSet<_> = self.paths.iter().map(key).collect();
        let others: HashSet<_> = other.paths.iter().map(key).collect();
        for path in &mut self.paths {
            path.certain &= others.contains(&key(path));
        }
        let new = other.paths.into_iter().filter(|path| !known.contains(&key(path)));
        self.paths.extend(new.map(|path| ReachedPath { certain: false, ..path }));
    }

    fn set_whole(&mut self, frontend: Option<String>) {
        let position = |test: &dyn Fn(&ReachedPath) -> bool| self.paths.iter().position(test);
        self.whole = frontend
            .map(WholeContext::Frontend)
            .or_else(|| position(&|path| !path.resolved).map(WholeContext::Variable))
            .or_else(|| position(&|path| path.path_from_root().is_empty()).map(WholeContext::Root));
    }
}
