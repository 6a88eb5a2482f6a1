//! Checks on generated projects which changes of a file or of the Dockerfile change the fingerprint of
//! a target, by a model that is independent of the program: a project is generated as a list of
//! instructions, and the model reads that list, not the text.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use imgplan::test_support::context::{History, StatCache};
use imgplan::test_support::manifest::{Invocation, Workspace};
use imgplan::test_support::plan::{self, Action, PlanOptions};
use imgplan::test_support::state::State;
use imgplan::test_support::survey::{self, Caches, Query};
use proptest::collection::vec;
use proptest::option;
use proptest::prop_oneof;
use proptest::sample::{select, subsequence};
use proptest::strategy::{BoxedStrategy, Just, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// The files of every context, next to the Dockerfile and `.dockerignore`.
const FILES: [&str; 16] = [
    "a.txt",
    "b.txt",
    "top.md",
    ".hidden",
    "src/a.go",
    "src/b.go",
    "src/read.md",
    "src/sub/c.go",
    "src/sub/x.md",
    "docs/x.md",
    "docs/y.txt",
    "lib/one/z",
    "lib/two/z",
    "lib/two/deep/z.go",
    "data/with blank",
    "data/file",
];

/// Sources of COPY and ADD: files, folders, patterns, and paths that are not there.
const SOURCES: &[&str] = &[
    "a.txt",
    "b.txt",
    "src",
    "src/",
    "./src/sub",
    "/docs",
    "src/../lib",
    "lib/one",
    "docs/x.md",
    "*.txt",
    "src/*.go",
    "*/x.md",
    "lib/*/z",
    "lib/*",
    "?.txt",
    "[ab].txt",
    "src/s*",
    "absent",
    "absent*",
    ".h*",
    "data",
    "src/[!a-c]*",
    "src/[^ab]*",
    "s?c",
    "../a.txt",
    "Dockerfile",
    "src/sub/c.go",
    ".",
];

/// Sources that are folders. Exclusions are relative to them.
const FOLDERS: &[&str] = &["src", "lib", "docs", "src/sub", "lib/two"];

const EXCLUDES: &[&str] = &["*.go", "*.md", "**/*.go", "sub", "one", "**/z", "*/*.md", "two/deep"];

const IGNORED: &[&str] = &[
    "*.md",
    "**/*.md",
    "docs",
    "src/sub",
    "!docs/y.txt",
    "!src/read.md",
    "**/z",
    "a.txt",
    "Dockerfile",
    ".dockerignore",
    "lib/*",
    "!src/sub/c.go",
    ".*",
    "# docs",
    "data/with*",
];

/// An instruction of a stage. A stage is named by its number.
#[derive(Debug, Clone)]
enum Step {
    Copy {
        add: bool,
        sources: Vec<&'static str>,
        json: bool,
    },
    Exclude {
        folder: &'static str,
        excludes: Vec<&'static str>,
    },
    Parents(&'static str),
    /// A copy of a path that is the value of an argument.
    Variable(&'static str),
    /// A copy from an earlier stage, by its name or index.
    From {
        stage: usize,
        by_index: bool,
    },
    Heredoc(&'static str),
    /// A mount of a path of the context.
    Mount(&'static str),
    /// A mount of an earlier stage.
    MountFrom(usize),
    Other(&'static str),
}

#[derive(Debug, Clone)]
struct Stage {
    /// The stage before that it is based on.
    base: Option<usize>,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Project {
    stages: Vec<Stage>,
    ignored: Vec<&'static str>,
}

/// Returns an earlier stage, for a stage that may not exist.
fn earlier(stage: usize, wanted: usize) -> Option<usize> {
    (stage > 0).then(|| wanted % stage)
}

impl Project {
    fn text(&self) -> String {
        let mut out = String::from("# of the file\n");
        for (index, Stage { base, steps }) in self.stages.iter().enumerate() {
            let base = match base.and_then(|base| earlier(index, base)) {
                Some(base) => format!("s{base}"),
                None => "scratch".to_owned(),
            };
            writeln!(out, "FROM {base} AS s{index}").unwrap();
            for step in steps {
                out.push_str(&step.text(index));
                out.push('\n');
            }
        }
        out
    }

    /// Returns the stages that the last one needs.
    fn needed(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut pending = vec![self.stages.len() - 1];
        while let Some(index) = pending.pop() {
            if !needed.insert(index) {
                continue;
            }
            let Stage { base, steps } = &self.stages[index];
            pending.extend(base.and_then(|base| earlier(index, base)));
            pending.extend(steps.iter().filter_map(|step| match step {
                Step::From { stage, .. } | Step::MountFrom(stage) => earlier(index, *stage),
                _ => None,
            }));
        }
        needed
    }

    /// Returns true if a build reads a file.
    fn reaches(&self, file: &str) -> bool {
        let mut ignored = false;
        for pattern in self.ignored.iter().filter(|pattern| !pattern.starts_with('#')) {
            let (exception, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, *pattern),
            };
            if leads_to(pattern, file) {
                ignored = !exception;
            }
        }
        let mut steps = self.needed().into_iter().flat_map(|index| &self.stages[index].steps);
        !ignored && steps.any(|step| step.reads(file))
    }
}

impl Step {
    fn text(&self, stage: usize) -> String {
        match self {
            Self::Copy { add, sources, json } => {
                let name = if *add { "ADD" } else { "COPY" };
                if *json {
                    let words = sources.iter().map(|source| format!("\"{source}\""));
                    return format!("{name} [{}, \"/to/\"]", words.collect::<Vec<_>>().join(", "));
                }
                format!("{name} {} /to/", sources.join(" "))
            }
            Self::Exclude { folder, excludes } => {
                let flags = excludes.iter().map(|exclude| format!("--exclude={exclude} "));
                format!("COPY {}{folder} /to/", flags.collect::<String>())
            }
            Self::Parents(source) => format!("COPY --parents {source} /to/"),
            Self::Variable(value) => format!("ARG DIR={value}\nCOPY ./${{DIR}} $DIR /to/"),
            Self::From { stage: wanted, by_index } => match earlier(stage, *wanted) {
                Some(from) if *by_index => format!("COPY --from={from} /a.txt /to/"),
                Some(from) => format!("COPY --from=s{from} /src /to/"),
                None => "ENV none=1".to_owned(),
            },
            Self::Heredoc(text) => format!("COPY <<EOF /to/\n{text}\nEOF"),
            Self::Mount(source) => {
                format!(
                    "RUN --mount=type=bind,source={source},target=/mnt \\\n  # of RUN\n  cat /mnt"
                )
            }
            Self::MountFrom(wanted) => match earlier(stage, *wanted) {
                Some(from) => format!("RUN --mount=from=s{from},source=/src,target=/mnt ls /mnt"),
                None => "ENV none=2".to_owned(),
            },
            Self::Other(text) => (*text).to_owned(),
        }
    }

    fn reads(&self, file: &str) -> bool {
        match self {
            Self::Copy { sources, .. } => sources.iter().any(|source| leads_to(source, file)),
            Self::Exclude { folder, excludes } => {
                let inside = file.strip_prefix(folder).and_then(|file| file.strip_prefix('/'));
                inside.is_some_and(|file| !excludes.iter().any(|exclude| leads_to(exclude, file)))
            }
            Self::Parents(source) | Self::Variable(source) | Self::Mount(source) => {
                leads_to(source, file)
            }
            Self::From { .. } | Self::Heredoc(_) | Self::MountFrom(_) | Self::Other(_) => false,
        }
    }
}

/// Returns true if a pattern matches a file or a folder above it.
fn leads_to(pattern: &str, file: &str) -> bool {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let file: Vec<&str> = file.split('/').collect();
    // The whole context.
    parts.is_empty() || (1..=file.len()).any(|depth| parts_match(&parts, &file[..depth]))
}

fn parts_match(pattern: &[&str], path: &[&str]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skipped| parts_match(rest, &path[skipped..])),
        [first, rest @ ..] => {
            let first: Vec<char> = first.chars().collect();
            path.split_first().is_some_and(|(name, path)| {
                part_matches(&first, &name.chars().collect::<Vec<_>>()) && parts_match(rest, path)
            })
        }
    }
}

fn part_matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skipped| part_matches(rest, &name[skipped..])),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']').unwrap();
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            // Go has no `!` in brackets: it stands for itself.
            let (negated, set) = match set {
                ['^', set @ ..] => (true, set),
                set => (false, set),
            };
            let contains = |c: char| match set {
                [extra @ .., low, '-', high] => extra.contains(&c) || (*low..=*high).contains(&c),
                set => set.contains(&c),
            };
            name.split_first()
                .is_some_and(|(c, name)| contains(*c) != negated && part_matches(rest, name))
        }
        [first, rest @ ..] => name
            .split_first()
            .is_some_and(|(c, name)| (*first == '?' || first == c) && part_matches(rest, name)),
    }
}

fn project() -> BoxedStrategy<Project> {
    let copy =
        (select(vec![false, false, true]), vec(select(SOURCES), 1..3), select(vec![false, true]));
    let others = vec![
        "RUN make # COPY docs /docs",
        "LABEL copy=\"COPY lib /lib\"",
        "ADD https://example.com/lib/one/z /z",
        "RUN --mount=type=cache,target=/lib,source=docs ls",
        "RUN --mount=type=tmpfs,target=/docs true",
        "ONBUILD COPY docs /docs",
        "RUN <<EOF\nCOPY lib /lib\nFROM s0\nEOF",
    ];
    let step = prop_oneof![
        6 => copy.prop_map(|(add, sources, json)| Step::Copy { add, sources, json }),
        2 => (select(FOLDERS), vec(select(EXCLUDES), 1..3))
            .prop_map(|(folder, excludes)| Step::Exclude { folder, excludes }),
        1 => select(vec!["src/sub", "lib/*/z", "docs/x.md"]).prop_map(Step::Parents),
        1 => select(vec!["lib/one", "src/*.go", "absent"]).prop_map(Step::Variable),
        3 => (0..4usize, select(vec![false, true]))
            .prop_map(|(stage, by_index)| Step::From { stage, by_index }),
        1 => select(vec!["COPY docs /docs", "FROM s0", "$a\nADD lib /"]).prop_map(Step::Heredoc),
        1 => select(vec!["src", "docs/x.md", "lib/two", "/data", "absent", "."]).prop_map(Step::Mount),
        1 => (0..4usize).prop_map(Step::MountFrom),
        2 => select(others).prop_map(Step::Other),
    ];
    let stage =
        (option::of(0..4usize), vec(step, 0..4)).prop_map(|(base, steps)| Stage { base, steps });
    // An ONBUILD trigger runs in the stages that are based on its stage, so the model would have to
    // follow it: only the last stage has one.
    let stages = vec(stage, 1..5).prop_map(|mut stages: Vec<Stage>| {
        let last = stages.len() - 1;
        for stage in &mut stages[..last] {
            let is_trigger =
                |step: &Step| matches!(step, Step::Other(text) if text.starts_with("ONB"));
            stage.steps.retain(|step| !is_trigger(step));
        }
        stages
    });
    (stages, prop_oneof![Just(IGNORED[..0].to_vec()), subsequence(IGNORED, 1..6)])
        .prop_map(|(stages, ignored)| Project { stages, ignored })
        .boxed()
}

/// A change of a project, and the effect on the fingerprint that it must have.
#[derive(Debug)]
enum Change {
    None,
    /// A byte more in this file.
    File(String),
    /// A comment in the Dockerfile.
    Comment,
    /// Another instruction in this stage.
    Stage(usize),
    /// A file that was not there.
    NewFile(String),
}

/// Writes a context for each change, and returns the fingerprints of the targets.
fn fingerprints(root: &Path, project: &Project, changes: &[Change]) -> Vec<String> {
    let mut manifest = "version: 1\nimages:\n".to_owned();
    let (text, ignore) = (project.text(), project.ignored.join("\n"));
    for (index, change) in changes.iter().enumerate() {
        let context = root.join(format!("c{index}"));
        let write = |file: &str, text: &str| {
            let path = context.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let more =
                if matches!(change, Change::File(changed) if changed == file) { "\n" } else { "" };
            fs::write(path, format!("{text}{more}")).unwrap();
        };
        for file in FILES {
            write(file, "text");
        }
        write(".dockerignore", &ignore);
        write(
            "Dockerfile",
            &match change {
                Change::Comment => format!("{text}# another\n"),
                Change::Stage(stage) => {
                    let from = format!(" AS s{stage}\n");
                    text.replacen(&from, &format!("{from}LABEL another=1\n"), 1)
                }
                _ => text.clone(),
            },
        );
        if let Change::NewFile(file) = change {
            write(file, "new");
        }
        writeln!(manifest, "  - {{name: i{index}, tag: v1, context: c{index}}}").unwrap();
    }
    let file = root.join("imgplan.yaml");
    fs::write(&file, manifest).unwrap();
    let workspace = Workspace::load(&Invocation::file(file), &|_| None)
        .unwrap_or_else(|error| panic!("{error:?}\n{}", project.text()));
    let (work, state) = (root.join(".imgplan"), State::default());
    let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let query = Query::offline(&workspace, &state, caches);
    let facts = runtime.block_on(survey::facts(query)).unwrap();
    let plan = plan::decide(workspace, &facts, &state, &PlanOptions::default()).plan;
    let mut found = vec![String::new(); changes.len()];
    for step in plan.steps {
        let Action::Create(create) = step.action else { panic!("{}: not created", step.key) };
        let index = step.key.to_string();
        let index: usize = index[1..].split_once(':').unwrap().0.parse().unwrap();
        found[index] = create.fingerprint.to_string();
    }
    found
}

#[test]
fn only_changes_that_a_build_reaches_change_its_fingerprint() {
    const PROJECTS: usize = 200;
    let (mut reached, mut unreached, mut unneeded, mut comments) = (0, 0, 0, 0);
    let mut runner = TestRunner::deterministic();
    let strategy = project();
    for _ in 0..PROJECTS {
        let project = strategy.new_tree(&mut runner).unwrap().current();
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let files = FILES.iter().chain(&[".dockerignore"]);
        let files = files.map(|file| Change::File((*file).to_owned()));
        let new = ["c.txt", "src/new.go", "docs/new/x.md", "lib/three/z", "other/file"];
        let changes: Vec<Change> = [Change::None, Change::None, Change::Comment]
            .into_iter()
            .chain(files)
            .chain(new.map(|file| Change::NewFile(file.to_owned())))
            .chain((0..project.stages.len()).map(Change::Stage))
            .collect();
        let found = fingerprints(folder.path(), &project, &changes);
        let needed = project.needed();
        for (change, fingerprint) in changes.iter().zip(&found) {
            let expected = match change {
                Change::None => false,
                Change::File(file) => project.reaches(file),
                // Its folder may be new too.
                Change::NewFile(file) => {
                    let folder = file.rsplit_once('/').map(|(folder, _)| folder);
                    let is_new =
                        |folder: &&str| !FILES.iter().any(|file| file.starts_with(*folder));
                    let folder = folder.filter(is_new);
                    project.reaches(file) || folder.is_some_and(|folder| project.reaches(folder))
                }
                Change::Comment => project.reaches("Dockerfile"),
                Change::Stage(stage) => needed.contains(stage) || project.reaches("Dockerfile"),
            };
            let context = || format!("{change:?} of {project:?}\n{}", project.text());
            assert_eq!(*fingerprint != found[0], expected, "{}", context());
            *match (change, expected) {
                (Change::File(_) | Change::NewFile(_), true) => &mut reached,
                (Change::File(_) | Change::NewFile(_), false) => &mut unreached,
                (Change::Stage(_), false) => &mut unneeded,
                _ => &mut comments,
            } += 1;
        }
    }
    let counts = [reached, unreached, unneeded, comments];
    assert!(counts.iter().all(|count| *count > 150), "{counts:?}");
}
