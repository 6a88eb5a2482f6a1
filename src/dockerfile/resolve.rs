//! Resolves names: the stage or image that a `FROM`, a copy or a mount means. Pure.

use super::instruction::{Instruction, SpannedText, Stage};
use super::model::{Dockerfile, Reference, ReferenceKind, UnresolvedArg};
use super::platform::{ReferencePlatform, is_platform};
use super::variables::{BuildValues, GlobalVariables};
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

    pub(super) fn reference(
        &self,
        kind: ReferenceKind,
        name: &SpannedText,
        image: Result<String, UnresolvedArg>,
    ) -> Reference {
        let text = self.text.get(name.span.clone()).unwrap_or_default().to_owned();
        let platform = ReferencePlatform::Unit;
        let (needed, pulled) = (true, true);
        Reference { kind, span: name.span.clone(), text, image, platform, needed, pulled }
    }
}

impl Instruction {
    /// Returns the names after `from=`.
    pub(super) fn source_names(&self) -> Vec<(ReferenceKind, &SpannedText)> {
        match self {
            Self::Copy(copy) => {
                copy.from.iter().map(|from| (ReferenceKind::CopyFrom, from)).collect()
            }
            Self::Run { mounts } => {
                let names = mounts.iter().filter_map(|mount| mount.from.as_ref());
                names.map(|name| (ReferenceKind::MountFrom, name)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Returns the image after `--from=` or `from=`, in which BuildKit expands no variables.
pub(super) fn literal(value: &str) -> Result<String, UnresolvedArg> {
    let expanded = value.split_once('$').is_some_and(|(_, name)| !name.is_empty());
    let Some(name) = first_variable(value).filter(|_| expanded) else {
        return Ok(value.to_owned());
    };
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
pub(super) struct StageBases<'b> {
    pub(super) globals: GlobalVariables<'b>,
    /// The global variables on machines of the two platforms, if a `FROM` has a platform.
    on_builders: Option<[GlobalVariables<'b>; 2]>,
    /// For each stage, the stage that it is based on.
    pub(super) parents: Vec<Option<usize>>,
    /// For each stage, the number of stages that are based on it.
    pub(super) children: Vec<usize>,
    /// For each stage, the image that it is based on.
    pub(super) images: Vec<Option<Result<String, UnresolvedArg>>>,
}

impl<'b> StageBases<'b> {
    pub(super) fn new(file: &'b Dockerfile, build: BuildValues<'b>) -> Self {
        let globals = GlobalVariables::new(file, build);
        let has_platform = file.stages.iter().any(|stage| stage.platform.is_some());
        let on_builders = has_platform.then(|| {
            [Platform::Amd64, Platform::Arm64]
                .map(|builder| GlobalVariables::new(file, BuildValues { builder, ..build }))
        });
        let (parents, images) = (Vec::new(), Vec::new());
        let children = vec![0; file.stages.len()];
        let mut bases = Self { globals, on_builders, parents, children, images };
        for (index, stage) in file.stages.iter().enumerate() {
            let image = bases.image(file, &stage.base.value);
            // A FROM sees only the stages before it.
            let parent =
                image.as_ref().ok().and_then(|name| file.stage_names.last_before(name, index));
            if let Some(parent) = parent {
                bases.children[parent] += 1;
            }
            let is_scratch = image.as_ref().is_ok_and(|name| name == SCRATCH);
            bases.parents.push(parent);
            bases.images.push((parent.is_none() && !is_scratch).then_some(image));
        }
        bases
    }

    /// Returns the platform for which a `FROM` uses its image. Fails if `--platform` does not expand
    /// to a platform, which BuildKit rejects.
    pub(super) fn platform_of(
        &self,
        file: &Dockerfile,
        stage: &Stage,
        unit: Platform,
    ) -> Result<ReferencePlatform, UnresolvedArg> {
        let (Some(written), Some([amd64, arm64])) = (&stage.platform, &self.on_builders) else {
            return Ok(ReferencePlatform::Unit);
        };
        let unresolved = |message: String| UnresolvedArg {
            name: first_variable(written).unwrap_or_default(),
            message,
            help: "write the platform, or remove `--platform`".to_owned(),
        };
        let on_amd64 = amd64.expand(file, written).map_err(unresolved)?;
        let on_arm64 = arm64.expand(file, written).map_err(unresolved)?;
        if on_amd64.text.is_empty() || on_amd64.required_unset {
            return Err(unresolved(format!("`--platform={written}` has no value")));
        }
        if !is_platform(&on_amd64.text) {
            return Err(unresolved(format!("`{}` is not a platform", on_amd64.text)));
        }
        // If the value differs between builders, only the builder knows it.
        if on_amd64.text != on_arm64.text {
            return Ok(ReferencePlatform::Builder);
        }
        Ok(ReferencePlatform::parse(&on_amd64.text, unit))
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
