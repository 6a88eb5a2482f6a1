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
    env.context("base", "FROM scratch\n").context("api", "FROM base\nLABEL v=api\n");
    env.context("web", "FROM base\nLABEL v=web\n").context("cron", "FROM scratch\nLABEL v=cron\n");
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
            env.run(["plan"].iter().chain(flags).copied()).code(1);
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
    env.edit("api/Dockerfile", "LABEL v=api", "LABEL v=other");
    let before = env.server().initiated().len();
    env.ok(["apply", "--auto-approve", "--target", "api"]);
    assert_eq!(env.server().initiated().split_off(before), ["api:v1"]);
    env.plans_nothing();
}

#[test]
fn a_changed_base_is_added_and_other_steps_are_left_out() {
    let env = project();
    env.apply();
    env.edit("base/Dockerfile", "FROM scratch\n", "FROM scratch\nLABEL v=new\n");
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
    refused.code(1);
    assert_snapshot!(refused.shown(), @"
    exit 1
    --- stderr
      × --target: no image matches `ap`
      help: did you mean `api`?
    ");
    env.run(["plan", "--exclude", "crn"]).code(1).says("did you mean `cron`?");
    env.run(["plan", "--target", "team=wbe"]).code(1).says("no image matches `team=wbe`");
    env.run(["plan", "--group", "frnt"]).code(1).says("did you mean `front`?");
    env.run(["plan", "--group", "x"]).code(1).says("the groups are core, front");
    env.run(["plan", "--target-file", "some.txt"]).code(1).says("did you mean `web`?");
    env.run(["plan", "--target-file", "none.txt"]).code(1).says("has no patterns");
    env.run(["plan", "--target-file", "bad.txt"]).code(64).says("bad.txt:2:");
    env.run(["plan", "--target-file", "no.txt"]).code(1).says("cannot read no.txt");
    env.run(["apply", "--auto-approve", "--target", "nobody"]).code(1);
    let json = env.run(["plan", "--target", "ap", "--json"]);
    json.code(1);
    assert_eq!(json.events("diagnostic").len(), 1, "{json}");
    assert_eq!(env.server().writes(), [""; 0]);
}

/// A selection of which nothing is left is an error of every command that has one.
#[test]
fn an_empty_selection_is_an_error() {
    let env = project();
    for flags in [
        &["--target", "api", "--exclude", "api"][..],
        &["--target", "api", "--exclude", "base"],
        &["--group", "front", "--exclude", "team=web"],
        &["--exclude", "*"],
    ] {
        for command in [&["plan"][..], &["plan", "--offline"], &["apply", "--auto-approve"]] {
            let output = env.run(command.iter().chain(flags).copied());
            output.code(1).says("the selection matches no image").says("help:");
        }
    }
    for args in [
        &["plan", "--replace", "nobody"][..],
        &["plan", "--upgrade-image", "nobody"],
        &["lock", "--upgrade-image", "nobody"],
        &["why", "nobody"],
        &["graph", "nobody"],
        &["graph", "api", "nobody"],
        &["show", "nobody"],
        &["import", "nobody"],
        &["context", "list", "nobody"],
        &["context", "digest", "nobody"],
    ] {
        env.run(args.iter().copied()).code(1).says("nobody").says("help:");
    }
    env.apply();
    env.ok(["show", "api"]);
    env.run(["show", "api", "nobody"]).code(1).says("the lockfile has no image `nobody`");
    // An image that only the lockfile has can be selected.
    let kept: Vec<&str> = MANIFEST.lines().filter(|line| !line.contains("name: cron")).collect();
    env.write("imgplan.yaml", kept.join("\n") + "\n");
    env.ok(["plan", "--target", "cron"]);
    env.run(["plan", "--target", "cron", "--exclude", "cron"]).code(1);
}

/// A pattern that names an image by its old or its new name covers its move.
#[test]
fn both_names_of_a_move_select_it() {
    let env = project();
    env.apply();
    let renamed =
        MANIFEST.replace("name: cron", "name: job") + "moved:\n  - {from: cron, to: job}\n";
    env.write("imgplan.yaml", renamed);
    for name in ["cron", "job", "cron:v1", "job:v1", "cro*", "jo*:v1"] {
        assert_eq!(planned(&env.ok(["plan", "--target", name])), ["job:v1"], "{name}");
        assert_eq!(planned(&env.ok(["plan", "--exclude", name])), [""; 0], "{name}");
        env.ok(["plan", "--replace", name]).says("job:v1");
    }
    env.edit("imgplan.yaml", "moved:", "groups: {old: [cron], new: [\"job:v1\"]}\nmoved:");
    for group in ["old", "new"] {
        assert_eq!(planned(&env.ok(["plan", "--group", group])), ["job:v1"], "{group}");
    }
    for name in ["cron", "cron:v1", "job"] {
        env.ok(["why", name]).says("job:v1");
        env.ok(["graph", name]).says("job:v1");
        env.ok(["context", "list", name]);
    }
    // A changed image is built under its new name, and the old one goes with it.
    env.edit("cron/Dockerfile", "LABEL v=cron", "LABEL v=changed");
    for name in ["cron", "job"] {
        assert_eq!(planned(&env.ok(["plan", "--target", name])), ["job:v1", "cron:v1"], "{name}");
        let plan = env.ok(["plan", "--exclude", name, "--prune"]);
        assert_eq!(planned(&plan), [""; 0], "{name}");
    }
    // The tag of one image, and a chain of moves.
    let chain = MANIFEST
        .replace("name: web-test, context: web, tag: v2", "name: last, context: web, tag: v3")
        + "moved:\n  - {from: \"web-test:v2\", to: \"mid:v2\"}\n  - {from: \"mid:v2\", to: \"last:v3\"}\n";
    env.write("imgplan.yaml", chain);
    for name in ["web-test", "web-test:v2", "mid", "mid:v2", "last", "last:v3"] {
        assert_eq!(planned(&env.ok(["plan", "--target", name])), ["last:v3"], "{name}");
    }
    env.run(["plan", "--target", "web-test:v3"]).code(1).says("no image matches");
}

/// `name:tag` of an image with several platforms names all its targets.
#[test]
fn the_tag_of_an_image_selects_all_its_platforms() {
    let env = TestEnv::new();
    env.write(
        "imgplan.yaml",
        "version: 1
defaults: {platforms: [linux/amd64, linux/arm64]}
images:
  - {name: app, context: app, tag: v1}
  - {name: app, context: app, tag: v2}
  - {name: arch, context: app, tag: \"v1-{arch}\"}
  - {name: one, context: app, tag: v1-amd64, platforms: [linux/amd64]}
",
    );
    env.context("app", "FROM scratch\n");
    let both = ["app:v1-amd64", "app:v1-arm64"];
    assert_eq!(planned(&env.ok(["plan", "--target", "app:v1"])), both);
    assert_eq!(planned(&env.ok(["plan", "--target", "app:v1*", "--exclude", "app:v2"])), both);
    assert_eq!(planned(&env.ok(["plan", "--target", "app:v1-arm64"])), ["app:v1-arm64"]);
    env.run(["plan", "--target", "one:v1"]).code(1).says("no image matches `one:v1`");
    env.ok(["why", "app:v1"]).says(both[0]).says(both[1]).never_says("app:v2");
    env.ok(["graph", "app:v1"]).says(both[0]).says(both[1]).never_says("app:v2");
    env.ok(["context", "list", "app:v1"]).says("Dockerfile");
    env.run(["import", "app:v1"]).code(1).says("app:v1-amd64, app:v1-arm64");
    env.apply();
    env.ok(["show", "app:v1"]).says(both[0]).says(both[1]).never_says("app:v2");
    let mut moved = env.read("imgplan.yaml").replace("name: app", "name: new");
    moved.push_str("moved:\n  - {from: app, to: new}\n");
    env.write("imgplan.yaml", moved);
    assert_eq!(planned(&env.ok(["plan", "--target", "app:v1"])), ["new:v1-amd64", "new:v1-arm64"]);
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
    env.context("base", "FROM scratch\n").context("api", "FROM base\nLABEL v=api\n");
    env.context("web", "FROM base\nLABEL v=web\n").context("cron", "FROM scratch\nLABEL v=cron\n");
    let failed = env.run(["apply", "--auto-approve", "--target", "team=web", "--exclude", "web"]);
    failed.code(1).says("`imgplan apply --target team=web --exclude web` to continue");
    env.ok(["plan", "--out", "p", "--target", "team=web", "--exclude", "web"]);
    let failed = env.run(["apply", "p"]);
    failed.code(1).says("`imgplan apply --target team=web --exclude web` to continue");
}
