//! Partitions: several runs that share the targets of one manifest, and the rate limits.

use std::collections::BTreeMap;
use std::fmt::Write;

use imgplan::test_support::base::limit::Class;
use imgplan::test_support::server::ServerConfig;

use crate::support::{LocalServer, Running, TestEnv, wait_until};

const BEFORE: &str = "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: mid, context: mid}
  - {name: old, context: a}
  - {name: gone-1, context: c}
  - {name: gone-2, context: c}
  - {name: gone-3, context: c}
  - {name: m1, source: \"quay.io/acme/m1:v1\"}
";

const AFTER: &str = "version: 1
defaults: {tag: v1}
moved:
  - {from: old, to: a}
images:
  - {name: base, context: base}
  - {name: mid, context: mid}
  - {name: a, context: a}
  - {name: b, context: b}
  - {name: c, context: c}
  - {name: m1, source: \"quay.io/acme/m1:v1\"}
  - {name: m2, source: \"quay.io/acme/m2:v1\"}
  - {name: m3, source: \"quay.io/acme/m3:v1\"}
";

/// Returns a project whose base, two dependents and orphans change.
fn project() -> TestEnv {
    let env = TestEnv::new();
    env.context("base", "FROM scratch\n").context("mid", "FROM base\nLABEL v=mid\n");
    env.context("a", "FROM scratch\nLABEL v=a\n").context("b", "FROM mid\nLABEL v=b\n");
    env.context("c", "FROM scratch\nLABEL v=c\n");
    env.write("imgplan.yaml", BEFORE);
    env.apply();
    env.context("base", "FROM scratch\nLABEL v=new\n");
    env.write("imgplan.yaml", AFTER);
    env
}

#[test]
fn the_trunk_and_three_parts_build_each_target_once() {
    for kind in ["hash", "slice"] {
        let env = project();
        let before = env.server().initiated().len();
        env.ok(["apply", "--auto-approve", "--partition", "trunk"]);
        let trunk = env.server().initiated().split_off(before);
        assert_eq!(trunk, ["base:v1", "mid:v1"], "{kind}");
        for part in [2, 1, 3] {
            let partition = format!("{kind}:{part}/3");
            env.ok(["apply", "--auto-approve", "--partition", &partition]);
            env.ok(["plan", "--detailed-exitcode", "--partition", &partition]);
        }
        let mut built: BTreeMap<String, usize> = BTreeMap::new();
        for image in env.server().initiated().split_off(before) {
            *built.entry(image).or_default() += 1;
        }
        let names: Vec<&str> = built.keys().map(String::as_str).collect();
        // `a` is renamed, and the first mirror is kept.
        assert_eq!(names, ["b:v1", "base:v1", "c:v1", "m2:v1", "m3:v1", "mid:v1"], "{kind}");
        assert!(built.values().all(|times| *times == 1), "{kind}: {built:?}");
        env.plans_nothing();
        let lockfile = env.read("imgplan.lock");
        assert!(!lockfile.contains("gone") && !lockfile.contains("old:v1"), "{lockfile}");
    }
}

#[test]
fn a_part_waits_for_the_trunk() {
    let env = project();
    let writes = env.server().writes();
    let flags = ["--partition", "slice:1/1", "--target", "b,c"];
    let plan = env.run(["plan", "--detailed-exitcode"].into_iter().chain(flags));
    plan.code(2).says(
        "Blocked: 1 target waits for a base that is not up to date: b:v1 (on mid:v1). `imgplan apply \
         --partition trunk`",
    );
    assert_eq!(plan.steps().len(), 1, "{plan}");
    let json = env.ok(["plan", "--json"].into_iter().chain(flags));
    let summary = &json.events("change_summary")[0]["changes"];
    let blocked = serde_json::json!([{ "image": "b:v1", "base": "mid:v1" }]);
    assert_eq!(summary["blocked"], blocked, "{json}");
    let apply = env.run(["apply", "--auto-approve"].into_iter().chain(flags));
    apply.code(1).says("1 target of this part waits for a base that is not up to date");
    apply.says("b:v1 waits for mid:v1");
    apply.says("imgplan apply --target b --target c --partition trunk");
    assert_eq!(env.server().writes(), writes, "nothing is sent");
    env.ok(["apply", "--auto-approve", "--partition", "trunk", "--target", "b,c"]);
    env.ok(["apply", "--auto-approve"].into_iter().chain(flags));
}

#[test]
fn a_saved_plan_keeps_its_partition() {
    let env = project();
    env.ok(["apply", "--auto-approve", "--partition", "trunk"]);
    let before = env.server().initiated().len();
    env.ok(["plan", "--out", "part.plan", "--partition", "slice:1/2"]);
    env.ok(["apply", "part.plan"]);
    let first = env.server().initiated().split_off(before);
    assert!(!first.is_empty() && first.len() < 4, "{first:?}");
    let mut call = env.call(["apply", "part.plan"]);
    call = call.env("IMGPLAN_PARTITION", "slice:1/2");
    call.run().code(64).says("the environment sets IMGPLAN_PARTITION");
}

#[test]
fn pins_do_not_move_in_a_part() {
    let env = project();
    for command in ["plan", "apply"] {
        let output = env.run([command, "--partition", "hash:1/2", "--upgrade"]);
        output.code(64).says("--partition cannot be used with --upgrade");
        output.says("run `imgplan lock --upgrade` first");
    }
    let output = env.run(["plan", "--partition", "hash:1/65"]);
    output.code(64).says("`hash:1/65` has more than 64 parts");
}

/// Returns an environment with a shared state in a folder, which was created.
fn with_shared_state() -> TestEnv {
    let mut env = TestEnv::unlimited(ServerConfig::default());
    let url = format!("file://{}", env.path("store").display());
    env.set("IMGPLAN_STATE", &url).set("IMGPLAN_LEASE", "10s");
    checkout(&env, ".");
    env.ok(["state", "init"]);
    env
}

/// Writes a checkout of [`family`] into a folder.
fn checkout(env: &TestEnv, folder: &str) {
    env.write(&format!("{folder}/imgplan.yaml"), family());
    env.context(&format!("{folder}/base"), "FROM scratch\n");
    env.context(&format!("{folder}/app"), "FROM base:v1\n");
}

/// Returns a manifest of a base, targets on it, and mirrors.
fn family() -> String {
    let mut manifest = many();
    manifest.push_str("  - {name: base, context: base}\n");
    manifest
}

/// Starts an apply of a part in a checkout of its own, which asks for approval.
fn start_part(env: &TestEnv, folder: &str, partition: &str, flags: &[&str]) -> Running {
    checkout(env, folder);
    let command = ["-C", folder, "apply", "--partition", partition];
    env.call(command.into_iter().chain(flags.iter().copied())).start_interactive()
}

fn asks(run: &mut Running) {
    wait_until("it asks", || run.has_said("is accepted:") || run.has_ended());
}

/// Returns how often each image was initiated.
fn initiations(env: &TestEnv) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for image in env.server().initiated() {
        *times.entry(image).or_default() += 1;
    }
    times
}

#[test]
fn parts_with_a_shared_state_run_side_by_side() {
    let env = with_shared_state();
    let mut trunk = start_part(&env, "trunk", "trunk", &["--lock-timeout", "0s"]);
    asks(&mut trunk);
    let locks = env.ok(["state", "locks"]);
    assert_eq!(locks.stdout.lines().count(), 1, "only the shard of the base: {locks}");
    trunk.type_in("yes\n");
    trunk.wait().success();
    // None of them waits: each holds what it needs while all the others do.
    let mut runs: Vec<Running> = (1..=4)
        .map(|part| {
            let (folder, partition) = (format!("p{part}"), format!("hash:{part}/4"));
            start_part(&env, &folder, &partition, &["--lock-timeout", "0s"])
        })
        .collect();
    for run in &mut runs {
        asks(run);
    }
    let locks = env.ok(["state", "locks"]);
    for run in &runs {
        locks.says(&format!("PID {} ", run.id()));
    }
    locks.never_says("pins");
    for run in &mut runs {
        run.type_in("yes\n");
    }
    for run in runs {
        run.wait().success();
    }
    let times = initiations(&env);
    assert_eq!(times.len(), 33, "{times:?}");
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    let plan = env.ok(["-C", "p1", "plan", "--detailed-exitcode"]);
    plan.says("No changes");
}

#[test]
fn slices_do_not_have_whole_shards() {
    let env = with_shared_state();
    checkout(&env, "p1");
    for command in ["plan", "apply"] {
        let refused = env.run(["-C", "p1", command, "--partition", "slice:1/4"]);
        refused.code(64).says("--partition slice:1/4 cannot be used with a shared state");
        refused.says("use `hash:1/4`, whose parts have whole shards");
    }
    env.ok(["state", "locks"]).says("No run holds a shard");
}

#[test]
fn a_part_waits_for_the_trunk_of_another_process() {
    let env = with_shared_state();
    let part = |folder: &str, timeout: &str| {
        checkout(&env, folder);
        let flags = ["--partition", "hash:1/1", "--target", "b1,b2", "--auto-approve"];
        let command = ["-C", folder, "apply", "--lock-timeout", timeout];
        env.call(command.into_iter().chain(flags)).start()
    };
    let refused = part("p1", "0s").wait();
    refused.code(1).says("2 targets of this part wait for a base that is not up to date");
    refused.says("imgplan apply -C p1 --target b1 --target b2 --partition trunk");
    env.ok(["state", "locks"]).says("No run holds a shard");
    let early = part("p2", "2m");
    wait_until("it waits for a run", || early.has_said("no run holds it yet"));
    let mut trunk = start_part(&env, "trunk", "trunk", &[]);
    asks(&mut trunk);
    let id = format!("PID {} ", trunk.id());
    wait_until("it names the run", || early.has_said("held until") && early.has_said(&id));
    assert!(env.server().initiated().is_empty());
    trunk.type_in("yes\n");
    trunk.wait().success();
    let early = early.wait();
    early.success().says("Waiting up to 2m for base:v1, the base of b1:v1, in shard");
    let initiated: Vec<(String, usize)> = initiations(&env).into_iter().collect();
    assert_eq!(initiated, ["b1:v1", "b2:v1", "base:v1"].map(|image| (image.to_owned(), 1)));
    env.ok(["-C", "p2", "plan", "--detailed-exitcode", "--target", "b1,b2"]);
}

#[test]
fn tags_with_a_fingerprint_are_recorded_in_the_shard_of_the_tag() {
    let env = with_shared_state();
    for folder in ["p1", "p2"] {
        let manifest =
            family().replace("defaults: {tag: v1}", "defaults: {tag: \"{fingerprint}\"}");
        checkout(&env, folder);
        env.write(&format!("{folder}/imgplan.yaml"), manifest);
        env.context(&format!("{folder}/app"), "FROM base\n");
    }
    env.ok(["-C", "p1", "apply", "--auto-approve", "--partition", "trunk"]);
    for (folder, partition) in [("p1", "hash:1/2"), ("p2", "hash:2/2")] {
        env.ok(["-C", folder, "apply", "--auto-approve", "--partition", partition]);
    }
    let times = initiations(&env);
    assert_eq!(times.len(), 33, "{times:?}");
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    env.ok(["-C", "p1", "plan", "--detailed-exitcode"]);
}

/// The images of four runs: half are mirrors.
fn many() -> String {
    let mut manifest = "version: 1\ndefaults: {tag: v1}\nimages:\n".to_owned();
    for index in 0..16 {
        writeln!(manifest, "  - {{name: b{index}, context: app}}").unwrap();
        writeln!(manifest, "  - {{name: m{index}, source: \"quay.io/acme/m{index}:v1\"}}").unwrap();
    }
    manifest
}

#[test]
fn four_runs_beside_each_other_keep_the_limits() {
    const LIMITS: &str = "images=8/2s,initiate=8/2s,start=8/2s";
    let limits = LIMITS.split(',').map(|limit| limit.parse().unwrap()).collect();
    let server = LocalServer::start(ServerConfig { limits, ..ServerConfig::default() });
    let run = |part: u32| {
        let mut env = TestEnv::at(&server.url());
        env.set("IMGPLAN_LIMIT", LIMITS).set("IMGPLAN_PARTITION", &format!("slice:{part}/4"));
        env.context("app", "FROM scratch\n").write("imgplan.yaml", many());
        let running = env.call(["apply", "--auto-approve"]).start();
        (env, running)
    };
    let runs: Vec<_> = (1..=4).map(run).collect();
    for (_env, running) in runs {
        running.wait().success();
    }
    let counts = server.counts();
    for class in [Class::Images, Class::Initiate, Class::Start] {
        let count = counts.of(class);
        assert_eq!(count.refused, 0, "{class}: {} in one window", count.peak);
        assert!((1..=8).contains(&count.peak), "{class}: {} in one window", count.peak);
    }
    let mut images = server.initiated();
    assert_eq!(images.len(), 32);
    images.sort();
    images.dedup();
    assert_eq!(images.len(), 32, "each is initiated once");
}
