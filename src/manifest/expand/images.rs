//! Expands one entry of `images` into the images that it stands for.

use super::entry::ImageEntry;
use super::expander::{EntryExpander, MatrixRow, note};
use super::folders::SearchFor;
use super::matrix;
use crate::base::span::Problem;
use crate::manifest::decode::{decode, is_damaged};
use crate::manifest::interpolate::{Variables, warn_about_bare_names};
use crate::manifest::model::Discover;
use crate::manifest::node::{Value, YamlNode};
use crate::manifest::scalars::OnError;
use crate::manifest::spanned::Spanned;

/// Keys that set the origin of an image. An entry has only one of them.
const ORIGIN_KEYS: [&str; 5] = ["context", "source", "discover", "sources", "sources_from"];

/// Keys that generate several images.
const GENERATOR_KEYS: [&str; 3] = ["discover", "sources", "sources_from"];

impl EntryExpander<'_> {
    /// Expands one entry.
    pub(super) fn expand(&mut self, mut node: YamlNode) {
        let Some((_, mut matrix)) = node.take("matrix") else {
            return self.expand_row(node, self.variables, None);
        };
        self.variables.substitute(&mut matrix, self.diagnostics);
        let room = (*self.images_left, self.max_images);
        let rows = matrix::rows(&matrix, self.variables, room, self.diagnostics);
        let Some(rows) = rows else {
            self.diagnostics.incomplete = true;
            return;
        };
        for row in &rows {
            // Each row has at least one image, so without room the other rows need no look.
            if *self.images_left == 0 {
                self.has_room(node.span);
                break;
            }
            let variables = self.variables.with_row(row.iter().cloned());
            let row = MatrixRow { row, count: rows.len() };
            self.expand_row(node.clone(), &variables, Some(row));
        }
    }

    fn expand_row(
        &mut self,
        mut node: YamlNode,
        variables: &Variables<'_>,
        row: Option<MatrixRow<'_>>,
    ) {
        let note = row.map(|row| note(Some(row), None, 1, None));
        let outer = self.diagnostics.enter(note.as_ref());
        warn_about_bare_names(&node, self.diagnostics);
        variables.substitute(&mut node, self.diagnostics);
        match GENERATOR_KEYS.into_iter().find(|key| node.get(key).is_some()) {
            Some(key) => {
                let before = self.entries.len();
                self.generate(key, node, row);
                self.diagnostics.incomplete |= self.entries.len() == before;
            }
            // An entry without a matrix was written as one image and needs no room.
            None if row.is_none() || self.has_room(node.span) => {
                self.entries.push(ImageEntry {
                    node,
                    note,
                    named_by_folder: false,
                    on_error: OnError::default(),
                });
            }
            None => {}
        }
        self.diagnostics.leave(outer);
    }

    /// Generates the images of `discover`, `sources` or `sources_from`.
    fn generate(&mut self, key: &str, mut node: YamlNode, row: Option<MatrixRow<'_>>) {
        if let Some(problem) = second_origin(&node) {
            return self.diagnostics.push(problem);
        }
        let Some((key, value)) = node.take(key) else { return };
        match key.text.as_str() {
            "discover" => self.discover(&node, value, row),
            "sources" => self.sources(&node, value, row),
            _ => self.sources_from(&node, &value, row),
        }
    }

    fn discover(&mut self, node: &YamlNode, mut value: YamlNode, row: Option<MatrixRow<'_>>) {
        let Some(discover) = decode::<Spanned<Discover>>(&mut value, self.diagnostics) else {
            return;
        };
        let before = self.entries.len();
        self.discover_with(node, &discover, &value, row);
        for entry in &mut self.entries[before..] {
            entry.on_error = discover.on_error.unwrap_or_default();
        }
    }

    fn discover_with(
        &mut self,
        node: &YamlNode,
        discover: &Spanned<Discover>,
        value: &YamlNode,
        row: Option<MatrixRow<'_>>,
    ) {
        let Some(excludes) = self.excludes(discover) else { return };
        let prefer = discover.prefer.as_ref();
        if let (Some(prefer), None) = (prefer, &discover.harbor) {
            let help = "remove it, or write `harbor:`";
            let message = "only Harbor tasks have an origin to prefer";
            return self.diagnostics.error(message, prefer.span(), help);
        }
        match (&discover.glob, &discover.dockerfiles, &discover.harbor) {
            (Some(glob), None, None) => {
                self.found(node, (glob, SearchFor::Folders), &excludes, row);
            }
            (None, Some(glob), None) => self.found(node, (glob, SearchFor::Files), &excludes, row),
            (None, None, Some(root)) => match node.get("context") {
                None => self.tasks(node, (root, prefer), &excludes, row),
                Some(context) => {
                    let help = "remove it: the context of a task is its environment/";
                    let message = "a Harbor task has its own context";
                    self.diagnostics.error(message, context.span, help);
                }
            },
            (None, None, None) if is_damaged(value) => {}
            (None, None, None) => {
                let help = "write `glob: \"services/*\"`, `dockerfiles: \"docker/*.Dockerfile\"` or \
                            `harbor: tasks`";
                self.diagnostics.error("`discover` has no pattern", discover.span(), help);
            }
            (glob, dockerfiles, harbor) => {
                let mut spans =
                    [glob, dockerfiles, harbor].into_iter().flatten().map(Spanned::span);
                let (Some(first), Some(second)) = (spans.next(), spans.next()) else { return };
                let message = "`discover` has one of `glob`, `dockerfiles` and `harbor`";
                let problem = Problem::new(message, second, "second").and(first, "first");
                self.diagnostics.push(problem.help("make two entries"));
            }
        }
    }
}

/// Describes an entry with two origins.
fn second_origin(node: &YamlNode) -> Option<Problem> {
    let Value::Map(entries) = &node.value else { return None };
    // What `discover` finds can be built from another context.
    let has_discover = node.get("discover").is_some();
    let is_origin = |key: &str| ORIGIN_KEYS.contains(&key) && !(has_discover && key == "context");
    let mut origins = entries.iter().filter(|(key, _)| is_origin(&key.text));
    let ((first, _), (second, _)) = (origins.next()?, origins.next()?);
    let message = format!("an entry has either `{}` or `{}`, not both", first.text, second.text);
    let problem = Problem::new(message, second.span, "second").and(first.span, "first");
    Some(problem.help("make two entries, or remove one of the two"))
}
