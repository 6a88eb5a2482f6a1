//! Generates an image for each folder or Dockerfile that a pattern finds.

use std::path::Path;
use std::rc::Rc;

use super::cache::{Found, Search};
use super::entry::{fill_templates, text, text_node};
use super::expander::{EntryExpander, MatrixRow, note};
use super::folders::{self, SearchError, SearchFor};
use super::glob::PathGlob;
use super::template::{self, TemplateKind};
use crate::base::clean_path::clean;
use crate::base::nearest::did_you_mean;
use crate::base::span::{Problem, Span};
use crate::manifest::files::relative_path;
use crate::manifest::model::Discover;
use crate::manifest::node::{Value, YamlNode};
use crate::manifest::spanned::Spanned;

/// Default path of a Dockerfile.
const DOCKERFILE: &str = "Dockerfile";

/// Names of a folder and of its parent, for templates.
pub(super) struct DiscoveredFolder {
    pub(super) dir: String,
    pub(super) parent: String,
}

/// A pattern of folders to leave out.
pub(super) struct Exclude<'d> {
    pattern: &'d Spanned<String>,
    glob: PathGlob,
}

impl Exclude<'_> {
    /// Returns true if the pattern matches a folder, or a folder above it.
    fn matches(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.chain([path]).any(|folder| self.glob.matches(folder))
    }
}

impl EntryExpander<'_> {
    /// Parses the patterns of `exclude`. Returns `None` if one is rejected.
    pub(super) fn excludes<'d>(&mut self, discover: &'d Discover) -> Option<Vec<Exclude<'d>>> {
        let mut excludes = Vec::new();
        for pattern in discover.exclude.iter().flatten() {
            match PathGlob::parse(pattern) {
                Ok(glob) => excludes.push(Exclude { pattern, glob }),
                Err(message) => {
                    let help = "`*` and `?` match within a name, `**` matches any folders";
                    self.diagnostics.error(message, pattern.span(), help);
                    return None;
                }
            }
        }
        Some(excludes)
    }

    /// Generates the images of `discover: { glob: .. }` or `discover: { dockerfiles: .. }`.
    pub(super) fn found(
        &mut self,
        node: &YamlNode,
        (pattern, search_for): (&Spanned<String>, SearchFor),
        excludes: &[Exclude<'_>],
        row: Option<MatrixRow<'_>>,
    ) {
        let span = pattern.span();
        let dockerfile = match (search_for, node.get("dockerfile")) {
            (SearchFor::Files, None) => None,
            (SearchFor::Files, Some(setting)) => {
                let help = "remove it: `dockerfiles` finds the Dockerfiles";
                return self.diagnostics.error(
                    "`dockerfile` and `dockerfiles` exclude each other",
                    setting.span,
                    help,
                );
            }
            (SearchFor::Folders, Some(_)) => Some(text(node, "dockerfile").unwrap_or(DOCKERFILE)),
            (SearchFor::Folders, None) => Some(self.dockerfile.unwrap_or(DOCKERFILE)),
        };
        let result = self.search(pattern, excludes, dockerfile);
        let paths = match &*result {
            Ok(Found { paths, .. }) if !paths.is_empty() => paths,
            Ok(Found { without_dockerfile, .. }) => {
                let (message, help) = self.nothing_found(pattern, dockerfile, *without_dockerfile);
                return self.diagnostics.error(message, span, help);
            }
            Err(problem) => return self.diagnostics.push(problem.clone()),
        };
        for path in paths {
            if !self.has_room(span) {
                return;
            }
            let note = note(row, Some(path), paths.len(), None);
            let outer = self.diagnostics.enter(Some(&note));
            let mut image = node.clone();
            self.fill_found(&mut image, path, dockerfile, span);
            self.diagnostics.leave(outer);
            self.add(image, note, node.get("name").is_none());
        }
    }

    /// Sets the name, the templates, the context and the Dockerfile of an image that was found at this
    /// path: a folder, whose Dockerfile has the name `dockerfile`, or a Dockerfile.
    fn fill_found(
        &mut self,
        node: &mut YamlNode,
        path: &str,
        dockerfile: Option<&str>,
        span: Span,
    ) {
        let (folder, file) = if dockerfile.is_some() {
            (path, None)
        } else {
            let (folder, file) = path.rsplit_once('/').unwrap_or((".", path));
            (if folder.is_empty() { "/" } else { folder }, Some(file))
        };
        let names = self.folder_names(folder);
        let named_after = file.map(|file| image_of(file).unwrap_or(&names.dir));
        self.set_default_name(node, named_after.unwrap_or(&names.dir), span);
        let values = [
            ("dir", Some(names.dir.as_str())),
            ("path", Some(folder)),
            ("parent", Some(names.parent.as_str())),
            ("file", named_after),
        ];
        let known = if file.is_some() { &values[..] } else { &values[..3] };
        fill_templates(node, known, self.diagnostics);
        if node.get("context").is_none() {
            node.put("context", span, text_node(folder, span));
            if let Some(file) = file {
                node.put("dockerfile", span, text_node(file, span));
            }
            return;
        }
        // The Dockerfile is not relative to its folder now, but to the context.
        let file = file.or_else(|| text(node, "dockerfile")).or(dockerfile).unwrap_or(DOCKERFILE);
        let file = clean(&self.dir.join(folder).join(file));
        let Some(context) = text(node, "context").map(|context| clean(&self.dir.join(context)))
        else {
            return;
        };
        let relative = if file.is_absolute() == context.is_absolute() {
            relative_path(&context, &file)
        } else {
            file.to_str().map(str::to_owned)
        };
        if let Some(relative) = relative {
            node.put("dockerfile", span, text_node(relative, span));
            return;
        }
        let message = format!("no path leads from {} to {}", context.display(), file.display());
        self.diagnostics.error(message, span, "write both without `..`");
    }

    /// Describes a pattern that finds no Dockerfile.
    fn nothing_found(
        &self,
        pattern: &str,
        dockerfile: Option<&str>,
        without_dockerfile: usize,
    ) -> (String, String) {
        let dir = self.dir.display();
        let relative = format!("patterns are relative to the folder of the file, {dir}");
        match dockerfile {
            None => (format!("no file matches `{pattern}`"), relative),
            Some(dockerfile) if without_dockerfile > 0 => (
                format!("no folder that matches `{pattern}` has a {dockerfile}"),
                "set `dockerfile:` to its path, relative to each folder".to_owned(),
            ),
            Some(_) if looks_like_files(pattern) => (
                format!("no folder matches `{pattern}`"),
                "to find Dockerfiles, write `dockerfiles:` instead of `glob:`".to_owned(),
            ),
            Some(_) => (format!("no folder matches `{pattern}`"), relative),
        }
    }

    /// Searches for folders with a Dockerfile, or for Dockerfiles if `dockerfile` is `None`, that match
    /// a pattern and are not excluded. Each search is done once.
    fn search(
        &mut self,
        pattern: &Spanned<String>,
        excludes: &[Exclude<'_>],
        dockerfile: Option<&str>,
    ) -> Rc<Result<Found, Problem>> {
        let search = Search {
            dir: self.dir.to_owned(),
            pattern: pattern.to_string(),
            excludes: excludes.iter().map(|exclude| exclude.pattern.to_string()).collect(),
            dockerfile: dockerfile.map(str::to_owned),
        };
        if let Some(known) = self.cache.searches.get(&search) {
            return Rc::clone(known);
        }
        let search_for = if dockerfile.is_some() { SearchFor::Folders } else { SearchFor::Files };
        let result = match folders::find(self.dir, pattern, search_for, self.reach) {
            Ok(mut paths) => {
                // The ignore file of a Dockerfile is beside it: `api.Dockerfile.dockerignore`.
                paths.retain(|path| dockerfile.is_some() || !path.ends_with(".dockerignore"));
                self.exclude(excludes, &mut paths);
                let all = paths.len();
                paths.retain(|path| {
                    dockerfile.is_none_or(|dockerfile| self.has_dockerfile(path, dockerfile))
                });
                Ok(Found { without_dockerfile: all - paths.len(), paths })
            }
            Err(SearchError { message, help }) => Err(Problem::new(message, pattern.span(), "")
                .help(help.unwrap_or_else(|| {
                    "write a pattern like `services/*` or `services/**`".to_owned()
                }))),
        };
        let result = Rc::new(result);
        self.cache.searches.insert(search, Rc::clone(&result));
        result
    }

    /// Removes excluded paths. Warns about a pattern that excludes nothing: most likely a
    /// mistake.
    pub(super) fn exclude(&mut self, excludes: &[Exclude<'_>], paths: &mut Vec<String>) {
        for exclude in excludes {
            if paths.iter().any(|path| exclude.matches(path)) {
                continue;
            }
            let known: Vec<&str> = paths.iter().map(String::as_str).collect();
            let help = did_you_mean(exclude.pattern, &known).unwrap_or_else(|| {
                let dir = self.dir.display();
                format!("remove it, or correct it: it is relative to the folder of the file, {dir}")
            });
            let message = format!("`{}` excludes nothing", exclude.pattern.as_str());
            self.diagnostics.warn(message, exclude.pattern.span(), help);
        }
        paths.retain(|path| !excludes.iter().any(|exclude| exclude.matches(path)));
    }

    /// Returns true if a folder has the Dockerfile. Otherwise the folder is recorded as skipped.
    fn has_dockerfile(&mut self, path: &str, dockerfile: &str) -> bool {
        let name = if dockerfile.contains('{') {
            let DiscoveredFolder { dir, parent } = self.folder_names(path);
            let values = [("dir", Some(&*dir)), ("path", Some(path)), ("parent", Some(&*parent))];
            template::fill(dockerfile, TemplateKind::Text, &values)
        } else {
            Ok(dockerfile.to_owned())
        };
        // A template error is reported when the image is generated.
        let Ok(name) = name else { return true };
        let exists = folders::has_file(&self.dir.join(path), &name);
        if !exists {
            self.skip(path, format!("it has no {name}"));
        }
        exists
    }

    /// Names an image after its folder if its entry has no name.
    pub(super) fn set_default_name(&mut self, node: &mut YamlNode, dir: &str, span: Span) {
        if node.get("name").is_some() {
            return;
        }
        let name = template::image_name(dir);
        let value = if name.is_empty() {
            let message = format!("cannot derive a name from the folder `{}`", dir.escape_debug());
            self.diagnostics.error(message, span, "add `name:`, for example \"app-{parent}\"");
            YamlNode { span, value: Value::Bad }
        } else {
            text_node(name, span)
        };
        node.put("name", span, value);
    }

    /// Returns the names of a folder and of its parent.
    pub(super) fn folder_names(&self, path: &str) -> DiscoveredFolder {
        let relative = clean(Path::new(path));
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let canonical = |path: &Path| std::fs::canonicalize(self.dir.join(path)).ok();
        // A path such as `..` has no name: ask the file system.
        let dir = match relative.file_name() {
            Some(_) => relative.clone(),
            None => canonical(Path::new(path)).unwrap_or_else(|| relative.clone()),
        };
        let parent = if relative.parent().and_then(Path::file_name).is_some() {
            dir.parent().and_then(name)
        } else {
            canonical(&Path::new(path).join("..")).as_deref().and_then(name)
        };
        DiscoveredFolder { dir: name(&dir).unwrap_or_default(), parent: parent.unwrap_or_default() }
    }
}

/// Words that names of Dockerfiles have before or after a dot.
const DOCKERFILE_WORDS: [&str; 2] = ["dockerfile", "containerfile"];

/// Returns the part of a Dockerfile's name that names the image: `api` of `api.Dockerfile` and of
/// `Dockerfile.api`. `None` for `Dockerfile` itself.
fn image_of(file: &str) -> Option<&str> {
    let is_word = |part: &str| DOCKERFILE_WORDS.contains(&&*part.to_ascii_lowercase());
    if is_word(file) {
        return None;
    }
    match (file.split_once('.'), file.rsplit_once('.')) {
        (_, Some((image, word))) if is_word(word) => Some(image),
        (Some((word, image)), _) if is_word(word) => Some(image),
        _ => Some(file),
    }
    .filter(|image| !image.is_empty())
}

/// Returns true if a pattern of folders is most likely one of Dockerfiles.
fn looks_like_files(pattern: &str) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    DOCKERFILE_WORDS.iter().any(|word| last.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_after_dockerfiles() {
        for (file, image) in [
            ("api.Dockerfile", Some("api")),
            ("api.v2.dockerfile", Some("api.v2")),
            ("Dockerfile.api", Some("api")),
            ("Dockerfile.api.v2", Some("api.v2")),
            ("api.Containerfile", Some("api")),
            ("Dockerfile", None),
            ("Containerfile", None),
            (".Dockerfile", None),
            ("api", Some("api")),
            ("api.txt", Some("api.txt")),
        ] {
            assert_eq!(image_of(file), image, "{file}");
        }
    }
}
