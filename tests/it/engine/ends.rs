//! Builds that are cut off: by a deletion, a stop or a crash of the server. Nothing is left running or
//! mounted, and the next server finishes them.

use std::time::Duration;

use imgplan::test_support::server::ServerConfig;
use serde_json::{Value, json};

use super::{BASE, EngineEnv, config, free_port, leftovers, manifest, one_image, programs, serve};
use crate::mirrors_for_real::behind;
use crate::server::{Service, archive};
use crate::support::{KEY, TestEnv, wait_until};

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

#[test]
fn a_killed_server_leaves_nothing_and_its_successor_finishes() {
    cut_off("KILL", "3.0421");
}

#[test]
fn a_stopped_server_leaves_nothing_and_its_successor_finishes() {
    cut_off("TERM", "3.0422");
}

/// Ends a server with a signal while it builds, and starts another one with its state.
fn cut_off(signal: &str, seconds: &str) {
    let Some(registry) = programs() else { return };
    let mut env = TestEnv::at("http://127.0.0.1:9");
    let port = free_port();
    let server = serve(&env, &registry.address, port);
    env.set("PRIME_API_BASE_URL", &format!("http://127.0.0.1:{port}"));
    wait_until("the engine is named", || server.has_said("Engine: buildah, pushes to "));
    let names: Vec<String> = (0..4).map(|index| format!("image{index}")).collect();
    for name in &names {
        env.context(name, &format!("{BASE}RUN sleep {seconds} && echo {name} > /name\n"));
        std::fs::copy("/bin/busybox", env.path(&format!("{name}/busybox"))).unwrap();
    }
    env.write("imgplan.yaml", manifest(&names));
    let apply = env.call(["apply", "--auto-approve"]).start();
    let folder = env.path("state/engine").display().to_string();
    let command = format!("sleep {seconds}");
    wait_until("a command runs", || !leftovers(&command).is_empty());
    server.signal(signal);
    let ended = server.wait();
    assert_eq!(ended.code, (signal == "TERM").then_some(143), "{ended}");
    wait_until("nothing is left", || leftovers(&folder).is_empty());
    wait_until("no command is left", || leftovers(&command).is_empty());
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

/// A crash between the push and the end of the build: the image is not built again.
#[tokio::test]
async fn a_pushed_image_is_not_built_again() {
    let Some(registry) = programs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let state = Some(dir.path().to_owned());
    let config = ServerConfig { state, engine: config(&registry), ..ServerConfig::default() };
    let service = Service::start(config).await;
    assert_eq!(service.push("app").await["status"], "COMPLETED");
    let image = format!("{}/prime/local/app:v1", registry.address);
    // The digest, and the one of an image that the registry does not have.
    let missing = format!("sha256:{}", "0".repeat(64));
    for (digest, status) in [(registry.digest_of(&image), "COMPLETED"), (missing, "FAILED")] {
        let body = json!({ "image_name": "app", "image_tag": "v1" });
        let build = service.initiate(body).await;
        let id = build["build_id"].as_str().unwrap();
        let fails = archive(&[("Dockerfile", "FROM scratch\nRUN [\"/none\"]\n")]);
        assert_eq!(service.put(build["upload_url"].as_str().unwrap(), fails).await, 200);
        let record = dir.path().join(format!("engine/pushed/{id}.json"));
        let text = json!({ "destination": &image, "digest": digest });
        std::fs::write(&record, text.to_string()).unwrap();
        let ended = service.finish(id).await;
        assert_eq!(ended["status"], status, "{ended}");
        assert!(!record.exists(), "the record is needed no longer");
    }
    service.server.stop().await.unwrap();
}

/// A build that is cancelled after its push: the tag is that of the build before it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_build_leaves_the_tag_of_the_one_before() {
    let Some(registry) = programs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = |build_time| {
        let state = Some(dir.path().to_owned());
        let (engine, registry) = (config(&registry), Some(behind(&registry)));
        ServerConfig { state, build_time, engine, registry, ..ServerConfig::default() }
    };
    let service = Service::start(config(Duration::ZERO)).await;
    assert_eq!(service.push("app").await["status"], "COMPLETED");
    service.server.stop().await.unwrap();
    // `None` at times: a registry fails reads of a tag that it writes.
    let tagged = || registry.raw("prime/local/app:v1");
    let before = tagged().unwrap();
    // Pushes, and does not end.
    let service = Service::start(config(Duration::from_secs(3600))).await;
    let build = service.initiate(json!({ "image_name": "app", "image_tag": "v1" })).await;
    let id = build["build_id"].as_str().unwrap();
    let context = archive(&[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    assert_eq!(service.put(build["upload_url"].as_str().unwrap(), context).await, 200);
    let started = json!({ "context_uploaded": true });
    assert_eq!(service.post(&format!("/images/build/{id}/start"), started).await.0, 200);
    wait_until("the image is pushed", || tagged().is_some_and(|now| now != before));
    assert_eq!(service.post(&format!("/images/build/{id}/cancel"), json!({})).await.0, 200);
    wait_until("the tag is as before", || tagged().is_some_and(|now| now == before));
    service.server.stop().await.unwrap();
}

#[test]
fn without_programs_auto_checks_and_says_so() {
    let mut env = TestEnv::at("http://127.0.0.1:9");
    env.set("PATH", "/none");
    let args = ["serve", "--engine", "auto", "--listen", "127.0.0.1:0", "--url-file", "url"];
    // It may build, and then whoever can use it can run commands.
    env.run(args).code(64).says("an engine that runs the commands of builds needs a token");
    let server = env.call(args.into_iter().chain(["--token", KEY])).start();
    wait_until("the server listens", || env.exists("url"));
    server.signal("INT");
    let output = server.wait();
    let block =
        "Engine: check; images are checked, not built\n  note: buildah is not used: buildah, ";
    assert!(output.stderr.contains(block), "{output}");
    let args = ["serve", "--engine", "buildah", "--listen", "127.0.0.1:0", "--token", KEY];
    env.run(args).code(1).says("is not in PATH").says("apt install buildah runc util-linux");
}
