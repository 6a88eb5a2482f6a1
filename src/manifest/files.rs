//! Finds the contexts and Dockerfiles that a manifest names, and reads each Dockerfile once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::diagnostics::Diagnostics;
use super::spanned::Spanned;
use crate::base::clean_path::clean;
use crate::base::input::{self, InputKind};
use crate::base::name::{NameError, Platform};
use crate::base::reach::Reach;
use crate::base::span::{Problem, SourceMap, Span};
use crate::dockerfile::model::Reference;
use crate::dockerfile::{Dockerfile, DockerfileError, ReachRequest};

/// A parsed Dockerfile, with the offset of its text in the source map.
#[derive(Clone)]
pub(super) struct DockerfileSource {
    pub(super) path: Arc<Path>,
    pub(super) parsed: Arc<Dockerfile>,
    pub(super) start: usize,
    /// A build of the last stage for linux/amd64 without arguments, which most builds are; examined when
    /// the file was read, in parallel with others. `None` if it was not.
    pub(super) plain: Option<Arc<PlainBuild>>,
}

/// A build of the last stage for linux/amd64 without arguments.
pub(super) struct PlainBuild {
    /// The problems for which Docker refuses it.
    pub(super) errors: Vec<DockerfileError>,
    /// The images that it refers to.
    pub(super) references: Vec<Reference>,
}

impl DockerfileSource {
    /// Returns the images that a build on a platform refers to.
    pub(super) fn references(&self, platform: Platform) -> Vec<Reference> {
        match &self.plain {
            Some(plain) if platform == Platform::Amd64 => plain.references.clone(),
            _ => self.parsed.references(platform),
        }
    }

    /// Returns the problem for an error in the text.
    pub(super) fn problem(&self, error: DockerfileError) -> Problem {
        problem(self.start, error)
    }
}

/// Returns the problem for an error in a Dockerfile that starts at this offset.
fn problem(start: usize, error: DockerfileError) -> Problem {
    let span = Span::new(start + error.span.start, error.span.len());
    Problem { help: error.help, ..Problem::new(error.message, span, "") }
}

/// Path, arguments and target of a lowered Dockerfile.
pub(super) type LoweredKey = (Arc<Path>, BTreeMap<String, String>, Option<String>);

/// Cache of the Dockerfiles of a manifest.
pub(super) struct Files<'s> {
    /// Folder that contexts are relative to.
    root: PathBuf,
    reach: &'s Reach,
    pub(super) sources: &'s mut SourceMap,
    dockerfiles: HashMap<PathBuf, Result<DockerfileSource, BrokenDockerfile>>,
    read_ahead: HashMap<PathBuf, ReadResult>,
    /// Contexts that are known to be folders within reach.
    folders: HashSet<PathBuf>,
    pub(super) lowered: HashMap<LoweredKey, DockerfileSource>,
}

/// The problems of a Dockerfile.
#[derive(Clone)]
struct BrokenDockerfile {
    problems: Vec<Problem>,
    /// True if they were reported as errors, which is done once.
    are_errors: bool,
}

/// The reason why there is no text of a Dockerfile.
enum DockerfileReadError {
    Unreachable(NameError),
    Io(io::Error),
}

impl From<io::Error> for DockerfileReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A parsed Dockerfile and its plain build, or its text with the errors in it.
type ParseResult = Result<(Dockerfile, PlainBuild), (String, Vec<DockerfileError>)>;

/// Parse result of a Dockerfile; `None` if it is not UTF-8.
type ReadResult = Result<Option<ParseResult>, DockerfileReadError>;

impl<'s> Files<'s> {
    /// Creates an empty cache. Dockerfiles are added to the source map.
    pub(super) fn new(sources: &'s mut SourceMap, reach: &'s Reach) -> Self {
        Self {
            root: PathBuf::new(),
            reach,
            sources,
            dockerfiles: HashMap::new(),
            read_ahead: HashMap::new(),
            folders: HashSet::new(),
            lowered: HashMap::new(),
        }
    }

    /// Sets the folder that contexts are relative to.
    pub(super) fn enter(&mut self, root: &Path) {
        root.clone_into(&mut self.root);
    }

    /// Checks contexts, and reads and parses their Dockerfiles, in parallel, because there may be
    /// thousands. Each is given by the manifest's folder, the context and the Dockerfile's name.
    pub(super) fn read_ahead(&mut self, dockerfiles: &[(&Path, &str, &str)]) {
        let read = |(root, context, name): &(&Path, &str, &str)| {
            let context = clean(&root.join(context));
            let path = clean(&context.join(name));
            let is_folder = self.check_context(&context).is_ok() && context.is_dir();
            let result = read(&path, self.reach);
            (is_folder.then_some(context), (path, result))
        };
        let (folders, read): (Vec<_>, _) = dockerfiles.par_iter().map(read).unzip();
        self.folders = folders.into_iter().flatten().collect();
        self.read_ahead = read;
    }

    /// Returns the folder of a `context:`, or reports why there is none.
    pub(super) fn context(
        &self,
        context: &Spanned<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<PathBuf> {
        let path = clean(&self.root.join(context.as_str()));
        let (message, help) = if context.trim().is_empty() {
            let help = "write `.` for the folder of the manifest";
            ("a context cannot be empty".to_owned(), help.to_owned())
        } else if self.folders.contains(&path) {
            return Some(path);
        } else if let Err(error) = self.check_context(&path) {
            (error.message, error.help)
        } else {
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => return Some(path),
                Ok(_) => (
                    format!("{} is not a folder", path.display()),
                    "a context is a folder; name its Dockerfile under `dockerfile:`".to_owned(),
                ),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (
                    format!("there is no folder {}", path.display()),
                    format!(
                        "contexts are relative to the folder of the manifest, {}",
                        self.root.display()
                    ),
                ),
                Err(error) => (
                    format!("cannot read {}: {error}", path.display()),
                    "check the permissions of the folder".to_owned(),
                ),
            }
        };
        diagnostics.error(message, context.span(), help);
        None
    }

    /// Checks that a context and its ignore file lie within reach.
    fn check_context(&self, context: &Path) -> Result<(), NameError> {
        self.reach.check(context)?;
        self.reach.check(&context.join(".dockerignore"))
    }

    /// Returns the Dockerfile `name` of a context, or reports what is wrong with it. `span` is
    /// where the manifest names it.
    pub(super) fn dockerfile(
        &mut self,
        context: &Path,
        name: &str,
        span: Span,
        diagnostics: &mut Diagnostics,
    ) -> Option<DockerfileSource> {
        let path = clean(&context.join(name));
        if let Some(known) = self.dockerfiles.get_mut(&path) {
            return known
                .as_mut()
                .map(|source| source.clone())
                .map_err(|broken| broken.report(diagnostics))
                .ok();
        }
        let text = self.read_ahead.remove(&path).unwrap_or_else(|| read(&path, self.reach));
        let (message, help) = match text {
            Ok(Some(parsed)) => {
                let mut source = self.add(&path, parsed);
                if let Err(broken) = &mut source {
                    broken.report(diagnostics);
                }
                self.dockerfiles.insert(path, source.clone());
                return source.ok();
            }
            Ok(None) => {
                let message = format!("{} is not UTF-8", path.display());
                (message, "save the file as UTF-8".to_owned())
            }
            Err(DockerfileReadError::Unreachable(error)) => (error.message, error.help),
            Err(DockerfileReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no Dockerfile {}", path.display());
                (message, self.missing_dockerfile_help(context, name))
            }
            Err(DockerfileReadError::Io(error)) => (
                format!("cannot read {}: {error}", path.display()),
                "check that it is a file and that you may read it".to_owned(),
            ),
        };
        diagnostics.error(message, span, help);
        None
    }

    /// Returns the help for a Dockerfile that does not exist. If there is one at the same path
    /// relative to the manifest, as Compose users may expect, it shows the path to write.
    fn missing_dockerfile_help(&self, context: &Path, name: &str) -> String {
        let beside_manifest = clean(&self.root.join(name));
        let to_write =
            relative_path(context, &beside_manifest).filter(|_| beside_manifest.is_file());
        match to_write {
            Some(path) => {
                format!("`dockerfile:` is relative to the context: write `dockerfile: {path}`")
            }
            None => "name it under `dockerfile:`, relative to the context".to_owned(),
        }
    }

    fn add(
        &mut self,
        path: &Path,
        parsed: ParseResult,
    ) -> Result<DockerfileSource, BrokenDockerfile> {
        let name = path.display().to_string();
        match parsed {
            Ok((parsed, plain)) => {
                let start = self.sources.add(name, parsed.shared_text());
                let (path, parsed) = (path.into(), Arc::new(parsed));
                Ok(DockerfileSource { path, parsed, start, plain: Some(Arc::new(plain)) })
            }
            Err((text, errors)) => {
                let start = self.sources.add(name, text);
                let problems = errors.into_iter().map(|error| problem(start, error)).collect();
                Err(BrokenDockerfile { problems, are_errors: false })
            }
        }
    }
}

impl BrokenDockerfile {
    /// Reports the problems, unless they were reported as errors.
    fn report(&mut self, diagnostics: &mut Diagnostics) {
        if self.are_errors && !diagnostics.is_lenient() {
            return;
        }
        self.are_errors |= !diagnostics.is_lenient();
        for problem in &self.problems {
            diagnostics.push(problem.clone());
        }
    }
}

fn plain_build(parsed: &Dockerfile) -> PlainBuild {
    let reach = parsed.reach(&ReachRequest::new(Platform::Amd64)).unwrap_or_default();
    PlainBuild { errors: reach.errors, references: reach.references }
}

/// Reads and parses a Dockerfile, if it and its own ignore file lie within reach.
fn read(path: &Path, reach: &Reach) -> ReadResult {
    let mut ignore_file = path.as_os_str().to_owned();
    ignore_file.push(".dockerignore");
    for path in [path, Path::new(&ignore_file)] {
        reach.check(path).map_err(DockerfileReadError::Unreachable)?;
    }
    let text = String::from_utf8(input::read(path, InputKind::Dockerfile)?).ok();
    Ok(text.map(|text| match Dockerfile::parse(&text) {
        Ok(parsed) => {
            let plain = plain_build(&parsed);
            Ok((parsed, plain))
        }
        Err(errors) => Err((text, errors)),
    }))
}

/// Returns the path of `path` inside `context`, with `/`, or `None` if it lies outside. Both must
/// be [`clean`].
pub(super) fn path_inside(context: &Path, path: &Path) -> Option<String> {
    let inside = path.strip_prefix(context).or_else(|error| {
        if context == Path::new(".") && path.is_relative() && !path.starts_with("..") {
            Ok(path)
        } else {
            Err(error)
        }
    });
    let parts: Option<Vec<&str>> =
        inside.ok()?.components().map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

/// Returns the path that leads from a folder to a file, with `/`. Both must be [`clean`] and relative
/// to the same folder, or both absolute. `None` if the path is not UTF-8, or the folder's path has
/// a `..` that the file's path does not share.
pub(super) fn relative_path(folder: &Path, file: &Path) -> Option<String> {
    let parts = |path: &Path| -> Option<Vec<String>> {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts.map(|part| part.as_os_str().to_str().map(str::to_owned)).collect()
    };
    let (folder, file) = (parts(folder)?, parts(file)?);
    let shared = folder.iter().zip(&file).take_while(|(one, other)| one == other).count();
    let up = &folder[shared..];
    if up.iter().any(|part| part == "..") {
        return None;
    }
    let up = up.iter().map(|_| "..");
    Some(up.chain(file[shared..].iter().map(String::as_str)).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_inside_a_context_are_relative_to_it() {
        let inside = |context: &str, path: &str| path_inside(Path::new(context), Path::new(path));
        assert_eq!(inside("a", "a/b/Dockerfile").as_deref(), Some("b/Dockerfile"));
        assert_eq!(inside(".", "Dockerfile").as_deref(), Some("Dockerfile"));
        assert_eq!(inside(".", "../Dockerfile"), None);
        assert_eq!(inside("a", "b/Dockerfile"), None);
    }

    #[test]
    fn a_path_leads_from_a_folder_to_a_file() {
        for (folder, file, expected) in [
            ("a", "a/Dockerfile", Some("Dockerfile")),
            ("a", "a/docker/Dockerfile", Some("docker/Dockerfile")),
            ("a/b", "a/Dockerfile", Some("../Dockerfile")),
            ("a", "docker/a.Dockerfile", Some("../docker/a.Dockerfile")),
            (".", "a/Dockerfile", Some("a/Dockerfile")),
            ("/x/a", "/x/docker/Dockerfile", Some("../docker/Dockerfile")),
            ("../a", "../Dockerfile", Some("../Dockerfile")),
            ("../a", "Dockerfile", None),
        ] {
            let path = relative_path(Path::new(folder), Path::new(file));
            assert_eq!(path.as_deref(), expected, "{folder} {file}");
        }
    }
}
