//! A checkout of a stranger reaches its own files only, and cannot move the API key.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Answer, Scripted, TestEnv};

/// Text of a file of the machine, which no output may have.
const TEXT: &str = "c0nf1dential: [";

/// An environment with a manifest, and with files of the machine beside its repository.
fn machine(manifest: &str) -> TestEnv {
    let env = TestEnv::manifest(&format!("version: 1\n{manifest}\n"));
    env.context("app", "FROM scratch\n");
    std::fs::create_dir(env.path(".git")).unwrap();
    env.write(".git/config", TEXT);
    let outside = env.home().join("tasks/one");
    std::fs::create_dir_all(outside.join("environment")).unwrap();
    for file in ["refs.txt", "one.yaml", "tasks/one/Dockerfile", "tasks/one/task.toml"] {
        std::fs::write(env.home().join(file), TEXT).unwrap();
    }
    env
}

fn link(env: &TestEnv, to: &Path, at: &str) {
    let at = env.path(at);
    let _ = std::fs::remove_file(&at);
    symlink(to, at).unwrap();
}

/// Each way in which a manifest names a file, with the path in place of `PATH`, and the file in the
/// home folder that it asks for. A new way must join the list.
const WAYS: [(&str, &str); 8] = [
    ("include: [PATH]\nimages: []", "one.yaml"),
    ("include: ['PATH/*.yaml']\nimages: []", ""),
    ("images: [{sources_from: PATH}]", "refs.txt"),
    ("images: [{name: a, context: app, dockerfile: PATH}]", "tasks/one/Dockerfile"),
    ("images: [{name: a, context: PATH}]", "tasks/one"),
    ("images: [{discover: {glob: 'PATH/*'}}]", "tasks"),
    ("images: [{discover: {glob: 'PATH'}}]", "tasks/one"),
    ("images: [{discover: {harbor: PATH}}]", "tasks"),
];

#[test]
fn files_outside_of_the_repository_are_not_read() {
    for (manifest, file) in WAYS {
        let absolute = |env: &TestEnv| env.home().join(file).to_str().unwrap().to_owned();
        let relative = |_: &TestEnv| format!("../home/{file}");
        let linked = |env: &TestEnv| {
            link(env, &env.home().join(file), "way");
            "way".to_owned()
        };
        let chained = |env: &TestEnv| {
            link(env, Path::new("../home"), "up");
            format!("up/{file}")
        };
        let ways: [&dyn Fn(&TestEnv) -> String; 4] = [&absolute, &relative, &linked, &chained];
        for path in ways {
            let env = machine("images: []");
            // A Dockerfile is relative to its context.
            let path = match path(&env) {
                path if manifest.contains("dockerfile") && !path.starts_with('/') => {
                    format!("../{path}")
                }
                path => path,
            };
            env.write("imgplan.yaml", format!("version: 1\n{}\n", manifest.replace("PATH", &path)));
            for command in [&["validate"][..], &["plan", "--offline"], &["plan", "--json"]] {
                let output = env.run(command.iter().copied());
                assert_eq!(output.code, Some(1), "{manifest} {path}\n{output}");
                let text = output.all();
                assert!(text.contains("outside of the repository"), "{manifest} {path}\n{output}");
                assert!(!text.contains("c0nf1dential"), "{manifest} {path}\n{output}");
            }
            let home = env.home();
            let allowed = env.run(["validate", "--allow-outside", home.to_str().unwrap()]);
            assert!(!allowed.all().contains("outside of the repository"), "{path}\n{allowed}");
        }
    }
}

#[test]
fn files_of_version_control_and_linked_ignore_files_are_not_read() {
    for (manifest, at, to) in [
        ("include: [.git/config]\nimages: []", "unused", "app"),
        ("images: [{name: a, context: .git, dockerfile: config}]", "unused", "app"),
        ("images: [{name: a, context: app}]", "app/.dockerignore", "../../home/refs.txt"),
        ("images: [{name: a, context: app}]", "app/Dockerfile.dockerignore", "/proc/self/environ"),
        ("images: [{name: a, context: app}]", "app/Dockerfile", "../.git/config"),
        ("images: []", "imgplan.yaml", "/proc/self/environ"),
        ("images: []", "imgplan.yaml", "../home/one.yaml"),
    ] {
        let env = machine(manifest);
        link(&env, Path::new(to), at);
        for command in ["validate", "plan"] {
            let output = env.run([command]);
            assert_eq!(output.code, Some(1), "{manifest} {at}\n{output}");
            for secret in ["c0nf1dential", crate::support::KEY] {
                assert!(!output.all().contains(secret), "{manifest} {at}\n{output}");
            }
            let refusals = ["outside of the repository", "version control"];
            assert!(refusals.iter().any(|text| output.all().contains(text)), "{output}");
        }
    }
}

/// A link in a folder that the command line names does not move the border.
#[test]
fn a_link_on_the_command_line_does_not_extend_the_reach() {
    for git in [true, false] {
        let env = machine("include: [../home/one.yaml]\nimages: []");
        if !git {
            std::fs::remove_dir_all(env.path(".git")).unwrap();
        }
        link(&env, &env.home(), "extra");
        let output = env.run(["validate", "-f", "imgplan.yaml", "-f", "extra/imgplan.yaml"]);
        assert_eq!(output.code, Some(1));
        assert!(!output.all().contains("c0nf1dential"), "{output}");
        assert!(output.stderr.contains("outside of the repository"), "{output}");
    }
}

/// Files within the repository may be reached by links and from other folders.
#[test]
fn the_whole_repository_is_within_reach() {
    let env = machine("images: []");
    env.write("deploy/imgplan.yaml", "version: 1\nimages: [{name: a, context: ../app}]\n");
    env.write("common.ignore", "*.log\n");
    link(&env, Path::new("../common.ignore"), "app/.dockerignore");
    env.ok(["validate", "-f", "deploy/imgplan.yaml"]);
    link(&env, Path::new("deploy/imgplan.yaml"), "linked.yaml");
    env.write("app/link.txt", "");
    env.ok(["validate", "-C", "deploy"]);
}

#[test]
fn secrets_of_the_environment_do_not_reach_a_manifest() {
    let mut env = machine("images: [{name: a, tag: '${CI_JOB_TOKEN:-v1}', context: app}]");
    env.set("CI_JOB_TOKEN", "t0k3n");
    let output = env.run(["plan", "--offline"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("--allow-env CI_JOB_TOKEN"), "{output}");
    assert!(!output.all().contains("t0k3n"), "{output}");
    let allowed = env.ok(["plan", "--offline", "--allow-env", "CI_JOB_TOKEN"]);
    assert!(allowed.stdout.contains("a:t0k3n"), "{allowed}");
}

/// The proxy stands for the network: it sees every request to a service that is not this machine.
#[test]
fn the_key_is_not_sent_to_a_service_that_only_the_manifest_names() {
    let proxy = Scripted::accepting();
    let manifest = "settings: {url: 'http://evil.example'}\nimages: [{name: a, context: app}]";
    let mut env = machine(manifest);
    env.unset("PRIME_API_BASE_URL").set("HTTP_PROXY", proxy.url());
    for command in [
        &["plan"][..],
        &["plan", "--refresh-only"],
        &["apply", "--auto-approve"],
        &["apply", "--refresh-only"],
        &["import", "a"],
        &["status"],
        &["why", "a"],
    ] {
        let output = env.run(command.iter().copied());
        assert_eq!(output.code, Some(1), "{command:?}\n{output}");
        assert!(output.stderr.contains("IMGPLAN_ALLOW_URL=http://evil.example"), "{output}");
    }
    assert!(proxy.requests().is_empty(), "{:?}", proxy.requests());
    env.ok(["plan", "--offline"]);
    env.ok(["validate"]);
    env.set("IMGPLAN_ALLOW_URL", "http://evil.example");
    let _ = env.run(["plan"]);
    assert!(!proxy.requests().is_empty(), "the user allows it");
}

/// A context goes to no address that the service of another machine has no business with.
#[test]
fn contexts_are_not_uploaded_to_any_address() {
    let scripted = Scripted::accepting();
    let upload = serde_json::json!({
        "build_id": "b1", "upload_url": "http://169.254.169.254/latest", "expires_in": 3600,
        "fullImagePath": "prime/me/a:latest",
    });
    scripted.on("POST", "/images/build", [Answer::json(201, &upload)]);
    let env = TestEnv::at(scripted.url());
    env.write("imgplan.yaml", "version: 1\nimages: [{name: a, context: app}]\n");
    env.context("app", "FROM scratch\n");
    let output = env.run(["apply", "--auto-approve"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stdout.contains("may have the metadata"), "{output}");
    let initiated = scripted.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(initiated, 1, "no other URL is asked for");
}
