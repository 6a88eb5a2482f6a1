//! Generates an image for each folder that a pattern finds.

use std::path::Path;
use std::rc::Rc;

use super::cache::{FolderSearch, FoundFolders};
use super::entry::{fill_templates, text, text_node};
use super::expander::{EntryExpander, MatrixRow, note};
use super::folders::{self, SearchError, SearchFor};
use super::glob::PathGlob;
use super::template::{self, TemplateKind};
use crate::base::clean_path::clean;
use crate::base::nearest::did_you_mean;
use crate::base::span::{Problem, Span};
use crate::manifest::model::Discover;
use crate::manifest::node::{Value, YamlNode};
use crate::manifest::spanned::Spanned;

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

    /// Generates the images of `discover: { glob: .. }`.
    pub(super) fn folders(
        &mut self,
        node: &YamlNode,
        pattern: &Spanned<String>,
        excludes: &[Exclude<'_>],
        row: Option<MatrixRow<'_>>,
    ) {
        let span = pattern.span();
        let dockerfile = match node.get("dockerfile") {
            Some(_) => text(node, "dockerfile"),
            None => self.dockerfile,
        };
        let dockerfile = dockerfile.unwrap_or("Dockerfile").to_owned();
        let result = self.search(pattern, excludes, &dockerfile);
        let folders = match &*result {
            Ok(FoundFolders { folders, .. }) if !folders.is_empty() => folders,
            Ok(FoundFolders { without_dockerfile: 0, .. }) => {
                let message = format!("no folder matches `{}`", pattern.as_str());
                let dir = self.dir.display();
                let help = format!("patterns are relative to the folder of the file, {dir}");
                return self.diagnostics.error(message, span, help);
            }
            Ok(_) => {
                let message =
                    format!("no folder that matches `{}` has a {dockerfile}", pattern.as_str());
                let help = "set `dockerfile:` to its path, relative to each folder";
                return self.diagnostics.error(message, span, help);
            }
            Err(problem) => return self.diagnostics.push(problem.clone()),
        };
        for path in folders {
            if !self.has_room(span) {
                return;
            }
            let names = self.folder_names(path);
            let named_by_folder = node.get("name").is_none();
            let note = note(row, Some(path), folders.len(), None);
            let outer = self.diagnostics.enter(Some(&note));
            let mut node = node.clone();
            node.put("context", span, text_node(path, span));
            self.set_default_name(&mut node, &names.dir, span);
            let values = [
                ("dir", Some(names.dir.as_str())),
                ("path", Some(path.as_str())),
                ("parent", Some(names.parent.as_str())),
            ];
            fill_templates(&mut node, &values, self.diagnostics);
            self.diagnostics.leave(outer);
            self.add(node, note, named_by_folder);
        }
    }

    /// Searches for folders that match a pattern and are not excluded. Each search is done once.
    fn search(
        &mut self,
        pattern: &Spanned<String>,
        excludes: &[Exclude<'_>],
        dockerfile: &str,
    ) -> Rc<Result<FoundFolders, Problem>> {
        let search = FolderSearch {
            dir: self.dir.to_owned(),
            pattern: pattern.to_string(),
            excludes: excludes.iter().map(|exclude| exclude.pattern.to_string()).collect(),
            dockerfile: dockerfile.to_owned(),
        };
        if let Some(known) = self.cache.folders.get(&search) {
            return Rc::clone(known);
        }
        let result = match folders::find(self.dir, pattern, SearchFor::Folders, self.reach) {
            Ok(mut folders) => {
                self.exclude(excludes, &mut folders);
                let all = folders.len();
                folders.retain(|path| self.has_dockerfile(path, dockerfile));
                Ok(FoundFolders { without_dockerfile: all - folders.len(), folders })
            }
            Err(SearchError { message, help }) => Err(Problem::new(message, pattern.span(), "")
                .help(help.unwrap_or_else(|| {
                    "write a pattern like `services/*` or `services/**`".to_owned()
                }))),
        };
        let result = Rc::new(result);
        self.cache.folders.insert(search, Rc::clone(&result));
        result
    }

    /// Removes excluded folders. Warns about a pattern that excludes nothing: most likely a
    /// mistake.
    pub(super) fn exclude(&mut self, excludes: &[Exclude<'_>], folders: &mut Vec<String>) {
        for exclude in excludes {
            if folders.iter().any(|path| exclude.matches(path)) {
                continue;
            }
            let known: Vec<&str> = folders.iter().map(String::as_str).collect();
            let help = did_you_mean(exclude.pattern, &known).unwrap_or_else(|| {
                let dir = self.dir.display();
                format!("remove it, or correct it: it is relative to the folder of the file, {dir}")
            });
            let message = format!("`{}` excludes no folder", exclude.pattern.as_str());
            self.diagnostics.warn(message, exclude.pattern.span(), help);
        }
        folders.retain(|path| !excludes.iter().any(|exclude| exclude.matches(path)));
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
        let is_file = self.dir.join(path).join(&name).is_file();
        if !is_file {
            self.skip(path, format!("it has no {name}"));
        }
        is_file
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
