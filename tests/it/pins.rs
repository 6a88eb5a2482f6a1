//! Pins, from the manifest to the image, with a real registry.

use std::collections::BTreeMap;

use crate::support::{Front, Registry, TestEnv, answer};

/// A project with a mirror for two platforms, and a build on an external base.
struct Project {
    registry: Registry,
    front: Front,
    env: TestEnv,
}

impl Project {
    fn new() -> Option<Self> {
        let registry = Registry::start()?;
        let front = Front::of(&registry.address);
        let env = TestEnv::manifest(&format!(
            "version: 1
images:
  - source: {host}/app:1
    platforms: [linux/amd64, linux/arm64]
  - name: tool
    context: tool
",
            host = front.address
        ));
        env.context("tool", &format!("FROM {}/base:1\nCOPY . .\n", front.address));
        let project = Self { registry, front, env };
        project.push("app", "one");
        project.push("base", "base one");
        Some(project)
    }

    /// Pushes another image to `NAME:1`.
    fn push(&self, name: &str, content: &str) {
        let mut layout = self.registry.layout(&format!("{name}-{}", content.replace(' ', "-")));
        let amd64 = layout.image("linux/amd64", content);
        let arm64 = layout.image("linux/arm64", content);
        let index = layout.index(&[&amd64, &arm64]);
        layout.name("all", &index);
        self.registry.push(&layout, "all", &format!("{name}:1"));
    }

    /// Returns the source of the last request for each mirror.
    fn sources(&self) -> BTreeMap<String, String> {
        let builds = self.env.server().builds().into_iter();
        builds.filter_map(|build| Some((build.image, build.source?))).collect()
    }

    /// Returns the text without values that differ from run to run.
    fn shown(&self, text: &str) -> String {
        let host = regex::Regex::new("(sha256:)?\\b[0-9a-f]{12}([0-9a-f]{52})?\\b").unwrap();
        host.replace_all(&text.replace(&self.front.address, "HOST"), "DIGEST").into_owned()
    }
}

#[test]
fn the_planned_digests_arrive() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.run(["lock", "--check"]).code(1).says("2 entries").says("app:1 has no pin");
    insta::assert_snapshot!(project.shown(&env.ok(["lock"]).stdout), @"
      + HOST/app:1  DIGEST
      + HOST/base:1  DIGEST
    Pinned 2 new, 0 moved, 0 dropped.
    ");
    env.ok(["lock", "--check"]);
    env.ok(["plan", "--locked"]);
    // A tag that moves changes nothing without `--upgrade`.
    let pinned = project.sources();
    assert_eq!(pinned.len(), 0);
    project.push("app", "two");
    env.apply();
    let sources = project.sources();
    assert_eq!(sources.len(), 2);
    assert_ne!(sources["app:1-amd64"], sources["app:1-arm64"], "each platform has its own");
    for source in sources.values() {
        assert!(
            source.starts_with(&format!("{}/app:1@sha256:", project.front.address)),
            "{source}"
        );
    }
    let sent = env.ok(["context", "dockerfile", "tool"]).stdout;
    let begins = format!("FROM {}/base@sha256:", project.front.address);
    assert!(sent.starts_with(&begins) && sent.ends_with("\nCOPY . .\n"), "{sent}");
    env.plans_nothing();
    // The plan shows the moved pins, and apply records them.
    let plan = env.ok(["plan", "--upgrade", "--max-age", "0s"]);
    insta::assert_snapshot!(project.shown(&plan.steps().join("\n")), @"
    -/+ app:1-amd64 mirror source HOST/app:1 moved DIGEST -> DIGEST
    -/+ app:1-arm64 mirror source HOST/app:1 moved DIGEST -> DIGEST
    ");
    env.plans_nothing();
    env.ok(["apply", "--upgrade", "--auto-approve"]);
    assert_ne!(project.sources(), sources);
    env.plans_nothing();
    let plan = env.ok(["plan", "--upgrade", "--max-age", "0s"]);
    plan.says("No changes");
    // Upgrade of a single image.
    project.push("app", "three");
    project.push("base", "base two");
    let plan = env.ok(["plan", "--upgrade-image", "tool", "--max-age", "0s"]);
    insta::assert_snapshot!(project.shown(&plan.steps().join("\n")), @"-/+ tool:latest build base HOST/base:1 moved DIGEST -> DIGEST");
}

#[test]
fn lookups_are_cached_and_repeated_with_one_head() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    assert_eq!(project.front.lines().len(), 4, "a HEAD and a GET of an index each");
    env.ok(["plan", "--upgrade"]);
    assert_eq!(project.front.lines(), [""; 0], "the lookup is cached");
    env.ok(["plan", "--upgrade", "--max-age", "0s"]);
    let lines = project.front.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("HEAD ")), "{lines:#?}");
    env.ok(["plan"]);
    env.ok(["plan", "--offline"]);
    assert_eq!(project.front.lines(), [""; 0], "nobody is asked without --upgrade");
}

#[test]
fn a_failed_lookup_is_a_note_and_the_plan_goes_on() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    env.apply();
    drop(project.registry);
    let plan = env.ok(["plan", "--upgrade", "--max-age", "0s"]);
    plan.says("No changes").says("cannot look up");
    let lock = env.run(["lock", "--upgrade"]);
    lock.code(1).says("2 references could not be pinned");
    env.ok(["lock", "--check"]);
}

#[test]
fn a_missing_tag_is_an_error_and_the_others_are_pinned() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    let more = format!("  - source: {}/app:none\n    name: none\nimages", project.front.address);
    env.edit("imgplan.yaml", "images:\n", &format!("images:\n{}", more.trim_end_matches("images")));
    let lock = env.run(["lock"]);
    lock.code(1).says("app:none").says("1 reference could not be pinned");
    env.run(["lock", "--check"]).code(1).says("1 entry").says("app:none has no pin");
    env.run(["plan", "--locked"]).code(1).says("--locked was given").says("imgplan lock");
}

#[test]
fn existing_images_are_credited_to_their_first_pin() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.run(["plan", "--frozen"]).code(1).says("--frozen was given");
    env.apply();
    let builds = env.server().builds().len();
    env.ok(["lock"]).says("3 existing targets are assumed to be built");
    env.plans_nothing();
    env.ok(["plan", "--frozen"]).says("No changes");
    project.push("base", "base two");
    env.ok(["lock", "--upgrade"]).says("0 new, 1 moved");
    let plan = env.ok(["plan"]);
    insta::assert_snapshot!(project.shown(&plan.steps().join("\n")), @"-/+ tool:latest build base HOST/base:1 moved DIGEST -> DIGEST");
    env.apply();
    env.plans_nothing();
    assert_eq!(env.server().builds().len(), builds + 1);
}

#[test]
fn a_project_with_pins_pins_new_references() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    project.push("new", "new");
    let entry = format!("images:\n  - source: {}/new:1\n", project.front.address);
    env.edit("imgplan.yaml", "images:\n", &entry);
    env.run(["plan", "--locked"]).code(1).says("new:1 has no pin");
    env.apply();
    assert!(project.sources()["new:1"].contains("@sha256:"));
    env.ok(["lock", "--check"]);
    // `lock` drops pins that no image needs.
    env.edit("imgplan.yaml", &entry, "images:\n");
    env.run(["lock", "--check"]).code(1).says("is no longer used");
    env.ok(["lock"]).says("1 dropped");
    env.ok(["lock", "--check"]);
}

#[test]
fn retry_after_of_a_registry_is_honoured() {
    let Some(project) = Project::new() else { return };
    let busy = std::sync::atomic::AtomicUsize::new(0);
    let front = Front::of(&project.registry.address).instead(move |seen| {
        let first = busy.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        (first && seen.line.starts_with("HEAD ")).then(|| answer(429, &[("retry-after", "1")], ""))
    });
    let env = &project.env;
    let manifest = env.read("imgplan.yaml").replace(&project.front.address, &front.address);
    env.write("imgplan.yaml", manifest);
    let dockerfile = env.read("tool/Dockerfile").replace(&project.front.address, &front.address);
    env.write("tool/Dockerfile", dockerfile);
    env.ok(["lock"]).says("2 new");
}

#[test]
fn a_from_with_a_platform_is_pinned_to_its_image() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    let base = format!("{}/base", project.front.address);
    env.write(
        "tool/Dockerfile",
        format!(
            "FROM --platform=linux/arm64 {base}:1 AS a\nFROM --platform=$BUILDPLATFORM {base}:1 AS b\n\
             FROM {base}:1\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n"
        ),
    );
    env.ok(["lock"]);
    let lock = env.read("imgplan.lock");
    let pin = lock.split_once("/base:1").unwrap().1;
    let digest = |of: &str| {
        let line = pin.lines().find(|line| line.trim().trim_start_matches('"').starts_with(of));
        let at = line.and_then(|line| line.find("sha256:").map(|at| &line[at..at + 71]));
        at.unwrap_or_else(|| panic!("no {of} in {pin}")).to_owned()
    };
    let [all, amd64, arm64] = ["digest", "linux/amd64", "linux/arm64"].map(digest);
    let sent = format!(
        "FROM --platform=linux/arm64 {base}@{arm64} AS a\nFROM --platform=$BUILDPLATFORM {base}@{all} AS b\n\
         FROM {base}@{amd64}\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n"
    );
    assert_eq!(env.ok(["context", "dockerfile", "tool"]).stdout, sent);
    env.apply();
    env.plans_nothing();
    // Images that were built with pins keep them.
    env.ok(["lock", "--check"]);
}

#[test]
fn first_pins_trigger_no_rebuild() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.apply();
    let builds = env.server().builds().len();
    // A plan that is declined records no pin.
    env.ok(["plan", "--upgrade"]).says("No changes");
    env.run(["lock", "--check"]).code(1);
    env.ok(["apply", "--upgrade", "--auto-approve"]).says("No changes");
    env.ok(["lock", "--check"]);
    env.plans_nothing();
    project.push("app", "two");
    let plan = env.ok(["plan", "--upgrade", "--max-age", "0s"]);
    assert_eq!(plan.steps().len(), 2, "{}", plan.all());
    assert_eq!(env.server().builds().len(), builds);
}

#[test]
fn a_registry_outage_triggers_no_rebuild() {
    let Some(project) = Project::new() else { return };
    let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_down = std::sync::Arc::clone(&down);
    let front = Front::of(&project.registry.address).instead(move |seen| {
        let down = is_down.load(std::sync::atomic::Ordering::Relaxed);
        (down && seen.line.contains("/base/")).then(|| answer(404, &[], "{}"))
    });
    let set = |to| down.store(to, std::sync::atomic::Ordering::Relaxed);
    let env = &project.env;
    let manifest = env.read("imgplan.yaml").replace(&project.front.address, &front.address);
    env.write("imgplan.yaml", manifest);
    let dockerfile = env.read("tool/Dockerfile").replace(&project.front.address, &front.address);
    env.write("tool/Dockerfile", dockerfile);
    // Built in a project with pins, one of which could not be looked up.
    set(true);
    env.run(["lock"]).code(1).says("1 new, 0 moved").says("base:1 could not be pinned");
    let applied = env.apply();
    applied.says("base:1 has no pin; it is used unpinned by tool:latest");
    env.run(["plan", "--deny-warnings"]).code(1).says("and --deny-warnings was given");
    let builds = env.server().builds().len();
    set(false);
    env.ok(["plan"]).says("No changes");
    env.apply();
    env.ok(["lock", "--check"]);
    env.plans_nothing();
    assert_eq!(env.server().builds().len(), builds);
}

#[test]
fn an_import_into_a_project_with_pins_triggers_no_rebuild() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    env.apply();
    project.push("new", "new");
    let entry = format!("images:\n  - source: {}/new:1\n", project.front.address);
    env.edit("imgplan.yaml", "images:\n", &entry);
    env.apply();
    let builds = env.server().builds().len();
    let forget = |name: &str| {
        let lockfile = env.read("imgplan.lock");
        let begin = lockfile.find(&format!("  \"{name}\":\n    kind")).unwrap();
        let rest = &lockfile[begin + 2..];
        let end = rest.find("\n  \"").map_or(lockfile.len(), |end| begin + 2 + end + 1);
        env.write("imgplan.lock", format!("{}{}", &lockfile[..begin], &lockfile[end..]));
    };
    forget("new:1");
    forget("tool:latest");
    for image in ["new:1", "tool:latest"] {
        env.ok(["import", image]).says("Imported");
    }
    env.plans_nothing();
    assert_eq!(env.server().builds().len(), builds);
    // Nor do dependents of a reference without a pin.
    let lockfile = env.read("imgplan.lock");
    let begin = lockfile.find(&format!("  \"{}/new:1\":", project.front.address)).unwrap();
    let end = begin + lockfile[begin..].find("linux/arm64").unwrap();
    let end = end + lockfile[end..].find('\n').unwrap() + 1;
    env.write("imgplan.lock", format!("{}{}", &lockfile[..begin], &lockfile[end..]));
    forget("new:1");
    env.ok(["import", "new:1"]);
    env.plans_nothing();
    env.apply();
    env.ok(["lock", "--check"]);
    assert_eq!(env.server().builds().len(), builds);
}

#[test]
fn an_import_does_not_take_over_another_image() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: a, context: a}\n  - {name: b, context: b}\n",
    );
    env.context("a", "FROM scratch\n").context("b", "FROM scratch\nLABEL v=b\n").apply();
    env.edit("imgplan.yaml", "{name: b, context: b}", "{name: c, context: b}");
    let before = env.read("imgplan.lock");
    let taken = env.run(["import", "c", "a:latest"]);
    taken.code(1).says("a:latest is an image of the manifest, other than c:latest");
    let taken = env.run(["import", "c", "b:latest"]);
    taken.code(1).says("b:latest is already in the lockfile").says("moved:");
    assert_eq!(env.read("imgplan.lock"), before);
}

#[test]
fn a_missing_platform_is_an_error_and_the_others_are_pinned() {
    let Some(project) = Project::new() else { return };
    let mut layout = project.registry.layout("only-amd64");
    let amd64 = layout.image("linux/amd64", "only");
    let index = layout.index(&[&amd64]);
    layout.name("all", &index);
    project.registry.push(&layout, "all", "app:1");
    let env = &project.env;
    let lock = env.run(["lock"]);
    lock.code(1).says("2 new").says("app:1 is not available for linux/arm64, only for linux/amd64");
    lock.says("needed by app:1-arm64").says("imgplan.yaml:3");
    env.run(["lock", "--check"])
        .code(1)
        .says("1 entry")
        .says("app:1 is not available for linux/arm64");
    let plan = env.ok(["plan"]);
    plan.says("app:1 is not available for linux/arm64, only for linux/amd64; it is used");
    env.apply();
    let sources = project.sources();
    assert!(sources["app:1-amd64"].contains("@sha256:") && !sources["app:1-arm64"].contains('@'));
}

#[test]
fn an_image_without_an_index_has_one_platform() {
    let Some(project) = Project::new() else { return };
    let mut layout = project.registry.layout("single");
    let amd64 = layout.image("linux/amd64", "single");
    layout.name("one", &amd64);
    project.registry.push(&layout, "one", "app:1");
    let lock = project.env.run(["lock"]);
    lock.code(1).says("app:1 is not available for linux/arm64, only for linux/amd64");
    assert!(project.env.read("imgplan.lock").contains("\"linux/amd64\": \"sha256:"));
    // A repeated lookup is one HEAD.
    project.front.lines();
    project.env.run(["lock", "--upgrade"]).code(1);
    assert_eq!(project.front.lines().len(), 2);
}

#[test]
fn lock_prints_json() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    let host = &project.front.address;
    let more = format!(
        "images:\n  - source: {host}/Upper:1\n    name: upper\n  - source: {host}/app:none\n    name: none\n"
    );
    env.edit("imgplan.yaml", "images:\n", &more);
    env.context("open", "FROM busybox\n");
    let open = "images:\n  - {name: open, context: open, infer_bases: false}\n";
    env.edit("imgplan.yaml", "images:\n", open);
    let lock = env.run(["lock", "--json"]);
    let lines = lock.code(1).json();
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(
        kinds,
        [
            "version",
            "diagnostic",
            "pin",
            "pin",
            "diagnostic",
            "pin_summary",
            "diagnostic",
            "diagnostic",
            "diagnostic"
        ],
        "{}",
        lock.all()
    );
    let problems = lock.events("diagnostic");
    let (warning, problems) = problems.split_first().unwrap();
    assert!(warning["@message"].to_string().contains("lowercase names"), "{warning}");
    let of = |at: usize, key: &str| problems[at]["diagnostic"][key].to_string();
    assert!(of(0, "summary").contains("open has `infer_bases: false`"), "{}", lock.all());
    let summaries: Vec<String> = (1..3).map(|at| of(at, "summary")).collect();
    assert!(
        summaries.iter().any(|text| text.contains("Upper:1` cannot be pinned")),
        "{summaries:?}"
    );
    assert!(
        summaries.iter().any(|text| text.contains("app:none could not be pinned")),
        "{summaries:?}"
    );
    assert!((1..3).all(|at| of(at, "range").contains("imgplan.yaml")), "{}", lock.all());
    assert_eq!(lines[5]["pin_summary"]["new"], 2);
    env.run(["lock", "--check"]).code(1).says("2 entries").says("Upper:1` cannot be pinned");
}

#[test]
fn a_pattern_that_pins_nothing_is_rejected() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    env.context("plain", "FROM scratch\n");
    env.edit("imgplan.yaml", "images:\n", "images:\n  - {name: plain, context: plain}\n");
    for command in ["plan", "apply", "lock"] {
        let typo = env.run([command, "--upgrade-image", "tol", "--upgrade-image", "tool"]);
        typo.code(1).says("--upgrade-image: no image matches `tol`").says("`tool`");
        let none = env.run([command, "--upgrade-image", "plain"]);
        none.code(64).says("--upgrade-image: `plain` has no reference that can be pinned");
    }
}

#[test]
fn flags_contradict_each_other_by_their_values() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    let with = |args: &[&'static str], name: &str, value: &str| {
        env.call(args.iter().copied()).env(name, value).run()
    };
    with(&["plan", "--locked"], "IMGPLAN_UPGRADE", "false").success();
    with(&["plan", "--frozen"], "IMGPLAN_LOCKED", "false").success();
    with(&["plan", "--upgrade"], "IMGPLAN_OFFLINE", "false").success();
    with(&["lock", "--check"], "IMGPLAN_UPGRADE", "false").success();
    with(&["plan", "--locked"], "IMGPLAN_UPGRADE", "true").code(64).says("cannot be used with");
    for args in [
        &["plan", "--locked", "--frozen"][..],
        &["plan", "--offline", "--upgrade-image", "tool"],
        &["apply", "--frozen", "--upgrade"],
        &["lock", "--check", "--dry-run"],
        &["plan", "--refresh-only", "--offline"],
    ] {
        env.run(args.iter().copied()).code(64).says("cannot be used with");
    }
}

#[test]
fn a_lockfile_with_conflict_markers_is_not_up_to_date() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    env.apply();
    let ours = env.read("imgplan.lock");
    project.push("base", "base two");
    env.ok(["lock", "--upgrade"]);
    let theirs = env.read("imgplan.lock");
    env.write("imgplan.lock", format!("<<<<<<< a\n{ours}=======\n{theirs}>>>>>>> b\n"));
    for args in [["lock", "--check"], ["plan", "--locked"]] {
        env.run(args).code(1).says("has conflict markers, and --");
    }
    env.ok(["plan"]).says("the sides of the merge pin").says("base:1 to");
    env.ok(["lock"]).says("the sides of the merge pin");
    assert_eq!(env.read("imgplan.lock"), ours);
    env.ok(["lock", "--check"]);
}

#[test]
fn the_age_of_cached_lookups_is_reported() {
    let Some(project) = Project::new() else { return };
    let env = &project.env;
    env.ok(["lock"]);
    env.apply();
    env.ok(["plan", "--upgrade"])
        .says("No changes")
        .says("2 registry lookups from the cache, up to ");
    env.ok(["plan", "--upgrade", "--max-age", "0s"]).never_says("registry lookups from the cache");
    env.ok(["plan"]).never_says("registry lookups from the cache");
}

#[test]
fn a_run_of_some_targets_records_its_pins_in_a_shared_state() {
    let Some(mut project) = Project::new() else { return };
    let url = format!("file://{}", project.env.path("store").display());
    project.env.set("IMGPLAN_STATE", &url);
    project.env.ok(["state", "init"]);
    project.env.ok(["lock"]);
    project.env.apply();
    project.push("base", "base two");
    project.env.ok(["apply", "--auto-approve", "--target", "tool", "--upgrade-image", "tool"]);
    project.env.plans_nothing();
}
