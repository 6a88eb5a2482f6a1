//! Builds that attack their machine: each is contained, and the server stays alive. The attacks are
//! bounded, so that they do no harm where containment fails.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{BASE, EngineEnv, content};

/// Returns what the server says of its limits.
fn is_enforced(engine: &EngineEnv, limit: &str) -> bool {
    let enforced = &engine.env.server().capabilities().enforced;
    enforced.iter().any(|enforced| enforced.contains(limit))
}

#[test]
fn a_command_cannot_reach_processes_of_the_machine() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    let mut victim = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    let id = victim.id();
    let dockerfile = format!("{BASE}RUN ps && kill -9 {id}\n");
    let message = engine.fails("killer", &dockerfile);
    assert!(message.contains("No such process"), "{message}");
    assert!(victim.try_wait().unwrap().is_none(), "the process was killed");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn secrets_of_the_server_are_not_visible() {
    let Some(engine) = EngineEnv::start(|engine| {
        let file = std::env::temp_dir().join(format!("imgplan-auth-{}", std::process::id()));
        let auth = r#"{"auths":{"registry.example":{"auth":"dXNlcjpwYXNzd29yZC1tYXJrZXI="}}}"#;
        std::fs::write(&file, auth).unwrap();
        engine.registry.as_mut().unwrap().auth = Some(file);
    }) else {
        return;
    };
    // Everything that a command can read of its environment, of processes and of files.
    let port = engine.registry.address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let dockerfile = format!(
        "{BASE}RUN (env; cat /proc/*/environ /proc/*/cmdline /proc/mounts; \
         find / -xdev -type f -size -64k ! -name seen -exec cat {{}} +) >/seen 2>&1; \
         if grep -q ':{port:04X} ' /proc/net/tcp; then echo the-port-$(echo is)-visible >>/seen; fi\n"
    );
    engine.context("reader", &dockerfile);
    engine.env.write("imgplan.yaml", super::one_image("reader"));
    engine.env.apply();
    let seen = content(&engine.registry, &engine.reference("reader:v1"));
    assert!(seen.contains("HOSTNAME="), "the command has read its environment");

    for secret in ["dXNlcjpwYXNz", "password-marker", crate::support::KEY, "the-port-is-visible"] {
        assert!(!seen.contains(secret), "{secret} is visible to a command");
    }
}

#[test]
fn a_download_does_not_come_from_the_network_of_the_machine() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    let url = format!("http://{}/v2/", engine.registry.address);
    let message = engine.fails("adder", &format!("FROM scratch\nADD {url} /seen\n"));
    assert!(message.starts_with("Dockerfile: line 2: ADD would download"), "{message}");
    let hidden = format!("FROM scratch\nARG URL={url}\nADD $URL /seen\n");
    let message = engine.fails("adder", &hidden);
    assert!(message.starts_with("Dockerfile: line 3: ADD would download"), "{message}");
}

#[test]
fn an_instruction_that_leads_out_of_the_build_is_refused() {
    let Some(engine) = EngineEnv::start(|_| ()) else { return };
    let outside = tempfile::tempdir().unwrap();
    let marker = outside.path().join("marker");
    std::fs::write(&marker, "LABEL leaked=outside-marker\n").unwrap();
    let path = outside.path().display();
    let shell = "[\"/bin/busybox\", \"sh\", \"-c\", \"cat /m/marker; echo changed >/m/marker\"]";
    let (mount, here) = ("a RUN of this server mounts only", "Buildah takes the lines");
    let add = "ADD would download";
    for (lines, line, reason) in [
        (format!("RUN --mount=type=bind,source=out,target=/m,rw {shell}"), 4, mount),
        (format!("RUN --mount=from=scratch,target=/m {shell}"), 4, mount),
        (format!("RUN --mount=type=cache,id=../../../..{path},target=/m {shell}"), 4, mount),
        (format!("RUN --mount=type=cache,target=../../../..{path} {shell}"), 4, mount),
        (format!("ARG T=bind\nRUN --mount=type=$T,source=out,target=/m {shell}"), 5, mount),
        (
            format!("ARG X\nRUN --${{X}}mount=type=bind,source=out,target=/m {shell}"),
            5,
            "this server",
        ),
        (format!("LABEL a=b\\\\\nRUN --mount=type=bind,target=/m {shell}"), 4, "Buildah continues"),
        ("RUN cat <<E\nADD http://127.0.0.1:1/ /\nE".to_owned(), 4, here),
        ("ADD <<E /x\nRUN true\nE".to_owned(), 4, here),
        ("ADD ht${X}tp://127.0.0.1:1/ /".to_owned(), 4, add),
        ("ONBUILD ADD ht${X}tp://127.0.0.1:1/ /".to_owned(), 4, add),
        ("ONBUILD RUN --mount=target=/m true".to_owned(), 4, mount),
    ] {
        let dockerfile = format!("{BASE}{lines}\n");
        let message = engine.fails("leaver", &dockerfile);
        let expected = format!("Dockerfile: line {line}: {reason}");
        assert!(message.starts_with(&expected), "{lines}: {message}");
    }
    let kept = std::fs::read_to_string(&marker).unwrap();
    assert_eq!(kept, "LABEL leaked=outside-marker\n");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

    // Buildah runs a file that ends with `.in` through a preprocessor.
    let included = format!("{BASE}#include \"{}\"\n", marker.display());
    engine.context("reader", BASE);
    engine.env.write("reader/x.in", included);
    let image = "  - {name: reader, tag: v1, context: reader, dockerfile: x.in}\n";
    engine.env.write("imgplan.yaml", format!("version: 1\nimages:\n{image}"));
    engine.env.apply();
    let config = engine.registry.inspect("--config", &engine.reference("reader:v1"));
    assert!(!config.to_string().contains("outside-marker"), "{config}");
}

#[test]
fn caches_and_unneeded_stages_do_no_harm() {
    let Some(engine) = EngineEnv::start(|engine| engine.slots = Some(1)) else { return };
    let unneeded = "FROM scratch AS unneeded\nADD http://127.0.0.1:1/ /\n";
    let write =
        "RUN --mount=type=cache,target=/c true && ln -s /etc /c/link && echo kept >/c/file\n";
    engine.context("first", &format!("{unneeded}{BASE}{write}"));
    // A cache below another one would follow the link in it.
    let read = "RUN --mount=type=cache,target=/c/link test -z \"$(ls /c/link)\"\n\
                RUN --mount=type=cache,target=/c,ro cat /c/file >/seen\n";
    engine.context("second", &format!("{BASE}{read}"));
    for name in ["first", "second"] {
        engine.env.write("imgplan.yaml", super::one_image(name));
        engine.env.apply();
    }
    assert!(content(&engine.registry, &engine.reference("second:v1")).contains("kept"));
}

#[test]
fn memory_is_limited() {
    let Some(engine) = EngineEnv::start(|engine| engine.memory = 200_000_000) else { return };
    if !is_enforced(&engine, "memory") {
        let gaps = &engine.env.server().capabilities().gaps;
        return assert!(gaps.iter().any(|gap| gap.contains("memory")), "{gaps:?}");
    }
    let message =
        engine.fails("hog", &format!("{BASE}RUN dd if=/dev/zero of=/dev/null bs=600M count=1\n"));
    assert!(message.starts_with("the build reached its memory limit of 200 MB\n"), "{message}");
    engine.context("good", BASE);
    engine.env.write("imgplan.yaml", super::one_image("good"));
    engine.env.apply();
}

#[test]
fn processes_are_limited() {
    let Some(engine) = EngineEnv::start(|engine| engine.max_processes = 60) else { return };
    if !is_enforced(&engine, "processes") {
        let gaps = &engine.env.server().capabilities().gaps;
        return assert!(gaps.iter().any(|gap| gap.contains("processes")), "{gaps:?}");
    }
    let bomb = "for i in $(seq 300); do sleep 20 & done; wait";
    let message = engine.fails("bomb", &format!("{BASE}RUN {bomb}\n"));
    assert!(message.starts_with("the build reached its limit of 60 processes\n"), "{message}");
}

#[test]
fn disk_space_is_limited() {
    let limit = |engine: &mut imgplan::test_support::server::EngineConfig| {
        engine.slots = Some(1);
        engine.disk = 100_000_000;
    };
    let Some(engine) = EngineEnv::start(limit) else { return };
    let fill = "dd if=/dev/zero of=/big bs=1M count=400 && sleep 30";
    let message = engine.fails("big", &format!("{BASE}RUN {fill}\n"));
    assert!(message.contains("took more than 100 MB of disk space"), "{message}");
    // The space is free again.
    engine.context("good", BASE);
    engine.env.write("imgplan.yaml", super::one_image("good"));
    engine.env.apply();
}

#[test]
fn an_archive_that_unpacks_to_much_is_refused() {
    let limit = |engine: &mut imgplan::test_support::server::EngineConfig| {
        engine.slots = Some(1);
        engine.disk = 100_000_000;
    };
    let Some(engine) = EngineEnv::start(limit) else { return };
    let size = 1 << 30;
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, "zeros", std::io::repeat(0).take(size)).unwrap();
    let bomb = tar.into_inner().unwrap().finish().unwrap();
    engine.env.write("bomb/bomb.tar.gz", bomb);
    let message = engine.fails("bomb", "FROM scratch\nADD bomb.tar.gz /\n");
    assert!(message.contains("took more than 100 MB of disk space"), "{message}");
}

#[test]
fn time_is_limited() {
    let limit = |engine: &mut imgplan::test_support::server::EngineConfig| {
        engine.build_timeout = Duration::from_secs(4);
    };
    let Some(engine) = EngineEnv::start(limit) else { return };
    let message = engine.fails("slow", &format!("{BASE}RUN sleep 98765\n"));
    assert_eq!(message, "Dockerfile: the build took longer than 4s, the limit of this server");
    assert_eq!(super::leftovers("98765"), [""; 0]);
}
