//! What people regret to have sent: each kind is a warning, once, with the way out; `--deny-warnings`
//! makes an error of it; and nothing that a key or a `.env` holds is ever shown.

use std::fmt::Write;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Output, TestEnv};

const ONE: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// What stands in keys and `.env` files here.
const SECRET: &str = "c2VjcmV0LWluLWEtY29udGV4dA";

fn one() -> TestEnv {
    let env = TestEnv::manifest(ONE);
    env.context("app", "FROM scratch\n");
    env
}

fn key() -> String {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n-----END OPENSSH PRIVATE KEY-----\n")
}

fn certificate() -> String {
    format!("-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n")
}

/// A manifest of these contexts, an image each, and what settings it has.
fn manifest(settings: &str, contexts: &[&str]) -> TestEnv {
    let mut text = format!("version: 1\nsettings: {{{settings}}}\nimages:\n");
    for (number, context) in contexts.iter().enumerate() {
        writeln!(text, "  - {{name: i{number}, tag: v1, context: {context}}}").unwrap();
    }
    let env = TestEnv::manifest(&text);
    for context in contexts {
        env.context(context, "FROM scratch\n");
    }
    env
}

/// The lines of a run that warn, and their ways out.
fn warned(output: &Output) -> String {
    let flat = output.stderr.replace("\n        ", " ").replace("\n    ", " ");
    let lines = flat.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

/// Nothing was sent, and neither lockfile nor journal was written.
fn untouched(env: &TestEnv) {
    assert_eq!(env.server().writes(), [""; 0]);
    assert!(!env.exists("imgplan.lock") && !env.exists(".imgplan/journal.jsonl"));
}

#[test]
fn a_clean_context_is_no_warning() {
    let env = one();
    env.write("app/run.sh", "echo\n").write("app/certs/ca.pem", certificate());
    env.write("app/.env.example", "KEY=\n").write("app/id_rsa.pub", "ssh-rsa AAAA\n");
    env.write("app/.gitignore", "x\n");
    assert_eq!(env.ok(["plan", "--deny-warnings"]).stderr, "");
    env.ok(["apply", "--auto-approve", "--deny-warnings"]).never_says("⚠");
}

/// Everything at once, as it looks.
#[test]
fn each_kind_is_said_once_with_its_way_out() {
    let env = manifest("context_warn: 1MB", &["api", "web", "."]);
    env.write("Dockerfile", "FROM scratch\n");
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
    assert_snapshot!(warned(&plan), @"
    ⚠ 2 private keys are sent to builds: api/deploy/id_ed25519, api/tls.pem
    help: add `deploy/id_ed25519` and `tls.pem` to api/.dockerignore
    ⚠ 2 `.env` files are sent to builds: api/.env, web/.env.local
    help: add `.env` to api/.dockerignore, `.env.local` to web/.dockerignore
    ⚠ 2 `.git` are sent to builds: api/.git, web/vendor/x/.git
    help: add `.git` to api/.dockerignore, `**/.git` to web/.dockerignore
    ⚠ a `node_modules` is sent to the build: web/node_modules
    help: add `node_modules` to web/.dockerignore
    ⚠ a context is above 1.0 MB: web, 1.7 MB (data/big.bin 1.5 MB, small.bin 200 kB)
    help: add what the build does not need to web/.dockerignore, or raise `settings.context_warn`
    ⚠ a context has no .dockerignore: web
    help: make web/.dockerignore and list in it what the build does not need; an empty one says that it needs all
    ");
    assert_eq!(plan.steps().len(), 3, "{plan}");
    plan.never_says(SECRET);
    // An apply says the same, and goes on.
    let apply = env.ok(["apply", "--auto-approve"]);
    assert!(apply.stderr.starts_with(&plan.stderr), "{apply}");
    apply.never_says(SECRET);
    // So it does where it is told to say little: as with the manifest's own warnings.
    let quiet = env.ok(["plan", "-q"]);
    assert_eq!(quiet.stderr, plan.stderr);
}

#[test]
fn following_the_advice_silences_it() {
    let env = one();
    for number in 0..20 {
        env.write(&format!("app/src/{number}.js"), "x");
    }
    env.write("app/deploy/id_rsa", key()).write("app/a/.env", SECRET).write("app/.env", SECRET);
    env.write("app/.git/HEAD", "ref: x\n").write("app/x/node_modules/y", "z");
    let plan = env.ok(["plan"]);
    let said = plan.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    // Whatever stands between backticks before ` to app/.dockerignore` is a line to add.
    let lines: Vec<&str> = said
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
    // An empty one says that all is needed.
    for name in ["a", "b", "c", "d"] {
        env.write(&format!("{name}/.dockerignore"), "");
    }
    env.write("e/Dockerfile.dockerignore", "");
    assert_eq!(env.ok(["plan"]).stderr, "");
}

/// Many images of a monorepo are built from one folder.
#[test]
fn images_of_one_context_are_warned_of_once() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: ., dockerfile: a.Dockerfile, platforms: [linux/amd64, linux/arm64]}\n  - {name: b, context: ., dockerfile: b.Dockerfile}\n",
    );
    env.write("a.Dockerfile", "FROM scratch\n").write("b.Dockerfile", "FROM scratch\n");
    env.write("src/.env", SECRET).write("b.Dockerfile.dockerignore", "a.Dockerfile\n");
    assert_snapshot!(warned(&env.ok(["plan"])), @"
    ⚠ a `.env` file is sent to the build: src/.env
    help: add `**/.env` to .dockerignore and b.Dockerfile.dockerignore
    ");
}

#[test]
fn a_link_is_not_followed() {
    let env = one();
    env.write("outside/id_rsa", key()).write("outside/.env", SECRET);
    std::os::unix::fs::symlink("../outside/id_rsa", env.path("app/id_rsa")).unwrap();
    std::os::unix::fs::symlink("../outside/.env", env.path("app/.env")).unwrap();
    std::os::unix::fs::symlink("../outside", env.path("app/node_modules")).unwrap();
    assert_eq!(env.ok(["plan"]).stderr, "");
}

#[test]
fn deny_warnings_sends_and_writes_nothing() {
    let env = one();
    env.write("app/.env", SECRET).write("app/tls.key", key());
    for command in [&["plan"][..], &["apply", "--auto-approve"], &["apply"]] {
        let denied = env.run(command.iter().chain(&["--deny-warnings"]).copied());
        denied.code(1).never_says(SECRET).says("tls.key").says("app/.env");
        assert_eq!(denied.stdout, "", "{denied}");
        let last = denied.stderr.lines().last().unwrap();
        let expected = "found 2 warnings, and --deny-warnings was given; nothing was sent";
        assert!(last.ends_with(expected), "{denied}");
        untouched(&env);
    }
    let by_variable = env.call(["plan"]).env("IMGPLAN_DENY_WARNINGS", "true").run();
    by_variable.code(1).says("2 warnings are errors");
    env.call(["plan"]).env("IMGPLAN_DENY_WARNINGS", "false").run().success();
    // The lockfile stays as it is, too.
    env.apply();
    let lockfile = env.read("imgplan.lock");
    env.write("app/more", "more");
    let writes = env.server().writes().len();
    env.run(["apply", "--auto-approve", "--deny-warnings"]).code(1);
    assert_eq!(env.read("imgplan.lock"), lockfile);
    assert_eq!(env.server().writes().len(), writes);
}

#[test]
fn deny_warnings_counts_those_of_the_manifest() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: base, tag: \"3.12\", context: base}\n  - {name: app, tag: v1, context: app}\n",
    );
    env.context("base", "FROM scratch\n").context("app", "FROM base:3.11\n");
    let validate = env.run(["validate", "--deny-warnings"]);
    validate.code(1).says("found 1 warning, and --deny-warnings was given");
    assert_eq!(validate.stdout, "", "{validate}");
    let json = env.run(["validate", "--deny-warnings", "--json"]);
    json.code(1);
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&told["valid"], &told["warning_count"]), (&false.into(), &1.into()), "{told:#}");
    assert_eq!(
        (&told["error_count"], &told["diagnostics"][1]["severity"]),
        (&1.into(), &"error".into())
    );
    env.write("app/.env", SECRET);
    env.run(["plan", "--deny-warnings"]).code(1).says("2 warnings are errors");
    untouched(&env);
}

#[test]
fn a_context_above_the_most_is_an_error() {
    let env = manifest("context_warn: 1kB, context_max: 1MB", &["api", "docs", "web"]);
    env.write("api/data/big.bin", vec![0; 1_200_000]).write("api/other.bin", vec![0; 300_000]);
    env.write("web/big.bin", vec![0; 1_000_001]).write("web/Dockerfile.dockerignore", "x\n");
    env.write("docs/small.bin", vec![0; 2_000]);
    for command in [&["plan"][..], &["apply", "--auto-approve"]] {
        let refused = env.run(command.iter().copied());
        refused.code(1);
        assert_eq!(refused.stdout, "");
        untouched(&env);
    }
    assert_snapshot!(env.run(["plan"]).shown(), @"
    exit 1
    --- stderr
      × the context api has 1.5 MB (data/big.bin 1.2 MB, other.bin 300 kB), and `settings.context_max`
      │ allows 1.0 MB
      help: add what the build does not need to api/.dockerignore, or raise `settings.context_max`

      × the context web has 1.0 MB (big.bin 1.0 MB), and `settings.context_max` allows 1.0 MB
      help: add what the build does not need to web/Dockerfile.dockerignore, or raise
            `settings.context_max`

    error: 2 contexts cannot be sent; nothing was sent
    ");
    let json = env.run(["plan", "--json"]);
    let told: Vec<String> = json
        .events("diagnostic")
        .iter()
        .map(|told| told["diagnostic"]["summary"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told.len(), 2, "{json}");
    env.write("api/.dockerignore", "data\n").edit("web/Dockerfile.dockerignore", "x", "*.bin");
    env.ok(["plan"])
        .says("2 contexts are above 1.0 kB: api, 300 kB (other.bin 300 kB); docs, 2.0 kB");
    untouched(&env);
}

#[test]
fn programs_are_told_in_diagnostics() {
    let env = one();
    env.write("app/.env", SECRET).write("app/id_rsa", key());
    for args in [&["plan", "--json"][..], &["apply", "--auto-approve", "--json"]] {
        let output = env.ok(args.iter().copied());
        output.never_says(SECRET);
        let told = output.events("diagnostic");
        let told: Vec<&Value> = told.iter().map(|event| &event["diagnostic"]).collect();
        assert_eq!(told.len(), 2, "{output}");
        assert!(told.iter().all(|one| one["severity"] == "warning"), "{output}");
        assert_eq!(told[0]["summary"], "a private key is sent to the build: app/id_rsa");
        assert_eq!(told[1]["summary"], "a `.env` file is sent to the build: app/.env");
        assert_eq!(told[1]["detail"], "add `.env` to app/.dockerignore");
        assert_eq!(output.stderr, "");
    }
    let denied = env.run(["plan", "--json", "--deny-warnings"]);
    let last = denied.code(1).events("diagnostic").pop().unwrap();
    assert_eq!(last["diagnostic"]["severity"], "error", "{denied}");
    assert_eq!(denied.json().last(), Some(&last));
}
