//! The engine of `--local`, and the registry that it starts.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;

use super::{BASE, leftovers, manifest, one_image, programs};
use crate::support::{KEY, Output, Registry, TestEnv, wait_until};

const SERVER: &str = ".imgplan/local/server";

const APPLY: [&str; 7] =
    ["apply", "--local", "--engine", "buildah", "--slots", "1", "--auto-approve"];

/// Returns an environment with an image that has `BusyBox`, and skopeo, by another registry. `None`,
/// with a message, if a program is missing.
fn project(dockerfile: &str) -> Option<(TestEnv, Registry)> {
    let registry = programs()?;
    let env = TestEnv::at("http://127.0.0.1:9");
    add_image(&env, "app", dockerfile);
    env.write("imgplan.yaml", one_image("app"));
    Some((env, registry))
}

fn add_image(env: &TestEnv, name: &str, dockerfile: &str) {
    env.context(name, dockerfile);
    fs::copy("/bin/busybox", env.path(&format!("{name}/busybox"))).unwrap();
}

/// Returns the registry of the local server.
fn address(env: &TestEnv) -> String {
    format!("127.0.0.1:{}", env.read(&format!("{SERVER}/registry/port")).trim())
}

/// Asserts that no process, mount or registry of the local server is left.
pub(super) fn assert_nothing_is_left(env: &TestEnv) {
    let folder = env.path(SERVER).display().to_string();
    wait_until("nothing is left", || leftovers(&folder).is_empty());
    assert!(TcpStream::connect(address(env)).is_err(), "the registry still listens");
}

/// Sets `PATH` to a folder with links to these programs.
fn only_programs(env: &mut TestEnv, names: &[&str]) {
    let bin = env.everything().join("bin");
    fs::create_dir(&bin).unwrap();
    let path = env.vars()["PATH"].clone();
    for name in names {
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|at| at.exists());
        symlink(found.unwrap(), bin.join(name)).unwrap();
    }
    env.set("PATH", bin.to_str().unwrap());
}

#[test]
fn a_newcomer_gets_images_that_can_be_pulled() {
    let Some((env, skopeo)) = project(BASE) else { return };
    add_image(&env, "child", "FROM app:v1\nRUN echo child > /name\n");
    env.write("imgplan.yaml", manifest(&["app", "child"]));
    let first = env.ok(APPLY);
    assert!(first.stderr.starts_with("Engine: buildah, pushes to 127.0.0.1:"), "{first}");
    first.says("Apply: 2 built, 0 mirrored").says(" (20 GB for 1 slot), measured each second");
    let registry = address(&env);
    let serve = format!(
        "The registry {registry} ends with this command; to pull from it, keep it running: \
         IMGPLAN_TOKEN=SECRET imgplan serve --engine buildah --state {}",
        env.path(SERVER).display()
    );
    first.says(&serve);
    assert_nothing_is_left(&env);

    let second = env.ok(APPLY);
    assert!(second.stdout.starts_with("No changes."), "{second}");
    second.says(&serve);
    assert_eq!(address(&env), registry);
    env.ok(["plan", "--local"]).says("No changes.");
    assert_nothing_is_left(&env);

    // The command of the note.
    let args = ["serve", "--engine", "buildah", "--state", SERVER, "--url-file", "url"];
    let args = args.into_iter().chain(["--listen", "127.0.0.1:0", "--token", KEY]);
    let server = env.call(args.collect::<Vec<_>>()).start();
    wait_until("the server listens", || env.exists("url"));
    for (image, layers) in [("app:v1", 2), ("child:v1", 3)] {
        let image = format!("{registry}/prime/local/{image}");
        let raw = skopeo.inspect("--raw", &image);
        assert_eq!(raw["layers"].as_array().unwrap().len(), layers, "{raw}");
        let dir = tempfile::tempdir().unwrap();
        skopeo.pull(&image, dir.path());
    }
    env.run(APPLY).code(1).says("is in use by the server with process ID");
    server.signal("TERM");
    assert_eq!(server.wait().code, Some(143));
    assert_nothing_is_left(&env);
}

#[test]
fn a_checked_image_is_not_taken_for_a_built_one() {
    let Some((env, _)) = project("FROM scratch\nCOPY busybox /b\n") else { return };
    let check = || env.ok(["apply", "--local", "--auto-approve"]);
    let is_checked = |output: &Output| {
        output.says("app:v1: Checked in ").says("Apply: 1 checked and not built, 0 updated");
        output.never_says("mirrored").never_says("Built");
    };
    is_checked(&check());
    env.ok(APPLY).says("missing from the service").says("Apply: 1 built, 0 mirrored");
    check().says("No changes.");
    env.write("app/busybox", "changed");
    is_checked(&check());
    env.ok(APPLY).says("missing from the service").says("Apply: 1 built, 0 mirrored");
    env.ok(APPLY).says("No changes.");
}

/// Ends an apply with a signal while a command of a build runs.
fn cut_off(signal: &str, seconds: &str) {
    let Some((env, _)) = project(&format!("{BASE}RUN sleep {seconds}\n")) else { return };
    let command = format!("sleep {seconds}");
    let running = env.call(APPLY).start();
    wait_until("a command runs", || !leftovers(&command).is_empty());
    // Other users of the machine cannot use the server, and other commands of this user can.
    let holder = env.read(&format!("{SERVER}/lock"));
    let server = holder.trim().rsplit_once("http://").unwrap().1.to_owned();
    let mut stream = TcpStream::connect(&server).unwrap();
    let request = "GET /api/v1/images HTTP/1.0\r\nauthorization: Bearer no-account-needed\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.0 401 "), "{response}");
    env.ok(["logs", "app", "--local"]).says("STEP 1/4").says("is in progress");

    running.signal(signal);
    let output = running.wait();
    assert_eq!(output.code, (signal == "INT").then_some(130), "{output}");
    wait_until("no command is left", || leftovers(&command).is_empty());
    assert_nothing_is_left(&env);
    env.ok(APPLY);
    assert_nothing_is_left(&env);
}

#[test]
fn ctrl_c_leaves_nothing() {
    cut_off("INT", "3.0431");
}

#[test]
fn a_killed_apply_leaves_nothing() {
    cut_off("KILL", "3.0432");
}

#[test]
fn a_missing_registry_program_is_named_in_one_line() {
    let Some((mut env, _)) = project(BASE) else { return };
    only_programs(&mut env, &["buildah", "runc", "unshare", "setpriv", "sh"]);
    let reason = "it needs a registry to push to, and docker-registry is not in PATH";
    let help = "apt install docker-registry";
    env.run(APPLY).code(1).says(reason).says(help).says("--registry HOST:PORT");
    let auto = env.ok(["apply", "--local", "--engine", "auto", "--auto-approve"]);
    auto.says(reason).says(help).says("Apply: 1 checked and not built");
}

#[test]
fn without_engines_auto_says_that_nothing_is_built() {
    let mut env = TestEnv::at("http://127.0.0.1:9");
    env.context("app", "FROM scratch\nCOPY Dockerfile /\n");
    env.write("imgplan.yaml", one_image("app"));
    only_programs(&mut env, &[]);
    let auto = env.ok(["apply", "--local", "--engine", "auto", "--auto-approve"]);
    let first = auto.stderr.lines().next();
    assert_eq!(first, Some("Engine: check; images are checked, not built"), "{auto}");
    auto.says("buildah is not used: ").says("Apply: 1 checked and not built");
    let json = env.run(["apply", "--local", "--auto-approve", "--json", "--replace", "*"]);
    let summary = json.success().events("change_summary").pop().unwrap();
    assert_eq!(
        (&summary["changes"]["checked"], &summary["changes"]["built"]),
        (&1.into(), &0.into())
    );
    let refused = env.run(["apply", "--local", "--engine", "buildah", "--auto-approve"]);
    refused.code(1).says("buildah, runc, unshare, setpriv is not in PATH");
    // The service has no engines to choose from.
    env.run(["apply", "--engine", "auto"]).code(64).says("add --local");
    env.set("IMGPLAN_ENGINE", "auto");
    env.run(["apply", "--auto-approve"]).code(1).never_says("add --local");
}

#[test]
fn a_taken_port_is_named() {
    let Some((env, _)) = project("FROM scratch\nCOPY busybox /b\n") else { return };
    env.ok(APPLY);
    let taken = TcpListener::bind(address(&env)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = env.run(APPLY);
    refused.code(1).says(&format!("cannot listen at port {port} of this machine"));
    refused.says("stop the program that uses the port");
    drop(taken);
    env.ok(APPLY).says("No changes.");
    // Without its port, a registry is new.
    let port = address(&env);
    fs::remove_file(env.path(&format!("{SERVER}/registry/port"))).unwrap();
    env.ok(APPLY).says("missing from the service").says("Apply: 1 built");
    assert_ne!(address(&env), port);
    env.ok(APPLY).says("No changes.");
}

#[test]
fn a_manifest_sets_limits_and_no_registry_or_network() {
    let env = TestEnv::at("http://127.0.0.1:9");
    env.context("app", "FROM scratch\nCOPY Dockerfile /\n");
    let local = |local: &str| {
        let images = one_image("app");
        env.write("imgplan.yaml", format!("{images}settings: {{ local: {{ {local} }} }}\n"));
    };
    for (key, value, flag, variable) in [
        ("registry", "evil.example:5000", "--registry", "IMGPLAN_REGISTRY"),
        ("registry_auth", "/root/.docker/config.json", "--registry-auth", "IMGPLAN_REGISTRY_AUTH"),
        ("registry-ca", "ca.pem", "--registry-ca", "IMGPLAN_REGISTRY_CA"),
        ("plain_http", "true", "--plain-http", "IMGPLAN_PLAIN_HTTP"),
        ("build_network", "host", "--build-network", "IMGPLAN_BUILD_NETWORK"),
        ("cache", "evil.example/cache", "--cache", "IMGPLAN_CACHE"),
    ] {
        local(&format!("engine: buildah, {key}: {value}"));
        for command in [&["plan", "--local"][..], &["apply", "--local", "--auto-approve"]] {
            let refused = env.run(command.iter().copied());
            refused.code(1).says(&format!("a manifest cannot set `{key}`"));
            refused.says(&format!("use {flag} or {variable}"));
        }
    }
    for (bad, message) in [
        ("engine: docker", "`docker` is not an engine"),
        ("slots: 0", "`slots` is 0, which is out of range"),
        ("disk: 5", "`5` has no unit"),
        ("engines: auto", "unknown key `engines`"),
    ] {
        local(bad);
        env.run(["validate"]).code(1).says(message);
    }

    let Some(registry) = programs() else { return };
    local("engine: buildah, disk: 6GB, memory: 500MB, slots: 3, build_timeout: 90s");
    let built = env.ok(["apply", "--local", "--auto-approve"]);
    built
        .says("limits of a build: memory 500 MB, ")
        .says(", time 90s, disk 2.0 GB (6.0 GB for 3 slots)");
    let flags = ["--slots", "1", "--disk", "4GB", "--build-timeout", "60s"];
    let flags = ["apply", "--local", "--auto-approve"].into_iter().chain(flags);
    env.ok(flags).says(", time 1m, disk 4.0 GB (4.0 GB for 1 slot)");
    let flags = ["--registry", &registry.address, "--replace", "*"];
    let pushed = env.ok(["apply", "--local", "--auto-approve"].into_iter().chain(flags));
    pushed.says(&format!("pushes to {}", registry.address)).never_says("keep it running");
    let image = format!("{}/prime/local/app:v1", registry.address);
    assert!(registry.inspect("--raw", &image)["layers"].is_array());
    let checked = ["apply", "--local", "--engine", "check", "--replace", "*", "--auto-approve"];
    env.ok(checked).says("Apply: 1 checked and not built");
}

/// A checkout brings along a folder of the local server, with links in the stores of the engine and of
/// the registry.
#[test]
fn stores_of_a_checkout_are_not_used() {
    let Some((env, _)) = project("FROM scratch\nCOPY busybox /b\n") else { return };
    let outside = env.everything().join("outside");
    fs::create_dir_all(outside.join("data")).unwrap();
    fs::write(outside.join("data/precious"), "precious").unwrap();
    let links = ["engine/slot-0/amd64", "engine/pushed", "registry/data"];
    for name in links {
        let at = env.path(&format!("{SERVER}/{name}"));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(outside.join("data"), at).unwrap();
    }
    env.write(&format!("{SERVER}/made-here"), "created 1\n");
    env.write(&format!("{SERVER}/token"), "known");
    env.ok(APPLY).says("Apply: 1 built, 0 mirrored");
    let entries = fs::read_dir(outside.join("data")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["precious"]);
    assert!(links.iter().all(|name| !env.path(&format!("{SERVER}/{name}")).is_symlink()));
    assert_ne!(env.read(&format!("{SERVER}/token")), "known");
}
