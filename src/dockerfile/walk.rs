//! Runs the instructions of needed stages as far as they decide what a build reads: follows the
//! variables, and collects sources and problems. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::instruction::{CopyInstruction, Instruction, Mount, SpannedText, Stage};
use super::model::{Dockerfile, DockerfileError, ReferenceKind};
use super::reached::{ReachedPath, ReadBy, StageInput, Trigger};
use super::resolve::{NameTarget, StageBases};
use super::variables::{BuildValues, StageVariables, expansion_error};

/// The types of a mount.
const MOUNT_TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// The keys of a mount that need no value.
const MOUNT_FLAGS: [&str; 5] = ["readonly", "ro", "readwrite", "rw", "required"];

/// The state of a walk through the needed stages, in order.
pub(super) struct StageWalk<'w> {
    file: &'w Dockerfile,
    build: BuildValues<'w>,
    bases: &'w StageBases<'w>,
    outside: &'w BTreeMap<String, Vec<Trigger>>,
    variables_of: HashMap<usize, StageVariables>,
    pub(super) paths: Vec<ReachedPath>,
    pub(super) errors: Vec<DockerfileError>,
    /// The inputs of each stage, without its base.
    pub(super) inputs: HashMap<usize, Vec<StageInput>>,
    /// True if an instruction copies from a stage by its index.
    pub(super) copies_by_index: bool,
    /// The byte ranges of the sources that `ADD` downloads.
    pub(super) downloads: Vec<Range<usize>>,
}

impl<'w> StageWalk<'w> {
    pub(super) fn new(
        file: &'w Dockerfile,
        build: BuildValues<'w>,
        bases: &'w StageBases<'w>,
        outside: &'w BTreeMap<String, Vec<Trigger>>,
    ) -> Self {
        Self {
            file,
            build,
            bases,
            outside,
            variables_of: HashMap::new(),
            paths: Vec::new(),
            errors: Vec::new(),
            inputs: HashMap::new(),
            copies_by_index: false,
            downloads: Vec::new(),
        }
    }

    /// Runs a stage. The stage that it is based on must have run.
    pub(super) fn stage(&mut self, index: usize) {
        let (file, bases) = (self.file, self.bases);
        let parent = bases.parents[index];
        // A stage inherits the variables of the stage that it is based on, ARGs included.
        let inherited = parent.and_then(|parent| self.inherited(parent));
        let mut run = StageRun {
            file,
            build: self.build,
            bases,
            variables: inherited
                .unwrap_or_else(|| StageVariables::new(bases.images[index].is_some())),
            base: &file.stages[index].base,
            is_outside: false,
            paths: Vec::new(),
            errors: Vec::new(),
            inputs: Vec::new(),
            copies_by_index: false,
            downloads: Vec::new(),
        };
        // The triggers of the base run first.
        for trigger in file.triggers_of_base(bases, index) {
            run.instruction(trigger);
        }
        run.is_outside = true;
        for trigger in bases.outside_triggers(index, self.outside) {
            run.instruction(&trigger.0);
        }
        run.is_outside = false;
        for instruction in &file.stages[index].instructions {
            run.instruction(instruction);
        }
        self.paths.append(&mut run.paths);
        self.errors.append(&mut run.errors);
        self.copies_by_index |= run.copies_by_index;
        self.downloads.append(&mut run.downloads);
        self.inputs.insert(index, run.inputs);
        if bases.children[index] > 0 {
            self.variables_of.insert(index, run.variables);
        }
    }

    /// Returns the variables at the end of a stage. Its only child takes them, so that a chain of
    /// stages does not copy them each time.
    fn inherited(&mut self, parent: usize) -> Option<StageVariables> {
        match self.bases.children[parent] {
            1 => self.variables_of.remove(&parent),
            _ => self.variables_of.get(&parent).cloned(),
        }
    }
}

/// The state of one stage.
struct StageRun<'w> {
    file: &'w Dockerfile,
    build: BuildValues<'w>,
    bases: &'w StageBases<'w>,
    variables: StageVariables,
    base: &'w SpannedText,
    /// True while triggers from outside of the file run, whose byte ranges are of another text.
    is_outside: bool,
    paths: Vec<ReachedPath>,
    errors: Vec<DockerfileError>,
    inputs: Vec<StageInput>,
    copies_by_index: bool,
    downloads: Vec<Range<usize>>,
}

impl StageRun<'_> {
    fn instruction(&mut self, instruction: &Instruction) {
        let before = self.errors.len();
        match instruction {
            Instruction::Env(assignments) => {
                self.variables.set_env(self.file, assignments, &mut self.errors);
            }
            Instruction::Arg(declared) => {
                let values = (&self.bases.globals, self.build.args);
                self.variables.set_args(self.file, declared, values, &mut self.errors);
            }
            Instruction::Copy(copy) => self.copy(copy),
            Instruction::Run { mounts } => mounts.iter().for_each(|mount| self.mount(mount)),
            Instruction::Onbuild(_) | Instruction::Other => {}
        }
        if self.is_outside {
            for error in &mut self.errors[before..] {
                error.span = self.base.span.clone();
            }
        }
    }

    /// Expands a text. Returns `None` if a variable is not known, or if the text is wrong.
    fn expand(&mut self, text: &SpannedText) -> Option<String> {
        match self.variables.expand(self.file, &text.value) {
            Ok(expanded) => expanded,
            Err(message) => {
                self.errors.push(expansion_error(message, text.span.clone()));
                None
            }
        }
    }

    fn copy(&mut self, copy: &CopyInstruction) {
        let mut reads_source = false;
        for source in &copy.sources {
            let expanded = self.expand(source);
            if let Some(path) = expanded.as_deref().filter(|path| is_remote(path)) {
                if copy.add {
                    self.downloads.push(source.span.clone());
                } else {
                    self.errors.push(copies_remote(path, source.span.clone()));
                }
                continue;
            }
            reads_source = true;
            if copy.from.is_none() {
                let read_by = if copy.add { ReadBy::Add } else { ReadBy::Copy };
                let path = self.reached(source, expanded, read_by);
                let excludes = copy.excludes.clone();
                self.paths.push(ReachedPath { excludes, parents: copy.parents, ..path });
            }
        }
        if let Some(destination) = &copy.destination {
            self.expand(destination);
        }
        if reads_source {
            self.read_from(ReferenceKind::CopyFrom, copy.from.as_ref());
        }
    }

    fn reached(
        &self,
        source: &SpannedText,
        expanded: Option<String>,
        read_by: ReadBy,
    ) -> ReachedPath {
        ReachedPath {
            resolved: expanded.is_some(),
            path: expanded.unwrap_or_else(|| source.value.clone()),
            read_by,
            excludes: Vec::new(),
            parents: false,
            span: (!self.is_outside).then(|| source.span.clone()),
            certain: true,
        }
    }

    fn mount(&mut self, mount: &Mount) {
        let mut kind = Some("bind".to_owned());
        let mut source = None;
        for (key, value) in &mount.fields {
            let Some(value) = value else {
                if !MOUNT_FLAGS.contains(&key.as_str()) {
                    self.errors.push(missing_value(key, mount.span.clone()));
                }
                continue;
            };
            let expanded = self.expand(value);
            match key.as_str() {
                "type" => kind = expanded.map(|kind| kind.to_ascii_lowercase()),
                "source" | "src" => source = Some((value, expanded)),
                _ => {}
            }
        }
        if let Some(unknown) = kind.as_deref().filter(|kind| !MOUNT_TYPES.contains(kind)) {
            self.errors.push(unknown_mount_type(unknown, mount.span.clone()));
            return;
        }
        // A mount of an unknown type may be any.
        let is = |name: &str| kind.as_deref().is_none_or(|kind| kind == name);
        match &mount.from {
            Some(from) if is("bind") || is("cache") => {
                self.read_from(ReferenceKind::MountFrom, Some(from));
            }
            None if is("bind") => {
                let whole = SpannedText { value: String::new(), span: mount.span.clone() };
                let (written, expanded) = source.unwrap_or((&whole, Some(String::new())));
                let path = self.reached(written, expanded, ReadBy::Mount);
                self.paths.push(path);
                self.read_from(ReferenceKind::MountFrom, None);
            }
            _ => {}
        }
    }

    /// Records that an instruction reads the stage or image `from`, or the context.
    fn read_from(&mut self, kind: ReferenceKind, from: Option<&SpannedText>) {
        let Some(from) = from else {
            self.inputs.push(StageInput::Context);
            return;
        };
        self.copies_by_index |=
            kind == ReferenceKind::CopyFrom && from.value.parse::<i64>().is_ok();
        match self.file.resolve_name(kind, &from.value) {
            NameTarget::Stage(stage) => self.inputs.push(StageInput::Stage(stage)),
            NameTarget::Image if !self.is_outside => {
                self.inputs.push(StageInput::Image(from.span.start));
            }
            NameTarget::Image | NameTarget::MissingStage | NameTarget::Scratch => {}
        }
    }
}

impl Stage {
    /// Returns the triggers that the stage stores in its image.
    pub(super) fn triggers(&self) -> impl Iterator<Item = &Instruction> {
        self.instructions.iter().filter_map(|instruction| match instruction {
            Instruction::Onbuild(trigger) => Some(&**trigger),
            _ => None,
        })
    }
}

impl Dockerfile {
    /// Returns the triggers of the stage that a stage is based on.
    pub(super) fn triggers_of_base<'d>(
        &'d self,
        bases: &StageBases<'_>,
        index: usize,
    ) -> impl Iterator<Item = &'d Instruction> + use<'d> {
        let parent = bases.parents[index].and_then(|parent| self.stages.get(parent));
        parent.into_iter().flat_map(Stage::triggers)
    }
}

impl StageBases<'_> {
    /// Returns the triggers of the image that a stage is based on.
    pub(super) fn outside_triggers<'t>(
        &self,
        index: usize,
        outside: &'t BTreeMap<String, Vec<Trigger>>,
    ) -> &'t [Trigger] {
        let image = self.images[index].as_ref().and_then(|image| image.as_ref().ok());
        image.and_then(|image| outside.get(image)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Returns true if ADD downloads this source: a URL, or a git repository by URL or as
/// `user@host:path`.
fn is_remote(source: &str) -> bool {
    let has_scheme = |scheme: &str| {
        source.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    source.starts_with("http://")
        || source.starts_with("https://")
        || has_scheme("git://")
        || has_scheme("ssh://")
        || source.split_once('@').is_some_and(|(user, rest)| {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let host = rest.split_once(':').map(|(host, _)| host);
            !user.is_empty()
                && user.chars().all(word)
                && host.is_some_and(|host| !host.is_empty() && host.chars().all(word))
        })
}

/// Returns the error of a `COPY` from a URL or a git repository.
fn copies_remote(path: &str, span: Range<usize>) -> DockerfileError {
    let message = format!("COPY cannot download `{}`", path.escape_debug());
    DockerfileError::new(message, "write ADD", span)
}

/// Returns the error of a mount with a type that Docker does not have.
fn unknown_mount_type(name: &str, span: Range<usize>) -> DockerfileError {
    let message = format!("`{}` is not a type of mount", name.escape_debug());
    DockerfileError::new(message, "write bind, cache, tmpfs, secret or ssh", span)
}

/// Returns the error of a key without a value in a mount.
fn missing_value(key: &str, span: Range<usize>) -> DockerfileError {
    let message = format!("`{}` in this mount has no value", key.escape_debug());
    DockerfileError::new(message, "write `key=value`; quote a field that contains a comma", span)
}
