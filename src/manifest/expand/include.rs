//! Reads a manifest's files: those that were named, and those that they include.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cache::Memory;
use super::folders::{self, Unfound, Want};
use super::images::Expander;
use super::scope::{Found, MOST_IMAGES, Raw};
use super::{entry, glob};
use crate::base::file::read_limited;
use crate::base::span::{Problem, SourceMap, Span};
use crate::manifest::files::clean;
use crate::manifest::header::{check_version, root_of, shown};
use crate::manifest::interpolate::{Variables, warn_of_bare_names};
use crate::manifest::invocation::Invocation;
use crate::manifest::node::{self, Kind, Node, Value};

/// A file above this many bytes is no manifest, and no list of references.
pub(super) const LARGEST: u64 = 64 << 20;

/// Files that include one another are at most this deep.
const DEEPEST: usize = 100;

/// Reads files, each once.
pub(super) struct Loader<'a> {
    given: &'a Invocation,
    env: &'a dyn Fn(&str) -> Option<String>,
    sources: &'a mut SourceMap,
    raws: Vec<Raw>,
    found: Found,
    read: HashSet<PathBuf>,
    /// The files that are being read, each included by the one before.
    chain: Vec<Link>,
    /// How many images expansions may still make.
    room: usize,
    memory: Memory,
}

/// A file on the way to another.
struct Link {
    /// Its one path, whatever it is called.
    real: PathBuf,
    name: String,
    /// Where it is included.
    place: Option<Span>,
}

/// What a file takes from the one that includes it.
#[derive(Clone)]
struct Outer<'a> {
    variables: Variables<'a>,
    defaults: Option<Node>,
    owner: Option<Node>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        given: &'a Invocation,
        env: &'a dyn Fn(&str) -> Option<String>,
        sources: &'a mut SourceMap,
    ) -> Self {
        Self {
            given,
            env,
            sources,
            raws: Vec::new(),
            found: Found::default(),
            read: HashSet::new(),
            chain: Vec::new(),
            room: MOST_IMAGES,
            memory: Memory::default(),
        }
    }

    /// Reads all files: the first that was named as if it included the others.
    pub(super) fn load(mut self) -> (Vec<Raw>, Found) {
        let variables = Variables::new(&self.given.vars, self.env);
        let outer = Outer { variables: variables.clone(), defaults: None, owner: None };
        self.file(self.given.first(), None, &outer);
        self.warn_of_unused(&variables);
        (self.raws, self.found)
    }

    /// A `--var` that nothing asks for is most likely misspelt.
    fn warn_of_unused(&mut self, variables: &Variables<'_>) {
        // What was not read may ask for it.
        if self.found.incomplete || !self.found.problems.is_empty() {
            return;
        }
        for (name, near) in variables.unused() {
            // Its value may be meant for nobody's eyes.
            let span = Span::new(self.sources.add("--var", name), name.len());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write `${{{name}}}` where it belongs, or leave the flag out"),
            };
            let message = format!("nothing uses the variable `{name}`");
            self.found.warnings.push(Problem::new(message, span, "here").help(help).warning());
        }
    }

    fn file(&mut self, path: &Path, place: Option<Span>, outer: &Outer<'a>) {
        let name = shown(path);
        let real = real_path(path);
        if let Some(from) = self.chain.iter().position(|link| link.real == real) {
            self.found.problems.extend(place.map(|place| self.circle(from, place)));
            return;
        }
        if self.read.contains(&real) {
            return;
        }
        if self.chain.len() >= DEEPEST {
            let message = format!("files include one another more than {DEEPEST} deep");
            let problem = place.map(|place| Problem::new(message, place, "here"));
            let help = "include it from a file further up";
            self.found.problems.extend(problem.map(|problem| problem.help(help)));
            self.found.incomplete = true;
            return;
        }
        let Some((start, root)) = self.parse(path, &name, place) else {
            self.found.incomplete = true;
            return;
        };
        self.read.insert(real.clone());
        self.chain.push(Link { real, name, place });
        self.inside(path, start, root, place.is_none(), outer);
        self.chain.pop();
    }

    /// The text of a file as nodes, and where it begins.
    fn parse(&mut self, path: &Path, name: &str, place: Option<Span>) -> Option<(usize, Node)> {
        let text = match read(path) {
            Ok(text) => text,
            Err(mut problem) => {
                if let Some(place) = place {
                    problem.labels.push((place, "included here".to_owned()));
                    let help = "paths are relative to the file that names them";
                    problem.help = Some(help.to_owned());
                }
                self.found.problems.push(problem);
                return None;
            }
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let start = self.sources.add(name, text);
        match node::parse(text, start).and_then(|root| check_version(&root, start).map(|()| root)) {
            Ok(root) => Some((start, root)),
            Err(problem) => {
                self.found.problems.push(problem);
                None
            }
        }
    }

    /// Reads what a file says, and then the files that it includes.
    fn inside(&mut self, path: &Path, start: usize, root: Node, is_first: bool, outer: &Outer<'a>) {
        let (mut root, dir) = (root, root_of(path));
        if !is_first {
            self.refuse_settings(&mut root);
        }
        let problems = &mut self.found.problems;
        let variables = outer.variables.of_file(&mut root, problems);
        let images = take_images(&mut root);
        if let Some(defaults) = entry::get(&root, "defaults") {
            warn_of_bare_names(defaults, &mut self.found.warnings);
        }
        if let Value::Map(entries) = &mut root.value {
            for (_, value) in entries.iter_mut().filter(|(key, _)| key.text != "vars") {
                variables.put_into(value, problems);
            }
        }
        inherit(&mut root, outer);
        let inner = Outer {
            variables,
            defaults: entry::get(&root, "defaults").cloned(),
            owner: entry::get(&root, "owner").cloned(),
        };
        let includes = includes(&root);
        let span = images.as_ref().map(|(span, _)| *span);
        let mut raw = Raw { dir: dir.clone(), root, images: span, entries: Vec::new() };
        let mut expander = Expander {
            dir: &dir,
            variables: &inner.variables,
            dockerfile: inner.defaults.as_ref().and_then(|d| entry::text(d, "dockerfile")),
            sources: self.sources,
            found: &mut self.found,
            room: &mut self.room,
            entries: &mut raw.entries,
            memory: &mut self.memory,
        };
        for image in images.into_iter().flat_map(|(_, images)| images) {
            expander.image(image);
        }
        // An included file may have none of its own.
        let more = !is_first || !includes.is_empty() || self.given.files.len() > 1;
        if raw.images.is_none() && more {
            raw.images = Some(Span::new(start, 0));
        }
        self.raws.push(raw);
        for (path, place) in &includes {
            self.include(&dir, path, *place, &inner);
        }
        if is_first {
            self.others(&inner);
        }
    }

    /// The other files of the command line; the first named again says nothing new.
    fn others(&mut self, outer: &Outer<'a>) {
        let first = self.chain.first().map(|link| link.real.clone());
        for path in self.given.files.iter().skip(1) {
            if Some(real_path(path)) == first {
                continue;
            }
            let text = path.to_string_lossy();
            let place = Span::new(self.sources.add("-f", &*text), text.len());
            self.file(path, Some(place), outer);
        }
    }

    fn include(&mut self, dir: &Path, path: &str, place: Span, outer: &Outer<'a>) {
        if !glob::is_pattern(path) {
            let file = match clean(&dir.join(path)) {
                // Only a flag means standard input by it.
                file if file == Path::new("-") => PathBuf::from("./-"),
                file => file,
            };
            return self.file(&file, Some(place), outer);
        }
        let found = folders::find(dir, path, Want::Files);
        // A pattern does not mean the file that says it.
        let own = self.chain.last().map(|link| link.real.clone());
        let is_other = |path: &PathBuf| fs::canonicalize(path).ok() != own;
        let files = found.map(|files| {
            files.iter().map(|file| clean(&dir.join(file))).filter(is_other).collect::<Vec<_>>()
        });
        match files {
            Ok(files) if !files.is_empty() => {
                for file in files {
                    self.file(&file, Some(place), outer);
                }
            }
            Ok(_) => {
                let problem = Problem::new(format!("no file matches `{path}`"), place, "here");
                let help = format!("patterns are relative to the file's folder, {}", dir.display());
                self.found.problems.push(problem.help(help));
                self.found.incomplete = true;
            }
            Err(Unfound { message, help }) => {
                let help =
                    help.unwrap_or("a pattern is as `teams/*/imgplan.yaml` or `**/imgplan.yaml`");
                self.found.problems.push(Problem::new(message, place, "here").help(help));
                self.found.incomplete = true;
            }
        }
    }

    /// Words for files that include one another, with each place.
    fn circle(&self, from: usize, place: Span) -> Problem {
        let links = &self.chain[from..];
        let mut names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        names.extend(links.first().map(|link| link.name.as_str()));
        let message = format!("these files include one another: {}", names.join(" -> "));
        // The last place closes the circle; those before lead to it.
        let label = |at: usize| format!("{} includes {}", names[at], names[at + 1]);
        let mut problem = Problem::new(message, place, label(links.len() - 1));
        for (at, link) in links.iter().enumerate().skip(1) {
            if let Some(place) = link.place {
                problem = problem.and(place, label(at - 1));
            }
        }
        problem.help("take one of these lines away")
    }

    /// One run has one service and one speed.
    fn refuse_settings(&mut self, root: &mut Node) {
        let Some((key, _)) = entry::take(root, "settings") else { return };
        let problem = Problem::new("`settings` stand in the first file only", key.span, "here");
        let first = self.chain.first().map_or("the first file", |link| link.name.as_str());
        self.found.problems.push(problem.help(format!("move them into {first}")));
    }
}

/// The one path of a file, whatever it is called; standard input keeps its name.
fn real_path(path: &Path) -> PathBuf {
    if path == Path::new("-") {
        return path.to_owned();
    }
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Takes the list of images out, if it is a list; an empty one stays in its place.
fn take_images(root: &mut Node) -> Option<(Span, Vec<Node>)> {
    let Value::Map(entries) = &mut root.value else { return None };
    let (_, list) = entries.iter_mut().find(|(key, _)| key.text == "images")?;
    match &mut list.value {
        Value::Seq(images) => Some((list.span, std::mem::take(images))),
        _ => None,
    }
}

/// What a file does not say itself, it takes from the one that includes it.
fn inherit(root: &mut Node, outer: &Outer<'_>) {
    if let (Some(owner), None) = (&outer.owner, entry::get(root, "owner")) {
        entry::put(root, "owner", owner.span, owner.clone());
    }
    let Some(outer) = &outer.defaults else { return };
    let Value::Map(entries) = &mut root.value else { return };
    let Some((_, own)) = entries.iter_mut().find(|(key, _)| key.text == "defaults") else {
        entry::put(root, "defaults", outer.span, outer.clone());
        return;
    };
    let (Value::Map(own), Value::Map(outer)) = (&mut own.value, &outer.value) else { return };
    for (key, value) in outer {
        if own.iter().all(|(said, _)| said.text != key.text) {
            own.push((key.clone(), value.clone()));
        }
    }
}

/// The texts of `include`; what is none is the decoder's to report.
fn includes(root: &Node) -> Vec<(String, Span)> {
    let Some(Node { value: Value::Seq(items), .. }) = entry::get(root, "include") else {
        return Vec::new();
    };
    let text = |item: &Node| match &item.value {
        Value::Scalar { text, kind: Kind::Text } => Some((text.clone(), item.span)),
        _ => None,
    };
    items.iter().filter_map(text).collect()
}

/// The text of a manifest; `-` is standard input.
fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: String, help: &str| Problem {
        message,
        help: Some(help.to_owned()),
        labels: Vec::new(),
        warning: false,
    };
    let read = if path == Path::new("-") {
        read_limited(io::stdin().lock(), LARGEST)
    } else {
        fs::File::open(path).and_then(|file| read_limited(file, LARGEST))
    };
    let bytes = read.map_err(|error| {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no {}", path.display()),
            _ => format!("cannot read {}: {error}", path.display()),
        };
        let help = "run imgplan in the folder of the manifest, or name it: -f path/to/imgplan.yaml";
        problem(message, help)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..good]).matches('\n').count() + 1;
        problem(
            format!("{} is not UTF-8: the first wrong byte is on line {line}", path.display()),
            "save the file as UTF-8",
        )
    })
}
