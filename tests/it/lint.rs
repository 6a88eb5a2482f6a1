//! Lints of contexts: one warning for each kind, with the way to fix it. `--deny-warnings` turns it
//! into an error. The content of a key or a `.env` file is never shown.

use std::fmt::Write;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Output, TestEnv};

const MANIFEST: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// The content of keys and `.env` files in these tests.
const SECRET: &str = "c2VjcmV0LWluLWEtY29udGV4dA";

fn project() -> TestEnv {
    let env = TestEnv::manifest(MANIFEST);
    env.context("app", "FROM scratch\nCOPY . /\n");
    env
}

fn key() -> String {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n")
}

fn certificate() -> String {
    format!("-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n")
}

/// Returns a project with these settings, and one image for each of these contexts.
fn manifest(settings: &str, contexts: &[&str]) -> TestEnv {
    let mut text = format!("version: 1\nsettings: {{{settings}}}\nimages:\n");
    for (number, context) in contexts.iter().enumerate() {
        writeln!(text, "  - {{name: i{number}, tag: v1, context: {context}}}").unwrap();
    }
    let env = TestEnv::manifest(&text);
    for context in contexts {
        env.context(context, "FROM scratch\nCOPY . /\n");
    }
    env
}

/// Returns the warnings of a run and their help, one line each.
fn warnings(output: &Output) -> String {
    let flat = output.stderr.replace("\n        ", " ").replace("\n    ", " ");
    let lines = flat.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// Checks that nothing was sent, and that neither lockfile nor journal was written.
fn check_untouched(env: &TestEnv) {
    assert_eq!(env.server().writes(), [""; 0]);
    assert!(!env.exists("imgplan.lock") && !env.exists(".imgplan/journal.jsonl"));
}

#[test]
fn a_clean_context_gets_no_warning() {
    let env = project();
    env.write("app/run.sh", "echo\n").write("app/certs/ca.pem", certificate());
    env.write("app/.env.example", "KEY=\n").write("app/id_rsa.pub", "ssh-rsa AAAA\n");
    env.write("app/.gitignore", "x\n");
    assert_eq!(env.ok(["plan", "--deny-warnings"]).stderr, "");
    env.ok(["apply", "--auto-approve", "--deny-warnings"]).never_says("⚠");
}

#[test]
fn each_kind_gets_one_warning_with_help() {
    let env = manifest("context_warn: 1MB", &["api", "web", "."]);
    env.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    env.write("api/deploy/id_ed25519", key()).write("api/tls.pem", certificate() + &key());
    env.write("api/.env", SECRET).write("web/.env.local", SECRET);
    env.write("api/.git/HEAD", "ref: refs/heads/main\n").write("web/vendor/x/.git", "gitdir: y\n");
    env.write("web/node_modules/a/.env", SECRET).write("web/node_modules/a/test.key", key());
    env.write("web/data/big.bin", vec![0; 1_500_000]).write("web/small.bin", vec![0; 200_000]);
    for number in 0..20 {
        env.write(&format!("web/src/{number}.js"), "x");
    }
    env.write(".dockerignore", "api\nweb\n");
    let plan = env.ok(["plan"]);
    assert_snapshot!(warnings(&plan), @"
    ⚠ contexts contain 2 private keys: api/deploy/id_ed25519, api/tls.pem
    help: add `deploy/id_ed25519` and `tls.pem` to api/.dockerignore
    ⚠ contexts contain 2 `.env` files: api/.env, web/.env.local
    help: add `.env` to api/.dockerignore, `.env.local` to web/.dockerignore
    ⚠ contexts contain 2 `.git` folders: api/.git, web/vendor/x/.git
    help: add `.git` to api/.dockerignore, `**/.git` to web/.dockerignore
    ⚠ a context contains `node_modules`: web/node_modules
    help: add `node_modules` to web/.dockerignore
    ⚠ a context contains the manifest, whose changes rebuild the image: imgplan.yaml
    help: add `imgplan.yaml` to .dockerignore
    ⚠ a context is larger than 1.0 MB: web, 1.7 MB (data/big.bin 1.5 MB, small.bin 200 kB)
    help: add the files that the build does not need to web/.dockerignore, or raise `settings.context_warn`
    ⚠ a context has no .dockerignore: web
    help: create web/.dockerignore, with the files that the build does not need; an empty file stops this warning
    ");
    assert_eq!(plan.steps().len(), 3, "{plan}");
    plan.never_says(SECRET);
    // An apply prints the same warnings, and continues.
    let apply = env.ok(["apply", "--auto-approve"]);
    assert!(apply.stderr.starts_with(&plan.stderr), "{apply}");
    apply.never_says(SECRET);
    // `--quiet` keeps the warnings, as it does those of the manifest.
    let quiet = env.ok(["plan", "-q"]);
    assert_eq!(quiet.stderr, plan.stderr);
}

#[test]
fn following_the_help_removes_the_warnings() {
    let env = project();
    for number in 0..20 {
        env.write(&format!("app/src/{number}.js"), "x");
    }
    env.write("app/deploy/id_rsa", key()).write("app/a/.env", SECRET).write("app/.env", SECRET);
    env.write("app/.git/HEAD", "ref: x\n").write("app/x/node_modules/y", "z");
    let plan = env.ok(["plan"]);
    let stderr = plan.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    // Each text in backticks before ` to app/.dockerignore` is a line to add.
    let lines: Vec<&str> = stderr
        .split("help: add ")
        .skip(1)
        .filter_map(|help| Some(help.split_once(" to app/.dockerignore")?.0))
        .flat_map(|lines| lines.split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(lines, ["deploy/id_rsa", "**/.env", ".env", ".git", "**/node_modules"]);
    env.write("app/.dockerignore", lines.join("\n"));
    assert_eq!(env.ok(["plan", "--deny-warnings"]).stderr, "");
}

#[test]
fn many_contexts_are_one_warning() {
    let names = ["a", "b", "c", "d", "e"];
    let env = manifest("", &names);
    for name in names {
        for number in 0..20 {
            env.write(&format!("{name}/{number}"), "x");
        }
    }
    let plan = env.ok(["plan"]);
    plan.says("5 contexts have no .dockerignore: a, b, c and 2 more");
    assert_eq!(plan.stderr.matches('⚠').count(), 1, "{plan}");
    // An empty file means that the build needs all files.
    for name in ["a", "b", "c", "d"] {
        env.write(&format!("{name}/.dockerignore"), "");
    }
    env.write("e/Dockerfile.dockerignore", "");
    assert_eq!(env.ok(["plan"]).stderr, "");
}

/// Several images of a monorepo can be built from one folder.
#[test]
fn a_shared_context_gets_one_warning() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: ., dockerfile: a.Dockerfile, platforms: [linux/amd64, linux/arm64]}\n  - {name: b, context: ., dockerfile: b.Dockerfile}\n",
    );
    env.write("a.Dockerfile", "FROM scratch\nCOPY . /\n")
        .write("b.Dockerfile", "FROM scratch\nCOPY . /\n");
    env.write("src/.env", SECRET).write("b.Dockerfile.dockerignore", "a.Dockerfile\n");
    assert_snapshot!(warnings(&env.ok(["plan"])), @"
    ⚠ a context contains a `.env` file: src/.env
    help: add `**/.env` to .dockerignore and b.Dockerfile.dockerignore
    ⚠ a context contains the manifest, whose changes rebuild the image: imgplan.yaml
    help: add `imgplan.yaml` to .dockerignore and b.Dockerfile.dockerignore
    ");
}

#[test]
fn a_link_is_not_followed() {
    let env = project();
    env.write("outside/id_rsa", key()).write("outside/.env", SECRET);
    std::os::unix::fs::symlink("../outside/id_rsa", env.path("app/id_rsa")).unwrap();
    std::os::unix::fs::symlink("../outside/.env", env.path("app/.env")).unwrap();
    std::os::unix::fs::symlink("../outside", env.path("app/node_modules")).unwrap();
    assert_eq!(env.ok(["plan"]).stderr, "");
}

#[test]
fn deny_warnings_sends_and_writes_nothing() {
    let env = project();
    env.write("app/.env", SECRET).write("app/tls.key", key());
    for command in [&["plan"][..], &["apply", "--auto-approve"], &["apply"]] {
        let denied = env.run(command.iter().chain(&["--deny-warnings"]).copied());
        denied.code(1).never_says(SECRET).says("tls.key").says("app/.env");
        assert_eq!(denied.stdout, "", "{denied}");
        let last = denied.stderr.lines().last().unwrap();
        let expected = "found 2 warnings, and --deny-warnings was given; nothing was sent";
        assert!(last.ends_with(expected), "{denied}");
        check_untouched(&env);
    }
    let by_variable = env.call(["plan"]).env("IMGPLAN_DENY_WARNINGS", "true").run();
    by_variable.code(1).says("found 2 warnings");
    env.call(["plan"]).env("IMGPLAN_DENY_WARNINGS", "false").run().success();
    // An existing lockfile does not change.
    env.apply();
    let lockfile = env.read("imgplan.lock");
    env.write("app/more", "more");
    let writes = env.server().writes().len();
    env.run(["apply", "--auto-approve", "--deny-warnings"]).code(1);
    assert_eq!(env.read("imgplan.lock"), lockfile);
    assert_eq!(env.server().writes().len(), writes);
}

#[test]
fn deny_warnings_counts_the_warnings_of_the_manifest() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: base, tag: \"3.12\", context: base}\n  - {name: app, tag: v1, context: app}\n",
    );
    env.context("base", "FROM scratch\n").context("app", "FROM base:3.11\nCOPY . /\n");
    let validate = env.run(["validate", "--deny-warnings"]);
    validate.code(1).says("found 1 warning, and --deny-warnings was given");
    assert_eq!(validate.stdout, "", "{validate}");
    let json = env.run(["validate", "--deny-warnings", "--json"]);
    json.code(1);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&report["valid"], &report["warning_count"]),
        (&false.into(), &1.into()),
        "{report:#}"
    );
    assert_eq!(
        (&report["error_count"], &report["diagnostics"][1]["severity"]),
        (&1.into(), &"error".into())
    );
    env.write("app/.env", SECRET);
    env.run(["plan", "--deny-warnings"]).code(1).says("found 2 warnings");
    check_untouched(&env);
}

#[test]
fn validate_covers_the_contexts() {
    let env = project();
    assert_eq!(env.ok(["validate", "--deny-warnings"]).stderr, "");
    env.write("app/.env", SECRET).write("app/id_rsa", key());
    let plan = env.ok(["plan"]);
    assert_eq!(env.ok(["validate"]).stderr, plan.stderr);
    env.run(["validate", "--deny-warnings"]).code(1).says("found 2 warnings").never_says(SECRET);
    env.edit("imgplan.yaml", "version: 1", "version: 1\nsettings: {context_max: 10B}");
    env.run(["validate"]).code(1).says("`settings.context_max` allows 10 B");
    let json = env.run(["validate", "--json"]);
    let report: Value = serde_json::from_str(&json.code(1).stdout).unwrap();
    assert_eq!((&report["valid"], &report["error_count"]), (&false.into(), &1.into()));
    check_untouched(&env);
}

#[test]
fn validate_reads_no_files_and_writes_none() {
    let env = project();
    // Only a file with a digest would be read, and cached once it is old enough.
    let file = env.path("app/data");
    std::fs::write(&file, "data").unwrap();
    std::fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    env.ok(["validate"]);
    assert!(!env.exists(".imgplan"), "{:?}", env.listing());
    env.apply();
    let listing = env.listing();
    env.ok(["validate"]);
    assert_eq!(env.listing(), listing);
}

#[test]
fn special_files_are_left_out_with_a_warning() {
    let env = project();
    env.apply();
    let _socket = std::os::unix::net::UnixListener::bind(env.path("app/left.sock")).unwrap();
    assert_snapshot!(warnings(&env.ok(["plan"])), @"
    ⚠ a context contains a socket, which is not sent: app/left.sock
    help: add `left.sock` to app/.dockerignore
    ");
    // It is no change, and the others are still sent.
    env.plans_nothing();
    env.write("app/more", "");
    assert_eq!(env.apply().steps(), ["-/+ app:v1 build context: + more"]);
    let listed = env.ok(["context", "list", "app"]).stdout;
    assert!(listed.contains("more") && !listed.contains("sock"), "{listed}");
    let why = env.ok(["context", "why", "app", "left.sock"]).stdout;
    assert_eq!(why, "left.sock is not sent: sockets, FIFOs and devices never are\n");
    env.run(["plan", "--deny-warnings"]).code(1).says("found 1 warning");
    let fifo = std::process::Command::new("mkfifo").arg(env.path("app/pipe")).status();
    if fifo.is_ok_and(|status| status.success()) {
        env.ok(["plan"]).says("a context contains a FIFO, which is not sent: app/pipe");
    }
    env.write("app/.dockerignore", "*.sock\npipe\n");
    assert_eq!(env.ok(["plan"]).stderr, "");
}

#[test]
fn a_context_above_the_maximum_is_an_error() {
    let env = manifest("context_warn: 1kB, context_max: 1MB", &["api", "docs", "web"]);
    env.write("api/data/big.bin", vec![0; 1_200_000]).write("api/other.bin", vec![0; 300_000]);
    env.write("web/big.bin", vec![0; 1_000_001]).write("web/Dockerfile.dockerignore", "x\n");
    env.write("docs/small.bin", vec![0; 2_000]);
    for command in [&["plan"][..], &["apply", "--auto-approve"]] {
        let output = env.run(command.iter().copied());
        output.code(1);
        assert_eq!(output.stdout, "");
        check_untouched(&env);
    }
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × the context api has 1.5 MB (data/big.bin 1.2 MB, other.bin 300 kB), and `settings.context_max`
      │ allows 1.0 MB
      help: add the files that the build does not need to api/.dockerignore, or raise
            `settings.context_max`

      × the context web has 1.0 MB (big.bin 1.0 MB), and `settings.context_max` allows 1.0 MB
      help: add the files that the build does not need to web/Dockerfile.dockerignore, or raise
            `settings.context_max`

    error: 2 contexts cannot be sent; nothing was sent
    ");
    let json = env.run(["plan", "--json"]);
    let summaries: Vec<String> = json
        .events("diagnostic")
        .iter()
        .map(|event| event["diagnostic"]["summary"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(summaries.len(), 2, "{json}");
    env.write("api/.dockerignore", "data\n").edit("web/Dockerfile.dockerignore", "x", "*.bin");
    env.ok(["plan"])
        .says("2 contexts are larger than 1.0 kB: api, 300 kB (other.bin 300 kB); docs, 2.0 kB");
    check_untouched(&env);
}

#[test]
fn json_has_the_warnings_as_diagnostics() {
    let env = project();
    env.write("app/.env", SECRET).write("app/id_rsa", key());
    for args in [&["plan", "--json"][..], &["apply", "--auto-approve", "--json"]] {
        let output = env.ok(args.iter().copied());
        output.never_says(SECRET);
        let events = output.events("diagnostic");
        let diagnostics: Vec<&Value> = events.iter().map(|event| &event["diagnostic"]).collect();
        assert_eq!(diagnostics.len(), 2, "{output}");
        assert!(
            diagnostics.iter().all(|diagnostic| diagnostic["severity"] == "warning"),
            "{output}"
        );
        assert_eq!(diagnostics[0]["summary"], "a context contains a private key: app/id_rsa");
        assert_eq!(diagnostics[1]["summary"], "a context contains a `.env` file: app/.env");
        assert_eq!(diagnostics[1]["detail"], "add `.env` to app/.dockerignore");
        assert_eq!(output.stderr, "");
    }
    let denied = env.run(["plan", "--json", "--deny-warnings"]);
    let last = denied.code(1).events("diagnostic").pop().unwrap();
    assert_eq!(last["diagnostic"]["severity"], "error", "{denied}");
    assert_eq!(denied.json().last(), Some(&last));
}
