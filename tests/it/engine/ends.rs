//! Builds that are cut off: by a deletion, a stop or a crash of the server. Nothing is left running or
//! mounted, and the next server finishes them.

use serde_json::Value;

use super::{BASE, EngineEnv, leftovers, one_image, programs};
use crate::support::{TestEnv, wait_until};

#[test]
fn a_deleted_build_leaves_nothing() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    engine.context("slow", &format!("{BASE}RUN sleep 87654\n"));
    engine.env.write("imgplan.yaml", one_image("slow"));
    let running = engine.env.call(["apply", "--auto-approve"]).start();
    wait_until("the command runs", || !leftovers("sleep 87654").is_empty());
    engine.env.server().send("DELETE", "images/slow/v1", &Value::Null);
    let output = running.wait();
    assert_ne!(output.code, Some(0), "{output}");
    wait_until("the command has ended", || leftovers("sleep 87654").is_empty());
    // The slot is usable again.
    engine.context("good", BASE);
    engine.env.write("imgplan.yaml", one_image("good"));
    engine.env.apply();
}

/// Starts `imgplan serve` with the engine.
fn serve(env: &TestEnv, registry: &str, port: u16) -> crate::support::Running {
    let listen = format!("127.0.0.1:{port}");
    let args = ["serve", "--engine", "buildah", "--registry", registry, "--state", "state"];
    let args = args.into_iter().chain(["--listen", &listen, "--url-file", "url"]);
    let _ = std::fs::remove_file(env.path("url"));
    let running = env.call(args.collect::<Vec<_>>()).start();
    wait_until("the server listens", || env.exists("url"));
    running
}

#[test]
fn a_killed_server_leaves_nothing_and_its_successor_finishes() {
    let Some(registry) = programs() else { return };
    let mut env = TestEnv::at("http://127.0.0.1:9");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = serve(&env, &registry.address, port);
    env.set("PRIME_API_BASE_URL", &format!("http://127.0.0.1:{port}"));
    wait_until("the engine is named", || server.has_said("Engine: buildah, pushes to "));
    let mut manifest = "version: 1\nimages:\n".to_owned();
    let names: Vec<String> = (0..4).map(|index| format!("image{index}")).collect();
    for name in &names {
        env.context(name, &format!("{BASE}RUN sleep 3.0421 && echo {name} > /name\n"));
        std::fs::copy("/bin/busybox", env.path(&format!("{name}/busybox"))).unwrap();
        manifest += &format!("  - {{name: {name}, tag: v1, context: {name}}}\n");
    }
    env.write("imgplan.yaml", manifest);
    let apply = env.call(["apply", "--auto-approve"]).start();
    let folder = env.path("state/engine").display().to_string();
    wait_until("a command runs", || !leftovers("sleep 3.0421").is_empty());
    server.kill();
    wait_until("nothing is left", || leftovers(&folder).is_empty());
    assert_eq!(leftovers("sleep 3.0421"), [""; 0]);
    let server = serve(&env, &registry.address, port);
    // The client has waited for the server, or continues now.
    let _ = apply.wait();
    env.apply();
    env.plans_nothing();
    for name in &names {
        let image = format!("{}/prime/local/{name}:v1", registry.address);
        assert_eq!(registry.inspect("--raw", &image)["layers"].as_array().unwrap().len(), 3);
    }
    server.signal("TERM");
    let output = server.wait();
    assert_eq!(output.code, Some(143), "{output}");
    assert_eq!(leftovers(&folder), [""; 0]);
}

#[test]
fn without_a_registry_auto_checks_and_says_so() {
    let env = TestEnv::at("http://127.0.0.1:9");
    let args = ["serve", "--engine", "auto", "--listen", "127.0.0.1:0", "--url-file", "url"];
    let server = env.call(args).start();
    wait_until("the server listens", || env.exists("url"));
    server.signal("INT");
    let output = server.wait();
    let block = "Engine: check\n  note: images are checked, not built\n  note: buildah is not used: \
                 it needs a registry to push to: add --registry HOST:PORT\n";
    assert!(output.stderr.contains(block), "{output}");
    let output = env.run(["serve", "--engine", "buildah", "--listen", "127.0.0.1:0"]);
    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains("it needs a registry to push to"), "{output}");
}
