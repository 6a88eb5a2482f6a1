//! Reads the files of a manifest: those of the command line, and those that they include.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::ReadCache;
use super::entry::text;
use super::expander::EntryExpander;
use super::folders::{self, SearchError, SearchFor};
use super::glob;
use super::manifest_file::{canonical_path, read, unreadable};
use super::scope::{DEFAULT_MAX_IMAGES, LARGEST_MAX_IMAGES, RawScope};
use crate::base::clean_path::clean;
use crate::base::input;
use crate::base::reach::Reach;
use crate::base::span::{Problem, SourceMap, Span};
use crate::manifest::decode::decode;
use crate::manifest::diagnostics::Diagnostics;
use crate::manifest::header::{check_version, display_name, root_of};
use crate::manifest::interpolate::{Variables, warn_about_bare_names};
use crate::manifest::invocation::Invocation;
use crate::manifest::node::{self, Value, YamlNode};
use crate::manifest::spanned::Spanned;
use crate::manifest::stream;
use crate::manifest::workspace::Skipped;

/// Maximum depth of files that include one another.
const MAX_INCLUDE_DEPTH: usize = 100;

/// Reads files, each once.
pub(super) struct Loader<'a> {
    invocation: &'a Invocation,
    env: &'a dyn Fn(&str) -> Option<String>,
    reach: &'a Reach,
    sources: &'a mut SourceMap,
    diagnostics: &'a mut Diagnostics,
    files: Vec<RawScope>,
    skipped: Vec<Skipped>,
    /// Canonical paths of the files that were read.
    read: HashSet<PathBuf>,
    /// Files that are being read, each included by the one before.
    chain: Vec<IncludeLink>,
    /// Maximum number of images of the manifest.
    max_images: usize,
    /// Number of images that may still be generated.
    images_left: usize,
    cache: ReadCache,
}

/// A file of the chain of includes.
struct IncludeLink {
    canonical: PathBuf,
    name: String,
    /// Span that includes the file; `None` for the first file.
    included_at: Option<Span>,
}

/// Values that a file inherits from the file that includes it.
struct Inherited<'a> {
    variables: Variables<'a>,
    defaults: Option<YamlNode>,
    owner: Option<YamlNode>,
}

/// Returns the setting `max_images`. A wrong value is reported when the settings are resolved.
fn max_images(root: &YamlNode) -> Option<usize> {
    let mut value = root.get("settings")?.get("max_images")?.clone();
    let max = decode::<Spanned<u32>>(&mut value, &mut Diagnostics::default())?;
    usize::try_from(*max).ok().filter(|max| (1..=LARGEST_MAX_IMAGES).contains(max))
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        invocation: &'a Invocation,
        env: &'a dyn Fn(&str) -> Option<String>,
        reach: &'a Reach,
        sources: &'a mut SourceMap,
        diagnostics: &'a mut Diagnostics,
    ) -> Self {
        Self {
            invocation,
            env,
            reach,
            sources,
            diagnostics,
            files: Vec::new(),
            skipped: Vec::new(),
            read: HashSet::new(),
            chain: Vec::new(),
            max_images: DEFAULT_MAX_IMAGES,
            images_left: DEFAULT_MAX_IMAGES,
            cache: ReadCache::default(),
        }
    }

    /// Reads and expands all files. The first file of the command line is read as if it included
    /// the others. Returns the files and the folders that were skipped.
    pub(super) fn load(mut self) -> (Vec<RawScope>, Vec<Skipped>) {
        let variables = Variables::new(self.invocation, self.env);
        let outer = Inherited { variables, defaults: None, owner: None };
        self.load_file(self.invocation.first(), None, &outer);
        self.warn_about_unused(&outer.variables);
        (self.files, self.skipped)
    }

    /// Warns about a `--var` that nothing uses: most likely it is misspelt.
    fn warn_about_unused(&mut self, variables: &Variables<'_>) {
        // A file or entry that could not be read may use it.
        if self.diagnostics.incomplete || self.diagnostics.errors() > 0 {
            return;
        }
        for (name, near) in variables.unused() {
            // Show only the name: the value may be a secret.
            let span = Span::new(self.sources.add("--var", name), name.len());
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use it as `${{{name}}}`, or remove the flag"),
            };
            self.diagnostics.warn(format!("nothing uses the variable `{name}`"), span, help);
        }
    }

    /// Loads a file and the files that it includes, unless it was loaded before.
    fn load_file(&mut self, path: &Path, included_at: Option<Span>, outer: &Inherited<'a>) {
        let canonical = canonical_path(path);
        if let Some(start) = self.chain.iter().position(|link| link.canonical == canonical) {
            if let Some(span) = included_at {
                self.diagnostics.push(include_cycle(&self.chain[start..], span));
            }
            return;
        }
        if self.read.contains(&canonical) {
            return;
        }
        if let Some(span) = included_at
            && self.chain.len() >= MAX_INCLUDE_DEPTH
        {
            let message = format!("files include one another more than {MAX_INCLUDE_DEPTH} deep");
            self.diagnostics.error(message, span, "include this file from an earlier file");
            self.diagnostics.incomplete = true;
            return;
        }
        let name = display_name(path);
        let (start, root) = match self.parse(path, &name, included_at) {
            Ok(parsed) => parsed,
            Err(problems) => {
                for problem in problems {
                    self.diagnostics.push(problem);
                }
                self.diagnostics.incomplete = true;
                return;
            }
        };
        self.read.insert(canonical.clone());
        self.chain.push(IncludeLink { canonical, name, included_at });
        self.expand_file(&root_of(path), start, root, included_at.is_none(), outer);
        self.chain.pop();
    }

    /// Reads and parses a file. Returns the offset of its text, and its root.
    fn parse(
        &mut self,
        path: &Path,
        name: &str,
        included_at: Option<Span>,
    ) -> Result<(usize, YamlNode), Vec<Problem>> {
        let included = |mut problem: Problem| {
            problem.labels.extend(included_at.map(|span| (span, "included here".to_owned())));
            problem
        };
        let is_argument = self.invocation.files.iter().any(|file| file == path);
        // Paths such as /dev/stdin are the user's: no checkout has them.
        let is_of_user = is_argument && (path == Path::new("-") || input::is_device_path(path));
        if let Err(error) = self.reach.check(path)
            && !is_of_user
        {
            return Err(vec![included(unreadable(error.message, error.help))]);
        }
        let given = self.invocation.text.clone().filter(|_| included_at.is_none());
        let text = given.map_or_else(|| read(path, is_argument), Ok).map_err(|problem| {
            let help = "paths are relative to the file that contains them";
            let has_place = included_at.is_some();
            vec![included(if has_place { problem.help(help) } else { problem })]
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let start = self.sources.add(name, text);
        let problems = stream::problems(text, start);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut root = node::parse(text, start).map_err(|problem| vec![problem])?;
        node::remove_extensions(&mut root);
        check_version(&root, start).map_err(|problem| vec![problem])?;
        Ok((start, root))
    }

    /// Expands the images of a file, and then loads the files that it includes.
    fn expand_file(
        &mut self,
        dir: &Path,
        start: usize,
        mut root: YamlNode,
        is_first: bool,
        outer: &Inherited<'a>,
    ) {
        if !is_first {
            self.reject_settings(&mut root);
        }
        let variables = outer.variables.with_file(&mut root, self.diagnostics);
        let images = take_images(&mut root);
        if let Some(defaults) = root.get("defaults") {
            warn_about_bare_names(defaults, self.diagnostics);
        }
        if let Value::Map(entries) = &mut root.value {
            for (_, value) in entries.iter_mut().filter(|(key, _)| key.text != "vars") {
                variables.substitute(value, self.diagnostics);
            }
        }
        if let Some(max) = max_images(&root).filter(|_| is_first) {
            (self.max_images, self.images_left) = (max, max);
        }
        inherit(&mut root, outer);
        let inner = Inherited {
            variables,
            defaults: root.get("defaults").cloned(),
            owner: root.get("owner").cloned(),
        };
        let includes = includes(&root);
        let (images_span, images) = images.unzip();
        let mut file =
            RawScope { dir: dir.to_owned(), root, images: images_span, entries: Vec::new() };
        let mut expander = EntryExpander {
            dir,
            reach: self.reach,
            variables: &inner.variables,
            dockerfile: inner.defaults.as_ref().and_then(|defaults| text(defaults, "dockerfile")),
            sources: self.sources,
            diagnostics: self.diagnostics,
            skipped: &mut self.skipped,
            max_images: self.max_images,
            images_left: &mut self.images_left,
            entries: &mut file.entries,
            cache: &mut self.cache,
        };
        for image in images.into_iter().flatten() {
            expander.expand(image);
        }
        // A file may omit `images` if other files are part of the manifest.
        let has_others = !is_first || !includes.is_empty() || self.invocation.files.len() > 1;
        if file.images.is_none() && has_others {
            file.images = Some(Span::new(start, 0));
        }
        self.files.push(file);
        for (path, span) in &includes {
            self.include(dir, path, *span, &inner);
        }
        if is_first {
            self.load_other_files(&inner);
        }
    }

    /// Loads the other files of the command line.
    fn load_other_files(&mut self, outer: &Inherited<'a>) {
        let first = self.chain.first().map(|link| link.canonical.clone());
        for path in self.invocation.files.iter().skip(1) {
            // Naming the first file twice is harmless, not a cycle.
            if Some(canonical_path(path)) == first {
                continue;
            }
            let text = path.to_string_lossy();
            let span = Span::new(self.sources.add("-f", &*text), text.len());
            self.load_file(path, Some(span), outer);
        }
    }

    /// Loads the files of one item of `include`.
    fn include(&mut self, dir: &Path, path: &str, span: Span, outer: &Inherited<'a>) {
        if !glob::is_pattern(path) {
            let file = match clean(&dir.join(path)) {
                // `-` means standard input only on the command line.
                file if file == Path::new("-") => PathBuf::from("./-"),
                file => file,
            };
            return self.load_file(&file, Some(span), outer);
        }
        let (message, help) = match folders::find(dir, path, SearchFor::Files, self.reach) {
            Ok(files) => {
                // A pattern does not match the file that contains it.
                let own = self.chain.last().map(|link| link.canonical.clone());
                let files = files.iter().map(|file| clean(&dir.join(file)));
                let files: Vec<PathBuf> =
                    files.filter(|file| fs::canonicalize(file).ok() != own).collect();
                for file in &files {
                    self.load_file(file, Some(span), outer);
                }
                if !files.is_empty() {
                    return;
                }
                let dir = dir.display();
                let help = format!("patterns are relative to the folder of the file, {dir}");
                (format!("no file matches `{path}`"), help)
            }
            Err(SearchError { message, help }) => {
                let default = "write a pattern like `teams/*/imgplan.yaml` or `**/imgplan.yaml`";
                (message, help.unwrap_or_else(|| default.to_owned()))
            }
        };
        self.diagnostics.error(message, span, help);
        self.diagnostics.incomplete = true;
    }

    /// Rejects `settings` of an included file: a run has one service and one set of limits.
    fn reject_settings(&mut self, root: &mut YamlNode) {
        let Some((key, _)) = root.take("settings") else { return };
        let first = self.chain.first().map_or("the first file", |link| link.name.as_str());
        let help = format!("move them to {first}");
        self.diagnostics.error("`settings` are only allowed in the first file", key.span, help);
    }
}

/// Describes files that include one another, with the span of each `include`.
fn include_cycle(links: &[IncludeLink], last_span: Span) -> Problem {
    let mut names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    names.extend(links.first().map(|link| link.name.as_str()));
    let label = |at: usize| format!("{} includes {}", names[at], names[at + 1]);
    let message = format!("include cycle: {}", names.join(" -> "));
    let mut problem = Problem::new(message, last_span, label(links.len() - 1));
    for (at, link) in links.iter().enumerate().skip(1) {
        if let Some(span) = link.included_at {
            problem = problem.and(span, label(at - 1));
        }
    }
    problem.help("remove one of these includes")
}

/// Removes the items of `images` and returns them with the span of the list.
fn take_images(root: &mut YamlNode) -> Option<(Span, Vec<YamlNode>)> {
    let Value::Map(entries) = &mut root.value else { return None };
    let (_, list) = entries.iter_mut().find(|(key, _)| key.text == "images")?;
    match &mut list.value {
        Value::Seq(images) => Some((list.span, std::mem::take(images))),
        _ => None,
    }
}

/// Adds the owner and the defaults that a file inherits, unless it sets them itself.
fn inherit(root: &mut YamlNode, outer: &Inherited<'_>) {
    if let Some(owner) = &outer.owner
        && root.get("owner").is_none()
    {
        root.put("owner", owner.span, owner.clone());
    }
    let Some(outer) = &outer.defaults else { return };
    let Value::Map(entries) = &mut root.value else { return };
    let Some((_, defaults)) = entries.iter_mut().find(|(key, _)| key.text == "defaults") else {
        root.put("defaults", outer.span, outer.clone());
        return;
    };
    let Value::Map(outer) = &outer.value else { return };
    for (key, value) in outer {
        if defaults.get(&key.text).is_none() {
            defaults.put(&key.text, key.span, value.clone());
        }
    }
}

/// Returns the strings of `include`. The decoder reports all other values.
fn includes(root: &YamlNode) -> Vec<(String, Span)> {
    let Some(YamlNode { value: Value::Seq(items), .. }) = root.get("include") else {
        return Vec::new();
    };
    items.iter().filter_map(|item| Some((item.as_text()?.to_owned(), item.span))).collect()
}
