//! The text of plans in the whole program: grouped if large, uncut in a pipe, and fitted to the
//! columns of a terminal.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::support::TestEnv;

/// Returns an environment with a manifest of many mirrors.
fn mirrors(count: usize) -> TestEnv {
    let mut text = "version: 1\nimages:\n".to_owned();
    for index in 0..count {
        let _ = writeln!(text, "  - {{ source: 'docker.io/library/image-{index}:1.0' }}");
    }
    TestEnv::manifest(&text)
}

#[test]
fn a_large_plan_is_grouped() {
    let env = mirrors(120);
    let plan = env.ok(["plan"]);
    plan.says("+ 120 targets mirror new image-0:1.0, image-1:1.0, image-10:1.0 and 117 more");
    plan.says("about 12 requests (transfers: 120 at 10/60s, at least 11m00s)");
    plan.says("`imgplan why NAME` explains one target; `--verbose` lists all.");
    assert_eq!(plan.steps().len(), 1, "{plan}");
    assert_eq!(env.ok(["plan", "--verbose"]).steps().len(), 120);
    assert_eq!(env.ok(["plan", "--json"]).events("planned_change").len(), 120);
    assert_eq!(
        plan.last_line(),
        "Plan: 120 to create, 0 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged."
    );
}

#[test]
fn the_cost_uses_the_limits_of_the_flags() {
    let plan = mirrors(5).ok(["plan", "--limit", "images=2/30s"]);
    plan.says("5 transfers, about 3 requests (transfers: 5 at 2/30s, at least 1m00s).");
}

/// Returns an environment after an apply whose manifest then loses images, one of them protected, and
/// renames one.
fn renames_and_orphans() -> TestEnv {
    let env = TestEnv::manifest(
        "version: 1\ndefaults: {tag: v1}\nimages:\n  - {name: base, context: a, protect: true}\n  \
         - {name: api, context: api}\n  - {name: web, context: web}\n  \
         - {name: dropped, context: a}\n  - {name: kept, context: a, protect: true}\n  \
         - {name: old, context: old}\n  - {name: was, context: was}\n",
    );
    env.context("a", "FROM scratch\nCOPY . /\n").context("api", "FROM base:v1\n");
    env.context("web", "FROM scratch\nCOPY x /\n").write("web/x", "1");
    env.context("old", "FROM scratch\nLABEL a=1\n").context("was", "FROM scratch\nLABEL a=2\n");
    env.apply();
    env.write("a/new", "").write("web/x", "2");
    let before = env.read("imgplan.yaml");
    let text = before
        .replace("  - {name: dropped, context: a}\n", "")
        .replace("  - {name: kept, context: a, protect: true}\n", "")
        .replace("name: old,", "name: new,")
        .replace("name: was,", "name: is,");
    env.write("imgplan.yaml", format!("{text}moved: [{{from: old, to: new}}]\n"));
    env
}

#[test]
fn a_plan_shows_deleted_and_kept_images() {
    let env = renames_and_orphans();
    assert_snapshot!(env.ok(["plan", "--prune"]).shown(), @"
    exit 0
    --- stdout
    imgplan: 5 targets, owner personal, lockfile imgplan.lock, service [service]

      -/+ base:v1  build   context: + new
        + is:v1    build   new
        ~ new:v1   update  was old:v1
      -/+ web:v1   build   context: ~ x
      -/+ api:v1   build   its base base:v1 changes

    Deletes 2 images:
        - dropped:v1  delete  removed from the manifest
        - was:v1      delete  removed from the manifest

    Replaces 1 protected image: base:v1

    1 protected image is not in the manifest and is kept: kept:v1 (to forget or delete it, list it under `removed:`)
    `is:v1` has the same content as `was:v1`, which is no longer in the manifest: if it was renamed, add `moved: [{from: was:v1, to: is:v1}]`

    + create   - delete   -/+ rebuild over the existing tag   ~ update without a build
    Order: base:v1 first, then what depends on them (1 target). Longest chain: 2.
    Cost: 4 builds with 23 B of context to pack, 1 update, 2 deletions, about 11 requests (initiate: 4 of 150/60s).
    Plan: 1 to create, 3 to rebuild, 1 to update, 2 to delete, 0 to forget. 0 unchanged.
    ");
    assert_snapshot!(env.ok(["why", "kept"]).shown(), @"
    exit 0
    --- stdout
    No changes to kept:v1. It is not in the manifest and is kept because it is protected; to forget or delete it, list it under `removed:`.
    ");
    assert_snapshot!(env.ok(["why", "new"]).shown(), @"
    exit 0
    --- stdout
    ~ new:v1  update

    renamed from old:v1 by `moved` (imgplan.yaml:9)
    ");
}

#[test]
fn a_partial_run_says_so_before_and_after() {
    let env = renames_and_orphans();
    assert_snapshot!(env.ok(["plan", "--target", "api"]).shown(), @"
    exit 0
    --- stdout
    imgplan: 5 targets, owner personal, lockfile imgplan.lock, service [service]

    Note: this is a partial plan: 1 target selected, 5 steps left out.

      -/+ base:v1  build   context: + new (needed by the selection)
      -/+ api:v1   build   its base base:v1 changes

    Replaces 1 protected image: base:v1

    -/+ rebuild over the existing tag
    Order: base:v1 first, then what depends on them (1 target). Longest chain: 2.
    Cost: 2 builds with 22 B of context to pack, about 4 requests (initiate: 2 of 150/60s).
    Plan: 0 to create, 2 to rebuild, 0 to update, 0 to delete, 0 to forget. 0 unchanged.
    ");
    let apply = env.ok(["apply", "--auto-approve", "--target", "api", "--quiet"]);
    apply.says("Note: this was a partial run: 1 target selected, ");
    let summaries = env.ok(["plan", "--target", "api", "--json"]).events("change_summary");
    assert_eq!(summaries[0]["changes"]["partial"]["selected"], 1);
    env.ok(["plan", "--target", "api"]).says("No changes. The selected target matches the");
}

/// `COLUMNS` does not count in a pipe.
#[test]
fn piped_output_is_not_cut() {
    let mut env = TestEnv::manifest("version: 1\nimages: [{ name: a, context: a }]\n");
    env.context("a", "FROM scratch\nCOPY . /\n").apply();
    env.set("COLUMNS", "30");
    let long = "a-folder-with-a-long-name/and-a-file-in-it-that-is-called-by-one-too.txt";
    env.write(&format!("a/{long}"), "");
    assert_eq!(env.ok(["plan"]).steps(), [format!("-/+ a:latest build context: + {long}")]);
}

/// Runs the program in a terminal that `script` provides; does nothing without `script`.
#[cfg(target_os = "linux")]
#[test]
fn lines_fit_the_terminal() {
    let env = TestEnv::manifest("version: 1\nimages: [{ name: a, context: a }]\n");
    env.context("a", "FROM scratch\nCOPY . /\n").apply();
    env.write("a/a-folder-with-a-long-name/and-a-file-in-it-that-is-called-by-one-too.txt", "");
    let program = env!("CARGO_BIN_EXE_imgplan");
    for (first, columns) in [("stty rows 24 cols 60", ""), ("true", "60")] {
        let command = format!("{first}; {program} plan --offline");
        let call = std::process::Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .current_dir(env.path(""))
            .envs([("COLUMNS", columns), ("NO_COLOR", "1"), ("TERM", "xterm")])
            .env("PRIME_API_BASE_URL", env.server().url())
            .env("HOME", env.home())
            .stdin(std::process::Stdio::null())
            .output();
        let Ok(output) = call else { return };
        let shown = String::from_utf8(output.stdout).unwrap();
        let line = shown.lines().find(|line| line.contains("a:latest")).unwrap_or_default();
        assert_eq!(line.trim_end(), "  -/+ a:latest  build   context: …", "{first}\n{shown}");
        assert!(shown.lines().all(|line| line.trim_end().chars().count() <= 60), "{shown}");
    }
}
