//! Finds the folders and Dockerfiles that a manifest names, and reads each Dockerfile once.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::Sp;
use crate::base::span::{Problem, SourceMap, Span};
use crate::dockerfile::{Dockerfile, DockerfileError};

/// A Dockerfile that was read, and where its text lies among all texts.
#[derive(Clone)]
pub(super) struct DockerfileSource {
    pub(super) path: PathBuf,
    pub(super) parsed: Arc<Dockerfile>,
    pub(super) start: usize,
}

/// What was looked up so far.
#[derive(Default)]
pub(super) struct Files {
    /// The folder that contexts are relative to.
    root: PathBuf,
    dockerfiles: HashMap<PathBuf, Option<DockerfileSource>>,
    ahead: HashMap<PathBuf, Loaded>,
    /// Those that were made of others.
    pub(super) lowered: HashMap<LoweredOf, DockerfileSource>,
}

/// What a lowered Dockerfile is made of: images that agree on it share it.
pub(super) type LoweredOf = (PathBuf, BTreeMap<String, String>, Option<String>);

/// A Dockerfile's text and what it says; `None` where it is no text.
type Loaded = io::Result<Option<(String, Result<Dockerfile, Vec<DockerfileError>>)>>;

impl Files {
    /// Takes contexts as relative to this folder from now on.
    pub(super) fn enter(&mut self, root: &Path) {
        root.clone_into(&mut self.root);
    }

    /// Reads Dockerfiles that will be asked for, each by its folder, its context and its name: there
    /// may be a thousand, and several cores.
    pub(super) fn read_ahead(&mut self, wanted: &[(&Path, &str, &str)]) {
        let load = |(root, context, name): &(&Path, &str, &str)| {
            let path = clean(&clean(&root.join(context)).join(name));
            let loaded = load(&path);
            (path, loaded)
        };
        self.ahead = wanted.par_iter().map(load).collect();
    }

    /// The folder that a `context:` names.
    pub(super) fn context(&self, said: &Sp<String>) -> Result<PathBuf, Problem> {
        let path = clean(&self.root.join(said.as_str()));
        let problem = |message, help: String| Problem::new(message, said.span(), "here").help(help);
        if said.trim().is_empty() {
            let message = "a context cannot be empty".to_owned();
            return Err(problem(message, "write `.` for the manifest's own folder".to_owned()));
        }
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok(path),
            Ok(_) => Err(problem(
                format!("{} is not a folder", path.display()),
                "a context is a folder; name its Dockerfile under `dockerfile:`".to_owned(),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(problem(
                format!("there is no folder {}", path.display()),
                format!("contexts are relative to the manifest's folder, {}", self.root.display()),
            )),
            Err(error) => {
                let help = "see that you may read it".to_owned();
                Err(problem(format!("cannot read {}: {error}", path.display()), help))
            }
        }
    }

    /// The Dockerfile `name` of a context. One that was found wrong before is not reported twice.
    pub(super) fn dockerfile(
        &mut self,
        context: &Path,
        name: &str,
        span: Span,
        sources: &mut SourceMap,
    ) -> Result<DockerfileSource, Vec<Problem>> {
        let path = clean(&context.join(name));
        if let Some(known) = self.dockerfiles.get(&path) {
            return known.clone().ok_or_else(Vec::new);
        }
        let loaded = self.ahead.remove(&path).unwrap_or_else(|| load(&path));
        let (text, parsed) = read(&path, loaded, span).map_err(|problem| vec![problem])?;
        let start = sources.add(path.display().to_string(), text);
        match parsed {
            Ok(parsed) => {
                let source =
                    DockerfileSource { path: path.clone(), parsed: Arc::new(parsed), start };
                self.dockerfiles.insert(path, Some(source.clone()));
                Ok(source)
            }
            Err(errors) => {
                self.dockerfiles.insert(path, None);
                let problem = |error: DockerfileError| {
                    let span = Span::new(start + error.span.start, error.span.len());
                    let problem = Problem::new(error.message, span, "here");
                    Problem { help: error.help, ..problem }
                };
                Err(errors.into_iter().map(problem).collect())
            }
        }
    }
}

fn load(path: &Path) -> Loaded {
    let text = String::from_utf8(fs::read(path)?).ok();
    Ok(text.map(|text| {
        let parsed = Dockerfile::parse(&text);
        (text, parsed)
    }))
}

fn read(
    path: &Path,
    loaded: Loaded,
    span: Span,
) -> Result<(String, Result<Dockerfile, Vec<DockerfileError>>), Problem> {
    let problem = |message: String, help: &str| Problem::new(message, span, "here").help(help);
    match loaded {
        Ok(text) => text.ok_or_else(|| {
            problem(format!("{} is not UTF-8", path.display()), "save the file as UTF-8")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(problem(
            format!("there is no Dockerfile {}", path.display()),
            "name it under `dockerfile:`, relative to the context",
        )),
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            Err(problem(message, "a Dockerfile is a file that you may read"))
        }
    }
}

/// The path of `path` inside `context`, with `/`; `None` where it lies outside. Both are clean.
pub(super) fn inside(context: &Path, path: &Path) -> Option<String> {
    let rest = path.strip_prefix(context).or_else(|error| {
        if context == Path::new(".") && path.is_relative() && !path.starts_with("..") {
            Ok(path)
        } else {
            Err(error)
        }
    });
    let parts: Option<Vec<&str>> =
        rest.ok()?.components().map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

/// A path without `.` and, where names allow, `..`: the form that people read.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_placed() {
        for (path, expected) in [
            ("./a/../b", "b"),
            ("a/./b/", "a/b"),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(Path::new(path)), PathBuf::from(expected), "{path}");
        }
        let place = |context: &str, path: &str| inside(Path::new(context), Path::new(path));
        assert_eq!(place("a", "a/b/Dockerfile").as_deref(), Some("b/Dockerfile"));
        assert_eq!(place(".", "Dockerfile").as_deref(), Some("Dockerfile"));
        assert_eq!(place(".", "../Dockerfile"), None);
        assert_eq!(place("a", "b/Dockerfile"), None);
    }
}
