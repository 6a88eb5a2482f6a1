//! Lockfiles with conflict markers of git, after images were built on two branches.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use crate::support::{Output, TestEnv};

const MANIFEST: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: app, context: app}
  - {name: base, context: base}
  - {name: mid, context: mid}
  - {name: zoo, context: zoo}
";

/// Runs git in the folder. Returns true if it succeeded.
fn try_git(env: &TestEnv, args: &[&str]) -> bool {
    let settings = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.com",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "init.defaultBranch=main",
    ];
    let mut git = Command::new("git");
    git.args(settings).args(args).current_dir(env.path("")).env("HOME", env.home());
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CEILING_DIRECTORIES", Path::new("/"));
    git.output().unwrap().status.success()
}

fn git(env: &TestEnv, args: &[&str]) {
    assert!(try_git(env, args), "git {args:?}");
}

fn commit(env: &TestEnv, message: &str) {
    git(env, &["add", "-A"]);
    git(env, &["commit", "-qm", message]);
}

/// Creates a repository in which all images are built, with two identical branches.
fn repository() -> TestEnv {
    let env = TestEnv::new();
    env.write("imgplan.yaml", MANIFEST);
    for name in ["app", "base", "mid", "zoo"] {
        env.write(&format!("{name}/data"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        env.context(name, &format!("FROM scratch\nCOPY data /\nLABEL v={name}\n"));
    }
    env.apply();
    git(&env, &["init", "-q"]);
    commit(&env, "initial");
    git(&env, &["branch", "theirs"]);
    env
}

/// Edits files, applies and commits.
fn work(env: &TestEnv, changes: &[(&str, &str, &str)]) {
    for (file, from, to) in changes {
        env.edit(file, from, to);
    }
    env.apply();
    commit(env, "work");
}

/// Works on both branches and merges them. Returns true if git reports no conflict.
fn merge(env: &TestEnv, ours: &[(&str, &str, &str)], theirs: &[(&str, &str, &str)]) -> bool {
    git(env, &["checkout", "-q", "theirs"]);
    work(env, theirs);
    git(env, &["checkout", "-q", "-"]);
    work(env, ours);
    try_git(env, &["merge", "-q", "theirs"])
}

fn has_conflict_markers(env: &TestEnv) -> bool {
    env.read("imgplan.lock").contains("<<<<<<<")
}

fn steps(output: &Output) -> String {
    output.steps().join("\n")
}

/// Asserts that the merge is resolved: there are no markers and nothing to do.
fn assert_resolved(env: &TestEnv) {
    assert!(!has_conflict_markers(env));
    env.plans_nothing();
    let lockfile = env.read("imgplan.lock");
    env.apply();
    assert_eq!(env.read("imgplan.lock"), lockfile);
    env.ok(["show"]);
}

#[test]
fn builds_of_distant_images_merge_without_conflict() {
    let env = repository();
    assert!(merge(&env, &[("app/data", "1", "one")], &[("zoo/data", "1", "one")]));
    assert!(!has_conflict_markers(&env));
    env.plans_nothing();
}

#[test]
fn entries_that_only_one_side_has_are_both_kept() {
    let env = repository();
    // Both branches add an entry at the same place of the lockfile, which is a conflict for git.
    let add = |name: &str| {
        env.context(name, &format!("FROM scratch\nLABEL v={name}\n"));
        let text = env.read("imgplan.yaml");
        env.write("imgplan.yaml", format!("{text}  - {{name: {name}, context: {name}}}\n"));
        env.apply();
        commit(&env, name);
    };
    git(&env, &["checkout", "-q", "theirs"]);
    add("new-two");
    git(&env, &["checkout", "-q", "-"]);
    add("new-one");
    assert!(!try_git(&env, &["merge", "-q", "theirs"]));
    assert!(has_conflict_markers(&env));
    let added =
        ["new-one", "new-two"].map(|name| format!("  - {{name: {name}, context: {name}}}\n"));
    env.write("imgplan.yaml", format!("{MANIFEST}{}", added.concat()));
    let plan = env.ok(["plan"]);
    plan.says("No changes.");
    assert!(has_conflict_markers(&env), "a plan changes nothing");
    let before = env.server().initiated().len();
    env.apply();
    assert_eq!(env.server().initiated().len(), before);
    assert_resolved(&env);
}

/// The service has the later build under the tag. If it has the content of the manifest, nothing is to
/// do; otherwise the image is built again, although the lockfile of one side has a matching build.
#[test]
fn the_later_of_two_builds_is_the_one_in_the_service() {
    for wanted in ["ours", "theirs"] {
        for later in ["ours", "theirs"] {
            let env = repository();
            let (ours, theirs) = (&[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]);
            let merged = if later == "ours" {
                merge(&env, ours, theirs)
            } else {
                work(&env, ours);
                git(&env, &["checkout", "-q", "theirs"]);
                work(&env, theirs);
                git(&env, &["checkout", "-q", "-"]);
                try_git(&env, &["merge", "-q", "theirs"])
            };
            assert!(!merged && has_conflict_markers(&env));
            git(&env, &["checkout", &format!("--{wanted}"), "app/data"]);
            assert!(env.read("app/data").contains(wanted));
            let plan = env.run(["plan", "--detailed-exitcode"]);
            plan.says("imgplan.lock has conflict markers: 1 target differs");
            let before = env.server().initiated().len();
            if wanted == later {
                plan.success().says("No changes.");
                env.apply();
                assert_eq!(env.server().initiated().len(), before);
            } else {
                plan.code(2);
                env.apply();
                assert_eq!(env.server().initiated().split_off(before), ["app:v1"]);
            }
            assert_resolved(&env);
        }
    }
}

#[test]
fn a_refresh_resolves_a_merge() {
    let env = repository();
    work(&env, &[("app/data", "5", "ours")]);
    git(&env, &["checkout", "-q", "theirs"]);
    work(&env, &[("app/data", "5", "theirs")]);
    git(&env, &["checkout", "-q", "-"]);
    assert!(!try_git(&env, &["merge", "-q", "theirs"]));
    git(&env, &["checkout", "--theirs", "app/data"]);
    env.ok(["apply", "--refresh-only"]);
    assert_resolved(&env);
}

#[test]
fn an_image_that_matches_neither_side_is_built_again() {
    let env = repository();
    let merged = merge(&env, &[("app/data", "2", "ours")], &[("app/data", "8", "theirs")]);
    assert!(!merged && has_conflict_markers(&env));
    // Git merged the file itself without conflict.
    assert!(env.read("app/data").contains("ours") && env.read("app/data").contains("theirs"));
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @"-/+ app:v1 build context: ~ data");
    assert_snapshot!(plan.stderr, @"note: imgplan.lock has conflict markers: 1 target differs, and its later build is used; `imgplan apply` removes the markers");
    let before = env.server().initiated().len();
    env.apply();
    assert_eq!(env.server().initiated().split_off(before), ["app:v1"]);
    assert_resolved(&env);
}

/// Git may take some inputs of a build from one side and some from the other.
#[test]
fn the_reason_is_known_although_git_mixed_the_inputs() {
    let env = repository();
    let merged = merge(
        &env,
        &[("app/Dockerfile", "LABEL v=app", "LABEL v=ours")],
        &[("app/data", "8", "theirs"), ("base/data", "5", "theirs")],
    );
    assert!(!merged && has_conflict_markers(&env));
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @"-/+ app:v1 build context: ~ data");
    env.apply();
    assert_resolved(&env);
}

#[test]
fn json_has_a_warning_about_a_merge() {
    let env = repository();
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    git(&env, &["checkout", "--ours", "app/data"]);
    let diagnostics = env.ok(["plan", "--json"]).events("diagnostic");
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert_eq!(diagnostics[0]["diagnostic"]["severity"], "warning");
    env.run(["plan", "--json", "--deny-warnings"]).success();
    env.ok(["show"]);
    env.ok(["status"]);
}

#[test]
fn unbalanced_conflict_markers_are_an_error() {
    let env = repository();
    let lockfile = env.read("imgplan.lock");
    env.write("imgplan.lock", format!("{lockfile}<<<<<<< HEAD\n"));
    let output = env.run(["plan"]);
    output.code(1).says("it has conflict markers of a merge, on line").says("finish the merge");
    assert!(env.run(["apply", "--auto-approve"]).code(1).all().contains("conflict markers"));
}

#[test]
fn diff3_conflict_markers_are_read() {
    let env = repository();
    git(&env, &["config", "merge.conflictStyle", "diff3"]);
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    assert!(env.read("imgplan.lock").contains("|||||||"));
    git(&env, &["checkout", "--ours", "app/data"]);
    env.ok(["plan"]).says("No changes.");
    env.apply();
    assert_resolved(&env);
}

/// Choosing a side needs the contexts, which `lock` and `import` do not read.
#[test]
fn commands_that_cannot_resolve_a_merge_do_not_write_the_lockfile() {
    let env = repository();
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    git(&env, &["checkout", "--ours", "app/data"]);
    let before = env.read("imgplan.lock");
    for args in [&["lock"][..], &["import", "app"], &["import", "zoo"]] {
        let output = env.run(args.iter().copied());
        output.code(1).says("has unresolved merge conflicts (app:v1)").says("--refresh-only");
        assert_eq!(env.read("imgplan.lock"), before, "{args:?}");
    }
    env.run(["lock", "--check"]).code(1).says("`imgplan apply --refresh-only` resolves them");
    env.ok(["apply", "--refresh-only"]);
    env.ok(["lock"]);
    assert_resolved(&env);
}
