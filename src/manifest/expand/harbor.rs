//! Makes an image of each Harbor task: a folder with `task.toml` and `environment/`.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::cache::Task;
use super::entry::{fill_templates, get, put, take, text_node};
use super::images::{Expander, InRow, note};
use crate::base::file::read_limited;
use crate::base::span::{Problem, Span};
use crate::base::text::exact_duration;
use crate::manifest::Sp;
use crate::manifest::diagnostics::Notes;
use crate::manifest::files::clean;
use crate::manifest::model::Discover;
use crate::manifest::node::Node;

/// A `task.toml` above this many bytes is none.
const LARGEST: u64 = 1 << 20;

/// Keys that mean something to a build alone.
const OF_BUILDS: [&str; 4] = ["dockerfile", "args", "target", "infer_bases"];

impl Expander<'_> {
    /// Makes an entry with `discover: { harbor: .. }` into images.
    pub(super) fn tasks(
        &mut self,
        node: &Node,
        root: &Sp<String>,
        discover: &Discover,
        row: Option<InRow<'_>>,
    ) {
        let at = root.span();
        let mut paths = match self.task_folders(root) {
            Ok(paths) => paths,
            Err((message, help)) => return self.report(message, at, help),
        };
        self.exclude(discover, &mut paths);
        if paths.is_empty() {
            let message = format!("there is no task in `{}`", root.as_str());
            let help = "a task is a folder with task.toml and environment/";
            return self.report(message, at, help);
        }
        let before = (self.entries.len(), self.found.problems.len());
        let mut mirrored = HashSet::new();
        for path in &paths {
            let task = self.read_task(path, at);
            let task = match &*task {
                Ok(task) => task,
                Err(problem) => {
                    self.found.problems.push(problem.clone());
                    continue;
                }
            };
            let made = note(row, Some(path), paths.len(), None);
            let mark = Notes::mark(&self.found.problems, &self.found.warnings);
            let mut node = node.clone();
            if let Some((image, span)) = &task.image {
                // Tasks that share an image need it once.
                if !mirrored.insert(image.clone()) {
                    continue;
                }
                for key in OF_BUILDS {
                    take(&mut node, key);
                }
                node.span = *span;
                put(&mut node, "source", *span, text_node(image, *span));
            } else {
                let context = format!("{path}/environment");
                let dockerfile = self.dir.join(&context).join("Dockerfile");
                if !dockerfile.is_file() {
                    self.skip(path, "it has no docker_image and no environment/Dockerfile");
                    continue;
                }
                put(&mut node, "context", at, text_node(context, at));
            }
            if !self.has_room(at) {
                return;
            }
            self.task_name(&mut node, path, task, at);
            if let Some((millis, span)) = task.timeout
                && get(&node, "timeout").is_none()
            {
                put(
                    &mut node,
                    "timeout",
                    span,
                    text_node(exact_duration(Duration::from_millis(millis)), span),
                );
            }
            self.since(mark, Some(&made));
            self.add(node, made);
        }
        if before == (self.entries.len(), self.found.problems.len()) {
            let message = format!("no task in `{}` says an image", root.as_str());
            let help = "a task has a docker_image in its task.toml, or an environment/Dockerfile";
            self.report(message, at, help);
        }
    }

    fn task_name(&mut self, node: &mut Node, path: &str, task: &Task, at: Span) {
        let words = self.words(path);
        // A mirror is named by what it mirrors.
        if task.image.is_none() {
            self.name(node, &words.dir, at);
        }
        let words = [
            ("dir", Some(words.dir.as_str())),
            ("name", task.name.as_deref()),
            ("path", Some(path)),
            ("parent", Some(words.parent.as_str())),
        ];
        fill_templates(node, &words, &mut self.found.problems);
    }

    /// The task that the root is, or those that it holds.
    fn task_folders(&mut self, root: &str) -> Result<Vec<String>, (String, String)> {
        let folder = clean(&self.dir.join(root));
        let shown = root.trim_end_matches('/');
        if folder.join("task.toml").is_file() {
            return Ok(self.with_environment(vec![shown.to_owned()]));
        }
        let entries = fs::read_dir(&folder).map_err(|error| {
            let help = format!("tasks are relative to the file's folder, {}", self.dir.display());
            (format!("cannot read {}: {error}", folder.display()), help)
        })?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut paths: Vec<String> = names
            .filter(|name| folder.join(name).join("task.toml").is_file())
            .map(|name| if shown == "." { name } else { format!("{shown}/{name}") })
            .collect();
        paths.sort_unstable();
        Ok(self.with_environment(paths))
    }

    fn with_environment(&mut self, mut paths: Vec<String>) -> Vec<String> {
        paths.retain(|path| {
            let has = self.dir.join(path).join("environment").is_dir();
            if !has {
                self.skip(path, "it has no environment/");
            }
            has
        });
        paths
    }

    /// Reads a task, once, or says what is wrong with it.
    fn read_task(&mut self, path: &str, at: Span) -> Rc<Result<Task, Problem>> {
        let file = clean(&self.dir.join(path)).join("task.toml");
        if let Some(known) = self.memory.tasks.get(&file) {
            return Rc::clone(known);
        }
        let read = match read(&file) {
            Ok(text) => task(&text, self.sources.add(file.display().to_string(), &*text)),
            Err(message) => Err(Problem::new(message, at, "here")
                .help("a task is a folder with task.toml and environment/")),
        };
        let read = Rc::new(read);
        self.memory.tasks.insert(file, Rc::clone(&read));
        read
    }
}

fn read(file: &Path) -> Result<String, String> {
    let read = fs::File::open(file).and_then(|open| read_limited(open, LARGEST));
    let bytes = read.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", file.display()))
}

/// Reads a `task.toml` that begins at `start`.
fn task(text: &str, start: usize) -> Result<Task, Problem> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let span = Span::new(start + span.start, span.len());
        Problem::new(error.message().lines().next().unwrap_or("this is no TOML"), span, "here")
            .help("write the task as TOML")
    })?;
    let value = |section: &str, key: &str| {
        let (_, section) = table.get_ref().iter().find(|(own, _)| own.get_ref() == section)?;
        let table = section.get_ref().as_table()?;
        let (_, value) = table.iter().find(|(own, _)| own.get_ref() == key)?;
        let span = value.span();
        Some((value.get_ref(), Span::new(start + span.start, span.len())))
    };
    let texts = |section: &str, key: &str| match value(section, key) {
        None => Ok(None),
        Some((DeValue::String(text), span)) => Ok(Some((text.to_string(), span))),
        Some((_, span)) => {
            Err(Problem::new(format!("`{key}` should be a text"), span, "here").help("quote it"))
        }
    };
    let name = texts("task", "name")?.map(|(name, _)| name);
    let image = texts("environment", "docker_image")?.filter(|(image, _)| !image.trim().is_empty());
    let timeout = match value("environment", "build_timeout_sec") {
        None => None,
        Some((value, span)) => Some((millis(value, span)?, span)),
    };
    Ok(Task { name, image, timeout })
}

fn millis(value: &DeValue<'_>, span: Span) -> Result<u64, Problem> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => "",
    };
    let seconds: Option<f64> = text.replace('_', "").parse().ok();
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(length)) if length.as_millis() > 0 => {
            Ok(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
        }
        _ => Err(Problem::new("this is no number of seconds above zero", span, "here")
            .help("write how long the build may take: build_timeout_sec = 600.0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read() {
        let text = "version = \"1.0\"\n[task]\nname = 'org/x'\n[environment]\n\
                    docker_image = \"redis:7\"\nbuild_timeout_sec = 600.5\ncpus = 1\n";
        let read = task(text, 10).unwrap();
        assert_eq!(read.name.as_deref(), Some("org/x"));
        let (image, span) = read.image.unwrap();
        assert_eq!(
            (image.as_str(), &text[span.start - 10..][..span.len]),
            ("redis:7", "\"redis:7\"")
        );
        assert_eq!(read.timeout.unwrap().0, 600_500);
        for (text, timeout) in
            [("build_timeout_sec = 90", 90_000), ("build_timeout_sec = 1_800.0", 1_800_000)]
        {
            let read = task(&format!("[environment]\n{text}"), 0).unwrap();
            assert_eq!(read.timeout.unwrap().0, timeout);
        }
        let empty = task("[environment]\ndocker_image = ''\n", 0).unwrap();
        assert!(empty.name.is_none() && empty.image.is_none() && empty.timeout.is_none());
    }

    #[test]
    fn broken_tasks_are_refused_with_a_place() {
        for (text, at) in [
            ("[environment\n", ""),
            ("[environment]\ndocker_image = 7\n", "7"),
            ("[task]\nname = []\n", "[]"),
            ("[environment]\nbuild_timeout_sec = 'x'\n", "'x'"),
            ("[environment]\nbuild_timeout_sec = -1\n", "-1"),
            ("[environment]\nbuild_timeout_sec = nan\n", "nan"),
            ("[environment]\nbuild_timeout_sec = 1e300\n", "1e300"),
            ("[environment]\nbuild_timeout_sec = 0\n", "0"),
        ] {
            let problem = task(text, 0).unwrap_err();
            let span = problem.labels[0].0;
            assert!(text[span.start..].starts_with(at), "{text}: {problem:?}");
        }
    }
}
