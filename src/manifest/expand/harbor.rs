//! Generates an image for each Harbor task: a folder with `task.toml` and `environment/`.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::cache::HarborTask;
use super::discover::Exclude;
use super::entry::{fill_templates, text_node};
use super::expander::{EntryExpander, MatrixRow, note};
use crate::base::clean_path::clean;
use crate::base::input::{self, InputKind};
use crate::base::span::{Problem, Span};
use crate::base::text::{exact_duration, list};
use crate::manifest::node::YamlNode;
use crate::manifest::scalars::HarborOrigin;
use crate::manifest::spanned::Spanned;

/// Keys that only a build can have.
const BUILD_KEYS: [&str; 5] = ["dockerfile", "args", "target", "inputs", "infer_bases"];

/// Maximum number of tasks that a warning shows.
const MAX_TASKS_SHOWN: usize = 3;

/// Help for a folder that is not a task.
const TASK_HELP: &str = "a task is a folder with task.toml and environment/";

impl EntryExpander<'_> {
    /// Generates the images of `discover: { harbor: .. }`.
    pub(super) fn tasks(
        &mut self,
        node: &YamlNode,
        (root, prefer): (&Spanned<String>, Option<&Spanned<HarborOrigin>>),
        excludes: &[Exclude<'_>],
        row: Option<MatrixRow<'_>>,
    ) {
        let span = root.span();
        let prefers_dockerfile = prefer.is_some_and(|prefer| **prefer == HarborOrigin::Dockerfile);
        let mut paths = match self.task_folders(root) {
            Ok(paths) => paths,
            Err((message, help)) => return self.diagnostics.error(message, span, help),
        };
        self.exclude(excludes, &mut paths);
        if paths.is_empty() {
            let message = format!("there is no task in `{}`", root.as_str());
            return self.diagnostics.error(message, span, TASK_HELP);
        }
        let before = (self.entries.len(), self.diagnostics.errors());
        let (mut mirrored, mut with_both) = (HashSet::new(), Vec::new());
        for path in &paths {
            let task = self.read_task(path, span);
            let task = match &*task {
                Ok(task) => task,
                Err(problem) => {
                    self.diagnostics.push(problem.clone());
                    continue;
                }
            };
            let mut node = node.clone();
            let has_dockerfile = self.dir.join(path).join("environment/Dockerfile").is_file();
            let mirror = task.image.as_ref().filter(|_| !(prefers_dockerfile && has_dockerfile));
            if let Some((image, span)) = mirror {
                with_both.extend(has_dockerfile.then_some(path.as_str()));
                // Tasks that share an image need one mirror.
                if !mirrored.insert(image.clone()) {
                    continue;
                }
                for key in BUILD_KEYS {
                    node.take(key);
                }
                node.span = *span;
            } else if !has_dockerfile {
                self.skip(path, "it has no docker_image and no environment/Dockerfile");
                continue;
            }
            if !self.has_room(span) {
                return;
            }
            // The default name of a mirror comes from its source.
            let named_by_folder = mirror.is_none() && node.get("name").is_none();
            let note = note(row, Some(path), paths.len(), None);
            let outer = self.diagnostics.enter(Some(&note));
            self.fill_task(&mut node, (path, span), task, mirror);
            self.diagnostics.leave(outer);
            self.add(node, note, named_by_folder);
        }
        if prefer.is_none() && !with_both.is_empty() {
            self.warn_about_both(&with_both, span);
        }
        if before == (self.entries.len(), self.diagnostics.errors()) {
            let message = format!("no task in `{}` has an image", root.as_str());
            let help = "a task has a docker_image in its task.toml, or an environment/Dockerfile";
            self.diagnostics.error(message, span, help);
        }
    }

    /// Warns about tasks of which either the image or the Dockerfile is not used.
    fn warn_about_both(&mut self, tasks: &[&str], span: Span) {
        let shown = list(tasks.iter().map(|path| format!("`{path}`")), MAX_TASKS_SHOWN);
        let message = "a task with a docker_image and an environment/Dockerfile is mirrored";
        let help = format!(
            "write `prefer: dockerfile` to build {shown}, or `prefer: image` to mirror without this \
             warning"
        );
        self.diagnostics.warn(message, span, help);
    }

    /// Sets the name, the templates, the origin and the timeout of a task's image. `mirror` is the
    /// image to mirror, with its span.
    fn fill_task(
        &mut self,
        node: &mut YamlNode,
        (path, span): (&str, Span),
        task: &HarborTask,
        mirror: Option<&(String, Span)>,
    ) {
        let names = self.folder_names(path);
        // The default name of a mirror comes from its source.
        if mirror.is_none() {
            self.set_default_name(node, &names.dir, span);
        }
        let values = [
            ("dir", Some(names.dir.as_str())),
            ("name", task.name.as_deref()),
            ("path", Some(path)),
            ("parent", Some(names.parent.as_str())),
        ];
        fill_templates(node, &values, self.diagnostics);
        match mirror {
            Some((image, span)) => node.put("source", *span, text_node(image, *span)),
            None => node.put("context", span, text_node(format!("{path}/environment"), span)),
        }
        if let Some((timeout, span)) = task.timeout
            && node.get("timeout").is_none()
        {
            node.put("timeout", span, text_node(exact_duration(timeout), span));
        }
    }

    /// Returns the folder itself if it is a task, or else the tasks in it.
    fn task_folders(&mut self, root: &str) -> Result<Vec<String>, (String, String)> {
        let folder = clean(&self.dir.join(root));
        self.reach.check(&folder).map_err(|error| (error.message, error.help))?;
        let root = root.trim_end_matches('/');
        let mut paths = if folder.join("task.toml").is_file() {
            vec![root.to_owned()]
        } else {
            let entries = fs::read_dir(&folder).map_err(|error| {
                let dir = self.dir.display();
                let help = if root.contains('*') {
                    "write the folder that the tasks are in, without a pattern".to_owned()
                } else {
                    format!("the path is relative to the folder of the file, {dir}")
                };
                (format!("cannot read {}: {error}", folder.display()), help)
            })?;
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names
                .filter(|name| folder.join(name).join("task.toml").is_file())
                .map(|name| if root == "." { name } else { format!("{root}/{name}") })
                .collect()
        };
        paths.sort_unstable();
        paths.retain(|path| {
            let has_environment = self.dir.join(path).join("environment").is_dir();
            if !has_environment {
                self.skip(path, "it has no environment/");
            }
            has_environment
        });
        Ok(paths)
    }

    /// Reads a task, once. Fails if its `task.toml` is invalid.
    fn read_task(&mut self, path: &str, span: Span) -> Rc<Result<HarborTask, Problem>> {
        let file = clean(&self.dir.join(path)).join("task.toml");
        if let Some(known) = self.cache.tasks.get(&file) {
            return Rc::clone(known);
        }
        let task = match self.reach.check(&file).map(|()| read(&file)) {
            Err(error) => Err(Problem::new(error.message, span, "").help(error.help)),
            Ok(Ok(text)) => parse_task(&text, self.sources.add(file.display().to_string(), &*text)),
            Ok(Err(message)) => Err(Problem::new(message, span, "").help(TASK_HELP)),
        };
        let task = Rc::new(task);
        self.cache.tasks.insert(file, Rc::clone(&task));
        task
    }
}

fn read(file: &Path) -> Result<String, String> {
    let bytes = input::read(file, InputKind::HarborTask);
    let bytes = bytes.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", file.display()))
}

/// Parses a `task.toml` whose text begins at `start`.
fn parse_task(text: &str, start: usize) -> Result<HarborTask, Problem> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let span = Span::new(start + span.start, span.len());
        let message = error.message().lines().next().unwrap_or("invalid TOML");
        Problem::new(message, span, "").help("correct the TOML syntax")
    })?;
    let value = |section: &str, key: &str| {
        let (_, section) = table.get_ref().iter().find(|(own, _)| own.get_ref() == section)?;
        let table = section.get_ref().as_table()?;
        let (_, value) = table.iter().find(|(own, _)| own.get_ref() == key)?;
        let span = value.span();
        Some((value.get_ref(), Span::new(start + span.start, span.len())))
    };
    let string = |section: &str, key: &str| match value(section, key) {
        None => Ok(None),
        Some((DeValue::String(text), span)) => Ok(Some((text.to_string(), span))),
        Some((_, span)) => {
            Err(Problem::new(format!("`{key}` must be a string"), span, "").help("quote it"))
        }
    };
    let name = string("task", "name")?.map(|(name, _)| name);
    let image =
        string("environment", "docker_image")?.filter(|(image, _)| !image.trim().is_empty());
    let timeout = match value("environment", "build_timeout_sec") {
        None => None,
        Some((value, span)) => Some((parse_seconds(value, span)?, span)),
    };
    Ok(HarborTask { name, image, timeout })
}

fn parse_seconds(value: &DeValue<'_>, span: Span) -> Result<Duration, Problem> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => "",
    };
    let seconds: Option<f64> = text.replace('_', "").parse().ok();
    match seconds.map(Duration::try_from_secs_f64) {
        // The manifest has no unit below a millisecond.
        Some(Ok(duration)) if duration.as_millis() > 0 => Ok(duration),
        _ => Err(Problem::new("expected a number of seconds above zero", span, "")
            .help("write the build timeout in seconds: build_timeout_sec = 600.0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_parsed() {
        let text = "version = \"1.0\"\n[task]\nname = 'org/x'\n[environment]\n\
                    docker_image = \"redis:7\"\nbuild_timeout_sec = 600.5\ncpus = 1\n";
        let task = parse_task(text, 10).unwrap();
        assert_eq!(task.name.as_deref(), Some("org/x"));
        let (image, span) = task.image.unwrap();
        assert_eq!(
            (image.as_str(), &text[span.start - 10..][..span.len]),
            ("redis:7", "\"redis:7\"")
        );
        assert_eq!(exact_duration(task.timeout.unwrap().0), "600500ms");
        for (text, timeout) in
            [("build_timeout_sec = 90", "90s"), ("build_timeout_sec = 1_800.0", "30m")]
        {
            let task = parse_task(&format!("[environment]\n{text}"), 0).unwrap();
            assert_eq!(exact_duration(task.timeout.unwrap().0), timeout);
        }
        let empty = parse_task("[environment]\ndocker_image = ''\n", 0).unwrap();
        assert!(empty.name.is_none() && empty.image.is_none() && empty.timeout.is_none());
    }

    #[test]
    fn invalid_tasks_are_rejected_with_a_span() {
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
            let problem = parse_task(text, 0).unwrap_err();
            let span = problem.labels[0].0;
            assert!(text[span.start..].starts_with(at), "{text}: {problem:?}");
        }
    }
}
