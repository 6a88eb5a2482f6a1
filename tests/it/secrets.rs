//! The API key and the signatures of upload URLs appear in no output at any verbosity, in no file
//! that imgplan writes, and in no error.

use crate::support::{Answer, KEY, Output, Scripted, TestEnv, list};

/// Signature in the upload URLs of the scripted service.
const SIGNATURE: &str = "s3cr3t";

const ONE: &str = "version: 1\nimages:\n  - {name: app, tag: v1, context: app}\n";

const TWO: &str = "version: 1
images:
  - {name: app, tag: v1, context: app}
  - {name: bad, tag: v1, context: bad}
";

/// Asserts that no output and no file of the environment contains a secret.
fn assert_absent(env: &TestEnv, outputs: &[Output], secrets: &[&str]) {
    for output in outputs {
        for secret in secrets {
            assert!(!output.all().contains(secret), "{secret} is shown:\n{output}");
        }
    }
    let mut files = 0;
    list(env.everything(), &mut |path, meta| {
        // The local server signs its own upload URLs, and keeps the key in its state.
        if !meta.is_file() || path.components().any(|part| part.as_os_str() == "server") {
            return;
        }
        files += 1;
        let bytes = std::fs::read(path).unwrap();
        for secret in secrets {
            let contains = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!contains, "{secret} is in {}", path.display());
        }
    });
    assert!(files > 0);
}

/// Runs the commands at every verbosity, with and without JSON.
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
fn a_run_prints_and_stores_no_secret() {
    let env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\nCOPY . /\n");
    env.context("bad", "FROM scratch\nCOPY missing /\n");
    let outputs = run_all(&env);
    assert!(outputs.iter().any(|output| output.code == Some(1)), "one image fails");
    assert_absent(&env, &outputs, &[KEY, "signature", "expires="]);
}

#[test]
fn a_run_with_the_local_server_prints_no_secret() {
    let env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\n").context("bad", "FROM scratch\n");
    let outputs = [
        env.run(["apply", "--local", "--auto-approve", "-v"]),
        env.run(["show", "--local", "--json"]),
    ];
    assert_absent(&env, &outputs, &[KEY, "signature"]);
}

#[test]
fn secrets_in_responses_are_redacted() {
    let url = format!("https://bucket.example/put?X-Signature={SIGNATURE}");
    let message = format!("cannot take {KEY}, nor PUT {url}");
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
        for flag in ["-v", "--json"] {
            let scripted = Scripted::accepting();
            scripted.on(method, path, [Answer::detail(status, &message)]);
            let env = TestEnv::at(scripted.url());
            env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
            let output = env.run(["apply", "--auto-approve", "--retry-times", "1", flag]);
            // A complete build was started, even if the response to the start was 409.
            output.code(i32::from(status != 409));
            assert_absent(&env, &[output], &[KEY, SIGNATURE]);
        }
    }
}

/// The error message of a failed build is shown and may contain anything.
#[test]
fn secrets_in_the_message_of_a_failed_build_are_redacted() {
    let scripted = Scripted::accepting();
    let encoded = [KEY.replace('c', "\\u0063"), KEY.replace('-', "%2D"), KEY.replace('-', "\\-")];
    let message = format!(
        "fetch https://bucket.example/get?sig={SIGNATURE} with Bearer {KEY} failed\u{1b}[2J {}",
        encoded.join(" ")
    );
    let failed = serde_json::json!({
        "id": "b-1", "status": "FAILED", "artifacts": [{ "errorMessage": message }],
    });
    scripted.on("GET", "/images/build/*", [Answer::json(200, &failed)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", ONE).context("app", "FROM scratch\n");
    let outputs =
        [env.run(["apply", "--auto-approve"]), env.run(["apply", "--auto-approve", "--json"])];
    for output in &outputs {
        output.code(1).says("bucket.example").never_says("\u{1b}");
    }
    assert_absent(&env, &outputs, &[KEY, SIGNATURE]);
    // With its prefix, in which a character may be encoded.
    let shown =
        outputs[1].json().iter().map(|line| line["@message"].to_string()).collect::<String>();
    for part in [&KEY[KEY.len() - 8..], "%2D", "u0063"] {
        assert!(!shown.contains(part), "{shown}");
    }
}

#[test]
fn a_key_from_the_configuration_file_is_not_shown() {
    let mut env = TestEnv::manifest(TWO);
    env.context("app", "FROM scratch\nCOPY . /\n").context("bad", "FROM scratch\n");
    let config = format!("{{\"api_key\": \"{KEY}\"}}");
    // Outside of the directories that are searched, because this file contains the key.
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".prime")).unwrap();
    std::fs::write(home.path().join(".prime/config.json"), config).unwrap();
    env.unset("PRIME_API_KEY").set("HOME", home.path().to_str().unwrap());
    let outputs = run_all(&env);
    assert_eq!(outputs[1].code, Some(0), "{}", outputs[1]);
    assert_absent(&env, &outputs, &[KEY]);
}

#[test]
fn help_does_not_show_the_token_of_the_server() {
    let env = TestEnv::new();
    let help = env.call(["serve", "--help"]).env("IMGPLAN_TOKEN", KEY).run();
    help.success().never_says(KEY);
}
