//! Layouts of public repositories, rebuilt small and with other names. Each states the manifest that a
//! user of the repository would write, the edges, what is planned after a change of one file, and the
//! files of archives.

mod agents;
mod browsers;
mod frameworks;
mod job_files;
mod namesakes;
mod services;
mod stacks;
mod stages;
mod tasks;
mod versions;

use crate::support::TestEnv;

/// A repository, and what imgplan must find in it. A target with the tag `latest` is its name.
pub(crate) struct Layout {
    manifest: &'static str,
    /// Path and text of every other file.
    pub(crate) files: Vec<(String, String)>,
    /// Edges between targets, `dependent -> base`, sorted.
    pub(crate) edges: &'static [&'static str],
    /// Targets, and the sorted files of their archives.
    archives: &'static [(&'static str, &'static [&'static str])],
    changes: Vec<Change>,
}

/// A change of one file, made on its own after everything is built.
struct Change {
    file: &'static str,
    /// Text that occurs once in the file; the change is made at the end of the file if it is empty.
    from: &'static str,
    to: &'static str,
    /// Targets that are planned after it, sorted.
    plans: &'static [&'static str],
}

impl Change {
    /// A text in place of another.
    fn replace(
        file: &'static str,
        from: &'static str,
        to: &'static str,
        plans: &'static [&'static str],
    ) -> Self {
        Self { file, from, to, plans }
    }

    /// A line more at the end of the file, or a new file.
    fn append(file: &'static str, line: &'static str, plans: &'static [&'static str]) -> Self {
        Self { file, from: "", to: line, plans }
    }

    /// Makes the change, compares the plan, and takes the change back.
    fn check(&self, env: &TestEnv) {
        let old = env.exists(self.file).then(|| env.read(self.file));
        if self.from.is_empty() {
            let text = old.as_deref().unwrap_or_default();
            env.write(self.file, format!("{text}{}\n", self.to));
        } else {
            env.edit(self.file, self.from, self.to);
        }
        assert_eq!(planned(env), self.plans, "after {:?} in {}", self.to, self.file);
        match old {
            Some(text) => {
                env.write(self.file, text);
            }
            None => std::fs::remove_file(env.path(self.file)).unwrap(),
        }
    }
}

impl Layout {
    /// Writes the repository into a new environment.
    fn write(&self) -> TestEnv {
        let env = TestEnv::manifest(self.manifest);
        for (path, text) in &self.files {
            env.write(path, text);
        }
        env
    }

    /// Asserts everything that the layout states.
    fn check(&self) {
        let env = self.write();
        env.ok(["validate", "--deny-warnings"]);
        assert_eq!(edges(&env), self.edges);
        env.apply();
        env.plans_nothing();
        for (target, files) in self.archives {
            assert_eq!(archive(&env, target), *files, "archive of {target}");
        }
        for change in &self.changes {
            change.check(&env);
        }
        env.plans_nothing();
    }
}

/// Returns all layouts, by the name of their file.
pub(crate) fn all() -> [(&'static str, Layout); 10] {
    [
        ("agents", agents::layout()),
        ("browsers", browsers::layout()),
        ("frameworks", frameworks::layout()),
        ("job_files", job_files::layout()),
        ("namesakes", namesakes::layout()),
        ("services", services::layout()),
        ("stacks", stacks::layout()),
        ("stages", stages::layout()),
        ("tasks", tasks::layout()),
        ("versions", versions::layout()),
    ]
}

/// Returns files with owned paths and texts.
fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Returns a target without the tag `latest`.
pub(crate) fn short(target: &str) -> String {
    target.strip_suffix(":latest").unwrap_or(target).to_owned()
}

/// Returns the edges between targets, `dependent -> base`, sorted.
pub(crate) fn edges(env: &TestEnv) -> Vec<String> {
    let graph: serde_json::Value =
        serde_json::from_str(&env.ok(["graph", "--format", "json"]).stdout).unwrap();
    let end = |edge: &serde_json::Value, end: &str| {
        let target = edge[end].as_str().unwrap();
        (!target.starts_with("external ")).then(|| short(target))
    };
    let edge = |edge| Some(format!("{} -> {}", end(edge, "from")?, end(edge, "to")?));
    let mut edges: Vec<String> =
        graph["edges"].as_array().unwrap().iter().filter_map(edge).collect();
    edges.sort();
    edges
}

/// Returns the targets of the plan's steps, sorted.
fn planned(env: &TestEnv) -> Vec<String> {
    let plan = env.ok(["plan", "--json"]);
    let target = |event: serde_json::Value| short(event["change"]["image"].as_str().unwrap());
    let mut planned: Vec<String> = plan.events("planned_change").into_iter().map(target).collect();
    planned.sort();
    planned
}

/// Returns the files of a target's archive, sorted; `context list` must name the same.
fn archive(env: &TestEnv, target: &str) -> Vec<String> {
    env.ok(["context", "pack", target, "-o", "packed.tar.gz"]);
    let file = std::fs::File::open(env.path("packed.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        if !entry.header().entry_type().is_dir() {
            files.push(entry.path().unwrap().to_str().unwrap().to_owned());
        }
    }
    files.sort();
    std::fs::remove_file(env.path("packed.tar.gz")).unwrap();
    let listed = env.ok(["context", "list", target]).stdout;
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(files, listed, "context list {target}");
    files
}
