//! Generates a mirror for each reference of a list or of a file.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::entry::fill_templates;
use super::expander::{EntryExpander, MatrixRow, note};
use super::lines::{self, SourceLine, SourceList};
use crate::base::clean_path::clean;
use crate::base::input::{self, InputKind};
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, Span};
use crate::manifest::node::{Value, YamlNode};

/// Source, name, tag and platform of a line. Lines with equal keys are duplicates.
type LineKey = [Option<String>; 4];

impl EntryExpander<'_> {
    /// Generates the images of `sources`.
    pub(super) fn sources(&mut self, node: &YamlNode, list: YamlNode, row: Option<MatrixRow<'_>>) {
        let items = match list.value {
            Value::Seq(items) => items,
            Value::Bad => return,
            _ => {
                let help = "write each reference on its own line, after `- `";
                return self.diagnostics.error("`sources` must be a list", list.span, help);
            }
        };
        if items.is_empty() {
            let help = "add references, or remove the entry";
            return self.diagnostics.error("`sources` is empty", list.span, help);
        }
        let lines = items.into_iter().enumerate().map(|(index, source)| SourceLine {
            number: index + 1,
            span: source.span,
            source,
            name: None,
            tag: None,
            platform: None,
        });
        self.mirrors(node, &lines.collect::<Vec<_>>(), None, row);
    }

    /// Generates the images of `sources_from`.
    pub(super) fn sources_from(
        &mut self,
        node: &YamlNode,
        path: &YamlNode,
        row: Option<MatrixRow<'_>>,
    ) {
        let span = path.span;
        let path = match path.as_text() {
            Some(text) if !text.trim().is_empty() => text,
            _ if matches!(path.value, Value::Bad) => return,
            _ => {
                let help = "name a file: refs.txt";
                return self.diagnostics.error("`sources_from` must be a path", span, help);
            }
        };
        let file = clean(&self.dir.join(path));
        if let Err(error) = self.reach.check(&file) {
            return self.diagnostics.error(error.message, span, error.help);
        }
        let list = self.list(&file);
        let list = match &*list {
            Ok(list) => list,
            Err(message) => {
                let dir = self.dir.display();
                let help = format!("the path is relative to the folder of the file, {dir}");
                return self.diagnostics.error(message, span, help);
            }
        };
        let name = file.display().to_string();
        if list.lines.is_empty() && list.problems.is_empty() {
            let help = "write one reference per line";
            return self.diagnostics.error(format!("{name} has no references"), span, help);
        }
        for problem in &list.problems {
            self.diagnostics.push(problem.clone());
        }
        self.diagnostics.incomplete |= !list.problems.is_empty();
        self.mirrors(node, &list.lines, Some(&name), row);
    }

    /// Reads a file of references, once.
    fn list(&mut self, file: &Path) -> Rc<Result<SourceList, String>> {
        if let Some(known) = self.cache.lists.get(file) {
            return Rc::clone(known);
        }
        // One more than a manifest can have, so that too many are noticed.
        let max = self.max_images.saturating_add(1);
        let list = read(file).map(|text| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let start = self.sources.add(file.display().to_string(), text);
            if file.extension().is_some_and(|extension| extension == "jsonl") {
                lines::parse_objects(text, start, max)
            } else {
                let lines = lines::parse_references(text, start, max);
                SourceList { lines, problems: Vec::new() }
            }
        });
        let list = Rc::new(list);
        self.cache.lists.insert(file.to_owned(), Rc::clone(&list));
        list
    }

    fn mirrors(
        &mut self,
        node: &YamlNode,
        lines: &[SourceLine],
        file: Option<&str>,
        row: Option<MatrixRow<'_>>,
    ) {
        let mut seen: HashMap<LineKey, Span> = HashMap::with_capacity(lines.len());
        for line in lines {
            match seen.entry(line_key(line)) {
                Slot::Vacant(slot) => slot.insert(line.span),
                Slot::Occupied(first) => {
                    let source = trimmed(&line.source).unwrap_or_default();
                    let problem =
                        Problem::new(format!("`{source}` is listed twice"), line.span, "second")
                            .and(*first.get(), "first")
                            .help("remove one of them");
                    self.diagnostics.push(problem);
                    continue;
                }
            };
            if !self.has_room(line.span) {
                return;
            }
            let generated_for = match file {
                Some(file) => format!("line {} of {file}", line.number),
                None => trimmed(&line.source).unwrap_or("an item").to_owned(),
            };
            let note = note(row, Some(&generated_for), lines.len(), Some(line.span));
            let outer = self.diagnostics.enter(Some(&note));
            let node = self.mirror(node, line.clone());
            self.diagnostics.leave(outer);
            self.add(node, note, false);
        }
    }

    /// Returns the entry of one line. The values of the line override those of the entry.
    fn mirror(&mut self, node: &YamlNode, line: SourceLine) -> YamlNode {
        let mut node = node.clone();
        // Problems of the image as a whole point at its line.
        node.span = line.span;
        for (key, value) in [("name", &line.name), ("tag", &line.tag)] {
            if value.is_some() {
                node.take(key);
            }
        }
        let source: Option<SourceRef> =
            trimmed(&line.source).and_then(|source| source.parse().ok());
        if let Some(source) = &source {
            let parts = source.parts();
            let tag = parts.tag_or_digest();
            let values = [
                ("registry", Some(parts.registry.unwrap_or("docker.io"))),
                ("path", Some(parts.path)),
                ("name", parts.path.rsplit('/').next()),
                ("tag", Some(tag.as_str())),
                ("digest", parts.hex().and_then(|hex| hex.get(..12))),
            ];
            fill_templates(&mut node, &values, self.diagnostics);
        } else {
            // The decoder rejects the source. Templates that need it would be reported as well.
            node.take("name");
            node.take("tag");
        }
        node.put("source", line.span, line.source);
        for (key, value) in [("name", line.name), ("tag", line.tag)] {
            if let Some(value) = value {
                node.put(key, value.span, value);
            }
        }
        if let Some(platform) = line.platform {
            let span = platform.span;
            node.put("platforms", span, YamlNode { span, value: Value::Seq(vec![platform]) });
        }
        node
    }
}

fn read(file: &Path) -> Result<String, String> {
    match input::read(file, InputKind::SourceList).map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err(format!("{} is not UTF-8", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no {}", file.display()))
        }
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

fn line_key(line: &SourceLine) -> LineKey {
    let text = |node: Option<&YamlNode>| node.and_then(trimmed).map(str::to_owned);
    [Some(&line.source), line.name.as_ref(), line.tag.as_ref(), line.platform.as_ref()].map(text)
}

fn trimmed(node: &YamlNode) -> Option<&str> {
    node.as_text().map(str::trim)
}
