//! Files about a run: reports for people and programs, and JSON lines beside the text.

use std::process::Command;
use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use serde_json::{Value, json};

use crate::support::{Output, TestEnv, wait_until};

/// The flags of all reports.
const ALL: [&str; 10] = [
    "--report",
    "run.html",
    "--report",
    "run.md",
    "--junit",
    "run.xml",
    "--metadata-file",
    "meta.json",
    "--json-into",
    "run.jsonl",
];

/// A base with a dependent that fails and one that does not, a target that needs the failing one, and a
/// mirror.
fn project(env: &TestEnv) {
    env.write(
        "imgplan.yaml",
        "version: 1
defaults: {tag: v1}
images:
  - {name: base, context: base}
  - {name: api, context: api}
  - {name: on-api, context: on-api}
  - {name: other, context: other}
  - {name: copy, source: quay.io/library/redis:7}
",
    );
    env.context("base", "FROM scratch\n")
        .context("api", "FROM base:v1\nCOPY src/missing.py /app/\n")
        .context("on-api", "FROM api:v1\n")
        .context("other", "FROM base:v1\n");
}

fn apply(env: &TestEnv, flags: &[&str]) -> Output {
    env.run(["apply", "--auto-approve"].into_iter().chain(flags.iter().copied()))
}

fn metadata(env: &TestEnv) -> Value {
    serde_json::from_str(&env.read("meta.json")).unwrap()
}

/// Returns JSON lines without their times.
fn lines(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("@timestamp");
        value
    };
    text.lines().map(line).collect()
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["type"] == kind).count()
}

#[test]
fn a_run_with_a_failure_has_all_reports() {
    let env = TestEnv::at("http://127.0.0.1:1");
    project(&env);
    let failed = apply(&env, &[&["--local"], &ALL[..]].concat());
    failed.code(1).says("3 checked and not built").says("1 failed, 1 skipped");
    let error = "`src/missing.py` is not in the build context";

    let page = env.read("run.html");
    assert!(page.contains("<h1 class=\"failed\">1 failed, 1 skipped, 3 done</h1>"), "{page}");
    assert!(page.contains(&format!("Dockerfile: line 2: {error}</pre>")), "{page}");
    assert!(page.contains("1 target: depends on api:v1, which failed"), "{page}");
    assert_eq!(page.matches("<div class=bar").count(), 5, "{page}");
    assert!(page.contains("<b>initiate</b>") && page.contains("<b>transfers</b>"), "{page}");
    assert_eq!(page.matches("title=\"check, done: ").count(), 3, "{page}");

    let text = env.read("run.md");
    assert!(text.starts_with("### Apply: 3 checked and not built"), "{text}");
    assert!(
        text.contains("is not in the build context")
            && text.contains("depends on api:v1, which failed"),
        "{text}"
    );
    assert!(text.contains("| <code>base:v1</code> | check | done | "), "{text}");

    let of = metadata(&env);
    assert_eq!(of.as_object().unwrap().len(), 5, "{of:#}");
    // Nothing was built.
    assert_eq!(of["base:v1"]["image.name"], Value::Null);
    let base = &of["base:v1"]["imgplan"];
    assert_eq!((&base["status"], &base["action"]), (&json!("done"), &json!("check")));
    assert!(base["build_id"].is_string() && base["seconds"].as_f64().unwrap() > 0.0, "{of:#}");
    let api = &of["api:v1"];
    assert_eq!(
        (api["imgplan"]["status"].as_str(), &api["image.name"]),
        (Some("failed"), &Value::Null)
    );
    assert!(api["imgplan"]["error"].as_str().unwrap().contains(error), "{of:#}");
    let cause = json!({ "because": "dependency_failed", "failed": "api:v1" });
    assert_eq!(of["on-api:v1"]["imgplan"]["skipped"], cause);

    let lines = lines(&env.read("run.jsonl"));
    assert_eq!(lines[0]["type"], "version");
    let counts = ["planned_change", "apply_complete", "apply_errored", "apply_skipped"];
    assert_eq!(counts.map(|kind| count(&lines, kind)), [5, 3, 1, 1]);
    assert_eq!(lines.last().unwrap()["changes"]["operation"], "apply");
}

/// Python's parser stands for those of CI systems.
#[test]
fn the_junit_report_is_xml() {
    let env = TestEnv::new();
    project(&env);
    apply(&env, &["--junit", "run.xml"]).code(1);
    let script = "import sys, xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find('testsuite')
print(*[suite.get(key) for key in ('name', 'tests', 'failures', 'skipped')], sep=',')
for case in suite:
    action = case.find('properties/property').get('value')
    print(case.get('classname'), action, case.get('name'), *[child.tag for child in case][1:])
    float(case.get('time'))
print(suite.find('testcase/failure').text)";
    let parsed = Command::new("python3").args(["-c", script]).arg(env.path("run.xml")).output();
    let Ok(parsed) = parsed else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no python3\n");
        return;
    };
    let shown = String::from_utf8(parsed.stdout).unwrap();
    assert!(parsed.status.success(), "{}", env.read("run.xml"));
    for line in [
        "imgplan apply,5,1,1",
        "imgplan build base:v1",
        "build api:v1 failure",
        "build on-api:v1 skipped",
        "imgplan mirror copy:7",
        "the build failed: Dockerfile: line 2",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn reports_are_written_after_ctrl_c() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(3600),
        ..ServerConfig::default()
    });
    project(&env);
    let run = ["apply", "--auto-approve", "--exclude", "copy", "--concurrency", "1"];
    let run = env.call(run.into_iter().chain(ALL)).start();
    wait_until("a build was started", || env.server().builds().iter().any(|build| build.started));
    run.signal("INT");
    wait_until("it stops", || run.has_said("Press Ctrl-C again"));
    run.signal("INT");
    run.wait().code(130);
    let of = metadata(&env);
    let status = |unit: &str| of[unit]["imgplan"]["status"].as_str().map(str::to_owned);
    assert_eq!(status("base:v1").as_deref(), Some("pending"), "{of:#}");
    assert_eq!(of["base:v1"]["imgplan"]["build_id"], *env.server().builds()[0].id);
    for unit in ["api:v1", "on-api:v1", "other:v1"] {
        assert_eq!(of[unit]["imgplan"]["skipped"]["because"], "interrupted", "{of:#}");
    }
    assert!(env.read("run.html").contains("<p>Stopped by Ctrl-C.</p>"));
    assert!(env.read("run.md").contains("**Note:** Stopped by Ctrl-C"));
    assert!(env.read("run.xml").contains("type=\"pending while"));
}

#[test]
fn nothing_is_sent_if_a_file_cannot_be_written() {
    let env = TestEnv::new();
    project(&env);
    std::fs::create_dir(env.path("folder.html")).unwrap();
    for (flag, path, why) in [
        ("--report", "missing/run.html", "create the folder first"),
        ("--report", "folder.html", "name a file, not a folder"),
        ("--junit", "missing/run.xml", "create the folder first"),
        ("--metadata-file", "base", "name a file, not a folder"),
        ("--json-into", "missing/run.jsonl", "create the folder first"),
    ] {
        apply(&env, &[flag, path]).code(1).says(&format!("cannot write {path}")).says(why);
    }
    let unknown = apply(&env, &["--report", "run.txt"]);
    unknown.code(64).says("FILE.html").says("FILE.md");
    apply(&env, &["--junit", "run.xml", "--refresh-only"]).code(64).says("--refresh-only");
    assert_eq!(env.server().requests(), [""; 0]);
    assert!(!env.exists("imgplan.lock"));
}

#[test]
fn a_run_whose_report_cannot_be_written_in_the_end_fails_and_keeps_its_results() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(2),
        ..ServerConfig::default()
    });
    project(&env);
    std::fs::create_dir(env.path("out")).unwrap();
    let flags = ["apply", "--auto-approve", "--target", "base"];
    let flags = flags.into_iter().chain(["--report", "out/run.md", "--metadata-file", "meta.json"]);
    let run = env.call(flags).start();
    wait_until("a build was started", || env.server().builds().iter().any(|build| build.started));
    std::fs::remove_dir(env.path("out")).unwrap();
    let output = run.wait();
    output.code(1).says("cannot write out/run.md").says("Apply: 1 built");
    assert!(env.read("imgplan.lock").contains("prime/local/base:v1"));
    // The plan did not cover the other targets.
    assert_eq!(metadata(&env).as_object().unwrap().len(), 1);
}

#[test]
fn the_reports_of_a_run_whose_lockfile_cannot_be_written_say_so() {
    let env = TestEnv::with(ServerConfig {
        build_time: Duration::from_secs(2),
        ..ServerConfig::default()
    });
    project(&env);
    let run = ["apply", "--auto-approve", "--target", "base"];
    let run = env.call(run.into_iter().chain(ALL)).start();
    wait_until("a build was started", || env.server().builds().iter().any(|build| build.started));
    std::fs::create_dir(env.path("imgplan.lock")).unwrap();
    run.wait().code(1).says("Apply: 1 built").says("imgplan.lock");
    let page = env.read("run.html");
    assert!(page.contains("<h1 class=\"failed\">1 done</h1>"), "{page}");
    assert!(page.contains("<p>The command failed: "), "{page}");
    assert!(env.read("run.md").contains("**Note:** The command failed"));
    let xml = env.read("run.xml");
    assert!(xml.contains("errors=\"1\"") && xml.contains("<error message="), "{xml}");
}

#[test]
fn a_plan_without_steps_has_reports() {
    let mut env = TestEnv::new();
    project(&env);
    env.write("api/src/missing.py", "");
    env.apply();
    env.set("IMGPLAN_REPORT", "run.html\nrun.md").set("IMGPLAN_METADATA_FILE", "meta.json");
    env.apply();
    let of = metadata(&env);
    assert_eq!(of.as_object().unwrap().len(), 5, "{of:#}");
    let expected = json!({
        "image.name": "prime/local/copy:7",
        "imgplan": { "status": "unchanged", "build_id": env.build_of("copy:7") },
    });
    assert_eq!(of["copy:7"], expected);
    assert!(env.read("run.html").contains("<title>No changes</title>"));
    assert!(env.exists("run.md"));
}

#[test]
fn json_lines_in_a_file_are_those_of_json() {
    let env = TestEnv::new();
    project(&env);
    let (text, json) = (env.ok(["plan"]), env.ok(["plan", "--json"]));
    let both = env.ok(["plan", "--json-into", "plan.jsonl"]);
    assert_eq!((&both.stdout, &both.stderr), (&text.stdout, &text.stderr));
    assert_eq!(lines(&env.read("plan.jsonl")), lines(&json.stdout));
    // Errors, and the other form of a plan.
    env.write("imgplan.yaml", "version: 1\nimages: 3\n");
    env.run(["plan", "--json-into", "plan.jsonl"]).code(1);
    assert!(count(&lines(&env.read("plan.jsonl")), "diagnostic") > 0);
    project(&env);
    env.write("api/src/missing.py", "");
    env.apply();
    env.ok(["plan", "--refresh-only", "--json-into", "plan.jsonl"]).says("No drift.");
    assert_eq!(count(&lines(&env.read("plan.jsonl")), "refresh_complete"), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn json_lines_that_cannot_be_written_are_an_error() {
    let env = TestEnv::new();
    project(&env);
    env.run(["plan", "--json-into", "/dev/full"]).code(1).says("cannot write /dev/full");
}

/// A checkout may have put the link there.
#[cfg(unix)]
#[test]
fn a_link_is_replaced_and_the_file_behind_it_stays() {
    let env = TestEnv::new();
    project(&env);
    env.write("victim", "precious").write("api/src/missing.py", "");
    for name in ["run.html", "run.md", "run.xml", "meta.json", "run.jsonl"] {
        std::os::unix::fs::symlink(env.path("victim"), env.path(name)).unwrap();
    }
    apply(&env, &ALL).success();
    assert_eq!(env.read("victim"), "precious");
    assert!(!env.path("run.jsonl").is_symlink() && !env.path("run.html").is_symlink());
}

#[test]
fn no_report_replaces_another_file_of_the_run() {
    let env = TestEnv::manifest("version: 1\nimages:\n  - {name: a, context: a}\n");
    env.context("a", "FROM scratch\n");
    let manifest = env.read("imgplan.yaml");
    for (args, message) in [
        (&["--junit", "imgplan.yaml"][..], "--junit imgplan.yaml would replace the manifest"),
        (&["--metadata-file", "./imgplan.lock"], "would replace the lockfile"),
        (&["--junit", "x", "--json-into", "./x"], "--json-into ./x would replace --junit"),
        (&["--report", "a.md", "--report", "a.md"], "would replace --report"),
    ] {
        let args = [&["apply", "--auto-approve"], args].concat();
        env.run(args.iter().copied()).code(64).says(message);
    }
    env.run(["plan", "--out", "p", "--json-into", "p"]).code(64).says("would replace --json-into");
    assert_eq!(env.read("imgplan.yaml"), manifest);
    assert_eq!(env.server().writes(), [""; 0]);
    let paths = env.call(["apply", "--auto-approve"]).env("IMGPLAN_REPORT", "a.md\nb.html\n");
    paths.run().success();
    assert!(env.exists("a.md") && env.exists("b.html"));
}

#[cfg(unix)]
#[test]
fn a_device_is_written_to_and_a_secret_variable_is_not_shown() {
    let env = TestEnv::manifest(
        "version: 1\nvars: {TOKEN: none}\nimages:\n  - {name: a, context: a, args: {T: \"${TOKEN}\"}}\n",
    );
    env.context("a", "FROM scratch\nARG T\nCOPY missing /\n");
    let args = ["apply", "--auto-approve", "--metadata-file", "/dev/fd/1", "--report", "r.md"];
    let output = env.run(args.into_iter().chain(["--var", "TOKEN=hunter2secret"]));
    output.code(1).says("\"status\": \"failed\"").says("--var 'TOKEN=***'");
    output.never_says("TOKEN=hunter2secret");
    assert!(!env.read("r.md").contains("TOKEN=hunter2secret"));
}
