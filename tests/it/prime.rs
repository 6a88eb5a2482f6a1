//! The provider's own client against `imgplan serve`: runs `tests/prime/check.sh` if the client is
//! installed. `.ci/run` installs it. By hand: `pip install prime==0.6.26 prime-sandboxes==0.2.39` in a
//! virtual environment, and set `IMGPLAN_PRIME` to its `bin` folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{TestEnv, wait_until};

/// Version that the check was written for. The output of another version may differ.
const VERSION: &str = "0.6.26";

#[test]
fn the_providers_own_client_works_against_our_server() {
    let Some(path) = path_with_client() else { return };
    let env = TestEnv::at("http://127.0.0.1:9");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--url-file", "url", "--token", "local"];
    // The check makes more transfers per minute than a real account may.
    let limits = ["--limit", "images=1000/60s", "--build-time", "20ms"];
    let mut server = env.call(arguments.into_iter().chain(limits)).start();
    wait_until("the server listens", || env.exists("url") || server.has_ended());
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prime/check.sh");
    let output = Command::new("bash")
        .arg(check)
        .args([env.read("url").trim(), "local"])
        .env("PATH", path)
        .output()
        .unwrap();
    server.signal("TERM");
    let served = server.wait();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let shown = format!("{}{}\n{served}", text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("all well"), "{shown}");
}

/// Returns a `PATH` with the client, or `None` if it is not installed.
fn path_with_client() -> Option<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let configured = std::env::var_os("IMGPLAN_PRIME").filter(|dir| !dir.is_empty());
    let dirs = configured.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).unwrap();
    let version = Command::new("prime").arg("--version").env("PATH", &path).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match (version, configured) {
        (Ok(version), _) if version.contains(VERSION) => Some(path),
        (version, Some(dir)) => {
            panic!("IMGPLAN_PRIME={}: no prime {VERSION} there: {version:?}", dir.display())
        }
        (_, None) => {
            skipped(&format!("prime {VERSION} is not on the PATH, and IMGPLAN_PRIME is not set"));
            None
        }
    }
}

/// Reports a skipped test.
fn skipped(reason: &str) {
    use std::io::Write;
    // Unlike `eprintln!`, this is not captured in tests that succeed.
    let _ = writeln!(std::io::stderr(), "SKIPPED: tests/prime/check.sh: {reason}");
}
