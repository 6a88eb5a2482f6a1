//! Saved plans: applied exactly once as approved, or rejected as stale.

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{THREE, TestEnv, write_three};

fn project() -> TestEnv {
    let env = TestEnv::new();
    write_three(&env);
    env.context("top", "FROM base:v1\nCOPY . /\n").context("lone", "FROM scratch\nCOPY . /\n");
    env
}

/// Builds the project, changes `top` and `lone`, and saves the plan.
fn changed() -> TestEnv {
    let env = project();
    env.apply();
    env.write("top/more", "1").write("lone/more", "1");
    env.ok(["plan", "--out", "p"]);
    env
}

/// Applies the plan, which must be rejected without any change. Returns the messages.
fn refused(env: &TestEnv) -> String {
    let before = (env.server().writes().len(), env.read("imgplan.lock"));
    let refused = env.run(["apply", "p"]);
    refused.code(1);
    assert_eq!((env.server().writes().len(), env.read("imgplan.lock")), before, "{refused}");
    refused.redacted(&refused.stderr)
}

#[test]
fn a_saved_plan_is_applied_without_a_prompt() {
    let env = project();
    let saved = env.ok(["plan", "--out", "p"]);
    assert_snapshot!(saved.stderr, @"
    Saved the plan to p.
    To apply this plan: imgplan apply p
    ");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(env.path("p")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(!env.read("p").contains(crate::support::KEY));
    env.ok(["apply", "p"]);
    assert_eq!(env.server().initiated().len(), 3);
    env.plans_nothing();
}

#[test]
fn a_saved_plan_can_be_applied_with_json_output() {
    let env = changed();
    let applied = env.ok(["apply", "p", "--json"]);
    assert_eq!(applied.events("apply_complete").len(), 2, "{applied}");
    env.plans_nothing();
}

#[test]
fn flags_of_plan_are_rejected_with_a_saved_plan() {
    let mut env = changed();
    for flags in [
        &["--target", "top"][..],
        &["--exclude", "top"],
        &["--group", "g"],
        &["--replace", "top"],
        &["--prune"],
        &["--upgrade"],
        &["--upgrade-image", "top"],
        &["--refresh-only"],
    ] {
        let before = env.server().log().len();
        env.run(["apply", "p"].iter().chain(flags).copied()).code(64);
        assert_eq!(env.server().log().len(), before);
    }
    env.set("IMGPLAN_PRUNE", "true").set("IMGPLAN_TARGET", "top");
    let refused = env.run(["apply", "p"]);
    refused.code(64).says("unset IMGPLAN_TARGET, IMGPLAN_PRUNE for this command");
    env.set("IMGPLAN_PRUNE", "false").unset("IMGPLAN_TARGET");
    // Flags of the run are accepted.
    env.ok(["apply", "p", "--concurrency", "1", "--auto-approve", "--refresh=false"]);
}

#[test]
fn a_plan_is_applied_once() {
    for env in [project(), changed()] {
        env.ok(["plan", "--out", "p"]);
        env.ok(["apply", "p"]);
        let again = refused(&env);
        assert!(again.contains("nothing left to do: it was done in the meantime"), "{again}");
    }
}

#[test]
fn a_file_that_changed_since_makes_the_plan_stale() {
    let env = changed();
    env.write("lone/more", "2");
    assert_snapshot!(refused(&env), @"
    × the saved plan is stale: 1 of its 2 steps has changed; nothing was done
    │   lone:v1: its inputs changed (context: + more)
    help: plan again and review the changes
    ");
}

#[test]
fn files_of_other_images_may_change() {
    let env = project();
    env.apply();
    env.write("top/more", "1");
    env.ok(["plan", "--out", "p"]);
    env.write("lone/more", "1");
    env.ok(["apply", "p"]);
    assert_eq!(env.server().initiated().len(), 4, "only the saved steps run");
    assert_snapshot!(env.ok(["plan"]).steps().join("\n"), @"-/+ lone:v1 build context: + more");
}

#[test]
fn another_apply_in_between_makes_the_plan_stale() {
    let env = changed();
    env.ok(["apply", "--auto-approve", "--target", "lone"]);
    assert_snapshot!(refused(&env), @"
    × the saved plan is stale: 1 of its 2 steps has changed; nothing was done
    │   lone:v1: nothing left to do: it was done in the meantime
    help: plan again and review the changes
    ");
}

#[test]
fn a_changed_lockfile_entry_makes_the_plan_stale() {
    let env = changed();
    let text = env.read("imgplan.lock");
    let build = env.build_of("lone:v1");
    env.write("imgplan.lock", text.replace(&build, &"f".repeat(32)));
    assert_snapshot!(refused(&env), @"
    × the saved plan is stale: 1 of its 2 steps has changed; nothing was done
    │   lone:v1: its lockfile entry was changed by another apply or a merge
    help: plan again and review the changes
    ");
    // Entries of other units may change.
    let build = env.build_of("base:v1");
    env.write("imgplan.lock", text.replace(&build, &"f".repeat(32)));
    env.ok(["apply", "p"]);
}

#[test]
fn an_image_that_was_deleted_since_makes_the_plan_stale() {
    let env = changed();
    env.server().send("DELETE", "images/lone/v1", &Value::Null);
    // A step that builds the image fits all the same.
    env.ok(["apply", "p"]);
    let env = changed();
    env.server().send("DELETE", "images/base/v1", &Value::Null);
    assert_snapshot!(refused(&env), @"
    × the saved plan is stale: 1 of its 2 steps has changed; nothing was done
    │   top:v1: it needs base:v1, which must change first (missing from the service)
    help: plan again and review the changes
    ");
    // An update of a missing image is no build.
    let env = project();
    env.apply();
    env.edit("imgplan.yaml", "name: lone,", "name: lone, visibility: public,");
    env.ok(["plan", "--out", "p"]);
    env.server().send("DELETE", "images/lone/v1", &Value::Null);
    assert_snapshot!(refused(&env), @"
    × the saved plan is stale: its only step has changed; nothing was done
    │   lone:v1: its step is another one now: build (missing from the service)
    help: plan again and review the changes
    ");
}

#[test]
fn an_empty_plan_changes_nothing() {
    let env = project();
    env.apply();
    env.ok(["plan", "--out", "p"]);
    env.ok(["apply", "p"]);
    env.write("lone/more", "1");
    let applied = env.ok(["apply", "p"]);
    assert_eq!(env.server().initiated().len(), 3);
    applied.never_says("as the manifest says").says("The saved plan has no steps.");
}

#[test]
fn a_plan_for_another_service_is_rejected() {
    let mut env = changed();
    let other = TestEnv::new();
    let old = env.server().url();
    env.set("PRIME_API_BASE_URL", &other.server().url());
    env.write("imgplan.lock", env.read("imgplan.lock").replace(&old, &other.server().url()));
    let refused = env.run(["apply", "p"]);
    refused
        .code(1)
        .says(&format!("the plan was saved for {old}, and this run uses"))
        .says("plan again");
    assert_eq!(other.server().log().len(), 0);
}

#[test]
fn files_that_are_no_saved_plan_are_rejected() {
    let env = changed();
    let text = env.read("p");
    let mut plan: Value = serde_json::from_str(&text).unwrap();
    plan["version"] = json!(999);
    let newer = plan.to_string();
    for (text, says) in [
        (newer.as_str(), "has format version 999; this imgplan reads version 4"),
        ("", "is not a saved plan"),
        ("images: []", "is not a saved plan"),
        ("{\"version\": 4}", "is not a saved plan"),
        ("{\"version\": 3}", "was saved by an older imgplan"),
        ("{\"version\": 1}", "was saved by an older imgplan"),
        (&text[..text.len() / 2], "is not a saved plan"),
        ("\u{0}\u{1}", "is not a saved plan"),
    ] {
        env.write("p", text);
        let text = refused(&env);
        assert!(text.contains(says) && text.contains("help:"), "{text}");
    }
    let missing = env.run(["apply", "lone"]);
    missing.code(1).says("cannot read the plan lone").says("use --target");
    env.write("q", "x");
}

#[test]
fn deletions_of_a_saved_plan_are_approved() {
    let env = project();
    env.apply();
    let text = THREE.replace("  - {name: lone, context: lone}\n", "");
    env.write("imgplan.yaml", text);
    env.ok(["plan", "--prune", "--out", "p"]);
    env.run(["apply", "p", "--max-destroy", "0"]).code(1);
    assert_eq!(env.server().images("").len(), 3);
    env.ok(["apply", "p"]);
    assert_eq!(env.server().images("").len(), 2);
    env.plans_nothing();
}

/// The pins of the plan count, even if the registry has other digests by then.
#[test]
fn a_saved_plan_has_its_own_pins() {
    let env = TestEnv::new();
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"docker.io/library/redis:7\"}]\n");
    let (one, two) = (format!("sha256:{}", "1".repeat(64)), format!("sha256:{}", "2".repeat(64)));
    let cache_lookup = |digest: &str| {
        let asked = jiff::Timestamp::now().to_string();
        let answer = json!({ "digest": digest, "platforms": {}, "asked": asked });
        let answers = json!({ "docker.io/library/redis:7": answer });
        env.write(
            ".imgplan/registry-cache",
            json!({ "version": 1, "answers": answers }).to_string(),
        );
    };
    cache_lookup(&one);
    env.ok(["plan", "--upgrade", "--max-age", "1h", "--out", "p"]);
    cache_lookup(&two);
    env.ok(["apply", "p"]);
    let lockfile = env.read("imgplan.lock");
    assert!(lockfile.contains(&one) && !lockfile.contains(&two), "{lockfile}");
    env.plans_nothing();
    assert_snapshot!(
        env.ok(["plan", "--upgrade", "--max-age", "1h"]).steps().join("\n"),
        @"-/+ redis:7 mirror source docker.io/library/redis:7 moved 111111111111 -> 222222222222"
    );
}

#[test]
fn a_saved_plan_does_not_revert_newer_pins() {
    let env = TestEnv::new();
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"docker.io/library/redis:7\"}]\n");
    let cache_lookup = |digit: &str| {
        let digest = format!("sha256:{}", digit.repeat(64));
        let asked = jiff::Timestamp::now().to_string();
        let answer = json!({ "digest": digest, "platforms": {}, "asked": asked });
        let answers = json!({ "docker.io/library/redis:7": answer });
        env.write(
            ".imgplan/registry-cache",
            json!({ "version": 1, "answers": answers }).to_string(),
        );
        digest
    };
    env.apply();
    cache_lookup("1");
    env.ok(["plan", "--upgrade", "--max-age", "1h", "--out", "p"]).says("No changes");
    let two = cache_lookup("2");
    env.ok(["lock", "--upgrade", "--max-age", "1h"]);
    let stale = env.run(["apply", "p"]);
    stale.code(1).says("1 of its pins has changed");
    stale.says("docker.io/library/redis:7: its pin was changed or removed since");
    assert!(env.read("imgplan.lock").contains(&two));
    // Pins that the plan does not move may move in the meantime.
    env.write(
        "imgplan.yaml",
        env.read("imgplan.yaml").replace("\"}]", "\"}, {name: a, context: a}]"),
    );
    env.context("a", "FROM scratch\n");
    env.ok(["plan", "--upgrade", "--max-age", "1h", "--target", "a", "--out", "p"]);
    let three = cache_lookup("3");
    env.ok(["lock", "--upgrade", "--max-age", "1h"]);
    env.ok(["apply", "p"]);
    assert!(env.read("imgplan.lock").contains(&three));
}

#[test]
fn a_plan_for_other_variables_is_told_from_an_applied_one() {
    let env = TestEnv::manifest("version: 1\nimages: [{name: \"${N:-y}\", context: a}]\n");
    env.context("a", "FROM scratch\n");
    env.ok(["plan", "--var", "N=x", "--out", "p"]);
    let stale = env.run(["apply", "p"]);
    stale
        .code(1)
        .says("the manifest no longer has this image")
        .says("--var")
        .never_says("in the meantime");
}

#[test]
fn a_saved_plan_keeps_its_selection() {
    let env = changed();
    env.ok(["plan", "--target", "lone", "--out", "p"]);
    env.ok(["apply", "p"]);
    assert_snapshot!(env.ok(["plan"]).steps().join("\n"), @"-/+ top:v1 build context: + more");
    env.ok(["plan", "--replace", "base", "--exclude", "lone", "--out", "p"]);
    let before = env.server().initiated().len();
    env.ok(["apply", "p"]);
    assert_eq!(env.server().initiated().split_off(before), ["base:v1", "top:v1"]);
    env.plans_nothing();
}

#[test]
fn a_plan_can_be_saved_for_the_local_server() {
    let mut env = TestEnv::at("http://127.0.0.1:1");
    env.write("imgplan.yaml", THREE);
    env.context("base", "FROM scratch\n").context("top", "FROM base:v1\n");
    env.context("lone", "FROM scratch\nLABEL v=lone\n");
    env.unset("PRIME_API_KEY");
    let saved = env.ok(["plan", "--local", "--out", "p"]);
    saved.says("imgplan apply --local p");
    env.ok(["apply", "--local", "p"]);
    env.run(["plan", "--local", "--detailed-exitcode"]).success();
}

#[test]
fn a_plan_file_that_cannot_be_written_is_an_error() {
    let env = project();
    let missing = env.run(["plan", "--out", "no/such/folder/p"]);
    missing.code(1).says("cannot write no/such/folder/p: No such file").says("create the folder");
    let folder = env.run(["plan", "--out", "lone"]);
    folder.code(1).says("cannot write lone").says("name a file, not a folder");
    let env = TestEnv::with(ServerConfig::default());
    env.write("imgplan.yaml", THREE.replace("images:", "images: []\nx:"));
    env.run(["plan", "--out", "p"]).code(1);
    assert!(!env.exists("p"));
}

#[test]
fn only_the_approved_protection_is_lifted() {
    let env = project();
    env.edit("imgplan.yaml", "name: lone,", "name: lone, protect: true,");
    env.apply();
    env.ok(["plan", "--out", "p"]);
    env.edit("imgplan.yaml", "protect: true", "protect: false");
    let stale = refused(&env);
    assert!(stale.contains("lone:v1: it would lose its protection"), "{stale}");
    env.ok(["plan", "--out", "p"]).says("imgplan apply p");
    env.ok(["apply", "p"]);
    assert!(!env.read("imgplan.lock").contains("protect"));
}

#[test]
fn an_edited_plan_is_rejected_and_deletions_are_always_shown() {
    let env = project();
    env.apply();
    let text = THREE.lines().filter(|line| !line.contains("name: lone")).collect::<Vec<_>>();
    env.write("imgplan.yaml", text.join("\n"));
    env.ok(["plan", "--out", "p"]);
    let saved = env.read("p");
    assert!(saved.contains("\"prune\": false"), "{saved}");
    for (from, to) in [
        ("\"prune\": false", "\"prune\": true"),
        ("\"action\": \"forget\"", "\"action\": \"delete\",\n\"owner\": \"personal\""),
        ("\"steps\": [", "\"steps\": [],\n\"x\": ["),
    ] {
        assert!(saved.contains(from), "{saved}");
        env.write("p", saved.replacen(from, to, 1));
        let refused = refused(&env);
        assert!(refused.contains("the plan p was changed after it was written"), "{refused}");
        assert!(refused.contains("help: plan again"), "{refused}");
    }
    let layout: Value = serde_json::from_str(&saved).unwrap();
    env.ok(["plan", "--prune", "--out", "q"]);
    env.write("p", layout.to_string());
    for args in [&["apply", "q", "-q"][..], &["apply", "q", "--auto-approve"]] {
        let applied = env.run(args.iter().copied());
        if args.contains(&"-q") {
            applied.code(0).says("Deletes 1 image:").says("- lone:v1  delete");
        } else {
            applied.code(1).says("the saved plan is stale");
        }
    }
}
