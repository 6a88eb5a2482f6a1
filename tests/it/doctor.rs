//! `imgplan doctor`: one line for each check, and exit 1 if an apply would stop.

use std::io::Write;
use std::process::Command;

use imgplan::test_support::server::ServerConfig;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{Answer, KEY, Output, Scripted, TestEnv};

const MANIFEST: &str = "version: 1\nimages: [{name: app, tag: v1, context: app}]\n";

/// A project with one image that needs no registry.
fn project() -> TestEnv {
    project_with(TestEnv::new())
}

fn project_with(env: TestEnv) -> TestEnv {
    env.write("imgplan.yaml", MANIFEST);
    env.context("app", "FROM scratch\n");
    env
}

/// Returns the verdict of each check.
fn verdicts(output: &Output) -> Vec<(String, String)> {
    let checks = output.events("check").into_iter();
    let text = |check: &Value, key: &str| check["check"][key].as_str().unwrap().to_owned();
    checks.map(|check| (text(&check, "name"), text(&check, "verdict"))).collect()
}

/// Returns the finding and the correction of the only check with this name and verdict.
#[track_caller]
fn finding(output: &Output, name: &str, verdict: &str) -> String {
    let checks = output.events("check");
    let mut found = checks
        .iter()
        .map(|check| &check["check"])
        .filter(|check| check["name"] == name && (check["verdict"] == verdict));
    let check = found.next().unwrap_or_else(|| panic!("no {verdict} of {name}:\n{output}"));
    assert!(found.next().is_none(), "{output}");
    let help = check["help"].as_str().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}{help}", check["finding"].as_str().unwrap())
}

/// Checks one line of `doctor --json` and the exit code, and that no secret is printed.
#[track_caller]
fn doctor(env: &TestEnv, args: &[&str], exit: i32) -> Output {
    let output = env.run(["doctor", "--json"].into_iter().chain(args.iter().copied()));
    output.code(exit).never_says(KEY);
    let summary = &output.events("check_summary")[0]["check_summary"];
    assert_eq!(summary["stops_apply"], exit == 1, "{output}");
    output
}

#[test]
fn a_healthy_machine_has_aligned_lines_without_errors() {
    let env = project();
    let before = env.listing();
    let output = env.ok(["doctor"]);
    output.never_says(KEY);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let starts: Vec<String> =
        lines.iter().map(|line| line.chars().take(19).collect::<String>()).collect();
    let words: Vec<Vec<&str>> =
        starts.iter().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = words[..8].iter().map(|words| words[1]).collect();
    assert_eq!(
        names,
        ["manifest", "service", "key", "clock", "owner", "temp", "state", "files"],
        "{output}"
    );
    let column = |line: &str, word: &str| line.find(word).unwrap();
    let place = column(lines[0], "imgplan.yaml");
    assert_eq!(column(lines[1], "http://"), place, "{output}");
    assert!(lines[2].ends_with("the key of PRIME_API_KEY is accepted"), "{output}");
    assert_eq!(lines.len(), 9, "{output}");
    // Nothing is written, and only read.
    assert_eq!(env.listing(), before);
    assert_eq!(env.server().requests(), ["GET /images/builds"]);
}

#[test]
fn a_wrong_key_is_an_error() {
    let mut env = project();
    env.set("PRIME_API_KEY", "pk-wr0ng-but-s3cret");
    let output = doctor(&env, &[], 1);
    output.never_says("s3cret");
    assert!(finding(&output, "service", "ok").ends_with("responds"));
    let key = finding(&output, "key", "error");
    assert!(key.starts_with("the key of PRIME_API_KEY is refused: "), "{key}");
    assert!(key.contains("HTTP 401"), "{key}");
    env.run(["apply", "--auto-approve"]).code(1);
}

#[test]
fn without_a_key_nothing_is_sent() {
    let mut env = project();
    env.unset("PRIME_API_KEY");
    let output = doctor(&env, &[], 1);
    assert!(finding(&output, "key", "error").contains("set PRIME_API_KEY"));
    finding(&output, "service", "skipped");
    assert_eq!(env.server().requests(), [""; 0]);
    // The key of the provider's own client.
    let file = json!({ "api_key": KEY, "base_url": env.server().url() });
    std::fs::create_dir(env.home().join(".prime")).unwrap();
    std::fs::write(env.home().join(".prime/config.json"), file.to_string()).unwrap();
    let key = finding(&doctor(&env, &[], 0), "key", "ok");
    assert_eq!(key, "the key of ~/.prime/config.json is accepted");
}

#[test]
fn a_manifest_cannot_move_the_key() {
    let mut env = project();
    env.unset("PRIME_API_BASE_URL");
    env.write("imgplan.yaml", format!("{MANIFEST}settings: {{url: 'https://evil.example'}}\n"));
    let output = doctor(&env, &[], 1);
    let key = finding(&output, "key", "error");
    assert!(key.contains("https://evil.example") && key.contains("IMGPLAN_ALLOW_URL"), "{key}");
    finding(&output, "service", "skipped");
}

#[test]
fn a_dead_service_is_an_error() {
    let env = project_with(TestEnv::at("http://127.0.0.1:9"));
    let output = doctor(&env, &[], 1);
    let service = finding(&output, "service", "error");
    assert!(service.contains("cannot reach the service: http://127.0.0.1:9"), "{service}");
    finding(&output, "key", "skipped");
    finding(&output, "clock", "skipped");
    let env = project_with(TestEnv::at("ftp://127.0.0.1:9"));
    let output = doctor(&env, &[], 1);
    let service = finding(&output, "service", "error");
    assert!(service.contains("start it with https://"), "{service}");
    let names: Vec<String> = verdicts(&output).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["manifest", "service", "temp", "state", "files"]);
}

/// A service that is over its limit, and one that has a problem for a while, does not stop an apply.
#[test]
fn what_may_pass_is_a_warning() {
    let service = Scripted::start();
    let limited = Answer::detail(429, "Rate limit exceeded").header("retry-after", "3600");
    service.on("GET", "/images/builds", [limited, Answer::detail(503, "maintenance")]);
    let env = project_with(TestEnv::at(service.url()));
    let found = finding(&doctor(&env, &[], 0), "service", "warning");
    assert!(found.contains("responds; its rate limit is reached"), "{found}");
    let output = doctor(&env, &[], 0);
    let found = finding(&output, "service", "warning");
    assert!(found.contains("HTTP 503") && found.contains("maintenance"), "{found}");
    finding(&output, "key", "skipped");
    assert_eq!(finding(&output, "clock", "skipped"), "not checked");
}

#[test]
fn nobody_is_asked_offline() {
    let mut env = project();
    env.set("PRIME_TEAM_ID", "t1");
    env.context("app", "FROM registry.invalid/app:1\n");
    let output = doctor(&env, &["--offline"], 0);
    for name in ["service", "key", "clock", "owner"] {
        finding(&output, name, "skipped");
    }
    assert_eq!(finding(&output, "registry", "skipped"), "none was asked: --offline");
    env.set("IMGPLAN_OFFLINE", "true");
    finding(&doctor(&env, &[], 0), "service", "skipped");
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn another_server_than_the_service_is_an_error() {
    let service = Scripted::start();
    service.on("GET", "/images/builds", [Answer::text(200, "<html>sign in</html>")]);
    let env = project_with(TestEnv::at(service.url()));
    let found = finding(&doctor(&env, &[], 1), "service", "error");
    assert!(found.contains("HTML page") && found.contains("proxy"), "{found}");
    service.on("GET", "/images/builds", [Answer::text(401, "<html>sign in</html>")]);
    let output = doctor(&env, &[], 1);
    let found = finding(&output, "service", "error");
    assert!(found.contains("HTTP 401") && found.contains("proxy"), "{found}");
    finding(&output, "key", "skipped");
}

/// Returns a service whose clock differs from that of this machine.
fn service_at(ahead: SignedDuration) -> Scripted {
    let service = Scripted::start();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let date = printer.timestamp_to_rfc9110_string(&(jiff::Timestamp::now() + ahead)).unwrap();
    let page = Answer::json(200, &json!({ "data": [] })).header("date", &date);
    service.on("GET", "/images/builds", [page]);
    service
}

#[test]
fn a_wrong_clock_is_a_warning() {
    for (seconds, expected) in [(900, "behind"), (-900, "ahead of")] {
        let service = service_at(SignedDuration::from_secs(seconds));
        let env = project_with(TestEnv::at(service.url()));
        let clock = finding(&doctor(&env, &[], 0), "clock", "warning");
        assert!(clock.starts_with("this machine's clock is 1"), "{clock}");
        assert!(clock.contains(expected) && clock.contains("NTP"), "{clock}");
    }
    let service = service_at(SignedDuration::ZERO);
    let env = project_with(TestEnv::at(service.url()));
    finding(&doctor(&env, &[], 0), "clock", "ok");
}

#[test]
fn teams_are_asked_for() {
    let mut env = project();
    env.set("PRIME_TEAM_ID", "t1");
    let owner = finding(&doctor(&env, &[], 0), "owner", "ok");
    assert_eq!(owner, "team t1 (PRIME_TEAM_ID): the key may read its images");

    let service = service_at(SignedDuration::ZERO);
    service.on("GET", "/images", [Answer::detail(403, "not a member of the team")]);
    let env = project_with(TestEnv::at(service.url()));
    let manifest = MANIFEST.replace("context: app", "context: app, owner: {team: t2}");
    env.write("imgplan.yaml", manifest);
    let output = doctor(&env, &[], 1);
    assert_eq!(finding(&output, "owner", "ok"), "personal");
    let owner = finding(&output, "owner", "error");
    assert!(owner.starts_with("team t2 (manifest): ") && owner.contains("not a member"), "{owner}");

    let image =
        |team: u32| format!("- {{name: a{team}, context: app, owner: {{team: x{team}}}}}\n");
    let images: String = (0..9).map(image).collect();
    env.write("imgplan.yaml", format!("version: 1\nimages:\n{images}"));
    let more = finding(&doctor(&env, &[], 1), "owner", "skipped");
    assert_eq!(more, "2 more owners not checked");
}

#[test]
fn without_a_manifest_the_machine_is_checked() {
    let env = TestEnv::new();
    let output = doctor(&env, &[], 0);
    assert!(finding(&output, "manifest", "skipped").contains("there is no imgplan.yaml"));
    let summary = env.ok(["doctor"]).stdout;
    assert!(summary.ends_with("\nNo errors: 1 check skipped.\n"), "{summary}");
    finding(&output, "key", "ok");
    let named = doctor(&env, &["-f", "other.yaml"], 1);
    assert_eq!(verdicts(&named)[0], ("manifest".to_owned(), "error".to_owned()));
    env.write("imgplan.yaml", "version: 1\nimages: 7\n");
    let broken = finding(&doctor(&env, &[], 1), "manifest", "error");
    assert!(broken.contains("1 problem in imgplan.yaml; run `imgplan validate`"), "{broken}");
}

#[test]
fn the_server_inside_of_imgplan_needs_no_account() {
    let mut env = project();
    env.unset("PRIME_API_KEY");
    let output = doctor(&env, &["--local"], 0);
    let names: Vec<String> = verdicts(&output).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["manifest", "service", "engine", "temp", "state", "files"]);
    assert!(finding(&output, "engine", "ok").starts_with("check: "));
    assert_eq!(env.server().requests(), [""; 0]);
    env.run(["doctor", "--engine", "buildah"]).code(64).says("add --local");
    // A machine without any program.
    env.set("PATH", "/nonexistent");
    let engine = finding(&doctor(&env, &["--local", "--engine", "buildah"], 1), "engine", "error");
    assert!(engine.contains("buildah") && engine.contains("not in PATH"), "{engine}");
    finding(&doctor(&env, &["--local", "--engine", "auto"], 0), "engine", "warning");
    finding(&doctor(&env, &["--local"], 0), "engine", "ok");
}

#[test]
fn a_missing_folder_for_temporary_files_is_an_error() {
    let mut env = project();
    let folder = env.path("nowhere").display().to_string();
    env.set("TMPDIR", &folder);
    let temp = finding(&doctor(&env, &[], 1), "temp", "error");
    assert!(temp.contains("nowhere: cannot create a file") && temp.contains("TMPDIR"), "{temp}");
    env.run(["apply", "--auto-approve"]).code(1);
}

/// Runs `imgplan doctor --json` after a shell command in a user namespace of its own. `None`, with a
/// note, if this user may not have one; with `IMGPLAN_NAMESPACES=required`, the test fails instead.
#[cfg(target_os = "linux")]
fn in_namespace(env: &TestEnv, setup: &str) -> Option<Vec<Value>> {
    let script = format!("{setup} && echo READY && exec \"$0\" doctor --json");
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script, env!("CARGO_BIN_EXE_imgplan")])
        .arg(env.everything().join("tmp"))
        .current_dir(env.path(""))
        .env_clear()
        .envs(env.vars())
        .output();
    let text = output.as_ref().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let Some((_, lines)) = text.split_once("READY\n") else {
        let reason = "this user cannot mount a disk in a namespace";
        let required = std::env::var_os("IMGPLAN_NAMESPACES").is_some_and(|it| it == "required");
        assert!(!required, "IMGPLAN_NAMESPACES=required: {reason}: {output:?}");
        // Unlike `eprintln!`, this is not captured in tests that succeed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
        return None;
    };
    assert_eq!(output.unwrap().status.code(), Some(1), "{lines}");
    let checks = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    Some(
        checks
            .map(|line| line["check"].clone())
            .filter(|check| check["verdict"] == "error")
            .collect(),
    )
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let env = project();
    let setup = r#"mount -t tmpfs -o size=1m none "$1""#;
    let Some(errors) = in_namespace(&env, setup) else { return };
    assert_eq!((errors.len(), &errors[0]["name"]), (1, &json!("temp")), "{errors:?}");
    assert!(errors[0]["finding"].as_str().unwrap().contains("MB free"), "{errors:?}");
}

/// The lockfile may be a link to another folder of the repository.
#[cfg(target_os = "linux")]
#[test]
fn a_lockfile_that_cannot_be_written_is_an_error() {
    let env = project();
    env.apply();
    for folder in [".git", "state"] {
        std::fs::create_dir(env.path(folder)).unwrap();
    }
    std::fs::rename(env.path("imgplan.lock"), env.path("state/imgplan.lock")).unwrap();
    std::os::unix::fs::symlink("state/imgplan.lock", env.path("imgplan.lock")).unwrap();
    finding(&doctor(&env, &[], 0), "state", "ok");
    let setup = "mount --bind state state && mount -o remount,bind,ro state";
    let Some(errors) = in_namespace(&env, setup) else { return };
    assert_eq!((errors.len(), &errors[0]["name"]), (1, &json!("state")), "{errors:?}");
    assert!(errors[0]["finding"].as_str().unwrap().contains("/state: Read-only"), "{errors:?}");
}

#[cfg(unix)]
#[test]
fn a_low_limit_of_open_files_is_a_warning() {
    let env = project();
    let output = env.call(["doctor", "--json"]).with_descriptors(64).run();
    output.code(0);
    let files = finding(&output, "files", "warning");
    assert!(files.contains("16 builds run at the same time instead of 150"), "{files}");
    assert!(files.contains("ulimit -n"), "{files}");
}

#[test]
fn the_state_of_another_service_is_an_error() {
    let mut env = project();
    env.apply();
    finding(&doctor(&env, &[], 0), "state", "ok");
    let other = TestEnv::with(ServerConfig::default());
    env.set("PRIME_API_BASE_URL", &other.server().url());
    let state = finding(&doctor(&env, &[], 1), "state", "error");
    assert!(state.contains("imgplan.lock belongs to http://"), "{state}");
}

/// A registry that requires a password.
#[cfg(target_os = "linux")]
#[test]
fn credentials_of_registries_are_tried() {
    use crate::support::{REGISTRY_USER, Registry};

    let Some(registry) = Registry::protected() else { return };
    let mut env = project();
    let image = format!("{}/app:1", registry.address);
    env.context("app", &format!("FROM {image}\n"));
    let unasked = finding(&doctor(&env, &[], 0), "registry", "skipped");
    assert_eq!(unasked, "none was asked: the lockfile has no pins");
    let (url, digest) = (env.server().url(), "0".repeat(64));
    env.write(
        "imgplan.lock",
        format!(
            "version: 2\nrevision: 1\nservice: {url}\npins:\n  docker.io/library/x:1:\n    \
             digest: sha256:{digest}\nunits: {{}}\n"
        ),
    );
    let without = finding(&doctor(&env, &[], 0), "registry", "warning");
    assert!(without.contains("(no credentials)") && without.contains("docker login"), "{without}");

    let config = env.home().join(".docker");
    std::fs::create_dir(&config).unwrap();
    registry.write_credentials(&config.join("config.json"));
    let missing = finding(&doctor(&env, &[], 0), "registry", "warning");
    assert!(missing.contains(".docker/config.json)"), "{missing}");
    assert!(!missing.contains(REGISTRY_USER.1), "{missing}");

    let mut layout = registry.layout("images");
    let descriptor = layout.image("linux/amd64", "content");
    layout.name("app", &descriptor);
    registry.push(&layout, "app", "app:1");
    let output = doctor(&env, &[], 0);
    output.never_says(REGISTRY_USER.1);
    let with = finding(&output, "registry", "ok");
    assert!(with.contains(&format!("{image} can be read (credentials of ")), "{with}");

    // A file that is damaged, and a program that is missing.
    std::fs::write(config.join("config.json"), "{").unwrap();
    let damaged = finding(&doctor(&env, &[], 0), "registry", "warning");
    assert!(damaged.contains("is not JSON"), "{damaged}");
    env.set("DOCKER_CONFIG", &env.path("docker").display().to_string());
    env.write("docker/config.json", r#"{"credsStore": "nowhere"}"#);
    let program = finding(&doctor(&env, &[], 0), "registry", "warning");
    assert!(program.contains("docker-credential-nowhere"), "{program}");
}
