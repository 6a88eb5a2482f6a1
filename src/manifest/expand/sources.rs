//! Makes a mirror of each reference of a list or of a file.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::cache::List;
use super::entry::{self, fill_templates, put};
use super::images::{Expander, InRow, note};
use super::include::LARGEST;
use super::lines::{self, Line};
use crate::base::file::read_limited;
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, Span};
use crate::manifest::diagnostics::Notes;
use crate::manifest::files::clean;
use crate::manifest::node::{Kind, Node, Value};

/// Makes a line known among the others: its source and where it lands.
type LineKey = [Option<String>; 4];

impl Expander<'_> {
    /// Makes an entry with `sources` into images.
    pub(super) fn sources(&mut self, mut node: Node, row: Option<InRow<'_>>) {
        let Some((key, list)) = entry::take(&mut node, "sources") else { return };
        let items = match list.value {
            Value::Seq(items) => items,
            Value::Bad => return,
            _ => {
                let help = "write each reference on a line of its own, after `- `";
                return self.report("`sources` should be a list", list.span, help);
            }
        };
        if items.is_empty() {
            return self.report(
                "this lists no sources",
                key.span,
                "list them, or remove the entry",
            );
        }
        let line = |(index, source): (usize, Node)| {
            let span = source.span;
            Line { number: index + 1, span, source, name: None, tag: None, platform: None }
        };
        let lines = items.into_iter().enumerate().map(line);
        self.mirrors(&node, &lines.collect::<Vec<_>>(), None, row);
    }

    /// Makes an entry with `sources_from` into images.
    pub(super) fn sources_from(&mut self, mut node: Node, row: Option<InRow<'_>>) {
        let Some((_, said)) = entry::take(&mut node, "sources_from") else { return };
        let path = match &said.value {
            Value::Scalar { text, kind: Kind::Text } if !text.trim().is_empty() => text.as_str(),
            Value::Bad => return,
            _ => {
                let help = "name a file: refs.txt";
                return self.report("`sources_from` should be a path", said.span, help);
            }
        };
        let file = clean(&self.dir.join(path));
        let list = self.list(&file);
        let list = match &*list {
            Ok(list) => list,
            Err(message) => {
                let help = format!("it is relative to the file's folder, {}", self.dir.display());
                return self.report(message, said.span, help);
            }
        };
        let name = file.display().to_string();
        if list.lines.is_empty() && list.problems.is_empty() {
            let message = format!("{name} lists no sources");
            return self.report(message, said.span, "write one reference a line");
        }
        self.found.problems.extend(list.problems.iter().cloned());
        self.found.incomplete |= !list.problems.is_empty();
        self.mirrors(&node, &list.lines, Some(&name), row);
    }

    /// The lines of a file, which is read once.
    fn list(&mut self, file: &Path) -> Rc<Result<List, String>> {
        if let Some(known) = self.memory.lists.get(file) {
            return Rc::clone(known);
        }
        let list = read(file).map(|text| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let start = self.sources.add(file.display().to_string(), text);
            let mut problems = Vec::new();
            let lines = if file.extension().is_some_and(|extension| extension == "jsonl") {
                lines::objects(text, start, &mut problems)
            } else {
                lines::references(text, start)
            };
            List { lines, problems }
        });
        let list = Rc::new(list);
        self.memory.lists.insert(file.to_owned(), Rc::clone(&list));
        list
    }

    fn mirrors(&mut self, node: &Node, lines: &[Line], file: Option<&str>, row: Option<InRow<'_>>) {
        let of = lines.len();
        let mut seen: HashMap<LineKey, Span> = HashMap::with_capacity(of);
        for line in lines {
            let (span, number) = (line.span, line.number);
            match seen.entry(key(line)) {
                Slot::Vacant(slot) => slot.insert(span),
                Slot::Occupied(first) => {
                    let text = text(&line.source).unwrap_or_default();
                    let problem =
                        Problem::new(format!("`{text}` is listed twice"), span, "and here");
                    let problem = problem.and(*first.get(), "here");
                    self.found.problems.push(problem.help("remove one of them"));
                    continue;
                }
            };
            if !self.has_room(span) {
                return;
            }
            let made_for = match file {
                Some(file) => format!("line {number} of {file}"),
                None => text(&line.source).unwrap_or("an item").to_owned(),
            };
            let made = note(row, Some(&made_for), of, Some(span));
            let mark = Notes::mark(&self.found.problems, &self.found.warnings);
            let node = self.mirror(node, line.clone());
            self.since(mark, Some(&made));
            self.add(node, made);
        }
    }

    /// The entry of one line: what the line says wins over the entry.
    fn mirror(&mut self, node: &Node, line: Line) -> Node {
        let mut node = node.clone();
        // What is wrong with the image as a whole is wrong with this line.
        node.span = line.span;
        let source: Option<SourceRef> = text(&line.source).and_then(|text| text.parse().ok());
        if let Some(source) = &source {
            let parts = source.parts();
            let name = parts.path.rsplit('/').next();
            let tag = parts.tag_or_digest();
            let words = [
                ("registry", Some(parts.registry.unwrap_or("docker.io"))),
                ("path", Some(parts.path)),
                ("name", name),
                ("tag", Some(tag.as_str())),
                ("digest", parts.hex().and_then(|hex| hex.get(..12))),
            ];
            for (key, own) in [("name", &line.name), ("tag", &line.tag)] {
                if own.is_some() {
                    entry::take(&mut node, key);
                }
            }
            fill_templates(&mut node, &words, &mut self.found.problems);
        } else {
            // The source is refused as what it is; what depends on it has no meaning.
            entry::take(&mut node, "name");
            entry::take(&mut node, "tag");
        }
        put(&mut node, "source", line.span, line.source);
        let own = [("name", line.name), ("tag", line.tag)];
        for (key, value) in own.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            put(&mut node, key, value.span, value);
        }
        if let Some(platform) = line.platform {
            let span = platform.span;
            put(&mut node, "platforms", span, Node { span, value: Value::Seq(vec![platform]) });
        }
        node
    }
}

fn read(file: &Path) -> Result<String, String> {
    let read = fs::File::open(file).and_then(|file| read_limited(file, LARGEST));
    match read.map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err(format!("{} is not UTF-8", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no {}", file.display()))
        }
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

fn key(line: &Line) -> LineKey {
    let own = |node: Option<&Node>| node.and_then(text).map(str::to_owned);
    [Some(&line.source), line.name.as_ref(), line.tag.as_ref(), line.platform.as_ref()].map(own)
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, kind: Kind::Text } => Some(text.trim()),
        _ => None,
    }
}
