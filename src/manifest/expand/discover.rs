//! Makes an image of each folder that a pattern finds.

use std::path::Path;
use std::rc::Rc;

use super::cache::{Folders, Search};
use super::entry::{self, fill_templates, get, put, text, text_node};
use super::folders::{self, Unfound, Want};
use super::glob::Glob;
use super::images::{Expander, InRow, note};
use super::template::{self, Makes};
use crate::base::nearest::nearest;
use crate::base::span::{Problem, Span};
use crate::manifest::Sp;
use crate::manifest::decode::{decode, is_damaged};
use crate::manifest::diagnostics::Notes;
use crate::manifest::files::clean;
use crate::manifest::model::Discover;
use crate::manifest::node::{Node, Value};
use crate::manifest::workspace::Skipped;

/// What a found folder is called in templates.
pub(super) struct FolderWords {
    pub(super) dir: String,
    pub(super) parent: String,
}

impl Expander<'_> {
    /// Makes an entry with `discover` into images.
    pub(super) fn discover(&mut self, mut node: Node, row: Option<InRow<'_>>) {
        let Some((key, mut said)) = entry::take(&mut node, "discover") else { return };
        if matches!(said.value, Value::Bad) {
            return;
        }
        let Some(discover) = decode::<Sp<Discover>>(&mut said, &mut self.found.problems) else {
            return;
        };
        if self.excludes(&discover).is_none() {
            return;
        }
        match (&discover.glob, &discover.harbor) {
            (Some(glob), None) => self.folders(&node, glob, &discover, row),
            (None, Some(root)) => self.tasks(&node, root, &discover, row),
            (Some(glob), Some(harbor)) => {
                let message = "a discovery says `glob` or `harbor`, not both";
                let problem = Problem::new(message, harbor.span(), "and here");
                let problem = problem.and(glob.span(), "here");
                self.found.problems.push(problem.help("make two entries of it"));
            }
            (None, None) if is_damaged(&said) => {}
            (None, None) => {
                let help = "write `glob: \"services/*\"` or `harbor: tasks`";
                self.report("this discovers nothing", key.span, help);
            }
        }
    }

    fn excludes(&mut self, discover: &Discover) -> Option<Vec<Glob>> {
        let mut globs = Vec::new();
        for exclude in discover.exclude.iter().flatten() {
            match Glob::parse(exclude) {
                Ok(glob) => globs.push(glob),
                Err(words) => {
                    self.report(words, exclude.span(), "a `*` and a `?` stay within a name");
                    return None;
                }
            }
        }
        Some(globs)
    }

    fn folders(
        &mut self,
        node: &Node,
        pattern: &Sp<String>,
        discover: &Discover,
        row: Option<InRow<'_>>,
    ) {
        let at = pattern.span();
        let dockerfile = match get(node, "dockerfile") {
            Some(_) => text(node, "dockerfile"),
            None => self.dockerfile,
        };
        let dockerfile = dockerfile.unwrap_or("Dockerfile").to_owned();
        let folders = self.search(pattern, discover, &dockerfile);
        let found = match &*folders {
            Ok(Folders { found, .. }) if !found.is_empty() => found,
            Ok(Folders { without: 0, .. }) => {
                let message = format!("no folder matches `{}`", pattern.as_str());
                let dir = self.dir.display();
                let help = format!("patterns are relative to the file's folder, {dir}");
                return self.report(message, at, help);
            }
            Ok(_) => {
                let message =
                    format!("no folder that matches `{}` has a {dockerfile}", pattern.as_str());
                let help = "say under `dockerfile:` how it is called, relative to each folder";
                return self.report(message, at, help);
            }
            Err(problem) => return self.found.problems.push(problem.clone()),
        };
        for path in found {
            if !self.has_room(at) {
                return;
            }
            let words = self.words(path);
            let made = note(row, Some(path), found.len(), None);
            let mark = Notes::mark(&self.found.problems, &self.found.warnings);
            let mut node = node.clone();
            put(&mut node, "context", at, text_node(path, at));
            self.name(&mut node, &words.dir, at);
            let words = [
                ("dir", Some(words.dir.as_str())),
                ("path", Some(path.as_str())),
                ("parent", Some(words.parent.as_str())),
            ];
            fill_templates(&mut node, &words, &mut self.found.problems);
            self.since(mark, Some(&made));
            self.add(node, made);
        }
    }

    /// What a pattern finds and is not excluded; it is looked for once.
    fn search(
        &mut self,
        pattern: &Sp<String>,
        discover: &Discover,
        dockerfile: &str,
    ) -> Rc<Result<Folders, Problem>> {
        let excludes = discover.exclude.iter().flatten();
        let search = Search {
            dir: self.dir.to_owned(),
            pattern: pattern.to_string(),
            excludes: excludes.map(|exclude| exclude.to_string()).collect(),
            dockerfile: dockerfile.to_owned(),
        };
        if let Some(known) = self.memory.folders.get(&search) {
            return Rc::clone(known);
        }
        let found = match folders::find(self.dir, pattern, Want::Folders) {
            Ok(mut found) => {
                self.exclude(discover, &mut found);
                let all = found.len();
                found.retain(|path| self.has_dockerfile(path, dockerfile));
                Ok(Folders { without: all - found.len(), found })
            }
            Err(Unfound { message, help }) => Err(Problem::new(message, pattern.span(), "here")
                .help(help.unwrap_or("a pattern is as `services/*` or `services/**`"))),
        };
        let found = Rc::new(found);
        self.memory.folders.insert(search, Rc::clone(&found));
        found
    }

    /// Leaves out what is excluded; an `exclude` of nothing is most likely a slip.
    pub(super) fn exclude(&mut self, discover: &Discover, found: &mut Vec<String>) {
        let Some(excludes) = self.excludes(discover) else { return };
        for (exclude, said) in excludes.iter().zip(discover.exclude.iter().flatten()) {
            if found.iter().any(|path| is_excluded(path, exclude)) {
                continue;
            }
            let near = nearest(said, &found.iter().map(String::as_str).collect::<Vec<_>>());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "it is relative to the file's folder, {}: write what is found, or remove it",
                    self.dir.display()
                ),
            };
            let message = format!("`{}` excludes nothing that is found", said.as_str());
            let problem = Problem::new(message, said.span(), "here");
            self.found.warnings.push(problem.help(help).warning());
        }
        found.retain(|path| !excludes.iter().any(|exclude| is_excluded(path, exclude)));
    }

    /// Whether a folder has the Dockerfile; one without is remembered.
    fn has_dockerfile(&mut self, path: &str, dockerfile: &str) -> bool {
        let name = if dockerfile.contains('{') {
            let FolderWords { dir, parent } = self.words(path);
            let words = [("dir", Some(&*dir)), ("path", Some(path)), ("parent", Some(&*parent))];
            template::fill(dockerfile, Makes::Text, &words)
        } else {
            Ok(dockerfile.to_owned())
        };
        // What cannot be filled is told with the image.
        let Ok(name) = name else { return true };
        let is_file = self.dir.join(path).join(&name).is_file();
        if !is_file {
            self.skip(path, format!("it has no {name}"));
        }
        is_file
    }

    /// Names an image after its folder, where its entry says no name.
    pub(super) fn name(&mut self, node: &mut Node, dir: &str, at: Span) {
        if get(node, "name").is_some() {
            return;
        }
        let name = template::name_of(dir);
        if name.is_empty() {
            let message = format!("the folder `{}` gives no name", dir.escape_debug());
            self.report(message, at, "write a `name:`, as `name: \"app-{parent}\"`");
        }
        put(node, "name", at, if name.is_empty() { bad(at) } else { text_node(name, at) });
    }

    /// The names of a folder and of the one above.
    pub(super) fn words(&self, path: &str) -> FolderWords {
        let written = clean(Path::new(path));
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let dir = match written.file_name() {
            Some(_) => written.clone(),
            None => std::fs::canonicalize(self.dir.join(path)).unwrap_or(written.clone()),
        };
        let above = if written.parent().and_then(Path::file_name).is_some() {
            dir.parent().and_then(name)
        } else {
            // The folder above has no name in the path: the disk knows it.
            let real = std::fs::canonicalize(self.dir.join(path).join("..")).ok();
            real.as_deref().and_then(name)
        };
        FolderWords { dir: name(&dir).unwrap_or_default(), parent: above.unwrap_or_default() }
    }

    /// Remembers what was found and left out.
    pub(super) fn skip(&mut self, path: &str, reason: impl Into<String>) {
        let path = clean(&self.dir.join(path));
        self.found.skipped.push(Skipped { path, reason: reason.into() });
    }
}

/// Whether a folder is left out, or one that it lies in.
fn is_excluded(path: &str, exclude: &Glob) -> bool {
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    above.chain([path]).any(|folder| exclude.matches(folder))
}

/// A value of which all was said.
pub(super) fn bad(span: Span) -> Node {
    Node { span, value: Value::Bad }
}
