//! Resolves names and variables: which references are stages and which are images, and what an
//! expanded path is. Pure.

use std::collections::HashMap;

use super::instruction::{Instruction, Pair, Place, Stage};
use super::shell::{Expanded, Shell, Value};
use super::{
    CopySource, Dockerfile, DockerfileError, Reference, ReferenceKind, ReferencePlatform,
    UnresolvedArg,
};
use crate::base::name::Platform;

/// Docker's name for the empty image.
const SCRATCH: &str = "scratch";

/// What a name stands for.
enum Target {
    /// A stage, by its index.
    Stage(usize),
    /// A number for which there is no stage.
    NoStage,
    /// The empty image.
    Scratch,
    /// An image.
    Image,
}

impl Dockerfile {
    /// A `FROM` sees the stages before it; the latest of a name wins.
    fn base(&self, stage: usize, image: &str) -> Target {
        let before = &self.stages[..stage];
        let named =
            |stage: &Stage| stage.name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(image));
        match before.iter().rposition(named) {
            Some(index) => Target::Stage(index),
            None if image == SCRATCH => Target::Scratch,
            None => Target::Image,
        }
    }

    /// `COPY --from` sees every stage, since BuildKit looks the name up once all are known, and
    /// takes a number for an index.
    fn copy_from(&self, from: &str) -> Target {
        match from.parse::<i64>() {
            Ok(index) => match usize::try_from(index) {
                Ok(index) if index < self.stages.len() => Target::Stage(index),
                _ => Target::NoStage,
            },
            Err(_) => self.base(self.stages.len(), from),
        }
    }

    /// A mount takes a stage by its name only.
    fn mount_from(&self, from: &str) -> Target {
        self.base(self.stages.len(), from)
    }

    /// Finds copies and mounts from a stage that is not there yet.
    pub(super) fn check_stages(&self, errors: &mut Vec<DockerfileError>) {
        for (index, stage) in self.stages.iter().enumerate() {
            for instruction in &stage.instructions {
                for (kind, place) in instruction.froms() {
                    let target = match kind {
                        ReferenceKind::MountFrom => self.mount_from(&place.value),
                        _ => self.copy_from(&place.value),
                    };
                    let message = match target {
                        Target::Stage(found) if found >= index => {
                            format!("the stage `{}` is not complete here", place.value)
                        }
                        Target::NoStage => format!("there is no stage {}", place.value),
                        _ => continue,
                    };
                    let help = "name a stage that ends before this one begins, or an image";
                    errors.push(DockerfileError::new(message, help, place.span.clone()));
                }
            }
        }
    }
}

impl Instruction {
    /// The places after `from=`.
    fn froms(&self) -> Vec<(ReferenceKind, &Place)> {
        match self {
            Self::Copy { from: Some(from), .. } => vec![(ReferenceKind::CopyFrom, from)],
            Self::Run { mounts } => {
                mounts.iter().map(|place| (ReferenceKind::MountFrom, place)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// See [`Dockerfile::references`].
pub(super) fn references(file: &Dockerfile, platform: Platform) -> Vec<Reference> {
    let bases = Bases::new(file, platform);
    let mut references = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        if let Some(image) = &bases.images[index] {
            let (image, platform) = match ReferencePlatform::of(file, stage, platform) {
                Ok(on) => (image.clone(), on),
                Err(unset) => (image.clone().and(Err(unset)), ReferencePlatform::Unit),
            };
            let from = reference(file, ReferenceKind::From, &stage.base, image);
            references.push(Reference { platform, ..from });
        }
        // A trigger is carried out by the stages of this file that are built on this stage; until
        // then it is text, which whoever builds on the image resolves in his own file.
        let triggered = bases.parents.contains(&Some(index));
        for instruction in &stage.instructions {
            let instruction = match instruction {
                Instruction::Onbuild(trigger) if triggered => trigger,
                instruction => instruction,
            };
            for (kind, place) in instruction.froms() {
                let target = match kind {
                    ReferenceKind::MountFrom => file.mount_from(&place.value),
                    _ => file.copy_from(&place.value),
                };
                if matches!(target, Target::Image) {
                    references.push(reference(file, kind, place, literal(&place.value)));
                }
            }
        }
    }
    references
}

fn reference(
    file: &Dockerfile,
    kind: ReferenceKind,
    place: &Place,
    image: Result<String, UnresolvedArg>,
) -> Reference {
    let text = file.text.get(place.span.clone()).unwrap_or_default().to_owned();
    let platform = ReferencePlatform::Unit;
    Reference { kind, span: place.span.clone(), text, image, platform }
}

/// BuildKit expands no variables after `--from=` and `from=`.
fn literal(value: &str) -> Result<String, UnresolvedArg> {
    let Some(name) = first_variable(value) else { return Ok(value.to_owned()) };
    Err(UnresolvedArg {
        name,
        message: format!("`{value}` holds a variable, which Docker does not expand here"),
        help: "give the image a stage, `FROM <image> AS <name>`, and name that".to_owned(),
    })
}

/// The name after the first `$`.
pub(super) fn first_variable(text: &str) -> Option<String> {
    let name = text.split_once('$')?.1.trim_start_matches('{');
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(name[..end].to_owned())
}

/// The global variables, and what each stage is built on.
struct Bases {
    globals: HashMap<String, String>,
    /// For each stage, the stage that it is built on.
    parents: Vec<Option<usize>>,
    /// For each stage, the image that it is built on.
    images: Vec<Option<Result<String, UnresolvedArg>>>,
}

impl Bases {
    fn new(file: &Dockerfile, platform: Platform) -> Self {
        let globals = globals(file, platform, platform);
        let mut bases = Self { globals, parents: Vec::new(), images: Vec::new() };
        for (index, stage) in file.stages.iter().enumerate() {
            let image = bases.image(file, &stage.base.value);
            let target = image.as_ref().map_or(Target::Image, |image| file.base(index, image));
            bases.parents.push(if let Target::Stage(parent) = target {
                Some(parent)
            } else {
                None
            });
            bases.images.push(matches!(target, Target::Image).then_some(image));
        }
        bases
    }

    /// The image of a `FROM`. A variable without a value is empty to Docker, which may well be
    /// meant, as in `FROM ${PREFIX}base`: it counts as missing where no image remains.
    fn image(&self, file: &Dockerfile, written: &str) -> Result<String, UnresolvedArg> {
        let expanded = match expand(file, written, &|name| lookup(&self.globals, name)) {
            Ok(expanded) => expanded,
            Err(message) => {
                let name = first_variable(written).unwrap_or_default();
                let help = "write the image without variables".to_owned();
                return Err(UnresolvedArg { name, message, help });
            }
        };
        if !expanded.demanded && may_be_image(&expanded.text) {
            return Ok(expanded.text);
        }
        // What is no image although it holds no variable is as it was meant.
        let Some(name) = expanded.unset.or_else(|| first_variable(written)) else {
            return Ok(expanded.text);
        };
        let declared = file.globals.iter().any(|pair| pair.name == name);
        let help = if declared {
            format!("give it a default, `ARG {name}=<value>`, or a value under `args:`")
        } else {
            format!("declare it before the first FROM: `ARG {name}=<value>`")
        };
        let message = format!("`{written}` names no image, since `{name}` has no value");
        Err(UnresolvedArg { name, message, help })
    }
}

/// Whether a text could be an image at all: no part of it is empty.
fn may_be_image(text: &str) -> bool {
    let edge = |c: char| matches!(c, '/' | ':' | '@' | '.' | '-' | '_');
    !text.is_empty()
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !["//", "/:", "/@", ":@", "::", ":/", "/-", "/."].iter().any(|gap| text.contains(gap))
}

/// The variables of the global scope, on the way from a builder's platform to that of a unit.
pub(super) fn globals(
    file: &Dockerfile,
    unit: Platform,
    builder: Platform,
) -> HashMap<String, String> {
    let mut globals = automatic(unit, builder);
    // The stage that is built is the last one.
    let stage = file.stages.last().and_then(|stage| stage.name.clone());
    let stage = stage.unwrap_or_else(|| "default".to_owned());
    globals.insert("TARGETSTAGE".to_owned(), stage);
    for Pair { name, value, .. } in &file.globals {
        let Some(value) = value else { continue };
        // In a default, a variable without a value is empty.
        if let Ok(expanded) = expand(file, value, &|name| lookup(&globals, name)) {
            globals.insert(name.clone(), expanded.text);
        }
    }
    globals
}

/// The variables that BuildKit sets by itself in the global scope, from the platforms.
fn automatic(unit: Platform, builder: Platform) -> HashMap<String, String> {
    let mut args = HashMap::new();
    for (side, platform) in [("TARGET", unit), ("BUILD", builder)] {
        args.insert(format!("{side}PLATFORM"), platform.to_string());
        args.insert(format!("{side}OS"), "linux".to_owned());
        args.insert(format!("{side}ARCH"), platform.arch().to_owned());
        // The variant of arm64 is v8, and is dropped when a platform is normalised.
        args.insert(format!("{side}VARIANT"), String::new());
        args.insert(format!("{side}OSVERSION"), String::new());
    }
    args
}

pub(super) fn lookup(known: &HashMap<String, String>, name: &str) -> Value {
    known.get(name).map_or(Value::Unset, |value| Value::Set(value.clone()))
}

pub(super) fn expand(
    file: &Dockerfile,
    text: &str,
    lookup: &dyn Fn(&str) -> Value,
) -> Result<Expanded, String> {
    Shell { escape: file.escape, raw: false, lookup }.expand(text)
}

/// The variables of a stage.
#[derive(Debug, Clone, Default)]
struct Environment {
    /// `None` where there is a value but it is not known.
    values: HashMap<String, Option<String>>,
    /// Whether an image that is not known here may have set more.
    open: bool,
}

impl Environment {
    fn lookup(&self, name: &str) -> Value {
        match self.values.get(name) {
            Some(Some(value)) => Value::Set(value.clone()),
            Some(None) => Value::Unknown,
            // BuildKit sets a PATH where the image has none.
            None if self.open || name == "PATH" => Value::Unknown,
            None => Value::Unset,
        }
    }

    /// The expanded text, if all of its variables are known.
    fn expand(&self, file: &Dockerfile, text: &str) -> Option<String> {
        let expanded = expand(file, text, &|name| self.lookup(name)).ok()?;
        (expanded.unknown.is_none() && !expanded.demanded).then_some(expanded.text)
    }

    fn apply(&mut self, file: &Dockerfile, instruction: &Instruction, bases: &Bases) {
        match instruction {
            // All values of one ENV see the environment before it.
            Instruction::Env(pairs) => {
                let new: Vec<_> = pairs
                    .iter()
                    .filter_map(|Pair { name, value, .. }| {
                        let value = value.as_ref()?;
                        Some((self.expand(file, name)?, self.expand(file, value)))
                    })
                    .collect();
                self.values.extend(new);
            }
            // An ARG without a value takes the global one; without either it changes nothing.
            Instruction::Arg(pairs) => {
                for Pair { name, value, .. } in pairs {
                    let value = match value {
                        Some(value) => self.expand(file, value),
                        None => match bases.globals.get(name) {
                            Some(value) => Some(value.clone()),
                            None => continue,
                        },
                    };
                    self.values.insert(name.clone(), value);
                }
            }
            _ => {}
        }
    }
}

/// See [`Dockerfile::copy_sources`].
pub(super) fn copy_sources(file: &Dockerfile, platform: Platform) -> Vec<CopySource> {
    let bases = Bases::new(file, platform);
    let mut sources = Vec::new();
    let mut environments: Vec<Environment> = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        // A stage inherits the variables of the stage below it, ARGs included.
        let mut environment = match bases.parents[index].and_then(|parent| environments.get(parent))
        {
            Some(parent) => parent.clone(),
            None => Environment { open: bases.images[index].is_some(), ..Environment::default() },
        };
        // What the stage below set as triggers comes first.
        let below = bases.parents[index].and_then(|parent| file.stages.get(parent));
        for instruction in below.iter().flat_map(|stage| &stage.instructions) {
            if let Instruction::Onbuild(trigger) = instruction {
                environment.apply(file, trigger, &bases);
            }
        }
        for instruction in &stage.instructions {
            environment.apply(file, instruction, &bases);
            let Instruction::Copy { add, from: None, sources: places } = instruction else {
                continue;
            };
            for Place { value, span } in places {
                let expanded = environment.expand(file, value);
                let resolved = expanded.is_some();
                let path = expanded.unwrap_or_else(|| value.clone());
                if !(*add && is_remote(&path)) {
                    sources.push(CopySource { path, span: span.clone(), resolved });
                }
            }
        }
        environments.push(environment);
    }
    sources
}

/// Whether ADD fetches this: a URL, or a git repository by URL or as `user@host:path`.
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
