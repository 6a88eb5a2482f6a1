//! The page of the guide about an own service: its commands run with real programs.

use std::process::Command;

use super::{OWN_SERVICE, Shell, check_in, root};
use crate::engine::{free_port, programs};

#[test]
fn every_command_of_the_own_service_does_what_the_page_says() {
    // The registry is only a sign that all programs are there.
    if programs().is_none() {
        return;
    }
    let mut shell = Shell::new();
    for port in [5000, 8080] {
        let used = format!("127.0.0.1:{}", free_port());
        shell.addresses.push((format!("127.0.0.1:{port}"), used));
    }
    shell.replaced = vec![("apt install ", are_installed), ("systemctl ", |_| None)];
    if !has_podman() {
        shell.replaced.push(("podman ", |_| None));
    }
    // Podman's images of the machine stay as they are.
    let storage = shell.env.home().join("storage.conf");
    let [graph, run] = ["graph", "run"].map(|name| shell.env.home().join(name));
    let text = format!(
        "[storage]\ndriver = 'vfs'\ngraphroot = '{}'\nrunroot = '{}'\n",
        graph.display(),
        run.display()
    );
    std::fs::write(&storage, text).unwrap();
    shell.vars.push(("CONTAINERS_STORAGE_CONF", storage.into_os_string()));
    let text = std::fs::read_to_string(root().join(OWN_SERVICE)).unwrap();
    let problems = check_in(shell, OWN_SERVICE, &text);
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// True if Podman works. With `IMGPLAN_PODMAN=required`, it must.
fn has_podman() -> bool {
    use std::io::Write;
    let version = Command::new("podman").arg("--version").output();
    let works = version.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("IMGPLAN_PODMAN").is_some_and(|value| value == "required");
    assert!(works || !required, "IMGPLAN_PODMAN=required: no usable podman");
    if !works {
        // Unlike `eprintln!`, this is not captured in tests that succeed.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {OWN_SERVICE}: podman: it is not installed");
    }
    works
}

/// Returns the packages of a command of apt that are not installed. Podman may be missing, and so may
/// dpkg.
fn are_installed(command: &str) -> Option<String> {
    let packages = command.split_whitespace().skip(2).filter(|package| *package != "podman");
    let mut query = Command::new("dpkg-query");
    let output = query.arg("--show").args(packages).output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(text)
}
