//! The provider's own client against `imgplan serve`: `tests/prime/check.sh`, where the client is
//! there. `.ci/run` installs it; to do so by hand: `pip install prime==0.6.26
//! prime-sandboxes==0.2.39` into a virtual environment, and `IMGPLAN_PRIME` set to its `bin`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{TestEnv, wait_until};

/// The version that the check was made with: another one prints other words.
const VERSION: &str = "0.6.26";

#[test]
fn the_providers_own_client_works_against_our_server() {
    let Some(path) = path_with_client() else { return };
    let env = TestEnv::at("http://127.0.0.1:9");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--url-file", "url", "--token", "local"];
    // The client makes more transfers in a minute than a real account may.
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
    let said = format!("{}{}\n{served}", text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(said.contains("all well"), "{said}");
}

/// A `PATH` on which the client is, if it is anywhere.
fn path_with_client() -> Option<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let given = std::env::var_os("IMGPLAN_PRIME").filter(|given| !given.is_empty());
    let dirs = given.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).unwrap();
    let version = Command::new("prime").arg("--version").env("PATH", &path).output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match (version, given) {
        (Ok(version), _) if version.contains(VERSION) => Some(path),
        (version, Some(given)) => {
            panic!("IMGPLAN_PRIME={}: no prime {VERSION} there: {version:?}", given.display())
        }
        (_, None) => {
            skipped(&format!("prime {VERSION} is not on the PATH, and IMGPLAN_PRIME is not set"));
            None
        }
    }
}

/// Says so where it is seen although the test is none that failed.
fn skipped(why: &str) {
    use std::io::Write;
    // Unlike `eprintln!`, this is not kept from whoever runs the tests.
    let _ = writeln!(std::io::stderr(), "SKIPPED: tests/prime/check.sh: {why}");
}
