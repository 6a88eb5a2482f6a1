//! The owner of images is visible: in the header, the prompt, the summary and the JSON; a change of the
//! default owner is a warning.

use serde_json::Value;

use crate::support::{Output, TestEnv, write_three};

fn three(team: Option<&str>) -> TestEnv {
    let mut env = TestEnv::new();
    write_three(&env);
    if let Some(team) = team {
        env.set("PRIME_TEAM_ID", team);
    }
    env
}

fn summary(output: &Output) -> Value {
    output.events("change_summary").pop().unwrap()["changes"].clone()
}

#[test]
fn the_owner_and_its_origin_are_named_everywhere() {
    for (team, words, owner, from) in [
        (None, "personal", "personal", Value::Null),
        (Some(""), "personal (PRIME_TEAM_ID)", "personal", "PRIME_TEAM_ID".into()),
        (Some("t1"), "team t1 (PRIME_TEAM_ID)", "team:t1", "PRIME_TEAM_ID".into()),
    ] {
        let env = three(team);
        let planned = summary(&env.ok(["plan", "--json"]));
        assert_eq!([&planned["owner"], &planned["owner_from"]], [&Value::from(owner), &from]);
        assert_eq!(planned["owners"], words);
        let apply = env.call(["apply"]).stdin("yes\n").run();
        apply.success();
        apply.says(&format!("3 targets, owner {words}, lockfile"));
        apply.says(&format!("Apply these changes for {words}? Only"));
        apply.says(&format!("Owner: {words} Apply: 3 built"));
        let again = env.ok(["apply", "--auto-approve", "--json", "--replace", "lone"]);
        assert_eq!(summary(&again)["owners"], words);
    }
}

#[test]
fn the_origin_may_be_the_configuration_of_the_client() {
    let env = three(None);
    std::fs::create_dir(env.home().join(".prime")).unwrap();
    std::fs::write(env.home().join(".prime/config.json"), r#"{"team_id": "t3"}"#).unwrap();
    env.ok(["plan"]).says("owner team t3 (~/.prime/config.json)");
}

#[test]
fn another_default_owner_is_a_warning_that_says_what_follows() {
    for (before, after, way_out) in [
        (Some("t1"), "t2", "set PRIME_TEAM_ID to t1"),
        (Some("t1"), "", "set PRIME_TEAM_ID to t1"),
        (None, "t2", "set PRIME_TEAM_ID to an empty text"),
    ] {
        let mut env = three(before);
        env.apply();
        env.ok(["plan"]).never_says("the lockfile has");
        env.set("PRIME_TEAM_ID", after);
        let (old, new) = (
            before.map_or("personal".to_owned(), |team| format!("team {team}")),
            if after.is_empty() { "personal".to_owned() } else { format!("team {after}") },
        );
        let plan = env.run(["plan", "--detailed-exitcode"]);
        plan.success().says("No changes.").says(way_out).says(&format!(
            "the owner is {new} (PRIME_TEAM_ID), and the lockfile has 3 targets of {old}: they stay \
             there"
        ));
        plan.says(&format!("to move them to {new}, write `owner:` in the manifest"));
        env.run(["plan", "--deny-warnings"]).code(1);
        env.run(["apply", "--auto-approve", "--deny-warnings"]).code(1);
        // Recorded targets keep their owner; new ones belong to the default owner.
        env.edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=other");
        env.edit("imgplan.yaml", "images:", "images:\n  - {name: new, context: base}");
        let plan = env.ok(["plan"]);
        plan.says("the plan builds 1 of them again; 1 new target goes to");
        plan.says(&format!("owner {old} (lockfile) and {new} (PRIME_TEAM_ID)"));
        env.apply();
        env.ok(["plan"]).says(&format!("the lockfile has 3 targets of {old}"));
        let query = if after.is_empty() { String::new() } else { format!("teamId={after}") };
        assert_eq!(env.server().images(&query), ["new:v1 PRIVATE"]);
    }
}

/// A target that the manifest gives to an owner does not depend on the default.
#[test]
fn an_owner_in_the_manifest_is_no_default() {
    let mut env = three(None);
    env.edit("imgplan.yaml", "images:", "owner: {team: t1}\nimages:");
    env.apply();
    env.set("PRIME_TEAM_ID", "t2");
    env.ok(["plan"]).says("No changes.").never_says("the lockfile has");
    env.edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=other");
    env.ok(["plan"]).says("owner team t1 (manifest), lockfile");
}
