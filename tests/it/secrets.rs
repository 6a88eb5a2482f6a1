//! The key, and the signatures of upload URLs, appear nowhere: in no output at any verbosity, in no
//! file that imgplan writes, in no error.

use crate::support::{Answer, KEY, Output, Scripted, TestEnv, list};

/// What the scripted service signs its upload URLs with.
const SIGNATURE: &str = "s3cr3t";

const ONE: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

const TWO: &str = "version: 1
images:
  - {name: app, tag: v1, context: app}
  - {name: bad, tag: v1, context: bad}
";

/// Asserts that no output and no file below the environment has any of these texts.
fn nowhere(env: &TestEnv, outputs: &[Output], secrets: &[&str]) {
    for output in outputs {
        for secret in secrets {
            assert!(!output.all().contains(secret), "{secret} is shown:\n{output}");
        }
    }
    let mut seen = 0;
    list(env.everything(), &mut |path, meta| {
        // The local server keeps its own secrets, among its own state.
        if !meta.is_file() || path.components().any(|part| part.as_os_str() == "server") {
            return;
        }
        seen += 1;
        let bytes = std::fs::read(path).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    });
    assert!(seen > 0);
}

/// Runs all that talks, at every verbosity and in both forms.
fn run_all(env: &TestEnv) -> Vec<Output> {
    let mut outputs = Vec::new();
    for verbosity in [&[][..], &["-v"], &["-q"], &["--json"], &["--json", "-v"]] {
        for command in [&["plan"][..], &["apply", "--auto-approve"], &["show"]] {
            env.write("app/changed", format!("{verbosity:?}"));
            outputs.push(env.run(command.iter().chain(verbosity).copied()));
        }
    }
    outputs
}

#[test]
fn a_run_shows_and_keeps_no_secret() {
    let env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\n").context("bad", "FROM scratch\nCOPY missing /\n");
    let outputs = run_all(&env);
    assert!(outputs.iter().any(|output| output.code == Some(1)), "one image fails");
    nowhere(&env, &outputs, &[KEY, "signature", "expires="]);
}

#[test]
fn the_local_service_shows_no_secret() {
    let env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\n").context("bad", "FROM scratch\n");
    let outputs = [
        env.run(["apply", "--local", "--auto-approve", "-v"]),
        env.run(["show", "--local", "--json"]),
    ];
    nowhere(&env, &outputs, &[KEY, "signature"]);
}

/// A service that puts secrets into everything that it says.
#[test]
fn a_service_that_babbles_is_not_repeated() {
    let url = format!("https://bucket.example/put?X-Signature={SIGNATURE}");
    let babble = format!("cannot take {KEY}, nor PUT {url}");
    for (method, path, status) in [
        ("POST", "/images/build", 400),
        ("POST", "/images/build", 401),
        ("POST", "/images/build", 422),
        ("POST", "/images/build", 500),
        ("PUT", "/upload/*", 400),
        ("PUT", "/upload/*", 403),
        ("POST", "/images/build/*/start", 409),
        ("GET", "/images/build/*", 402),
        ("GET", "/images/build/*", 404),
    ] {
        for more in ["-v", "--json"] {
            let scripted = Scripted::accepting();
            scripted.on(method, path, [Answer::detail(status, &babble)]);
            let env = TestEnv::at(scripted.url());
            env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
            let output = env.run(["apply", "--auto-approve", "--retry-times", "1", more]);
            // A build that is complete was started, whatever is said of that.
            output.code(i32::from(status != 409));
            nowhere(&env, &[output], &[KEY, SIGNATURE]);
        }
    }
}

/// The reason of a failed build is shown and could hold anything.
#[test]
fn the_reason_of_a_failed_build_is_cleaned() {
    let scripted = Scripted::accepting();
    let reason = format!(
        "fetch https://bucket.example/get?sig={SIGNATURE} with Bearer {KEY} failed\u{1b}[2J"
    );
    let failed = serde_json::json!({
        "id": "b-1", "status": "FAILED", "artifacts": [{ "errorMessage": reason }],
    });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    let outputs =
        [env.run(["apply", "--auto-approve"]), env.run(["apply", "--auto-approve", "--json"])];
    for output in &outputs {
        output.code(1).says("bucket.example").never_says("\u{1b}");
    }
    nowhere(&env, &outputs, &[KEY, SIGNATURE]);
}

#[test]
fn a_key_in_the_home_is_not_shown_either() {
    let mut env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\n").context("bad", "FROM scratch\n");
    let config = format!("{{\"api_key\": \"{KEY}\"}}");
    // Outside of what is searched: it is where the user keeps it.
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".prime")).unwrap();
    std::fs::write(home.path().join(".prime/config.json"), config).unwrap();
    env.unset("PRIME_API_KEY").set("HOME", home.path().to_str().unwrap());
    let outputs = run_all(&env);
    assert_eq!(outputs[1].code, Some(0), "{}", outputs[1]);
    nowhere(&env, &outputs, &[KEY]);
}

#[test]
fn the_servers_key_is_not_shown() {
    let env = TestEnv::new();
    let help = env.call(["serve", "--help"]).env("IMGPLAN_TOKEN", KEY).run();
    help.success().never_says(KEY);
}
