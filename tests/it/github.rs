//! A job of GitHub Actions: annotations, groups and the step summary, read as the runner and the pages of
//! GitHub read them; and the report of problems for GitLab.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, TestEnv};

/// A text that gives commands to the runner, breaks out of tables, names people and loads images.
const PAYLOAD: &str = "EVIL::error::x | `y` <img src=x> @octocat #12 ::stop-commands::t ##[error]x";

/// A workflow command, as the runner of GitHub reads it.
#[derive(Debug, PartialEq)]
struct Command {
    name: String,
    properties: Vec<(String, String)>,
    message: String,
}

impl Command {
    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the commands of a log, as `ActionCommand.cs` of actions/runner does.
fn commands(log: &str) -> Vec<Command> {
    let decode = |text: &str, codes: &[(&str, &str)]| {
        codes.iter().fold(text.to_owned(), |text, (code, c)| text.replace(code, c))
    };
    let data = [("%0D", "\r"), ("%0A", "\n"), ("%25", "%")];
    let property = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
    let read = |line: &str| {
        assert!(!line.contains("##["), "{line}");
        let (head, message) = line.trim_start().strip_prefix("::")?.split_once("::")?;
        let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
        let properties = properties.split(',').filter_map(|pair| pair.trim().split_once('='));
        let properties = properties.map(|(key, value)| (key.to_owned(), decode(value, &property)));
        let (name, message) = (name.to_owned(), decode(message, &data));
        Some(Command { name, properties: properties.collect(), message })
    };
    log.lines().filter_map(read).collect()
}

/// Returns the commands of both streams. The runner reads both.
fn commands_of(output: &Output) -> Vec<Command> {
    let mut all = commands(&output.stdout);
    all.extend(commands(&output.stderr));
    all
}

/// A job whose workspace is the folder of the environment.
struct Job {
    env: TestEnv,
}

impl Job {
    fn new(mut env: TestEnv) -> Self {
        let text = |path: std::path::PathBuf| path.into_os_string().into_string().unwrap();
        std::fs::write(env.everything().join("summary.md"), "before\n").unwrap();
        let (root, summary) = (text(env.path("")), text(env.everything().join("summary.md")));
        env.set("GITHUB_ACTIONS", "true").set("CI", "true");
        env.set("GITHUB_WORKSPACE", &root).set("GITHUB_STEP_SUMMARY", &summary);
        Self { env }
    }

    fn manifest(text: &str) -> Self {
        Self::new(TestEnv::manifest(text))
    }

    /// Returns what imgplan added to the step summary.
    fn summary(&self) -> String {
        let text = std::fs::read_to_string(self.env.everything().join("summary.md")).unwrap();
        let added = text.strip_prefix("before\n").unwrap().to_owned();
        assert_inert(&added);
        added
    }
}

/// Returns the cells of all rows of tables.
fn rows(markdown: &str) -> Vec<Vec<String>> {
    let rows = markdown.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    let cells = |row: &str| -> Vec<String> {
        let row = row.strip_prefix('|').unwrap().strip_suffix('|').unwrap();
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Asserts that a text, apart from blocks of code, names nobody and loads nothing, and has only tags of
/// imgplan.
#[track_caller]
fn assert_inert(markdown: &str) {
    let tags = regex::Regex::new("</?(code|details|summary|sub|br|b)>|<!-- -->").unwrap();
    let mut fence: Option<&str> = None;
    for line in markdown.lines() {
        assert!(!line.contains('\u{1b}'), "{markdown}");
        match fence {
            Some(open) if line == open => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = line.strip_suffix("text"),
            None => {
                assert!(!line.contains(['@', '`']) && !line.contains("](http"), "{markdown}");
                assert!(!tags.replace_all(line, "").contains('<'), "{markdown}");
            }
        }
    }
    assert_eq!(fence, None, "{markdown}");
}

#[test]
fn problems_of_a_manifest_are_annotations() {
    let job = Job::manifest("version: 1\nimages:\n  - {name: app, contxt: 100%, tag: 1.10}\n");
    for args in [&["validate"][..], &["validate", "--json"], &["plan"], &["plan", "--json"]] {
        let output = job.env.run(args.iter().copied());
        output.code(1);
        let found = commands_of(&output);
        assert!(found.len() >= 2 && found.iter().all(|it| it.name == "error"), "{output}");
        let unknown = found.iter().find(|it| it.message.contains("contxt")).unwrap();
        let place = ["file", "line", "col", "title"].map(|name| unknown.property(name).unwrap());
        assert_eq!(place, ["imgplan.yaml", "3", "17", "imgplan"], "{output}");
        assert!(unknown.message.contains("\nhelp: "), "{unknown:?}");
        // The data on standard output stays as it is.
        assert!(commands(&output.stdout).is_empty(), "{output}");
    }
    // The normal messages are there as well.
    job.env.run(["validate"]).says("error: ").says("imgplan.yaml:3:");
    // Nothing was planned.
    assert_eq!(job.summary(), "");
}

#[test]
fn problems_of_dockerfiles_and_warnings_are_annotations() {
    let job = Job::manifest("version: 1\nimages:\n  - {name: app, tag: v1, context: apps/app}\n");
    job.env.context("apps/app", "FROM scratch\nCOPPY . /\n");
    let found = commands_of(&job.env.run(["validate"]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].name, "error");
    assert_eq!(found[0].property("file"), Some("apps/app/Dockerfile"), "{found:?}");
    assert_eq!(found[0].property("line"), Some("2"), "{found:?}");
    // A run in a subfolder names the file from the root.
    job.env.write("sub/imgplan.yaml", "version: 2\nimages: []\n");
    let found = commands_of(&job.env.run(["-C", "sub", "validate"]));
    assert_eq!(found[0].property("file"), Some("sub/imgplan.yaml"), "{found:?}");
    // A warning, in a job that GitHub does not know to be one of its own, is no command.
    job.env.write("imgplan.yaml", "version: 1\nimages: []\nmoved: [{from: a, to: a}]\n");
    let own = job.env.call(["validate"]).env("GITHUB_ACTIONS", "false").run();
    assert_eq!(commands_of(&own), []);
}

/// GitHub shows ten of each kind per step.
#[test]
fn the_first_ten_problems_are_annotations() {
    let images = "  - {name: app, contxt: x}\n".repeat(25);
    let job = Job::manifest(&format!("version: 1\nimages:\n{images}"));
    let output = job.env.run(["validate"]);
    assert_eq!(commands_of(&output).len(), 10, "{output}");
    output.says("GitHub shows 10 errors of a step; this log has ");
}

#[test]
fn no_name_gives_a_command() {
    let text = serde_json::to_string(&format!("a\n::error::x\n{PAYLOAD}")).unwrap();
    let job = Job::manifest(&format!("version: 1\nimages:\n  - {{name: {text}, context: x}}\n"));
    let found = commands_of(&job.env.run(["validate"]));
    assert!(!found.is_empty() && found.iter().all(|it| it.name == "error"), "{found:?}");
    assert!(found.iter().any(|it| it.message.contains("EVIL")), "{found:?}");
    assert!(found.iter().all(|it| it.property("file") == Some("imgplan.yaml")), "{found:?}");

    // A folder, whose name has every character that the form of an annotation uses.
    let job = Job::manifest("version: 1\nimages: []\n");
    let folder = "d,line=9::x%0A::error::y:z";
    job.env.write(&format!("{folder}/imgplan.yaml"), "version: 1\nimages: 3\n");
    let found = commands_of(&job.env.run(["validate", "-f", &format!("{folder}/imgplan.yaml")]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].property("file"), Some(&*format!("{folder}/imgplan.yaml")), "{found:?}");
    assert_eq!(found[0].property("line"), Some("2"), "{found:?}");
}

/// A manifest outside of the repository, and standard input, have no place that GitHub could show.
#[test]
fn a_file_elsewhere_is_named_in_the_message() {
    let job = Job::manifest("version: 1\nimages: []\n");
    let outside = job.env.everything().join("other.yaml");
    std::fs::write(&outside, "version: 1\nimages: 3\n").unwrap();
    let found = commands_of(&job.env.run(["validate", "-f", outside.to_str().unwrap()]));
    assert_eq!(found[0].property("file"), None, "{found:?}");
    assert!(found[0].message.contains("other.yaml:2: "), "{found:?}");
    let call = job.env.call(["validate", "-f", "-"]).stdin("version: 1\nimages: 3\n");
    let found = commands_of(&call.run());
    assert_eq!(found[0].property("file"), None, "{found:?}");
    assert!(found[0].message.contains("<stdin>:2: "), "{found:?}");
}

const THREE_CHANGES: &str = "version: 1\nimages:\n\
    \x20 - {name: base, tag: v1, context: base}\n\
    \x20 - {name: api, tag: v1, context: api}\n\
    \x20 - {source: docker.io/library/redis:7}\n";

#[test]
fn the_step_summary_has_the_plan_and_the_result() {
    let job = Job::manifest(THREE_CHANGES);
    job.env.context("base", "FROM scratch\n").context("api", "FROM base:v1\nCOPY . /\n");
    let plan = job.env.ok(["plan"]);
    assert_eq!(commands_of(&plan), [], "{plan}");
    let summary = job.summary();
    assert!(summary.starts_with("\n### Plan: 3 to create, 0 to rebuild"), "{summary}");
    let table = rows(&summary);
    assert_eq!(table.len(), 4, "{summary}");
    let row = |action: &str, name: &str| {
        let action = format!("<code>+</code> {action}");
        vec![action, format!("<code>{name}</code>"), "new".to_owned()]
    };
    let expected = [row("build", "base:v1"), row("mirror", "redis:7"), row("build", "api:v1")];
    assert_eq!(table[1..], expected);
    // The same text is printed for a comment.
    let markdown = job.env.ok(["plan", "--format", "markdown"]);
    assert_eq!(format!("\n{}", markdown.stdout), summary);

    let before = job.summary().len();
    job.env.apply();
    let added = job.summary().split_off(before);
    assert!(added.contains("### Apply: 2 built, 1 mirrored, 0 updated"), "{added}");
    let before = job.summary().len();
    job.env.plans_nothing();
    let added = job.summary().split_off(before);
    assert!(added.starts_with("\n**No changes.** All 3 targets match the manifest."), "{added}");
    assert_eq!(added.trim().lines().count(), 1, "{added}");
}

#[test]
fn a_failed_apply_adds_its_failures() {
    let job = Job::manifest(
        "version: 1\nimages:\n  - {name: api, tag: v1, context: api}\n  \
         - {name: leaf, tag: v1, context: leaf}\n",
    );
    let file = "::error::x ::stop-commands::t | <img src=x> @octocat";
    let source = serde_json::to_string(&[file, "/"]).unwrap();
    job.env.context("api", &format!("FROM scratch\nCOPY {source}\n"));
    job.env.context("leaf", "FROM api:v1\n");
    let output = job.env.run(["apply", "--local", "--auto-approve"]);
    output.code(1).says("::stop-commands::t");
    // The only command is a warning of imgplan about the file, whose name is data in it.
    let found = commands_of(&output);
    assert_eq!((found.len(), found[0].name.as_str()), (1, "warning"), "{output}");
    assert!(found[0].message.contains(file), "{found:?}");
    let summary = job.summary();
    let table = rows(&summary);
    let failed = table.iter().find(|cells| cells[0].starts_with("<code>api:v1 ")).unwrap();
    assert_eq!((failed.len(), failed[1].as_str()), (3, "building"), "{summary}");
    assert!(failed[2].contains("stop-commands"), "{summary}");
    let skipped =
        vec!["<code>leaf:v1</code>".to_owned(), "depends on api:v1, which failed".to_owned()];
    assert!(table.contains(&skipped), "{summary}");
}

/// The log of a build may have many lines, and a command in each.
#[test]
fn a_failure_of_several_lines_is_a_block_of_code() {
    let scripted = Scripted::accepting();
    let cause = format!("RUN make\n::error::x\n```\n{PAYLOAD}\n::stop-commands::t\u{1b}[2J");
    let failed = json!({ "id": "b-1", "status": "FAILED", "errorMessage": cause });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n");
    env.context("app", "FROM scratch\n");
    let job = Job::new(env);
    let output = job.env.run(["apply", "--auto-approve", "--refresh=false"]);
    output.code(1).says("EVIL");
    assert_eq!(commands_of(&output), [], "{output}");
    assert!(rows(&job.summary()).iter().all(|cells| cells.len() == 3));
}

#[test]
fn a_long_table_is_folded_with_verbose() {
    let image = |index| format!("  - {{name: a{index}, tag: v1, context: app}}");
    let images: Vec<String> = (0..50).map(image).collect();
    let images = images.join("\n");
    let job = Job::manifest(&format!("version: 1\nimages:\n{images}"));
    job.env.context("app", "FROM scratch\n");
    let output = job.env.ok(["plan", "-v"]);
    let found = commands(&output.stdout);
    let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["group", "endgroup"], "{output}");
    assert_eq!(found[0].message, "50 steps");
    let (_, table) = output.stdout.split_once("::group::50 steps\n").unwrap();
    let (table, _) = table.split_once("::endgroup::\n").unwrap();
    assert_eq!(table.lines().filter(|line| line.contains(" build ")).count(), 50, "{output}");
    assert_eq!(commands_of(&job.env.ok(["plan"])), []);
    assert!(
        job.summary().contains("<details><summary><code>+</code> build <b>50 targets</b>: new")
    );
}

/// The file of the summary is a warning when it cannot be written, and never more.
#[cfg(unix)]
#[test]
fn a_summary_that_cannot_be_written_is_a_warning() {
    let mut job = Job::manifest("version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n");
    job.env.context("app", "FROM scratch\n");
    let (victim, link) = (job.env.path("victim"), job.env.path("link"));
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    let fifo = job.env.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let missing = job.env.path("none/summary");
    for path in [&link, &fifo, &missing, std::path::Path::new("/dev/full")] {
        job.env.set("GITHUB_STEP_SUMMARY", path.to_str().unwrap());
        let output = job.env.ok(["plan"]);
        output.says("cannot write the step summary").says("1 to create");
        let found = commands_of(&output);
        assert_eq!((found.len(), found[0].name.as_str()), (1, "warning"), "{output}");
    }
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
    let output = job.env.apply();
    assert_eq!(commands_of(&output).len(), 1, "{output}");
    job.env.unset("GITHUB_STEP_SUMMARY");
    assert_eq!(commands_of(&job.env.ok(["plan"])), []);
}

/// The report of GitLab: an array of problems with a path from the root of the repository.
#[test]
fn problems_are_a_code_quality_report() {
    let mut env = TestEnv::manifest("version: 1\nimages: []\n");
    let root = env.path("").into_os_string().into_string().unwrap();
    env.set("CI_PROJECT_DIR", &root);
    let image = "  - {name: app, contxt: x}\n";
    env.write("sub/imgplan.yaml", format!("version: 1\nimages:\n{image}{image}"));
    let report = |args: &[&str], code: i32| -> Vec<Value> {
        let flags = ["validate", "--format", "codequality"];
        let output = env.run(args.iter().copied().chain(flags));
        output.code(code);
        serde_json::from_str(&output.stdout).unwrap()
    };
    assert_eq!(report(&[], 0), [Value::Null; 0]);
    let found = report(&["-C", "sub"], 1);
    let unknown: Vec<&Value> = found
        .iter()
        .filter(|it| it["description"].as_str().unwrap().starts_with("unknown key `contxt`; "))
        .collect();
    let place = |line: usize| json!({ "path": "sub/imgplan.yaml", "lines": { "begin": line } });
    assert_eq!([&unknown[0]["location"], &unknown[1]["location"]], [&place(3), &place(4)]);
    assert_eq!(
        (&unknown[0]["severity"], &unknown[0]["check_name"]),
        (&json!("major"), &json!("imgplan"))
    );
    let prints: BTreeSet<&str> =
        found.iter().map(|it| it["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(prints.len(), found.len(), "{found:?}");
    // A problem that moves keeps its fingerprint.
    env.write("sub/imgplan.yaml", format!("# moved\nversion: 1\nimages:\n{image}{image}"));
    let moved = report(&["-C", "sub"], 1);
    let moved: BTreeSet<&str> =
        moved.iter().map(|it| it["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(moved, prints);
    env.run(["validate", "--json", "--format", "codequality"]).code(64).says("another --format");
    assert_eq!(
        env.ok(["validate", "--format", "json"]).stdout,
        env.ok(["validate", "--json"]).stdout
    );
}

#[test]
fn formats_of_plan_and_why() {
    let env = TestEnv::manifest(THREE_CHANGES);
    env.context("base", "FROM scratch\n").context("api", "FROM base:v1\nCOPY . /\n");
    for command in [&["plan"][..], &["why", "api"]] {
        let run = |flags: &[&str]| env.run(command.iter().chain(flags).copied());
        assert_eq!(run(&["--format", "text"]).success().stdout, run(&[]).stdout);
        let json = run(&["--format", "json"]);
        let lines = json.success().stdout.lines().count();
        assert_eq!(lines, run(&["--json"]).stdout.lines().count());
        assert!(json.stdout.starts_with('{'), "{json}");
        run(&["--json", "--format", "json"]).success();
        for other in ["text", "markdown"] {
            run(&["--json", "--format", other]).code(64).says("another --format");
        }
        let markdown = run(&["--format", "markdown"]);
        assert!(markdown.success().stdout.starts_with("### "), "{markdown}");
        assert_inert(&markdown.stdout);
    }
    env.run(["plan", "--refresh-only", "--format", "markdown"]).code(64);
    let why = env.ok(["why", "api", "--format", "markdown"]).stdout;
    assert!(why.starts_with("### <code>api:v1</code>\n\n```text\n+ api:v1  build\n"), "{why}");
}
