//! Partial plans: the selection, the bases that it needs, and the steps that it leaves out.

use insta::assert_snapshot;

use crate::support::{Output, TestEnv};

const MANIFEST: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base, groups: [core]}
  - {name: api, context: api, labels: {team: web, tier: one}}
  - {name: web, context: web, labels: {team: web}, groups: [front]}
  - {name: web-test, context: web, tag: v2}
  - {name: cron, context: cron, labels: {team: data}}
";

fn project() -> TestEnv {
    let env = TestEnv::new();
    env.write("imgplan.yaml", MANIFEST);
    env.context("base", "FROM scratch\n").context("api", "FROM base\n# api\n");
    env.context("web", "FROM base\n# web\n").context("cron", "FROM scratch\n# cron\n");
    env
}

/// Returns the images with a step.
fn planned(output: &Output) -> Vec<String> {
    output.steps().iter().map(|step| step.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn images_are_selected_in_many_ways() {
    let env = project();
    env.ok(["apply", "--auto-approve", "--target", "base"]);
    env.write("some.txt", "# what is mine\n\napi   # and this\nweb:v1\n");
    for (flags, expected) in [
        (&["--target", "api"][..], &["api:v1"][..]),
        (&["--target", "api:v1"], &["api:v1"]),
        (&["--target", "api:v2*", "--target", "cron"], &["cron:v1"]),
        (&["--target", "web*"], &["web:v1", "web-test:v2"]),
        (&["--target", "*:v2"], &["web-test:v2"]),
        (&["--target", "api,cron"], &["api:v1", "cron:v1"]),
        (&["--target", "team=web"], &["api:v1", "web:v1"]),
        (&["--target", "team=*a"], &["cron:v1"]),
        (&["--target", "tier=one"], &["api:v1"]),
        (&["--target-file", "some.txt"], &["api:v1", "web:v1"]),
        (&["--target-file", "some.txt", "--target", "cron"], &["api:v1", "web:v1", "cron:v1"]),
        (&["--group", "front"], &["web:v1"]),
        (&["--group", "front", "--target", "cron"], &["web:v1", "cron:v1"]),
        (&["--group", "core"], &[]),
        (&["--exclude", "web*"], &["api:v1", "cron:v1"]),
        (&["--exclude", "team=web"], &["web-test:v2", "cron:v1"]),
        // Dependents are excluded, too.
        (&["--exclude", "base"], &["cron:v1"]),
        (&["--exclude-file", "some.txt"], &["web-test:v2", "cron:v1"]),
        (&["--target", "team=web", "--exclude", "web"], &["api:v1"]),
    ] {
        // A pattern without a match is an error; see another test.
        if flags.contains(&"api:v2*") {
            env.run(["plan"].iter().chain(flags).copied()).code(64);
            continue;
        }
        let plan = env.ok(["plan"].iter().chain(flags).copied());
        let mut names = planned(&plan);
        names.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{plan}");
    }
}

#[test]
fn a_current_base_has_no_step() {
    let env = project();
    env.apply();
    env.edit("api/Dockerfile", "# api", "# other");
    let before = env.server().initiated().len();
    env.ok(["apply", "--auto-approve", "--target", "api"]);
    assert_eq!(env.server().initiated().split_off(before), ["api:v1"]);
    env.plans_nothing();
}

#[test]
fn a_changed_base_is_added_and_other_steps_are_left_out() {
    let env = project();
    env.apply();
    env.edit("base/Dockerfile", "FROM scratch\n", "FROM scratch\n# new\n");
    let plan = env.ok(["plan", "--target", "api"]);
    assert_snapshot!(plan.steps().join("\n"), @"
    -/+ base:v1 build Dockerfile changed (needed by the selection)
    -/+ api:v1 build its base base:v1 changes
    ");
    plan.says("this is a partial plan: 1 target selected, 2 steps left out");
    let before = env.server().initiated().len();
    env.ok(["apply", "--auto-approve", "--target", "api"]).says("this was a partial run");
    assert_eq!(env.server().initiated().split_off(before), ["base:v1", "api:v1"]);
    // Other dependents of the base are rebuilt later, with that reason.
    assert_snapshot!(env.ok(["plan"]).steps().join("\n"), @"
    -/+ web:v1 build its base base:v1 changes
    -/+ web-test:v2 build its base base:v1 changes
    ");
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_pattern_without_a_match_is_an_error() {
    let env = project();
    env.write("some.txt", "api\nweeb\n").write("none.txt", "# nothing yet\n");
    env.write("bad.txt", "api\nwe/b b\n");
    let refused = env.run(["plan", "--target", "ap"]);
    refused.code(64);
    assert_snapshot!(refused.shown(), @"
    exit 64
    --- stderr
      × --target: no image matches `ap`
      help: did you mean `api`?
    ");
    env.run(["plan", "--exclude", "crn"]).code(64).says("did you mean `cron`?");
    env.run(["plan", "--target", "team=wbe"]).code(64).says("no image matches `team=wbe`");
    env.run(["plan", "--group", "frnt"]).code(64).says("did you mean `front`?");
    env.run(["plan", "--group", "x"]).code(64).says("the groups are core, front");
    env.run(["plan", "--target-file", "some.txt"]).code(64).says("did you mean `web`?");
    env.run(["plan", "--target-file", "none.txt"]).code(64).says("has no patterns");
    env.run(["plan", "--target-file", "bad.txt"]).code(64).says("bad.txt:2:");
    env.run(["plan", "--target-file", "no.txt"]).code(1).says("cannot read no.txt");
    env.run(["apply", "--auto-approve", "--target", "nobody"]).code(64);
    let json = env.run(["plan", "--target", "ap", "--json"]);
    json.code(64);
    assert_eq!(json.events("diagnostic").len(), 1, "{json}");
    assert_eq!(env.server().writes(), [""; 0]);
}

#[test]
fn orphans_are_selected_by_name() {
    let env = project();
    env.apply();
    let gone = |line: &&str| !line.contains("name: cron") && !line.contains("name: api");
    let kept: Vec<&str> = MANIFEST.lines().filter(gone).collect();
    env.write("imgplan.yaml", kept.join("\n") + "\n");
    assert_eq!(planned(&env.ok(["plan", "--target", "cron"])), ["cron:v1"]);
    assert_eq!(planned(&env.ok(["plan", "--exclude", "cron"])), ["api:v1"]);
    assert_eq!(planned(&env.ok(["plan", "--group", "front"])), [""; 0]);
    let prune = ["apply", "--auto-approve", "--prune", "--max-destroy", "1"];
    env.ok(prune.into_iter().chain(["--target", "cron"]));
    assert!(!env.server().images("").contains(&"cron:v1 PRIVATE".to_owned()));
    assert!(env.server().images("").contains(&"api:v1 PRIVATE".to_owned()));
    assert_eq!(planned(&env.ok(["plan"])), ["api:v1"]);
}

#[test]
fn the_environment_can_select_images() {
    let mut env = project();
    env.set("IMGPLAN_TARGET", "api,cron");
    assert_eq!(planned(&env.ok(["plan"])), ["base:v1", "cron:v1", "api:v1"]);
    env.unset("IMGPLAN_TARGET").set("IMGPLAN_EXCLUDE", "base");
    assert_eq!(planned(&env.ok(["plan"])), ["cron:v1"]);
}

#[test]
fn the_command_to_continue_keeps_the_selection() {
    let config = imgplan::test_support::server::ServerConfig {
        fail: Some("^api".parse().unwrap()),
        ..Default::default()
    };
    let env = TestEnv::with(config);
    env.write("imgplan.yaml", MANIFEST);
    env.context("base", "FROM scratch\n").context("api", "FROM base\n# api\n");
    env.context("web", "FROM base\n# web\n").context("cron", "FROM scratch\n# cron\n");
    let failed = env.run(["apply", "--auto-approve", "--target", "team=web", "--exclude", "web"]);
    failed.code(1).says("`imgplan apply --target team=web --exclude web` to continue");
    env.ok(["plan", "--out", "p", "--target", "team=web", "--exclude", "web"]);
    let failed = env.run(["apply", "p"]);
    failed.code(1).says("`imgplan apply --target team=web --exclude web` to continue");
}
