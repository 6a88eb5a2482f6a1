//! The recipes in `examples/ci`: their shell steps run in bash, with the variables that the CI would set,
//! against a local server and a shared state in a folder.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Answer, Call, Output, Running, Scripted, TestEnv, copy, list};
use imgplan::test_support::server::ServerConfig;

/// Text that creates the file `pwned` if a shell reads it as code.
const HOSTILE: &str = "x\"; touch pwned; $(touch pwned) `touch pwned` '; touch pwned; '";

/// Number of partitions in every recipe.
const PARTS: usize = 16;

/// Maximum number of partitions that run at the same time.
const AT_ONCE: usize = 4;

/// A value in place of an expression such as `secrets.PRIME_API_KEY`.
type Expressions = BTreeMap<&'static str, String>;

/// The runners of a CI service. Each part has a checkout of its own; part 0 is the folder of the
/// environment.
struct Runner {
    env: TestEnv,
}

impl Runner {
    /// A runner whose `PATH` has imgplan, and a shared state that exists.
    fn new() -> Self {
        let mut env = TestEnv::unlimited(ServerConfig::default());
        env.copy_example("ci");
        let programs = env.everything().join("programs");
        std::fs::create_dir(&programs).unwrap();
        symlink(env!("CARGO_BIN_EXE_imgplan"), programs.join("imgplan")).unwrap();
        let path = format!("{}:{}", programs.display(), env.vars()["PATH"]);
        let state = format!("file://{}", env.everything().join("store").display());
        env.set("PATH", &path).set("CI", "true").set("IMGPLAN_STATE", &state);
        // Texts that a stranger chooses.
        for name in [
            "GITHUB_HEAD_REF",
            "GITHUB_REF_NAME",
            "CI_COMMIT_REF_NAME",
            "CI_COMMIT_TITLE",
            "CI_MERGE_REQUEST_TITLE",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        ] {
            env.set(name, HOSTILE);
        }
        env.ok(["state", "init"]);
        Self { env }
    }

    /// Adds a program to `PATH`, as a shell script.
    fn program(&self, name: &str, script: &str) {
        let path = self.env.everything().join("programs").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Adds a `curl` that writes an archive of a release, and returns the archive's checksum.
    fn release(&self) -> String {
        let name = format!("imgplan-0.1.0-{}-unknown-linux-musl", std::env::consts::ARCH);
        let folder = self.env.everything().join(&name);
        std::fs::create_dir(&folder).unwrap();
        // Small, and still the program.
        let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_imgplan"));
        std::fs::write(folder.join("imgplan"), script).unwrap();
        let archive = self.env.everything().join("release.tar.gz");
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(self.env.everything()).arg(&name);
        assert!(tar.status().unwrap().success());
        let curl = r#"
            echo "$@" >> "$HOME/curl.log"
            while [ "$1" != --output ]; do shift; done
            cp "RELEASE" "$2""#;
        self.program("curl", &curl.replace("RELEASE", &archive.display().to_string()));
        let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
        String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_owned()
    }

    /// Returns the checkout of a part, which is created at its first use.
    fn checkout(&self, part: usize) -> PathBuf {
        if part == 0 {
            return self.env.path("");
        }
        let folder = self.env.everything().join(format!("checkouts/{part}"));
        if !folder.exists() {
            copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci"), &folder);
        }
        folder
    }

    /// Prepares a script for bash in the checkout of a part, as the runners of GitHub start it.
    fn bash(&self, part: usize, script: &str, vars: &BTreeMap<String, String>) -> Call {
        let file = tempfile::Builder::new().suffix(".sh").tempfile_in(self.env.everything());
        let (_, path) = file.unwrap().keep().unwrap();
        std::fs::write(&path, script).unwrap();
        let folder = self.checkout(part);
        let bash = "exec bash --noprofile --norc -eo pipefail";
        let start = format!("cd '{}' && {bash} '{}'", folder.display(), path.display());
        let call = self.env.call(["--version"]).in_shell(&start);
        vars.iter().fold(call, |call, (name, value)| call.env(name, value))
    }

    /// Asserts that the trunk is done and that nothing else has been initiated.
    fn has_only_the_trunk(&self) {
        assert_eq!(self.initiated(), ["runtime-base:v1"]);
    }

    /// Asserts that each image was initiated once, that nothing remains, and that no text ran as code.
    fn has_all(&self) {
        let all = [
            "alertmanager:v0.28.0",
            "api:v1",
            "prometheus:v3.1.0",
            "runtime-base:v1",
            "uv:0.9",
            "worker:v1",
        ];
        assert_eq!(self.initiated(), all);
        self.env.plans_nothing();
        assert!(!self.env.exists("imgplan.lock"));
        self.is_unharmed();
    }

    /// Returns the initiated images, sorted.
    fn initiated(&self) -> Vec<String> {
        let mut images = self.env.server().initiated();
        images.sort();
        images
    }

    /// Asserts that no text of a stranger ran as code.
    #[track_caller]
    fn is_unharmed(&self) {
        list(self.env.everything(), &mut |path, _| {
            assert!(!path.ends_with("pwned"), "{}", path.display());
        });
    }
}

/// Runs all partitions, a few at a time.
fn run_parts(call: impl Fn(usize) -> Call) {
    let parts: Vec<usize> = (1..=PARTS).collect();
    for few in parts.chunks(AT_ONCE) {
        let running: Vec<Running> = few.iter().map(|part| call(*part).start()).collect();
        for run in running {
            run.wait().success();
        }
    }
}

/// Reads a recipe.
fn recipe(path: &str) -> Value {
    let path = format!("{}/examples/ci/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns a string, number or boolean as the CI passes it to a process.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Replaces every `${{ NAME }}` by its value.
fn expand(template: &str, expressions: &Expressions) -> String {
    let mut rest = template;
    let mut expanded = String::new();
    while let Some((before, after)) = rest.split_once("${{") {
        let (name, after) = after.split_once("}}").unwrap();
        let value = expressions.get(name.trim());
        expanded += before;
        expanded += value.unwrap_or_else(|| panic!("this test has no value for {name:?}"));
        rest = after;
    }
    expanded + rest
}

/// A workflow of GitHub Actions on a runner.
struct Workflow<'a> {
    runner: &'a Runner,
    workflow: Value,
}

impl<'a> Workflow<'a> {
    fn new(runner: &'a Runner, name: &str) -> Self {
        Self { runner, workflow: recipe(&format!("github-actions/{name}.yml")) }
    }

    fn temp(&self) -> String {
        self.runner.env.vars()["TMPDIR"].clone()
    }

    /// Prepares a step of a job with the variables that GitHub sets.
    fn step(&self, job: &str, step: &str, part: usize, more: &[(&str, &str)]) -> Call {
        let steps = self.workflow["jobs"][job]["steps"].as_array().unwrap();
        let found = steps.iter().find(|it| it["name"] == step).unwrap();
        let vars = self.runner.env.vars();
        let var = |name: &str| vars.get(name).cloned().unwrap_or_default();
        let expressions: Expressions = [
            ("vars.IMGPLAN_STATE", var("IMGPLAN_STATE")),
            ("vars.AWS_REGION", "eu-central-1".to_owned()),
            ("secrets.IMGPLAN_READ_ACCESS_KEY_ID", "read".to_owned()),
            ("secrets.IMGPLAN_READ_SECRET_ACCESS_KEY", "s3cr3t".to_owned()),
            ("secrets.IMGPLAN_WRITE_ACCESS_KEY_ID", "write".to_owned()),
            ("secrets.IMGPLAN_WRITE_SECRET_ACCESS_KEY", "s3cr3t".to_owned()),
            ("secrets.PRIME_API_KEY", var("PRIME_API_KEY")),
            ("github.token", "t0k3n".to_owned()),
            ("github.repository", "owner/images".to_owned()),
            ("github.event.pull_request.number", "7".to_owned()),
            ("matrix.part", part.to_string()),
        ]
        .into();
        let temp = self.temp();
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in [
            ("GITHUB_ACTIONS", "true"),
            ("RUNNER_TEMP", &*temp),
            ("GITHUB_PATH", &*format!("{temp}/path")),
            ("GITHUB_STEP_SUMMARY", &*format!("{temp}/summary.md")),
        ] {
            all.insert(name.to_owned(), value.to_owned());
        }
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&all["GITHUB_STEP_SUMMARY"])
            .unwrap();
        for env in [&self.workflow["env"], &found["env"]] {
            for (name, value) in env.as_object().into_iter().flatten() {
                all.insert(name.clone(), expand(&text(value), &expressions));
            }
        }
        for (name, value) in more {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        self.runner.bash(part, found["run"].as_str().unwrap(), &all)
    }
}

#[test]
fn steps_of_github_contain_no_expressions_and_stop_at_the_first_error() {
    for name in ["plan", "apply", "nightly"] {
        let workflow = recipe(&format!("github-actions/{name}.yml"));
        assert_eq!(workflow["permissions"], json!({ "contents": "read" }), "{name}");
        for (job, it) in workflow["jobs"].as_object().unwrap() {
            for step in it["steps"].as_array().unwrap() {
                if let Some(run) = step["run"].as_str() {
                    assert!(run.starts_with("set -euo pipefail\n"), "{name} {job}:\n{run}");
                    assert!(!run.contains("${{"), "{name} {job}:\n{run}");
                }
                let uses = step["uses"].as_str().unwrap_or("actions/checkout@");
                let known = ["actions/checkout@", "actions/upload-artifact@"];
                assert!(known.iter().any(|action| uses.starts_with(action)), "{uses}");
                let secrets = step["env"].to_string().contains("secrets.");
                let own = "github.event.pull_request.head.repo.full_name == github.repository";
                assert!(!secrets || name != "plan" || step["if"] == own, "{step:#}");
            }
        }
    }
}

#[test]
fn a_release_is_installed_only_with_its_checksum() {
    let runner = Runner::new();
    let sum = runner.release();
    let workflow = Workflow::new(&runner, "apply");
    let refused = workflow.step("apply", "Install", 0, &[]).run();
    refused.code(1).says("does not have the checksum of IMGPLAN_SHA256; nothing was installed");
    assert!(!Path::new(&format!("{}/bin", workflow.temp())).exists());
    workflow.step("apply", "Install", 0, &[("IMGPLAN_SHA256", &sum)]).run().says("imgplan ");
    let path = std::fs::read_to_string(format!("{}/path", workflow.temp())).unwrap();
    assert_eq!(path, format!("{}/bin\n", workflow.temp()));
    let asked = std::fs::read_to_string(runner.env.home().join("curl.log")).unwrap();
    let url = "https://github.com/OWNER/imgplan/releases/download/v0.1.0/imgplan-0.1.0-";
    assert!(asked.contains(url), "{asked}");
}

#[test]
fn a_pull_request_gets_one_comment_with_its_plan() {
    let runner = Runner::new();
    runner.program("gh", r#"printf '%s\n' "$GH_REPO" "$@" > "$HOME/gh.log""#);
    let workflow = Workflow::new(&runner, "plan");
    let plan = workflow.step("plan", "Plan", 0, &[]).run();
    plan.success().never_says("s3cr3t");
    let comment = std::fs::read_to_string(format!("{}/plan.md", workflow.temp())).unwrap();
    assert!(comment.starts_with("### Plan: 6 to create"), "{comment}");
    workflow.step("plan", "Comment", 0, &[]).run().success();
    let called = std::fs::read_to_string(runner.env.home().join("gh.log")).unwrap();
    let body = format!("{}/plan.md", workflow.temp());
    let expected =
        ["owner/images", "pr", "comment", "7", "--edit-last", "--create-if-none", "--body-file"];
    assert_eq!(called.lines().collect::<Vec<_>>(), [&expected[..], &[&*body]].concat());
    // A plan sends nothing that changes the service.
    assert_eq!(runner.env.server().writes(), [""; 0]);
    runner.is_unharmed();
}

#[test]
fn a_pull_request_of_a_fork_is_planned_without_secrets() {
    let mut runner = Runner::new();
    runner.env.unset("PRIME_API_KEY").unset("IMGPLAN_STATE");
    let asked = runner.env.server().requests();
    let workflow = Workflow::new(&runner, "plan");
    let plan = workflow.step("plan", "Plan of a fork", 0, &[]).run();
    plan.success().says("Plan: 6 to create");
    assert_eq!(runner.env.server().requests(), asked);
    runner.is_unharmed();
}

#[test]
fn main_is_applied_with_reports() {
    let runner = Runner::new();
    Workflow::new(&runner, "apply").step("apply", "Apply", 0, &[]).run().success();
    assert!(runner.env.exists("reports/run.html") && runner.env.exists("reports/run.xml"));
    runner.has_all();
}

#[test]
fn a_night_on_github_applies_the_trunk_and_16_partitions() {
    let runner = Runner::new();
    let workflow = Workflow::new(&runner, "nightly");
    let parts = &workflow.workflow["jobs"]["partition"]["strategy"]["matrix"]["part"];
    assert_eq!(parts, &json!((1..=PARTS).collect::<Vec<_>>()));
    workflow.step("trunk", "Apply", 0, &[]).run().success();
    runner.has_only_the_trunk();
    run_parts(|part| workflow.step("partition", "Apply", part, &[]));
    assert!(
        runner.env.exists("reports/trunk.html")
            && runner.checkout(16).join("reports/16.xml").exists()
    );
    runner.has_all();
}

/// Prepares the script of a GitLab job with the variables that GitLab sets.
fn gitlab(runner: &Runner, part: usize, job: &str, more: &[(&str, &str)]) -> Call {
    let recipe = recipe("gitlab-ci/.gitlab-ci.yml");
    let parts = [&recipe[".imgplan"]["before_script"], &recipe[job]["script"]];
    let lines: Vec<&str> =
        parts.iter().flat_map(|it| it.as_array().unwrap()).map(|it| it.as_str().unwrap()).collect();
    assert!(lines.iter().all(|it| it.starts_with("set -euo pipefail\n")), "{lines:#?}");
    let mut vars: BTreeMap<String, String> = BTreeMap::new();
    for variables in [&recipe["variables"], &recipe[job]["variables"]] {
        for (name, value) in variables.as_object().into_iter().flatten() {
            vars.insert(name.clone(), text(value));
        }
    }
    let folder = runner.checkout(part).display().to_string();
    vars.insert("GITLAB_CI".to_owned(), "true".to_owned());
    vars.insert("CI_PROJECT_DIR".to_owned(), folder);
    vars.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    runner.bash(part, &lines.join("\n"), &vars)
}

#[test]
fn a_night_on_gitlab_applies_the_trunk_and_16_partitions() {
    let runner = Runner::new();
    let sum = runner.release();
    let checksum = ("IMGPLAN_SHA256", &*sum);
    assert_eq!(recipe("gitlab-ci/.gitlab-ci.yml")["partition"]["parallel"], PARTS);
    gitlab(&runner, 0, "trunk", &[checksum]).run().success();
    runner.has_only_the_trunk();
    run_parts(|part| {
        let index = part.to_string();
        let node = [checksum, ("CI_NODE_INDEX", &*index), ("CI_NODE_TOTAL", "16")];
        gitlab(&runner, part, "partition", &node)
    });
    assert!(
        runner.env.exists("reports/trunk.html")
            && runner.checkout(16).join("reports/16.xml").exists()
    );
    runner.has_all();
}

#[test]
fn a_merge_request_on_gitlab_gets_one_note_with_its_plan() {
    let runner = Runner::new();
    let sum = runner.release();
    let gitlab_api = Scripted::start();
    let notes = "/projects/5/merge_requests/7/notes";
    let note = |id: u32, author: u32, body: &str| json!({ "id": id, "author": { "id": author }, "body": body });
    gitlab_api
        .on("GET", "/user", [Answer::json(200, &json!({ "id": 3 }))])
        // A stranger's note with the mark is not ours.
        .on("GET", notes, [Answer::json(200, &json!([note(1, 4, "<!-- imgplan -->\n")]))])
        .on("POST", notes, [Answer::json(201, &json!({ "id": 2 }))])
        .on("PUT", &format!("{notes}/2"), [Answer::json(200, &json!({ "id": 2 }))]);
    let url = format!("{}/api/v1", gitlab_api.url());
    let vars = [
        ("IMGPLAN_SHA256", &*sum),
        ("CI_API_V4_URL", &*url),
        ("CI_PROJECT_ID", "5"),
        ("CI_MERGE_REQUEST_IID", "7"),
        ("GITLAB_NOTE_TOKEN", "t0k3n"),
    ];
    let run = || -> Output { gitlab(&runner, 0, "plan", &vars).run() };
    run().success().never_says("t0k3n");
    assert_eq!(runner.env.read("gl-code-quality-report.json").trim(), "[]");
    let sent = gitlab_api.requests();
    let posted: Value = serde_json::from_slice(&sent.last().unwrap().body).unwrap();
    let body = posted["body"].as_str().unwrap();
    assert!(body.starts_with("<!-- imgplan -->\n### Plan: 6 to create"), "{body}");
    // The next pipeline finds the note.
    gitlab_api.on("GET", notes, [Answer::json(200, &json!([note(2, 3, body)]))]);
    run().success();
    assert_eq!(gitlab_api.count("POST", notes), 1);
    assert_eq!(gitlab_api.count("PUT", &format!("{notes}/2")), 1);
    assert_eq!(runner.env.server().writes(), [""; 0]);
    runner.is_unharmed();
}

/// Prepares the script of a Kubernetes Job. The key and the state are those of the test. Part 1
/// has the index 0.
fn kubernetes(runner: &Runner, file: &str, part: usize) -> Call {
    let job = recipe(&format!("kubernetes/{file}.yaml"));
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["bash", "-c"]));
    let script = container["args"][0].as_str().unwrap();
    assert!(script.starts_with("set -euo pipefail\n"), "{script}");
    let vars = [("JOB_COMPLETION_INDEX".to_owned(), part.saturating_sub(1).to_string())].into();
    runner.bash(part, script, &vars)
}

#[test]
fn two_jobs_of_kubernetes_apply_the_trunk_and_16_partitions() {
    let runner = Runner::new();
    let job = recipe("kubernetes/partitions.yaml");
    assert_eq!(
        (&job["spec"]["completions"], &job["spec"]["parallelism"]),
        (&json!(PARTS), &json!(PARTS))
    );
    kubernetes(&runner, "trunk", 0).run().success();
    runner.has_only_the_trunk();
    run_parts(|part| kubernetes(&runner, "partitions", part));
    runner.has_all();
}
