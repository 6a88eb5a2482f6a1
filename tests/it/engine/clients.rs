//! The provider's own clients with a server that builds: what they push and transfer can be pulled.

use std::ffi::OsStr;
use std::process::Command;

use super::{content, free_port, programs, serve};
use crate::mirrors_for_real::push;
use crate::prime::{AUGUST, OCTOBER};
use crate::support::{KEY, Registry, TestEnv, wait_until};

/// Runs a command of a client that succeeds. Of the environment it has nothing but the `PATH`.
fn run(path: &OsStr, env: &TestEnv, url: &str, arguments: &[&str]) {
    let mut command = Command::new("prime");
    command.args(arguments).current_dir(env.path("")).env_clear();
    command.env("PATH", path).env("HOME", env.home());
    command.env("PRIME_API_BASE_URL", url).env("PRIME_API_KEY", KEY).env("PRIME_TEAM_ID", "");
    command.envs([("TERM", "dumb"), ("NO_COLOR", "1"), ("LC_ALL", "C.UTF-8")]);
    command.env("PRIME_DISABLE_VERSION_CHECK", "1");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "prime {arguments:?}: {shown}");
}

#[test]
fn what_the_providers_clients_push_and_transfer_can_be_pulled() {
    let (Some(own), Some(upstream)) = (programs(), Registry::start()) else { return };
    push(&upstream, "org/app:1", "linux/amd64", "a transferred file");
    let env = TestEnv::at("http://127.0.0.1:9");
    let port = free_port();
    let server = serve(&env, &own.address, port);
    let url = format!("http://127.0.0.1:{port}");
    for client in [AUGUST, OCTOBER] {
        let Some(path) = client.path() else { continue };
        let version = client.version.replace('.', "-");
        let text = format!("pushed by {version}");
        let context = format!("context-{version}");
        env.context(&context, "FROM scratch\nCOPY file /file\n");
        env.write(&format!("{context}/file"), &text);
        let (pushed, copied) = (format!("pushed-{version}:v1"), format!("copied-{version}:v1"));
        let source = format!("{}/org/app:1", upstream.address);
        run(&path, &env, &url, &["images", "push", &pushed, "--context", &context]);
        run(&path, &env, &url, &["images", "push", &copied, "--source-image", &source]);
        for (image, expected) in [(pushed, &*text), (copied, "a transferred file")] {
            let path = format!("prime/local/{image}");
            wait_until("the image is in the registry", || own.raw(&path).is_some());
            let found = content(&own, &format!("{}/{path}", own.address));
            assert!(found.contains(expected), "{image}: {found:?}");
        }
    }
    server.signal("TERM");
    let ended = server.wait();
    assert_eq!(ended.code, Some(143), "{ended}");
}
