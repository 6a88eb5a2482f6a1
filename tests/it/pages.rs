//! Every command in README.md and in the guide is run, and prints what the page says.
//!
//! - In a `console` block, lines that begin with `$ ` are commands. The lines after a command are its
//!   expected output, if there are any: times, build IDs and digests may differ, and a line `...`
//!   stands for any number of lines. A command succeeds, unless `[exit N]` is the last of its lines.
//! - In an `sh` block, each line is a command that succeeds; a heredoc belongs to its command.
//!   `imgplan serve` is stopped once it serves; `cargo test`, which runs this test, must be in
//!   `.ci/run`; `cargo install` is not tried.
//! - The blocks of a page are run in order in one folder, which is empty at first. A block that
//!   names `examples/` starts in a new folder with a copy of the repository's examples.
//! - A `yaml` block that begins with `version:` is a valid manifest.
//! - Text in backquotes that begins with `imgplan ` is a command that exists.
//! - What a command exports is there for the next ones, and what it starts with `&` runs until the end of
//!   the page.

mod blocks;
#[cfg(target_os = "linux")]
mod own_service;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use self::blocks::{Block, Step, blocks, matches, spans};
use super::schema::{complaints, validator};
use super::support::{TestEnv, copy, wait_until};

/// The page that needs an engine and a registry.
const OWN_SERVICE: &str = "docs/src/guide/own-service.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and every page of the guide.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("docs/src/introduction.md")];
    let guide = std::fs::read_dir(root().join("docs/src/guide")).unwrap();
    pages.extend(guide.map(|entry| entry.unwrap().path()));
    // Has a test of its own, because it needs programs that may be missing.
    pages.retain(|page| !page.ends_with(OWN_SERVICE));
    pages.sort();
    pages
}

#[test]
fn every_command_of_the_readme_and_the_guide_does_what_the_page_says() {
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}: are these all?");
    let mut problems = Vec::new();
    for page in pages {
        let name = page.strip_prefix(root()).unwrap().display().to_string();
        problems.extend(check(&name, &std::fs::read_to_string(page).unwrap()));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// Everything on a page that is not true, with its line.
fn check(page: &str, text: &str) -> Vec<String> {
    check_in(Shell::new(), page, text)
}

/// The same for a reader who begins in a shell.
fn check_in(mut shell: Shell, page: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for block in blocks(text) {
        match block.language.as_str() {
            "console" | "sh" => {
                if block.text().contains("examples/") {
                    shell = Shell::with_examples();
                }
                shell.block(page, &block, &mut problems);
            }
            "yaml" if block.lines.first().is_some_and(|(_, line)| line.starts_with("version:")) => {
                problems.extend(manifest(page, &block));
            }
            _ => {}
        }
    }
    for (line, span) in spans(text) {
        if let Some(arguments) = span.strip_prefix("imgplan ") {
            let output = Shell::new().run(&format!("imgplan {arguments} --help"));
            if output.code != Some(0) {
                problems.push(format!("{page}:{line}: `{span}` is not a command"));
            }
        }
    }
    problems
}

/// Validates a manifest, whose folders and Dockerfiles are created first.
fn manifest(page: &str, block: &Block) -> Option<String> {
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
    let mut problems = complaints(&validator(), &text).join("\n");
    let output = env.run(["validate"]);
    if output.code != Some(0) {
        problems.push_str(&output.all());
    }
    (!problems.is_empty()).then(|| format!("{page}:{}: not a manifest:\n{problems}", block.line()))
}

/// A function that returns what is wrong with a command.
type CommandCheck = fn(&str) -> Option<String>;

/// A reader who types the commands of a page.
struct Shell {
    env: TestEnv,
    dir: PathBuf,
    /// Addresses of the page, and those that are used instead.
    addresses: Vec<(String, String)>,
    /// Commands that are not run, by their beginning, and the check that is made instead.
    replaced: Vec<(&'static str, CommandCheck)>,
    /// Further environment variables.
    vars: Vec<(&'static str, OsString)>,
}

struct Outcome {
    text: String,
    code: Option<i32>,
}

impl Shell {
    /// Starts in an empty folder.
    fn new() -> Self {
        let env = TestEnv::at("http://127.0.0.1:9");
        let dir = env.path("");
        let (addresses, replaced, vars) = (Vec::new(), Vec::new(), Vec::new());
        let programs = env.home().join("bin");
        std::fs::create_dir(&programs).unwrap();
        // A file, so that a process that a reader starts with `&` is the program itself.
        let (program, name) = (env!("CARGO_BIN_EXE_imgplan"), "imgplan");
        #[cfg(unix)]
        std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
        #[cfg(not(unix))]
        std::fs::copy(program, programs.join(name).with_extension("exe")).unwrap();
        Self { env, dir, addresses, replaced, vars }
    }

    /// Starts in a folder that holds a copy of the repository's examples.
    fn with_examples() -> Self {
        let shell = Self::new();
        copy(&root().join("examples"), &shell.env.path("examples"));
        shell
    }

    fn block(&mut self, page: &str, block: &Block, problems: &mut Vec<String>) {
        for step in block.steps() {
            if let Some(problem) = self.step(&step) {
                problems.push(format!("{page}:{}: $ {}\n{problem}", step.line, step.command));
                // The remaining commands depend on this one.
                return;
            }
        }
    }

    fn step(&mut self, step: &Step) -> Option<String> {
        let command = step.command.as_str();
        if command == "cargo test" {
            let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap_or_default();
            let run = ci.lines().any(|line| line.trim().trim_start_matches("run ") == command);
            return (!run).then(|| ".ci/run does not run it".to_owned());
        }
        if command.starts_with("cargo install --path .") {
            return None;
        }
        let replaced = self.replaced.iter().find(|(beginning, _)| command.starts_with(beginning));
        if let Some((_, check)) = replaced {
            return check(command);
        }
        if command.starts_with("imgplan serve") {
            return self.serve(command);
        }
        let outcome = self.run(command);
        if outcome.code != Some(step.code) {
            return Some(format!("exit {:?}\n{}", outcome.code, outcome.text));
        }
        let (expected, text) = (redact(&step.expected), redact(&outcome.text));
        let same = step.expected.is_empty() || matches(&expected, &text);
        (!same).then(|| format!("--- the page says\n{expected}\n--- it prints\n{text}"))
    }

    /// Runs a command line, both output streams in one. The next one starts in the folder in which
    /// it ended, with the variables that it exported.
    fn run(&mut self, command: &str) -> Outcome {
        let used = |text: String, (shown, used): &(String, String)| text.replace(shown, used);
        let command = self.addresses.iter().fold(command.to_owned(), used);
        let [folder, vars, jobs] = ["pwd", "vars", "jobs"].map(|name| self.env.home().join(name));
        let (vars, jobs) = (vars.display(), jobs.display());
        let command = format!(
            "! [ -e '{vars}' ] || . '{vars}'\n{{ {command}\n}}; code=$?; pwd > '{}'; \
             export -p > '{vars}'; [ -z \"$!\" ] || echo $! >> '{jobs}'; exit $code",
            folder.display()
        );
        let output = self.shell(&command).output().unwrap();
        if let Ok(dir) = std::fs::read_to_string(folder) {
            self.dir = PathBuf::from(dir.trim_end());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let shown = |text: String, (shown, used): &(String, String)| text.replace(used, shown);
        let text = self.addresses.iter().fold(text.trim_end().to_owned(), shown);
        Outcome { text, code: output.status.code() }
    }

    fn shell(&self, command: &str) -> Command {
        // `imgplan` and `cargo run --release --` are the program under test.
        let cargo =
            r#"cargo() { [ "$1 $2 $3" = "run --release --" ] && shift 3 && imgplan "$@"; }"#;
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec 2>&1\n{cargo}\n{command}"));
        shell.current_dir(&self.dir).stdin(Stdio::null());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.env.home().join("bin")).chain(std::env::split_paths(&path));
        shell.env_clear().env("PATH", std::env::join_paths(path).unwrap());
        shell.env("HOME", self.env.home());
        shell.envs(self.vars.iter().map(|(name, value)| (name, value)));
        shell
    }

    /// Starts a server on a free port, with its state in the reader's folder, and waits until it
    /// serves.
    fn serve(&self, command: &str) -> Option<String> {
        static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"127\.0\.0\.1:\d+").unwrap());
        let url_file = self.env.path("url");
        let command = PORT.replace(command, "127.0.0.1:0").replace("/tmp/", "./");
        let command = format!("{command} --url-file '{}'", url_file.display());
        let command =
            command.replacen("imgplan", &format!("exec '{}'", env!("CARGO_BIN_EXE_imgplan")), 1);
        let mut child = self.shell(&command).stdout(Stdio::piped()).spawn().unwrap();
        let mut ended = None;
        wait_until("the server listens", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || url_file.exists()
        });
        // Fails only if the process has ended by itself.
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        ended.map(|status| format!("{status}\n{}", String::from_utf8_lossy(&output.stdout)))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let jobs = std::fs::read_to_string(self.env.home().join("jobs")).unwrap_or_default();
        for job in jobs.lines() {
            // Fails for one that has ended.
            let _ = Command::new("kill").arg(job).stderr(Stdio::null()).status();
        }
    }
}

/// Replaces IDs, digests and times, which differ from run to run.
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

/// A page that is true, and changes that make it false: shows that the check can fail.
#[test]
fn false_pages_are_found() {
    let right = "\
Text with `imgplan plan --local`.
```sh
cargo run --release -- validate -f examples/mirror/imgplan.yaml
imgplan serve --listen 127.0.0.1:8080 --state /tmp/images
```
```console
$ cd examples/mirror
$ imgplan validate
imgplan.yaml is valid: 5 images, 6 targets.
$ imgplan plan --local --detailed-exitcode
...
Plan: 6 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
[exit 2]
$ imgplan apply --local --auto-approve --quiet
...
Apply: 6 checked and not built, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in 5h12m.
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
    assert_eq!(check("README.md", right), [""; 0]);
    let wrong = [
        ("`imgplan plan --local`", "`imgplan plane`", "README.md:1: `imgplan plane` is not"),
        ("-- validate", "-- valid", "README.md:3: $ cargo run"),
        ("--listen", "--listens", "README.md:4: $ imgplan serve"),
        ("cd examples/mirror", "cd examples/none", "README.md:7: $ cd examples/none"),
        ("5 images", "4 images", "README.md:8: $ imgplan validate"),
        ("[exit 2]\n", "", "exit Some(2)"),
        ("[exit 2]", "[exit 1]", "exit Some(2)"),
        ("6 to create", "7 to create", "README.md:10: $ imgplan plan"),
        ("6 checked", "7 checked", "README.md:14"),
        ("in 5h12m", "in no time", "README.md:14"),
        ("a b\n```", "a c\n```", "README.md:20: $ echo"),
        ("a b\n```", "a b\nand more\n```", "README.md:20: $ echo"),
        ("context: x/y", "contexts: x/y", "README.md:24: not a manifest"),
    ];
    for (from, to, expected) in wrong {
        let text = right.replacen(from, to, 1);
        assert_ne!(text, right, "{from}");
        let problems = check("README.md", &text);
        assert_eq!(problems.len(), 1, "{from} -> {to}: {problems:?}");
        assert!(problems[0].contains(expected), "{from} -> {to}: {problems:?}");
    }
}
