//! Refresh and drift: images that were deleted, replaced or changed outside of imgplan, and the
//! number of requests that a refresh takes.

use imgplan::test_support::server::ServerConfig;
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Answer, Output, Scripted, THREE, TestEnv, wait_until, write_three};

fn three() -> TestEnv {
    let env = TestEnv::new();
    write_three(&env);
    env.apply();
    env
}

fn steps(output: &Output) -> String {
    output.steps().join("\n")
}

fn delete(env: &TestEnv, image: &str) {
    env.server().send("DELETE", &format!("images/{}", image.replace(':', "/")), &Value::Null);
}

#[test]
fn a_plan_lists_the_images_of_each_owner_once() {
    let env = three();
    let before = env.server().log().len();
    env.plans_nothing();
    assert_eq!(env.server().requests().split_off(before), ["GET /images"]);
    env.write("imgplan.yaml", THREE.replace("context: lone", "context: lone, owner: {team: t1}"));
    env.apply();
    let before = env.server().log().len();
    env.plans_nothing();
    assert_eq!(env.server().requests().split_off(before), ["GET /images"; 2]);
}

#[test]
fn without_recorded_images_only_new_names_are_looked_up() {
    let env = TestEnv::new();
    write_three(&env);
    env.ok(["plan"]);
    for command in ["plan", "apply"] {
        env.ok([command, "--refresh-only"]).says("The lockfile has no images yet.");
    }
    assert_eq!(env.server().requests(), ["GET /images"; 3]);
    assert!(!env.exists("imgplan.lock"));
}

#[test]
fn six_hundred_images_are_three_requests() {
    use std::fmt::Write;
    let env = TestEnv::unlimited(ServerConfig::default());
    let mut manifest = "version: 1\nimages:\n".to_owned();
    for number in 0..600 {
        writeln!(manifest, "  - {{source: quay.io/library/redis:{number}}}").unwrap();
    }
    env.write("imgplan.yaml", manifest);
    env.apply();
    let before = env.server().log().len();
    env.plans_nothing();
    assert_eq!(env.server().requests().split_off(before), ["GET /images"; 3]);
    delete(&env, "redis:599");
    assert_snapshot!(steps(&env.ok(["plan"])), @"+ redis:599 mirror missing from the service");
}

#[test]
fn an_image_deleted_outside_is_rebuilt() {
    let env = three();
    delete(&env, "base:v1");
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(steps(&plan), @"+ base:v1 build missing from the service");
    assert_eq!(env.server().images(""), ["lone:v1 PRIVATE", "top:v1 PRIVATE"]);
    let before = env.server().initiated().len();
    env.apply();
    assert_eq!(env.server().initiated().split_off(before), ["base:v1"]);
    env.plans_nothing();
}

/// An existing dependent is kept; a missing one needs its missing base first.
#[test]
fn a_missing_base_is_rebuilt_before_its_dependent() {
    let env = three();
    delete(&env, "base:v1");
    delete(&env, "top:v1");
    let plan = env.ok(["plan"]);
    assert_snapshot!(steps(&plan), @"
    + base:v1 build missing from the service
    + top:v1 build missing from the service
    ");
    plan.says("Order: base:v1 first");
    env.apply();
    env.plans_nothing();
}

#[test]
fn an_image_replaced_outside_is_rebuilt() {
    let env = three();
    let build = env.build_of("lone:v1");
    // Moving our own build an hour back has the same effect as another build an hour later.
    env.age(1);
    let lockfile = env.read("imgplan.lock");
    env.ok(["apply", "--refresh-only"])
        .says("lone:v1 was replaced outside of imgplan")
        .says("Replaced images keep their entries; `imgplan apply` rebuilds them.");
    assert_eq!(env.read("imgplan.lock"), lockfile);
    let plan = env.run(["plan", "--detailed-exitcode", "--target", "lone"]);
    plan.code(2);
    let told = plan.steps().join("\n");
    assert!(told.starts_with("-/+ lone:v1 build replaced outside of imgplan on "), "{plan}");
    env.apply();
    assert_ne!(env.build_of("lone:v1"), build);
    env.plans_nothing();
}

/// A push takes time, and clocks differ.
#[test]
fn a_slightly_newer_image_is_our_own() {
    let env = three();
    let path = "imgplan.lock";
    let at = |text: &str| -> jiff::Timestamp { text.trim_matches('"').parse().unwrap() };
    let text = env.read(path);
    let aged: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("completed: ") {
            Some((indent, time)) => {
                format!("{indent}completed: \"{}\"", at(time) - jiff::SignedDuration::from_secs(40))
            }
            None => line.to_owned(),
        })
        .collect();
    env.write(path, aged.join("\n") + "\n");
    env.plans_nothing();
}

#[test]
fn a_visibility_that_the_manifest_sets_is_restored() {
    let env = TestEnv::new();
    write_three(&env);
    env.edit("imgplan.yaml", "context: lone", "context: lone, visibility: private");
    env.apply();
    env.server().publish("lone:v1");
    assert_snapshot!(steps(&env.ok(["plan"])), @"~ lone:v1 update visibility public -> private");
    let before = env.server().writes().len();
    env.apply();
    assert_eq!(env.server().writes().split_off(before), ["PATCH /images"]);
    assert!(env.server().images("").contains(&"lone:v1 PRIVATE".to_owned()));
    env.plans_nothing();
}

#[test]
fn a_visibility_that_the_manifest_does_not_set_is_only_reported() {
    let env = three();
    env.server().publish("lone:v1");
    let files = env.listing();
    let plan = env.run(["plan", "--detailed-exitcode"]);
    plan.success().says("1 image has another visibility at the service than the lockfile records");
    assert_eq!(env.listing(), files);
    let before = env.server().writes().len();
    let apply = env.apply();
    apply.says("No changes.");
    assert_eq!(env.server().writes().len(), before, "nothing is sent");
    assert_eq!(env.read("imgplan.lock").matches("visibility: public").count(), 1);
    env.ok(["plan"]).never_says("another visibility");
    env.ok(["plan", "--refresh-only"]).says("No drift. The service lists 3 images.");
}

#[test]
fn an_image_with_a_failed_build_is_missing() {
    // The listing shows a failed build if there is no image of that name.
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    env.write("imgplan.yaml", "version: 1\nimages: [{source: \"quay.io/library/redis:7\"}]\n");
    env.apply();
    delete(&env, "redis:7");
    env.restart(ServerConfig { fail: Some("redis".parse().unwrap()), ..config() });
    let other = TestEnv::at(&env.server().url());
    other.write("imgplan.yaml", env.read("imgplan.yaml"));
    other.run(["apply", "--auto-approve"]).code(1);
    assert_eq!(env.server().images("").len(), 1, "it is listed all the same");
    assert_snapshot!(steps(&env.ok(["plan"])), @"-/+ redis:7 mirror missing from the service");
    env.restart(config());
    env.apply();
    env.plans_nothing();
}

#[test]
fn a_listing_that_fails_ends_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.restart(ServerConfig { faults: vec!["list:500:1".parse().unwrap()], ..config() });
    env.edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=other");
    let lockfile = env.read("imgplan.lock");
    for flags in [&["--auto-approve"][..], &["--refresh-only"], &["--minimal-refresh"]] {
        let apply = ["apply", "--retry-times", "0"].iter().chain(flags);
        let apply = env.run(apply.copied());
        apply.code(1).says(
            "cannot compare the personal images with the service: cannot list the images (HTTP \
             500): Internal Server Error",
        );
        apply.says("to rely on the lockfile instead, use --refresh=false");
    }
    assert_eq!(env.read("imgplan.lock"), lockfile);
    let plan = env.ok(["plan", "--refresh=false"]);
    assert_snapshot!(steps(&plan), @"-/+ lone:v1 build Dockerfile changed");
}

#[test]
fn without_refresh_no_images_are_listed() {
    let mut env = three();
    delete(&env, "lone:v1");
    for flags in
        [&["plan", "--refresh=false"][..], &["plan", "--offline"], &["plan", "--minimal-refresh"]]
    {
        let before = env.server().log().len();
        let plan = env.run(flags.iter().copied());
        plan.success().says("No changes.");
        assert_eq!(env.server().requests().split_off(before), [""; 0], "{plan}");
    }
    env.set("IMGPLAN_REFRESH", "false");
    env.plans_nothing();
    assert_eq!(env.ok(["plan", "--refresh=true"]).steps().len(), 1);
    let before = env.server().listings();
    env.ok(["apply", "--auto-approve", "--refresh=false"]).says("No changes.");
    assert_eq!(env.server().listings(), before);
}

#[test]
fn a_minimal_refresh_looks_up_only_images_that_change() {
    let env = three();
    delete(&env, "lone:v1");
    env.edit("top/Dockerfile", "FROM base:v1\n", "FROM base:v1\nRUN x\n");
    let before = env.server().log().len();
    let plan = env.ok(["plan", "--minimal-refresh"]);
    assert_snapshot!(steps(&plan), @"-/+ top:v1 build Dockerfile changed");
    assert_eq!(env.server().requests().split_off(before), ["GET /images"]);
    // A missing image that changes is reported.
    delete(&env, "top:v1");
    let plan = env.ok(["plan", "--minimal-refresh"]);
    assert_snapshot!(steps(&plan), @"+ top:v1 build Dockerfile changed; missing from the service");
    let before = env.server().listings();
    env.ok(["apply", "--auto-approve", "--minimal-refresh"]);
    assert!(env.server().listings() > before);
    assert_eq!(env.server().images(""), ["base:v1 PRIVATE", "top:v1 PRIVATE"]);
}

#[test]
fn a_refresh_only_plan_reports_and_writes_nothing() {
    let env = three();
    delete(&env, "lone:v1");
    env.server().publish("base:v1");
    env.context("top", "FROM base:v1\nLABEL v=other\n");
    let files = env.listing();
    let plan = env.run(["plan", "--refresh-only", "--detailed-exitcode"]);
    plan.code(2);
    assert_snapshot!(plan.shown(), @"
    exit 2
    --- stdout
      base:v1  visibility private -> public
      lone:v1  is missing in the service
    2 images differ from the lockfile.
    ");
    assert_eq!(env.listing(), files);
    let drifts = env.ok(["plan", "--refresh-only", "--json"]).events("drift");
    let told: Vec<String> = drifts
        .iter()
        .map(|drift| format!("{} {}", drift["change"]["image"], drift["change"]["action"]))
        .collect();
    assert_eq!(told, [r#""base:v1" "visibility_changed""#, r#""lone:v1" "missing_remote""#]);
}

#[test]
fn a_refresh_only_apply_changes_the_lockfile_and_nothing_else() {
    let env = three();
    delete(&env, "lone:v1");
    env.server().publish("base:v1");
    env.context("top", "FROM base:v1\nLABEL v=other\n");
    let before = env.server().writes().len();
    let apply = env.run(["apply", "--refresh-only", "--detailed-exitcode"]);
    assert_snapshot!(apply.shown(), @"
    exit 2
    --- stdout
      base:v1  visibility private -> public
      lone:v1  is missing in the service
    2 images differ from the lockfile.
    --- stderr
    Updated the lockfile for 2 images.
    ");
    assert_eq!(env.server().writes().len(), before);
    let lockfile = env.read("imgplan.lock");
    assert!(!lockfile.contains("lone:v1") && lockfile.contains("visibility: public"), "{lockfile}");
    assert!(!env.exists(".imgplan/journal.jsonl"));
    let again = env.run(["apply", "--refresh-only", "--detailed-exitcode"]);
    assert_snapshot!(again.shown(), @"
    exit 0
    --- stdout
    No drift. The service lists 2 images.
    ");
    assert_eq!(env.read("imgplan.lock"), lockfile);
    assert_snapshot!(steps(&env.ok(["plan"])), @"
    + lone:v1 build new
    -/+ top:v1 build Dockerfile changed
    ");
}

#[test]
fn refresh_only_and_no_refresh_exclude_each_other() {
    let env = three();
    for command in ["plan", "apply"] {
        for flag in ["--refresh=false", "--minimal-refresh"] {
            env.run([command, "--refresh-only", flag]).code(64);
        }
    }
    env.run(["plan", "--refresh-only", "--offline"]).code(64);
    // Flags of the plan are rejected, too.
    for flag in ["--target=lone", "--replace=lone", "--prune", "--exclude=lone"] {
        env.run(["plan", "--refresh-only", flag]).code(64);
        env.run(["apply", "--refresh-only", flag]).code(64);
    }
}

#[test]
fn drift_is_detected_per_owner() {
    let env = TestEnv::new();
    write_three(&env);
    env.edit("imgplan.yaml", "context: lone", "context: lone, owner: {team: t1}");
    env.apply();
    env.server().send("DELETE", "images/lone/v1?teamId=t1", &Value::Null);
    assert_snapshot!(steps(&env.ok(["plan"])), @"+ lone:v1 build missing from the service");
    env.apply();
    assert_eq!(env.server().images("teamId=t1"), ["lone:v1 PRIVATE"]);
    env.plans_nothing();
}

/// A build that an earlier run left behind is our own.
#[test]
fn an_image_that_our_own_build_replaced_is_no_drift() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || ServerConfig { state: Some(dir.path().join("state")), ..ServerConfig::default() };
    let mut env = TestEnv::with(config());
    write_three(&env);
    env.apply();
    env.age(1);
    env.edit("lone/Dockerfile", "LABEL v=lone", "LABEL v=other");
    env.restart(ServerConfig { build_time: std::time::Duration::from_secs(1), ..config() });
    let flags = ["apply", "--auto-approve", "--refresh=false", "--target", "lone"];
    let run = env.call(flags).start();
    wait_until("it is begun", || {
        let journal = std::fs::read_to_string(env.path(".imgplan/journal.jsonl"));
        journal.is_ok_and(|text| text.contains(r#""started","unit":"lone:v1""#))
    });
    run.signal("KILL");
    assert_eq!(run.wait().code, None);
    wait_until("it is complete", || {
        env.server().builds().iter().all(|build| build.status == "COMPLETED")
    });
    env.edit("lone/Dockerfile", "LABEL v=other", "LABEL v=third");
    let plan = env.ok(["plan", "--target", "lone"]);
    assert_snapshot!(steps(&plan), @"-/+ lone:v1 build Dockerfile changed");
    env.ok(["plan", "--refresh-only"]).says("2 images differ");
}

/// Returns the plan of three recorded images with these pages as the service's listing.
fn listed(pages: impl IntoIterator<Item = Value>) -> Output {
    let env = three();
    let scripted = Scripted::start();
    let pages: Vec<Answer> = pages.into_iter().map(|page| Answer::json(200, &page)).collect();
    scripted.on("GET", "/images", pages);
    let other = TestEnv::at(scripted.url());
    for file in ["imgplan.yaml", "base/Dockerfile", "top/Dockerfile", "lone/Dockerfile"] {
        other.write(file, env.read(file));
    }
    let lockfile = env.read("imgplan.lock").replace(&env.server().url(), scripted.url());
    other.write("imgplan.lock", lockfile);
    other.ok(["plan"])
}

fn row(name: &str) -> Value {
    json!({ "imageName": name, "imageTag": "v1", "status": "COMPLETED", "ownerType": "personal",
        "visibility": "PRIVATE", "fullImagePath": format!("prime/local/{name}:v1") })
}

fn page(rows: &[Value], total: usize) -> Value {
    json!({ "data": rows, "total_count": total, "offset": 0, "limit": 250 })
}

#[test]
fn a_listing_that_leaves_out_existing_images_does_not_count() {
    // Only one of three images is listed; a search finds the next one.
    let plan = listed([page(&[row("base")], 1), page(&[row("lone")], 1)]);
    plan.says("No changes.").says("leaves out existing images");
}

/// The service may write the owner before the name.
#[test]
fn an_owner_before_a_name_is_accepted() {
    listed([page(&[row("alice/base"), row("alice/top"), row("lone")], 3)]).says("No changes.");
}

/// The listing counts more images than it shows, or has unreadable rows.
#[test]
fn images_missing_from_an_incomplete_listing_are_unchanged() {
    let mut bare = row("top");
    bare["status"] = Value::Null;
    let mut public = row("base");
    public["visibility"] = json!("PUBLIC");
    for page in [
        page(&[], 3),
        page(&[row("base")], 3),
        page(&[row("base"), bare], 2),
        page(&[public], 3),
        json!({ "data": [row("base")], "limit": 1 }),
    ] {
        let knows = page.to_string().contains("PUBLIC");
        let plan = listed([page]);
        plan.says("No changes.").says(
            "note: the service's listing of the personal images is incomplete; images missing \
             from it are assumed to match the lockfile",
        );
        // Listed images count all the same.
        assert_eq!(plan.shown().contains("has another visibility"), knows, "{plan}");
    }
}

/// A push may end long after its build, and an old failure may stay listed.
#[test]
fn our_own_build_is_recognized_in_the_listing() {
    let with = |name: &str, fields: Value| {
        let mut row = row(name);
        row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        row
    };
    let (before, after) = ("2020-01-01T00:00:00", "2099-01-01T00:00:00");
    let old = json!({ "status": "FAILED", "completedAt": before, "createdAt": before });
    let plan = listed([page(
        &[
            with("base", json!({ "completedAt": before, "pushedAt": after })),
            with("top", json!({ "artifactType": "VM_SANDBOX", "pushedAt": after })),
            with("top", old.clone()),
            with("lone", old),
        ],
        3,
    )]);
    plan.says("No changes.");
    let new = json!({ "status": "FAILED", "completedAt": after, "createdAt": before });
    let plan = listed([page(
        &[row("base"), with("top", new), with("lone", json!({ "pushedAt": after }))],
        3,
    )]);
    assert_snapshot!(steps(&plan), @"
    -/+ lone:v1 build replaced outside of imgplan on 2099-01-01 00:00 UTC
    -/+ top:v1 build missing from the service
    ");
}

/// The service or the API key may be wrong.
#[test]
fn many_missing_images_cause_a_warning() {
    let plan = listed([page(&[], 0)]);
    assert_eq!(plan.steps().len(), 3, "{plan}");
    plan.says(
        "note: 3 of 3 recorded images are missing from the service's listing; if you did not expect \
         this, do not apply: --refresh=false relies on the lockfile",
    );
    listed([page(&[row("base")], 1)]).never_says("if you did not expect");
}
