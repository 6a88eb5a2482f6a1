//! Resolves names and variables: finds the images that a Dockerfile uses and the paths that it
//! copies. Pure.

use std::collections::HashSet;

use super::instruction::{Instruction, SpannedText, Stage};
use super::model::{CopySource, Dockerfile, Reference, ReferenceKind, UnresolvedArg};
use super::platform::ReferencePlatform;
use super::variables::{GlobalVariables, StageVariables};
use crate::base::name::Platform;

/// Docker's name for the empty image.
pub(super) const SCRATCH: &str = "scratch";

/// The meaning of a name in `FROM`, `COPY --from` or `RUN --mount=from`.
pub(super) enum NameTarget {
    /// The stage at this index.
    Stage(usize),
    /// A number without a stage.
    MissingStage,
    /// The empty image.
    Scratch,
    /// An image.
    Image,
}

impl Dockerfile {
    /// Returns the images that the file uses, in order: in `FROM`, `COPY --from` and
    /// `RUN --mount=from`, where the name is neither a stage nor `scratch`.
    ///
    /// In image names, `BUILDPLATFORM` and the other variables of the builder's platform are
    /// taken to be `platform` too.
    pub fn references(&self, platform: Platform) -> Vec<Reference> {
        let bases = StageBases::new(self, platform);
        let parents: HashSet<usize> = bases.parents.iter().copied().flatten().collect();
        let mut references = Vec::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(image) = &bases.images[index] {
                let (image, platform) = match self.platform_of_base(stage, platform) {
                    Ok(on) => (image.clone(), on),
                    Err(unset) => (image.clone().and(Err(unset)), ReferencePlatform::Unit),
                };
                let from = self.reference(ReferenceKind::From, &stage.base, image);
                references.push(Reference { platform, ..from });
            }
            // An ONBUILD trigger runs in the stages that are based on this one. If no stage of
            // this file is, the Dockerfiles of other images resolve it.
            let triggered = parents.contains(&index);
            for instruction in &stage.instructions {
                let instruction = match instruction {
                    Instruction::Onbuild(trigger) if triggered => trigger,
                    instruction => instruction,
                };
                for (kind, name) in instruction.source_names() {
                    if matches!(self.resolve_name(kind, &name.value), NameTarget::Image) {
                        references.push(self.reference(kind, name, literal(&name.value)));
                    }
                }
            }
        }
        references
    }

    /// Returns the images that the triggers in the built image use. `ONBUILD` stores a trigger in
    /// the image, and a build that is based on the image runs it.
    pub fn trigger_references(&self) -> Vec<Reference> {
        let instructions = self.stages.last().into_iter().flat_map(|stage| &stage.instructions);
        let names = instructions.flat_map(|instruction| match instruction {
            Instruction::Onbuild(trigger) => trigger.source_names(),
            _ => Vec::new(),
        });
        names.map(|(kind, name)| self.reference(kind, name, literal(&name.value))).collect()
    }

    /// Returns true if a stage has this name, in any case.
    pub fn has_stage(&self, name: &str) -> bool {
        matches!(self.stage_or_image(name, self.stages.len()), NameTarget::Stage(_))
    }

    /// Returns the paths that `COPY` and `ADD` read from the build context, in order. URLs and
    /// here-documents are left out, and so is `ONBUILD`, which reads the context of another build.
    pub fn copy_sources(&self, platform: Platform) -> Vec<CopySource> {
        let mut sources = self.copy_sources_on(platform, Platform::Amd64);
        // A path or a stage that differs between builders is not known.
        if self.text.contains("BUILD") {
            let others = self.copy_sources_on(platform, Platform::Arm64);
            for ((source, remote), (other, other_remote)) in sources.iter_mut().zip(others) {
                source.resolved &= source.path == other.path;
                source.needed &= other.needed;
                *remote &= other_remote;
            }
        }
        sources.into_iter().filter(|(_, remote)| !remote).map(|(source, _)| source).collect()
    }

    /// Returns every source of `COPY` and `ADD` on a machine of the platform `builder`, with true if
    /// `ADD` downloads it.
    fn copy_sources_on(&self, platform: Platform, builder: Platform) -> Vec<(CopySource, bool)> {
        let bases = StageBases::on(self, platform, builder);
        let needed = self.needed_stages(&bases.parents, None);
        let mut copied = Vec::new();
        let mut variables_of: Vec<Option<StageVariables>> = Vec::new();
        let mut children = vec![0_usize; self.stages.len()];
        bases.parents.iter().flatten().for_each(|&parent| children[parent] += 1);
        for (index, stage) in self.stages.iter().enumerate() {
            let parent = bases.parents[index];
            // A stage inherits the variables of the stage that it is based on, ARGs included.
            let inherited = parent.and_then(|parent| {
                children[parent] -= 1;
                // The last child takes them, so that a chain of stages does not copy them each time.
                match children[parent] {
                    0 => variables_of[parent].take(),
                    _ => variables_of[parent].clone(),
                }
            });
            let mut variables =
                inherited.unwrap_or_else(|| StageVariables::new(bases.images[index].is_some()));
            // The triggers of that stage run first.
            let triggering = parent.and_then(|parent| self.stages.get(parent));
            for instruction in triggering.iter().flat_map(|stage| &stage.instructions) {
                if let Instruction::Onbuild(trigger) = instruction {
                    variables.apply(self, trigger, &bases.globals);
                }
            }
            for instruction in &stage.instructions {
                variables.apply(self, instruction, &bases.globals);
                let Instruction::Copy { add, from: None, sources } = instruction else {
                    continue;
                };
                for SpannedText { value, span } in sources {
                    let expanded = variables.expand(self, value);
                    let resolved = expanded.is_some();
                    let path = expanded.unwrap_or_else(|| value.clone());
                    let remote = *add && is_remote(&path);
                    let (span, needed) = (span.clone(), needed.contains(&index));
                    copied.push((CopySource { path, span, resolved, needed }, remote));
                }
            }
            variables_of.push((children[index] > 0).then_some(variables));
        }
        copied
    }

    /// Resolves the name after `COPY --from=` or in `RUN --mount=from=`. Both see every stage,
    /// because BuildKit looks the name up after it has read all of them.
    pub(super) fn resolve_name(&self, kind: ReferenceKind, name: &str) -> NameTarget {
        // A mount takes a stage by its name only, a copy by its index too.
        if kind == ReferenceKind::CopyFrom
            && let Ok(index) = name.parse::<i64>()
        {
            return match usize::try_from(index) {
                Ok(index) if index < self.stages.len() => NameTarget::Stage(index),
                _ => NameTarget::MissingStage,
            };
        }
        self.stage_or_image(name, self.stages.len())
    }

    /// Resolves a name to the last of the first `visible` stages with that name, or else to an image.
    fn stage_or_image(&self, name: &str, visible: usize) -> NameTarget {
        match self.stage_names.last(name, visible) {
            Some(index) => NameTarget::Stage(index),
            None if name == SCRATCH => NameTarget::Scratch,
            None => NameTarget::Image,
        }
    }

    fn reference(
        &self,
        kind: ReferenceKind,
        name: &SpannedText,
        image: Result<String, UnresolvedArg>,
    ) -> Reference {
        let text = self.text.get(name.span.clone()).unwrap_or_default().to_owned();
        let platform = ReferencePlatform::Unit;
        Reference { kind, span: name.span.clone(), text, image, platform }
    }

    /// Returns the platform for which a `FROM` uses its image. Fails if `--platform` expands to an
    /// empty text, which BuildKit rejects.
    fn platform_of_base(
        &self,
        stage: &Stage,
        unit: Platform,
    ) -> Result<ReferencePlatform, UnresolvedArg> {
        let Some(written) = &stage.platform else { return Ok(ReferencePlatform::Unit) };
        let unresolved = |message: String| UnresolvedArg {
            name: first_variable(written).unwrap_or_default(),
            message,
            help: "write the platform, or remove `--platform`".to_owned(),
        };
        let expand = |builder: Platform| {
            let globals = GlobalVariables::new(self, unit, builder);
            globals.expand(self, written).map_err(unresolved)
        };
        let (on_amd64, on_arm64) = (expand(Platform::Amd64)?, expand(Platform::Arm64)?);
        if on_amd64.text.is_empty() || on_amd64.required_unset {
            return Err(unresolved(format!("`--platform={written}` has no value")));
        }
        // If the value differs between builders, only the builder knows it.
        if on_amd64.text != on_arm64.text {
            return Ok(ReferencePlatform::Builder);
        }
        Ok(ReferencePlatform::parse(&on_amd64.text, unit))
    }
}

impl Instruction {
    /// Returns the names after `from=`.
    pub(super) fn source_names(&self) -> Vec<(ReferenceKind, &SpannedText)> {
        match self {
            Self::Copy { from: Some(from), .. } => vec![(ReferenceKind::CopyFrom, from)],
            Self::Run { mounts } => {
                mounts.iter().map(|name| (ReferenceKind::MountFrom, name)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Returns the image after `--from=` or `from=`, in which BuildKit expands no variables.
fn literal(value: &str) -> Result<String, UnresolvedArg> {
    let Some(name) = first_variable(value) else { return Ok(value.to_owned()) };
    Err(UnresolvedArg {
        name,
        message: format!("`{value}` contains a variable, which Docker does not expand here"),
        help: "add a stage, `FROM <image> AS <name>`, and use its name".to_owned(),
    })
}

/// Returns the name after the first `$`.
fn first_variable(text: &str) -> Option<String> {
    let name = text.split_once('$')?.1.trim_start_matches('{');
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(name[..end].to_owned())
}

/// The bases of all stages, and the global variables that they are resolved with.
pub(super) struct StageBases {
    globals: GlobalVariables,
    /// For each stage, the stage that it is based on.
    pub(super) parents: Vec<Option<usize>>,
    /// For each stage, the image that it is based on.
    images: Vec<Option<Result<String, UnresolvedArg>>>,
}

impl StageBases {
    pub(super) fn new(file: &Dockerfile, platform: Platform) -> Self {
        Self::on(file, platform, platform)
    }

    /// Does the same as [`new`](Self::new) on a machine of the platform `builder`.
    fn on(file: &Dockerfile, platform: Platform, builder: Platform) -> Self {
        let globals = GlobalVariables::new(file, platform, builder);
        let mut bases = Self { globals, parents: Vec::new(), images: Vec::new() };
        for (index, stage) in file.stages.iter().enumerate() {
            let image = bases.image(file, &stage.base.value);
            // A FROM sees only the stages before it.
            let target =
                image.as_ref().map_or(NameTarget::Image, |name| file.stage_or_image(name, index));
            let parent = if let NameTarget::Stage(parent) = target { Some(parent) } else { None };
            bases.parents.push(parent);
            bases.images.push(matches!(target, NameTarget::Image).then_some(image));
        }
        bases
    }

    /// Returns the image of a `FROM`. To Docker, a variable without a value is empty, which can be
    /// intended, as in `FROM ${PREFIX}base`. So it is an error only if the result cannot be an
    /// image.
    fn image(&self, file: &Dockerfile, written: &str) -> Result<String, UnresolvedArg> {
        let expansion = match self.globals.expand(file, written) {
            Ok(expansion) => expansion,
            Err(message) => {
                let name = first_variable(written).unwrap_or_default();
                let help = "write the image without variables".to_owned();
                return Err(UnresolvedArg { name, message, help });
            }
        };
        if !expansion.required_unset && may_be_image(&expansion.text) {
            return Ok(expansion.text);
        }
        // Without a variable, the text is what the author meant, even if it is not an image.
        let Some(name) = expansion.unset.or_else(|| first_variable(written)) else {
            return Ok(expansion.text);
        };
        let help = match file.args().iter().find(|arg| arg.name == name) {
            Some(arg) if arg.stage.is_none() => {
                format!("give it a default, `ARG {name}=<value>`, or a value under `args:`")
            }
            Some(_) => format!(
                "move `ARG {name}` above the first FROM: below it, an ARG belongs to its stage, and \
                 no FROM sees it"
            ),
            None => format!("declare it above the first FROM: `ARG {name}=<value>`"),
        };
        let message = format!("`{written}` is not an image name, because `{name}` has no value");
        Err(UnresolvedArg { name, message, help })
    }
}

/// Returns true if a text could be an image: no part of the name is empty.
fn may_be_image(text: &str) -> bool {
    let separator = |c: char| matches!(c, '/' | ':' | '@' | '.' | '-' | '_');
    !text.is_empty()
        && !text.starts_with(separator)
        && !text.ends_with(separator)
        && !["//", "/:", "/@", ":@", "::", ":/", "/-", "/."].iter().any(|gap| text.contains(gap))
}

/// Returns true if ADD downloads this source: a URL, or a git repository by URL or as
/// `user@host:path`.
fn is_remote(source: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@"];
    schemes.iter().any(|scheme| source.starts_with(scheme))
        || source.split_once('@').is_some_and(|(user, rest)| {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let host = rest.split_once(':').map(|(host, _)| host);
            !user.is_empty()
                && user.chars().all(word)
                && host.is_some_and(|host| !host.is_empty() && host.chars().all(word))
        })
}
