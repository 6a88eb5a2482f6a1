//! Builds that succeed or fail by themselves.

use imgplan::test_support::base::name::Platform;
use imgplan::test_support::server::{EngineConfig, ServerConfig};

use super::{BASE, DirectBuildah, EngineEnv, config, layers, manifest, one_image, programs};
use crate::support::TestEnv;

/// A base and three children; each child has a file and a command.
fn family(engine: &EngineEnv) {
    engine.context("base", BASE);
    for name in ["one", "two", "three"] {
        let dockerfile = format!("FROM base:v1\nCOPY file /file\nRUN echo {name} > /name\n");
        engine.env.context(name, &dockerfile).write(&format!("{name}/file"), name);
    }
    engine.env.write("imgplan.yaml", manifest(&["base", "one", "two", "three"]));
}

/// Builds a context with Buildah alone, and returns the digests of the layers.
fn direct(engine: &EngineEnv, name: &str) -> Vec<String> {
    let buildah = DirectBuildah::new();
    let folder = engine.env.path(name);
    let base = format!("base:v1=docker-image://{}", engine.reference("base:v1"));
    buildah.bud(&folder, &["--build-context", &base, "-t", "direct", "."]);
    let target = format!("docker://{}/direct:{name}", engine.registry.address);
    buildah.run(&folder, &["push", "--tls-verify=false", "direct", &target]);
    let image = format!("{}/direct:{name}", engine.registry.address);
    layers(&engine.registry.inspect("--raw", &image))
}

/// Two servers with stores of their own: the second takes the layers of the first from the repository.
#[test]
fn a_cache_repository_is_shared_by_servers() {
    let Some(registry) = programs() else { return };
    let build = |cache: Option<String>| {
        let engine = EngineConfig { cache, ..config(&registry) };
        let env = TestEnv::unlimited(ServerConfig { engine, ..ServerConfig::default() });
        env.context("app", &format!("{BASE}RUN head -c 9 /dev/urandom > /random\n"));
        std::fs::copy("/bin/busybox", env.path("app/busybox")).unwrap();
        env.write("imgplan.yaml", one_image("app"));
        env.apply();
        layers(&registry.inspect("--raw", &format!("{}/prime/local/app:v1", registry.address)))
    };
    let cache = || Some(format!("{}/shared/cache", registry.address));
    let first = build(cache());
    assert_eq!(build(cache()), first);
    assert_ne!(build(None), first, "the file is random");
}

#[test]
fn images_are_those_of_a_direct_build() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    family(&engine);
    engine.env.apply();
    engine.env.plans_nothing();
    for name in ["one", "two", "three"] {
        let image = format!("{name}:v1");
        assert_eq!(engine.layers(&image), direct(&engine, name), "{name}");
        let dir = tempfile::tempdir().unwrap();
        engine.registry.pull(&engine.reference(&image), dir.path());
        let config = engine.registry.inspect("--config", &engine.reference(&image));
        assert_eq!(config["architecture"], "amd64", "{config}");
    }
    assert_eq!(engine.layers("one:v1")[..2], engine.layers("base:v1"));
    // The size is that of what is in the registry.
    let manifest = engine.registry.inspect("--raw", &engine.reference("one:v1"));
    let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let size: u64 = blobs.map(|blob| blob["size"].as_u64().unwrap()).sum();
    let row = engine.env.server().get("images?search=one");
    assert_eq!(row["data"][0]["sizeBytes"], size, "{row}");

    let before = engine.env.server().initiated().len();
    engine.env.write("two/file", "changed");
    engine.env.apply();
    assert_eq!(engine.env.server().initiated()[before..], ["two:v1"]);
    engine.env.plans_nothing();

    // A changed base is used by its children, whatever a slot has in its store.
    engine.env.write("base/added", "x");
    engine.env.edit("base/Dockerfile", "COPY busybox", "COPY added /added\nCOPY busybox");
    engine.env.apply();
    let base = engine.layers("base:v1");
    assert_eq!(base.len(), 3);
    for name in ["one", "two", "three"] {
        assert_eq!(engine.layers(&format!("{name}:v1"))[..3], base, "{name}");
    }
}

#[test]
fn a_failed_command_is_named_with_its_last_lines() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    let lines =
        "for i in $(seq 40); do echo line $i; done; printf '\\033[31mred\\033[0m\\n'; exit 7";
    let message = engine.fails("bad", &format!("{BASE}RUN {lines}\n"));
    assert!(message.starts_with("Dockerfile: `RUN for i in "), "{message}");
    assert!(message.contains("failed: exit status 7\n"), "{message}");
    assert!(message.contains("\nline 40\n") && !message.contains("line 20\n"), "{message}");
    assert!(message.contains("\n[31mred [0m\n") && !message.contains('\u{1b}'), "{message}");
    assert!(message.ends_with("shows the whole log"), "{message}");
    let output = engine.env.run(["apply", "--auto-approve"]);
    assert!(output.stdout.contains("exit status 7"), "{output}");
}

#[test]
fn another_platform_is_never_built_in_silence() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    engine.context("base", BASE);
    engine.env.write("imgplan.yaml", one_image("base"));
    engine.env.apply();
    // As an image of another registry, which the server knows nothing about.
    let base = engine.reference("base:v1");
    let alias = format!("{}/outside/base:v1", engine.registry.address);
    engine.registry.copy(&base, &alias);
    let arm = |from: &str, run: &str| {
        engine.env.context("arm", &format!("FROM {from}\nCOPY Dockerfile /\n{run}"));
        let image = "version: 1\nimages:\n  - {name: arm, tag: v1, context: arm, platforms: [linux/arm64]}\n";
        engine.env.write("imgplan.yaml", image);
        engine.env.run(["apply", "--auto-approve"])
    };
    for from in [&*alias, "prime/local/base:v1"] {
        let output = arm(from, "");
        assert_ne!(output.code, Some(0), "{output}");
        assert_eq!(
            engine.error_of("arm"),
            format!(
                "Dockerfile: line 1: the base image `{from}` is for linux/amd64, and this build needs \
                 it for linux/arm64: use a base that has linux/arm64"
            )
        );
    }
    let output = arm("scratch", "");
    output.success();
    let config = engine.registry.inspect("--config", &engine.reference("arm:v1"));
    assert_eq!(config["architecture"], "arm64");
    let runnable = &engine.env.server().capabilities().architectures;
    if !runnable.contains(&Platform::Arm64) {
        arm("scratch", "RUN [\"/x\"]\n");
        let message = engine.error_of("arm");
        assert!(
            message.contains("RUN needs a machine that runs linux/arm64 programs"),
            "{message}"
        );
        assert!(message.contains("apt install qemu-user-static"), "{message}");
    }
}
