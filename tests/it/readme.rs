//! Every command that README.md shows is run, and says what README.md has it say.
//!
//! - In a `console` block, lines that begin with `$ ` are commands; they are run in order, in a
//!   copy of the examples of their own. What follows one is what it says, where something follows:
//!   times, build IDs and digests may differ, and a line `...` stands for any number of lines.
//!   A command succeeds, unless `[exit N]` is the last line that follows it.
//! - In an `sh` block, each line is a command that succeeds. `imgplan serve` is stopped once it
//!   serves; `cargo test`, which is what runs this, is looked up in `.ci/run`; `cargo install` is
//!   believed.
//! - A `yaml` block that begins with `version:` is a manifest that is valid.
//! - What looks like a command of ours in the text is at least one that we have.

mod blocks;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use self::blocks::{Block, Step, blocks, matches, spans};
use super::schema::{complaints, validator};
use super::support::{TestEnv, copy, wait_until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&text);
    let of = |language| blocks.iter().filter(|block| block.language == language).count();
    assert!(of("console") > 1 && of("sh") > 1 && of("yaml") > 1, "are these all?");
    let problems = check(&text);
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// Everything that is not as the text says, each with its line.
fn check(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for block in blocks(text) {
        match block.language.as_str() {
            "console" | "sh" => Shell::new().block(&block, &mut problems),
            "yaml" if block.lines.first().is_some_and(|(_, line)| line.starts_with("version:")) => {
                problems.extend(manifest(&block));
            }
            _ => {}
        }
    }
    for (line, span) in spans(text) {
        if let Some(arguments) = span.strip_prefix("imgplan ") {
            let output = Shell::new().run(&format!("imgplan {arguments} --help"));
            if output.code != Some(0) {
                problems.push(format!("README.md:{line}: `{span}` is no command of ours"));
            }
        }
    }
    problems
}

/// What is wrong with a manifest, whose folders and Dockerfiles are made for it.
fn manifest(block: &Block) -> Option<String> {
    let text = block.text();
    let env = TestEnv::new();
    env.write("imgplan.yaml", &text);
    let value: Value = serde_saphyr::from_str(&text).unwrap();
    for image in value["images"].as_array().into_iter().flatten() {
        if let Some(context) = image["context"].as_str() {
            let dockerfile = image["dockerfile"].as_str().unwrap_or("Dockerfile");
            env.write(&format!("{context}/file"), "");
            env.write(&format!("{context}/{dockerfile}"), "FROM scratch\n");
        }
    }
    let mut said = complaints(&validator(), &text).join("\n");
    let output = env.run(["validate"]);
    if output.code != Some(0) {
        said.push_str(&output.all());
    }
    (!said.is_empty()).then(|| format!("README.md:{}: not a manifest:\n{said}", block.line()))
}

/// Somebody who types what the README says, in a copy of the repository's examples.
struct Shell {
    env: TestEnv,
    dir: PathBuf,
}

struct Said {
    text: String,
    code: Option<i32>,
}

impl Shell {
    fn new() -> Self {
        let env = TestEnv::at("http://127.0.0.1:9");
        let dir = env.path("");
        Self { env, dir }
    }

    fn block(mut self, block: &Block, problems: &mut Vec<String>) {
        copy(&root().join("examples"), &self.env.path("examples"));
        for step in block.steps() {
            if let Some(problem) = self.step(&step) {
                problems.push(format!("README.md:{}: $ {}\n{problem}", step.line, step.command));
                // What follows builds on it.
                return;
            }
        }
    }

    fn step(&mut self, step: &Step) -> Option<String> {
        let command = step.command.as_str();
        if let Some(folder) = command.strip_prefix("cd ") {
            self.dir.push(folder);
            let there = self.dir.is_dir();
            return (!there).then(|| "there is no such folder".to_owned());
        }
        if command == "cargo test" {
            let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap_or_default();
            let run = ci.lines().any(|line| line.trim().trim_start_matches("run ") == command);
            return (!run).then(|| ".ci/run does not run it".to_owned());
        }
        if command == "cargo install --path ." {
            return None;
        }
        if command.starts_with("imgplan serve") {
            return self.serve(command);
        }
        let said = self.run(command);
        if said.code != Some(step.code) {
            return Some(format!("exit {:?}\n{}", said.code, said.text));
        }
        let (expected, text) = (redact(&step.expected), redact(&said.text));
        let same = step.expected.is_empty() || matches(&expected, &text);
        (!same).then(|| format!("--- README.md\n{expected}\n--- it says\n{text}"))
    }

    /// Runs a line as a shell does, both streams in one.
    fn run(&self, command: &str) -> Said {
        let output = self.shell(command).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Said { text: text.trim_end().to_owned(), code: output.status.code() }
    }

    fn shell(&self, command: &str) -> Command {
        // An `imgplan` and a `cargo run --release --` that are the program under test.
        let program = env!("CARGO_BIN_EXE_imgplan");
        let cargo =
            r#"cargo() { [ "$1 $2 $3" = "run --release --" ] && shift 3 && imgplan "$@"; }"#;
        let script = format!("exec 2>&1\nimgplan() {{ '{program}' \"$@\"; }}\n{cargo}\n{command}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).current_dir(&self.dir).stdin(Stdio::null());
        shell.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
        shell.env("HOME", self.env.home());
        shell
    }

    /// Starts a server on a free port, with its state in our folder, and waits until it serves.
    fn serve(&self, command: &str) -> Option<String> {
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"127\.0\.0\.1:\d+").unwrap());
        let url_file = self.env.path("url");
        let command = PORT.replace(command, "127.0.0.1:0").replace("/tmp/", "./");
        let command = format!("{command} --url-file '{}'", url_file.display());
        let command =
            command.replacen("imgplan", &format!("exec '{}'", env!("CARGO_BIN_EXE_imgplan")), 1);
        let mut child = self.shell(&command).stdout(Stdio::piped()).spawn().unwrap();
        let mut ended = None;
        wait_until("it serves", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || url_file.exists()
        });
        // Whoever has ended needs no end.
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        ended.map(|status| format!("{status}\n{}", String::from_utf8_lossy(&output.stdout)))
    }
}

/// A text without what may differ from run to run.
fn redact(text: &str) -> String {
    static ID: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[0-9a-f]{32}\b").unwrap());
    static DIGEST: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(b3|sha256):[0-9a-f]{16,64}").unwrap());
    static TIME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(in|after) \d[\d.]*( ?ms|h\d+m|m\d+s|s)").unwrap());
    let text = ID.replace_all(text, "ID");
    let text = DIGEST.replace_all(&text, "$1:DIGEST");
    TIME.replace_all(&text, "$1 TIME").into_owned()
}

/// A README that is right, and what makes it wrong: the check is one that can fail.
#[test]
fn what_is_wrong_is_found() {
    let right = "\
Text with `imgplan plan --local`.
```sh
cargo run --release -- validate -f examples/mirror/imgplan.yaml
imgplan serve --listen 127.0.0.1:8080 --state /tmp/images
```
```console
$ cd examples/mirror
$ imgplan validate
imgplan.yaml is valid: 5 images, 6 units.
$ imgplan plan --local --detailed-exitcode
...
Plan: 6 to create, 0 to rebuild, 0 to update, 0 to destroy, 0 to forget. 0 unchanged.
[exit 2]
$ imgplan apply --local --auto-approve --quiet
...
Apply: 0 built, 6 mirrored, 0 updated, 0 forgotten, 0 destroyed, 0 failed, 0 skipped, in 5h12m.
$ imgplan show --local redis
...
[exit 1]
$ echo 'a b' > file && cat file
a b
```
```yaml
version: 1
images:
  - { name: a, context: x/y, dockerfile: ../Dockerfile }
```
```yaml
name: other
```
";
    assert_eq!(check(right), [""; 0]);
    let wrong = [
        ("`imgplan plan --local`", "`imgplan plane`", "README.md:1: `imgplan plane` is no"),
        ("-- validate", "-- valid", "README.md:3: $ cargo run"),
        ("--listen", "--listens", "README.md:4: $ imgplan serve"),
        ("cd examples/mirror", "cd examples/none", "no such folder"),
        ("5 images", "4 images", "README.md:8: $ imgplan validate"),
        ("[exit 2]\n", "", "exit Some(2)"),
        ("[exit 2]", "[exit 1]", "exit Some(2)"),
        ("6 to create", "7 to create", "README.md:10: $ imgplan plan"),
        ("0 built", "1 built", "README.md:14"),
        ("in 5h12m", "in no time", "README.md:14"),
        ("a b\n```", "a c\n```", "README.md:20: $ echo"),
        ("a b\n```", "a b\nand more\n```", "README.md:20: $ echo"),
        ("context: x/y", "contexts: x/y", "README.md:24: not a manifest"),
    ];
    for (from, to, expected) in wrong {
        let text = right.replacen(from, to, 1);
        assert_ne!(text, right, "{from}");
        let problems = check(&text);
        assert_eq!(problems.len(), 1, "{from} -> {to}: {problems:?}");
        assert!(problems[0].contains(expected), "{from} -> {to}: {problems:?}");
    }
}
