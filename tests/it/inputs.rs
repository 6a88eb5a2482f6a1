//! Files that never end, block, or are too large, in the place of every kind of input: each is an
//! error that names the file, and nothing waits.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use imgplan::test_support::base::input::INPUT_KINDS;

use crate::support::{Output, TestEnv, wait_until};

/// One input: the file that is replaced, and the call that reads it.
struct InputCase {
    /// The name of its kind.
    kind: &'static str,
    /// The path in the folder; a path in the home folder begins with `~/`.
    path: &'static str,
    args: &'static [&'static str],
}

const fn input(kind: &'static str, path: &'static str, args: &'static [&'static str]) -> InputCase {
    InputCase { kind, path, args }
}

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0", "--state", "state"];

/// The inputs of every kind; a new kind must join.
const INPUTS: &[InputCase] = &[
    input("Manifest", "imgplan.yaml", &["plan"]),
    input("Manifest", "included.yaml", &["plan"]),
    input("SourceList", "sources.txt", &["plan"]),
    input("HarborTask", "tasks/one/task.toml", &["plan"]),
    input("Dockerfile", "app/Dockerfile", &["plan"]),
    input("IgnoreFile", "app/.dockerignore", &["plan"]),
    input("IgnoreFile", "app/Dockerfile.dockerignore", &["plan"]),
    input("Lockfile", "imgplan.lock", &["plan"]),
    input("Journal", ".imgplan/journal.jsonl", &["plan"]),
    input("TargetFile", "targets.txt", &["plan", "--target-file", "targets.txt"]),
    input("TargetFile", "targets.txt", &["plan", "--exclude-file", "targets.txt"]),
    input("Foreign", "bake.json", &["convert", "--from", "bake", "bake.json", "-o", "-"]),
    input("SavedPlan", "saved", &["apply", "--auto-approve", "saved"]),
    input("ServiceConfig", "~/.prime/config.json", &["plan"]),
    input("ServerState", "state/state.json", SERVE),
    input("ServerState", "state/changes.jsonl", SERVE),
    input("StatCache", ".imgplan/stat-cache", &["plan"]),
    input("RegistryCache", ".imgplan/registry-cache", &["plan"]),
];

/// Kinds whose loss is no error.
const CACHES: [&str; 2] = ["StatCache", "RegistryCache"];

/// Kinds that are attacked elsewhere: in `registry::credentials`, because it takes a registry that
/// requires a token to read them, in `work_folder`, because their names are digests, and in
/// `server::registry_images`.
const ELSEWHERE: [&str; 3] = ["DockerConfig", "FileList", "CertificateAuthorities"];

/// The help if a `task.toml` is not a regular file: its folder is no task then.
const NO_TASK: &str = "a task is a folder with task.toml";

const MANIFEST: &str = "\
version: 1
include: [included.yaml]
images:
  - {name: app, tag: v1, context: app}
  - discover: {harbor: tasks}
";

fn project() -> TestEnv {
    let env = TestEnv::manifest(MANIFEST);
    env.context("app", "FROM scratch\nCOPY file /\n").write("app/file", "text");
    env.write("included.yaml", "version: 1\nimages: []\n");
    env.write("tasks/one/task.toml", "").context("tasks/one/environment", "FROM scratch\n");
    env
}

/// Runs the program, and fails if it does not end.
fn run(env: &TestEnv, args: &[&str]) -> Output {
    let mut running = env.call(args.iter().copied()).start();
    wait_until(&format!("{args:?} ends"), || running.has_ended());
    running.wait()
}

/// Replaces a file, and returns the words with which the error may describe the new one.
fn replace(path: &Path, by: &str) -> &'static [&'static str] {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(path);
    match by {
        "a FIFO" => {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
            &["it is a FIFO", NO_TASK]
        }
        "a link to a FIFO" => {
            let fifo = path.with_extension("fifo");
            assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
            symlink(fifo.file_name().unwrap(), path).unwrap();
            &["it is a FIFO", "it is a link", "which is not a regular file", NO_TASK]
        }
        "a link to /dev/zero" => {
            symlink("/dev/zero", path).unwrap();
            &["it is a device", "it is a link", "which is outside of the repository", NO_TASK]
        }
        _ => {
            // A sparse file, larger than every limit.
            File::create(path).unwrap().set_len(2 << 30).unwrap();
            &["it has 2147483648 bytes, and at most"]
        }
    }
}

#[test]
fn every_input_is_bounded_and_does_not_block() {
    let tested: BTreeSet<&str> = INPUTS.iter().map(|input| input.kind).chain(ELSEWHERE).collect();
    let kinds: BTreeSet<&str> = INPUT_KINDS.iter().copied().collect();
    assert_eq!(tested, kinds, "add each kind to INPUTS");
    for InputCase { kind, path, args } in INPUTS {
        for by in ["a FIFO", "a link to a FIFO", "a link to /dev/zero", "a file that is too large"]
        {
            let mut env = project();
            // The limits hold wherever a manifest may reach.
            env.set("IMGPLAN_ALLOW_OUTSIDE", "/");
            let file = match path.strip_prefix("~/") {
                Some(path) => env.home().join(path),
                None => env.path(path),
            };
            if *path == "sources.txt" {
                env.write("imgplan.yaml", format!("{MANIFEST}  - sources_from: sources.txt\n"));
            }
            let expected = replace(&file, by);
            let output = run(&env, args);
            if CACHES.contains(kind) {
                output.success();
                continue;
            }
            let name = file.file_name().unwrap().to_str().unwrap();
            assert_eq!(output.code, Some(1), "{path} is {by}: {output}");
            // Long messages are broken into lines, which begin with a bar.
            let all = output.all().replace('│', " ");
            let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(output.all().contains(name), "{path} is {by}: {output}");
            assert!(expected.iter().any(|text| all.contains(text)), "{path} is {by}: {output}");
        }
    }
}

#[test]
fn a_person_may_name_standard_input_and_descriptors() {
    let env = project();
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let run = |flag, text| env.call(["plan", flag, path]).stdin(text).run();
        run("--target-file", "app\n").success();
        run("--target-file", "nonsense\n").code(1).says("nonsense");
        // It is read: its contexts are relative to its folder.
        let manifest = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";
        run("-f", manifest).code(1).says("there is no folder");
    }
    env.ok(["plan", "--exclude-file", "/dev/null"]);
    // Only the person who runs it may: a manifest cannot make it wait for input.
    env.edit("imgplan.yaml", "included.yaml", "/dev/stdin");
    let output = run(&env, &["plan"]);
    output.code(1).says("/dev/stdin").says("it is a FIFO");
}
