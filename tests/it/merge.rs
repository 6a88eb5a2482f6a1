//! Lockfiles that git could not merge: two branches built images, and what the manifest wants of
//! both is taken.

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

/// Runs git in the folder, and says whether it succeeded.
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

fn commit(env: &TestEnv, what: &str) {
    git(env, &["add", "-A"]);
    git(env, &["commit", "-qm", what]);
}

/// A repository whose images are all built, on two branches that are the same.
fn repository() -> TestEnv {
    let env = TestEnv::new();
    env.write("imgplan.yaml", MANIFEST);
    for name in ["app", "base", "mid", "zoo"] {
        env.write(&format!("{name}/data"), "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        env.context(name, &format!("FROM scratch\n# {name}\n"));
    }
    env.apply();
    git(&env, &["init", "-q"]);
    commit(&env, "all of it");
    git(&env, &["branch", "theirs"]);
    env
}

/// What is done on one branch: a file changes, and the image is built.
fn work(env: &TestEnv, changes: &[(&str, &str, &str)]) {
    for (file, from, to) in changes {
        env.edit(file, from, to);
    }
    env.apply();
    commit(env, "work");
}

/// Works on both branches and merges them; whether git could.
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

/// After an apply nothing is left of the merge.
fn is_clean(env: &TestEnv) {
    assert!(!has_conflict_markers(env));
    env.plans_nothing();
    let lockfile = env.read("imgplan.lock");
    env.apply();
    assert_eq!(env.read("imgplan.lock"), lockfile);
    env.ok(["show"]);
}

#[test]
fn branches_that_build_different_images_merge_by_themselves() {
    let env = repository();
    assert!(merge(&env, &[("app/data", "1", "one")], &[("zoo/data", "1", "one")]));
    assert!(!has_conflict_markers(&env));
    env.plans_nothing();
}

#[test]
fn neighbours_that_git_cannot_merge_are_both_taken() {
    let env = repository();
    // Both branches add images where none were between them.
    let add = |name: &str| {
        env.context(name, &format!("FROM scratch\n# {name}\n"));
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
    is_clean(&env);
}

/// What was built last is what the tag has: where that is what the manifest wants, nothing is left to
/// do; where it is not, it is built, though the lockfile of one side has just what is wanted.
#[test]
fn of_two_builds_of_one_image_the_later_one_is_what_is_there() {
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
            is_clean(&env);
        }
    }
}

/// Nor is anything lost where only the lockfile is brought in line.
#[test]
fn a_refresh_of_a_merge_keeps_what_is_there() {
    let env = repository();
    work(&env, &[("app/data", "5", "ours")]);
    git(&env, &["checkout", "-q", "theirs"]);
    work(&env, &[("app/data", "5", "theirs")]);
    git(&env, &["checkout", "-q", "-"]);
    assert!(!try_git(&env, &["merge", "-q", "theirs"]));
    git(&env, &["checkout", "--theirs", "app/data"]);
    env.ok(["apply", "--refresh-only"]);
    is_clean(&env);
}

#[test]
fn where_the_manifest_wants_neither_it_is_built_anew() {
    let env = repository();
    let merged = merge(&env, &[("app/data", "2", "ours")], &[("app/data", "8", "theirs")]);
    assert!(!merged && has_conflict_markers(&env));
    // The files themselves could be merged.
    assert!(env.read("app/data").contains("ours") && env.read("app/data").contains("theirs"));
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @"-/+ app:v1 build context: ~ data");
    assert_snapshot!(plan.stderr, @"note: imgplan.lock has conflict markers: 1 target differs, and its later build is used; `imgplan apply` removes the markers");
    let before = env.server().initiated().len();
    env.apply();
    assert_eq!(env.server().initiated().split_off(before), ["app:v1"]);
    is_clean(&env);
}

/// Of what a build is made of, git may take some lines from one side and some from the other.
#[test]
fn the_reason_is_told_though_git_mixed_the_lines() {
    let env = repository();
    let merged = merge(
        &env,
        &[("app/Dockerfile", "# app", "# ours")],
        &[("app/data", "8", "theirs"), ("base/data", "5", "theirs")],
    );
    assert!(!merged && has_conflict_markers(&env));
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @"-/+ app:v1 build context: ~ data");
    env.apply();
    is_clean(&env);
}

#[test]
fn programs_are_told_of_a_merge_too() {
    let env = repository();
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    git(&env, &["checkout", "--ours", "app/data"]);
    let told = env.ok(["plan", "--json"]).events("diagnostic");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["diagnostic"]["severity"], "warning");
    env.run(["plan", "--json", "--deny-warnings"]).success();
    env.ok(["show"]);
    env.ok(["status"]);
}

#[test]
fn marks_in_an_order_that_means_nothing_are_refused() {
    let env = repository();
    let lockfile = env.read("imgplan.lock");
    env.write("imgplan.lock", format!("{lockfile}<<<<<<< HEAD\n"));
    let refused = env.run(["plan"]);
    refused.code(1).says("it has conflict markers of a merge, on line").says("finish the merge");
    assert!(env.run(["apply", "--auto-approve"]).code(1).all().contains("conflict markers"));
}

#[test]
fn both_styles_of_marks_are_read() {
    let env = repository();
    git(&env, &["config", "merge.conflictStyle", "diff3"]);
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    assert!(env.read("imgplan.lock").contains("|||||||"));
    git(&env, &["checkout", "--ours", "app/data"]);
    env.ok(["plan"]).says("No changes.");
    env.apply();
    is_clean(&env);
}

/// Which side is right takes a look at the contexts: what does not look writes nothing.
#[test]
fn what_cannot_settle_a_merge_does_not_write_it() {
    let env = repository();
    assert!(!merge(&env, &[("app/data", "5", "ours")], &[("app/data", "5", "theirs")]));
    git(&env, &["checkout", "--ours", "app/data"]);
    let before = env.read("imgplan.lock");
    for args in [&["lock"][..], &["import", "app"], &["import", "zoo"]] {
        let refused = env.run(args.iter().copied());
        refused.code(1).says("has unresolved merge conflicts (app:v1)").says("--refresh-only");
        assert_eq!(env.read("imgplan.lock"), before, "{args:?}");
    }
    env.run(["lock", "--check"]).code(1).says("`imgplan apply --refresh-only` resolves them");
    env.ok(["apply", "--refresh-only"]);
    env.ok(["lock"]);
    is_clean(&env);
}
