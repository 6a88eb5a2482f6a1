//! Attacks on the work folder: a checkout brings along a link, a FIFO or a folder in the place of a
//! file, and must not make imgplan write elsewhere or wait.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imgplan::test_support::base::work_dir::WORK_PATHS;
use imgplan::test_support::server::ServerConfig;

use crate::support::{Output, TestEnv, list, wait_until};

const MANIFEST: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

fn project() -> TestEnv {
    let env = TestEnv::new();
    write_project(&env);
    env
}

fn write_project(env: &TestEnv) {
    env.write("imgplan.yaml", MANIFEST);
    env.context("app", "FROM scratch\nCOPY file /\n").write("app/file", "text");
}

/// The calls that are made after each attack.
fn calls(name: &str) -> Vec<Vec<&'static str>> {
    let apply = vec!["apply", "--auto-approve"];
    if name.starts_with("local/") {
        return vec![[apply, vec!["--local"]].concat(), vec!["plan", "--local"]];
    }
    vec![apply, vec!["plan"], vec!["lock"]]
}

/// Runs the program, and fails if it does not end.
fn run(env: &TestEnv, args: &[&str]) -> Output {
    let mut running = env.call(args.iter().copied()).start();
    wait_until(&format!("{args:?} ends"), || running.has_ended());
    running.wait()
}

/// The paths in a work folder, as [`WORK_PATHS`] has them.
fn names_in(work: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    list(work, &mut |path, _| {
        let name = path.strip_prefix(work).unwrap().to_str().unwrap();
        let is_digest =
            |part: &str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
        let parts = name.split('/').map(|part| match part.split_once('.') {
            Some((_, "tar.gz")) => "BUILD.tar.gz",
            Some((_, "log")) => "BUILD.log",
            None if is_digest(part) => "DIGEST",
            _ => part,
        });
        found.insert(parts.collect::<Vec<_>>().join("/"));
    });
    found
}

#[test]
fn every_name_is_listed() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(1),
        ..ServerConfig::default()
    });
    write_project(&env);
    for args in [
        &["apply", "--auto-approve"][..],
        &["apply", "--auto-approve", "--local"],
        &["lock"],
        &["import", "app:v1"],
        &["plan"],
        &["context", "pack", "app", "-o", "app.tar.gz"],
    ] {
        // Only the names count here.
        let _ = env.run(args.iter().copied());
    }
    let mut found = names_in(&env.path(".imgplan"));
    // The journal exists while a run goes on.
    env.write("app/file", "changed");
    let running = env.call(["apply", "--auto-approve"]).start();
    wait_until("a journal exists", || env.exists(".imgplan/journal.jsonl"));
    found.extend(names_in(&env.path(".imgplan")));
    running.wait().success();
    let unknown: Vec<_> =
        found.iter().filter(|name| !WORK_PATHS.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "add these to WORK_PATHS: {unknown:?}");
    for name in [
        "lock",
        "journal.jsonl",
        "contexts/DIGEST",
        "local/imgplan.lock",
        "local/server/logs/BUILD.log",
        "local/server/state.json",
    ] {
        assert!(found.contains(name), "{name}: {found:?}");
    }
}

/// A thing in the place of a file of the work folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    /// A link to the file of another program.
    Link,
    /// A link to a file that does not exist.
    DanglingLink,
    /// A link to a folder of another program.
    FolderLink,
    /// Another name of the file of another program.
    HardLink,
    Fifo,
    Folder,
    File,
}

impl Attack {
    const ALL: [Self; 7] = [
        Self::Link,
        Self::DanglingLink,
        Self::FolderLink,
        Self::HardLink,
        Self::Fifo,
        Self::Folder,
        Self::File,
    ];

    /// Puts the thing at a path. `outside` has the files of another program.
    fn place(self, path: &Path, outside: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match self {
            Self::Link => symlink(outside.join("victim"), path).unwrap(),
            Self::DanglingLink => symlink(outside.join("nowhere"), path).unwrap(),
            Self::FolderLink => symlink(outside.join("folder"), path).unwrap(),
            Self::HardLink => fs::hard_link(outside.join("victim"), path).unwrap(),
            Self::Fifo => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            Self::Folder => fs::create_dir_all(path.join("inner")).unwrap(),
            Self::File => fs::write(path, "not what it should be").unwrap(),
        }
    }
}

/// The state of the files of another program: their contents, modes and times.
fn state(outside: &Path) -> Vec<(PathBuf, u32, i64, Vec<u8>)> {
    let mut files = Vec::new();
    list(outside, &mut |path, meta| {
        let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        files.push((path.to_owned(), meta.mode(), meta.mtime_nsec(), bytes));
    });
    files.sort();
    files
}

/// The digest of the context of [`project`], which names its list.
fn digest_of_the_context() -> String {
    let env = project();
    env.apply();
    let name = fs::read_dir(env.path(".imgplan/contexts")).unwrap().next().unwrap();
    name.unwrap().file_name().into_string().unwrap()
}

fn attack(name: &str, attack: Attack, digest: &str) {
    let env = project();
    let outside = env.everything().join("outside");
    fs::create_dir_all(outside.join("folder/server/uploads")).unwrap();
    fs::write(outside.join("victim"), "precious").unwrap();
    for file in ["lock", "stat-cache", "journal.jsonl", digest, "server/uploads/x"] {
        fs::write(outside.join("folder").join(file), "precious").unwrap();
    }
    let path = env.path(".imgplan").join(name.replace("DIGEST", digest));
    let path = if name.is_empty() { env.path(".imgplan") } else { path };
    attack.place(&path, &outside);
    let before = state(&outside);
    for args in calls(name) {
        let output = run(&env, &args);
        assert_eq!(state(&outside), before, "{name} {attack:?}\n{output}");
        match output.code {
            Some(0) => {}
            Some(1) => {
                let last = path.file_name().unwrap().to_str().unwrap();
                output.code(1).says(last);
                // Other things are named by the system: not a directory, is a directory.
                if [Attack::Link, Attack::DanglingLink, Attack::FolderLink].contains(&attack) {
                    output.says("it is a link; remove it");
                }
            }
            other => panic!("{name} {attack:?}: {other:?}\n{output}"),
        }
    }
    if path.is_symlink() {
        assert!(!outside.join("nowhere").exists(), "{name} {attack:?}");
    }
}

/// Runs the attacks on some names. The tests share the work, so that they run side by side.
fn attack_all(is_mine: impl Fn(usize, &str) -> bool) {
    let digest = digest_of_the_context();
    for (index, name) in WORK_PATHS.into_iter().enumerate() {
        if is_mine(index, name) {
            for kind in Attack::ALL {
                attack(name, kind, &digest);
            }
        }
    }
}

#[test]
fn no_attack_on_the_work_folder_reaches_outside() {
    attack_all(|_, name| !name.starts_with("local/"));
}

#[test]
fn no_attack_on_the_local_state_reaches_outside() {
    attack_all(|index, name| name.starts_with("local/") && index % 2 == 0);
}

#[test]
fn no_attack_on_the_local_server_reaches_outside() {
    attack_all(|index, name| name.starts_with("local/") && index % 2 == 1);
}

#[test]
fn the_state_of_the_local_server_is_private() {
    let env = project();
    env.ok(["apply", "--auto-approve", "--local"]);
    let mode = |name: &str| {
        fs::metadata(env.path(".imgplan/local/server").join(name)).unwrap().mode() & 0o777
    };
    for (name, expected) in
        [("", 0o700), ("uploads", 0o700), ("state.json", 0o600), ("changes.jsonl", 0o600)]
    {
        assert_eq!(mode(name), expected, "{name}");
    }
}
