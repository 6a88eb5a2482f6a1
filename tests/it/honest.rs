//! A plan claims no comparison that was not made: keys that are refused, services that are dead, and
//! commands that ask nobody.

use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, TestEnv, write_three};

/// Returns an environment with three applied images at a service that follows a script, and the
/// script.
fn applied() -> (TestEnv, Scripted) {
    let env = TestEnv::new();
    write_three(&env);
    env.apply();
    let scripted = Scripted::start();
    let lockfile = env.read("imgplan.lock").replace(&env.server().url(), scripted.url());
    let other = TestEnv::at(scripted.url());
    write_three(&other);
    other.write("imgplan.lock", lockfile);
    (other, scripted)
}

/// Returns the output of every command that compares the lockfile with the service.
fn comparisons(env: &TestEnv) -> Vec<Output> {
    let quick = ["apply", "--retry-times", "0"];
    let apply = |flag| env.run(quick.iter().copied().chain([flag]));
    let replaced = ["plan", "--minimal-refresh", "--replace", "lone"];
    vec![
        env.run(["plan"]),
        env.run(["plan", "--refresh-only"]),
        env.run(replaced),
        env.run(["why", "lone"]),
        apply("--auto-approve"),
        apply("--refresh-only"),
    ]
}

/// Asserts that commands that ask nobody work, and say so.
fn works_without_the_service(env: &TestEnv) {
    for flag in ["--refresh=false", "--offline"] {
        let plan = env.run(["plan", "--detailed-exitcode", flag]);
        let expected = format!("the service was not asked ({flag}).");
        plan.success().says("No changes.").says(&expected).never_says("Compared");
    }
}

#[test]
fn a_refused_key_ends_every_comparison() {
    for (status, help) in [
        (401, "check that PRIME_API_KEY is correct and not revoked; to rely on the lockfile"),
        (402, "pay the account's outstanding balance; to rely on the lockfile"),
        (403, "check its scopes and its team; to rely on the lockfile"),
    ] {
        let (env, scripted) = applied();
        scripted.on("GET", "/images", [Answer::detail(status, "no")]);
        let lockfile = env.read("imgplan.lock");
        for output in comparisons(&env) {
            output.code(1).says(&format!("(HTTP {status}): no")).says(help);
            output.says("use --refresh=false, or `imgplan plan --offline`");
            output.never_says("No changes").never_says("No drift");
        }
        assert_eq!(env.read("imgplan.lock"), lockfile);
        works_without_the_service(&env);
        assert_eq!(scripted.count("POST", "/images/build"), 0);
    }
}

#[test]
fn a_dead_service_ends_every_comparison() {
    // Nothing listens at the first URL; a proxy without a backend answers at the others.
    let page = || Answer::text(503, "<html>no backend</html>");
    for answer in [None, Some(page()), Some(Answer::text(200, "<html>login</html>"))] {
        let (mut env, scripted) = applied();
        if let Some(answer) = answer {
            scripted.on("GET", "/images", [answer]);
        } else {
            let dead = "http://127.0.0.1:1";
            let lockfile = env.read("imgplan.lock").replace(scripted.url(), dead);
            env.write("imgplan.lock", lockfile);
            env.set("PRIME_API_BASE_URL", dead);
        }
        for output in comparisons(&env) {
            output.code(1).says("cannot compare the personal images with the service");
            output.says("to rely on the lockfile instead, use --refresh=false");
            output.never_says("No changes").never_says("No drift");
        }
        works_without_the_service(&env);
    }
}

/// The state of a build in progress is part of the comparison.
#[test]
fn a_refused_status_of_a_build_ends_the_plan() {
    for status in [401, 403] {
        let (env, scripted) = applied();
        let pending = "    pending:\n";
        let lockfile = env.read("imgplan.lock").replacen("    built:\n", pending, 1);
        let stage = lockfile.find("      completed: ").unwrap();
        let end = stage + lockfile[stage..].find('\n').unwrap();
        let lockfile = format!("{}      stage: started{}", &lockfile[..stage], &lockfile[end..]);
        env.write("imgplan.lock", lockfile);
        scripted.on("GET", "/images/build/*", [Answer::detail(status, "no")]);
        env.run(["plan"]).code(1).says("cannot compare the pending builds with the service");
        let plan = env.ok(["plan", "--refresh=false"]);
        plan.says(&format!(
            "note: pending builds: cannot query the build's status (HTTP {status})"
        ));
    }
}

#[test]
fn without_a_key_header_and_last_line_say_that_nobody_was_asked() {
    let (mut env, scripted) = applied();
    env.unset("PRIME_API_KEY");
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.success().says(
        "No changes. All 3 targets match the lockfile; the service was not asked (no API key).",
    );
    env.edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=other");
    let plan = env.ok(["plan"]);
    plan.says("(not asked: no API key)");
    assert!(plan.last_line().ends_with("the service was not asked (no API key)."), "{plan}");
    let summary = env.ok(["plan", "--json"]).events("change_summary").remove(0);
    assert_eq!(summary["changes"]["not_compared"], "the service was not asked (no API key)");
    assert_eq!(summary["changes"]["compared_with"], json!([]));
    let only = env.run(["plan", "--refresh-only"]);
    only.code(1).says("--refresh-only cannot compare").says("set PRIME_API_KEY");
    assert_eq!(scripted.requests().len(), 0);
}

#[test]
fn a_comparison_names_the_owners_that_answered() {
    let env = TestEnv::new();
    write_three(&env);
    env.edit("imgplan.yaml", "context: lone", "context: lone, owner: {team: t1}");
    env.apply();
    let plan = env.ok(["plan"]);
    plan.says(
        "Compared with the lockfile and the service (images listed: 2 personal, 1 of team t1).",
    );
    let summary = env.ok(["plan", "--json"]).events("change_summary").remove(0);
    assert_eq!(summary["changes"]["compared_with"], json!(["personal", "team:t1"]));
    assert_eq!(summary["changes"]["not_compared"], Value::Null);
}
