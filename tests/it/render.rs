//! The look of a plan in the whole program: grouped where it is large, uncut where it is piped, and
//! in the columns of the terminal where there is one.

use std::fmt::Write as _;

use crate::support::TestEnv;

/// A manifest of many mirrors.
fn mirrors(count: usize) -> TestEnv {
    let mut text = "version: 1\nimages:\n".to_owned();
    for index in 0..count {
        let _ = writeln!(text, "  - {{ source: 'docker.io/library/image-{index}:1.0' }}");
    }
    TestEnv::manifest(&text)
}

#[test]
fn a_large_plan_is_short() {
    let env = mirrors(120);
    let plan = env.ok(["plan"]);
    plan.says("+ 120 images mirror new image-0:1.0, image-1:1.0, image-10:1.0 and 117 more");
    plan.says("about 12 requests (transfers: 120 at 10/60s, at least 11m00s)");
    plan.says("`imgplan why NAME` explains one; `--verbose` lists all of them.");
    assert_eq!(plan.steps().len(), 1, "{plan}");
    assert_eq!(env.ok(["plan", "--verbose"]).steps().len(), 120);
    assert_eq!(env.ok(["plan", "--json"]).events("planned_change").len(), 120);
    assert_eq!(
        plan.last_line(),
        "Plan: 120 to create, 0 to rebuild, 0 to update, 0 to destroy, 0 to forget. 0 unchanged."
    );
}

#[test]
fn the_limits_in_use_are_those_that_are_told() {
    let plan = mirrors(5).ok(["plan", "--limit", "images=2/30s"]);
    plan.says("5 transfers, about 3 requests (transfers: 5 at 2/30s, at least 1m00s).");
}

/// Whatever `COLUMNS` says: a pipe has none.
#[test]
fn what_is_piped_is_whole() {
    let mut env = TestEnv::manifest("version: 1\nimages: [{ name: a, context: a }]\n");
    env.context("a", "FROM scratch\n").apply();
    env.set("COLUMNS", "30");
    let long = "a-folder-with-a-long-name/and-a-file-in-it-that-is-called-by-one-too.txt";
    env.write(&format!("a/{long}"), "");
    assert_eq!(env.ok(["plan"]).steps(), [format!("-/+ a:latest build context: + {long}")]);
}

/// `script`, where there is one, gives the program a terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_has_columns() {
    let env = TestEnv::manifest("version: 1\nimages: [{ name: a, context: a }]\n");
    env.context("a", "FROM scratch\n").apply();
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
