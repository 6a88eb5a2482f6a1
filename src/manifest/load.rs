//! Reads a manifest and the Dockerfiles that it names, and finds everything that is wrong with
//! them before anything else happens.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::Diagnostic;

use super::decode::{decode, is_damaged};
use super::interpolate::interpolate;
use super::model::Manifest;
use super::node::{self, Kind, Node, Value};
use super::resolve::{self, Resolver};
use super::workspace::Workspace;
use crate::base::source::{Problem, SourceSet, Span};

/// The version of the manifest's format that this imgplan reads.
const VERSION: u64 = 1;

/// Everything that is wrong with a manifest and the files that it names.
#[derive(Debug, thiserror::Error)]
#[error("{}", headline(problems, name))]
pub struct ManifestError {
    /// All problems, in the order of the files.
    pub problems: Vec<Problem>,
    /// The texts that they point into.
    pub sources: Arc<SourceSet>,
    /// The manifest's path, as it was given.
    pub name: String,
}

fn headline(problems: &[Problem], name: &str) -> String {
    match problems.len() {
        1 => format!("1 problem in {name}"),
        n => format!("{n} problems in {name}"),
    }
}

impl Diagnostic for ManifestError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&*self.sources)
    }
}

impl Workspace {
    /// Reads the manifest at `path` (`-` is standard input) and makes it complete. `env` answers
    /// for the environment's variables.
    pub fn load(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Workspace, ManifestError> {
        let mut sources = SourceSet::default();
        let name = shown(path);
        let result = read(path)
            .map_err(|problem| vec![problem])
            .and_then(|text| from_text(path, &text, env, &mut sources));
        result
            .map(|mut workspace| {
                workspace.sources = Arc::new(std::mem::take(&mut sources));
                workspace
            })
            .map_err(|mut problems| {
                problems.sort_by_key(|problem| problem.labels.first().map(|label| label.0));
                problems.dedup();
                ManifestError { problems, sources: Arc::new(sources), name }
            })
    }
}

/// The folder that a manifest's paths are relative to.
pub fn root_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The manifest's path, as people know it.
fn shown(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: String, help: &str| Problem {
        message,
        help: Some(help.to_owned()),
        labels: Vec::new(),
        warning: false,
    };
    let mut bytes = Vec::new();
    let result = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(path).map(|read| bytes = read)
    };
    if let Err(error) = result {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no {}", path.display()),
            _ => format!("cannot read {}: {error}", path.display()),
        };
        let help = "run imgplan in the folder of the manifest, or name it: -f path/to/imgplan.yaml";
        return Err(problem(message, help));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..good]).matches('\n').count() + 1;
        problem(
            format!("{} is not UTF-8: the first wrong byte is on line {line}", path.display()),
            "save the file as UTF-8",
        )
    })
}

fn from_text(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    sources: &mut SourceSet,
) -> Result<Workspace, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = sources.add(shown(path), text);
    let mut root = node::parse(text, start).map_err(|problem| vec![problem])?;
    check_version(&root, start)?;
    let mut problems = Vec::new();
    interpolate(&mut root, env, &mut problems);
    let Some(manifest) = decode::<Manifest>(&mut root, &mut problems) else { return Err(problems) };
    let damaged = damaged_images(&root);
    let resolver = Resolver {
        root: root_of(path),
        manifest: &manifest,
        damaged: &damaged,
        sources,
        problems,
        warnings: Vec::new(),
    };
    resolve::resolve(resolver)
}

/// The version comes first: of a later one nothing else can be judged.
fn check_version(root: &Node, start: usize) -> Result<(), Vec<Problem>> {
    let help = format!("begin the file with `version: {VERSION}`");
    let Value::Map(entries) = &root.value else {
        let message = match &root.value {
            Value::Scalar { kind: Kind::Null, .. } => "the manifest is empty",
            _ => "a manifest is a mapping of keys",
        };
        let span = Span::new(start, root.span.len);
        return Err(vec![Problem::new(message, span, "").help(help + " and list `images:`")]);
    };
    let Some((_, version)) = entries.iter().find(|(key, _)| key.text == "version") else {
        let span = entries.first().map_or(Span::new(start, 0), |(key, _)| key.span);
        return Err(vec![
            Problem::new("the manifest has no version", span, "before this").help(help),
        ]);
    };
    match &version.value {
        Value::Scalar { text, kind: Kind::Number } => match text.parse::<u64>() {
            Ok(VERSION) => Ok(()),
            Ok(later) if later > VERSION => Err(vec![
                Problem::new(
                    format!("this manifest has version {later}, and this imgplan reads {VERSION}"),
                    version.span,
                    "later than this imgplan",
                )
                .help("use a newer imgplan"),
            ]),
            _ => Err(vec![
                Problem::new(format!("there is no version {text}"), version.span, "here")
                    .help(format!("write `version: {VERSION}`")),
            ]),
        },
        // What is not a number at all is the decoder's to report, with all else.
        _ => Ok(()),
    }
}

/// The images of which something was reported already: what they lack may be just that.
fn damaged_images(root: &Node) -> Vec<Span> {
    let Value::Map(entries) = &root.value else { return Vec::new() };
    let lists = entries.iter().filter(|(key, _)| key.text == "images");
    lists
        .filter_map(|(_, value)| match &value.value {
            Value::Seq(images) => Some(images),
            _ => None,
        })
        .flatten()
        .filter(|image| is_damaged(image))
        .map(|image| image.span)
        .collect()
}
