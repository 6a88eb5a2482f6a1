//! The provider's own client against `imgplan serve`: runs `tests/prime/check-VERSION.sh` for each
//! installed version. `.ci/run` installs them. By hand: `pip install prime==0.6.26
//! prime-sandboxes==0.2.39` and `pip install prime==0.18.0 prime-sandboxes==0.5.1` in two virtual
//! environments, and set `IMGPLAN_PRIME` and `IMGPLAN_PRIME_NEW` to their `bin` folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{TestEnv, wait_until};

/// A version of the client. The output of another version may differ.
pub(crate) struct Client {
    pub(crate) version: &'static str,
    /// Environment variable with its folder.
    variable: &'static str,
}

pub(crate) const AUGUST: Client = Client { version: "0.6.26", variable: "IMGPLAN_PRIME" };
pub(crate) const OCTOBER: Client = Client { version: "0.18.0", variable: "IMGPLAN_PRIME_NEW" };

#[test]
fn the_client_of_august_works_with_the_api_of_august() {
    AUGUST.check("2026-08");
}

#[test]
fn the_client_of_august_works_with_the_api_of_november() {
    AUGUST.check("2026-11");
}

#[test]
fn the_client_of_october_works_with_the_api_of_november() {
    OCTOBER.check("2026-11");
}

impl Client {
    fn check(&self, api: &str) {
        let Some(path) = self.path() else { return };
        let env = TestEnv::at("http://127.0.0.1:9");
        let arguments = ["serve", "--api", api, "--token", "local", "--build-time", "20ms"];
        let address = ["--listen", "127.0.0.1:0", "--url-file", "url"];
        // The check makes more transfers per minute than a real account may.
        let limits = ["--limit", "images=1000/60s"];
        let arguments = arguments.into_iter().chain(address).chain(limits);
        let mut server = env.call(arguments).start();
        wait_until("the server listens", || env.exists("url") || server.has_ended());
        let script = format!("tests/prime/check-{}.sh", self.version);
        let output = Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args([env.read("url").trim(), "local", api])
            .env("PATH", path)
            .output()
            .unwrap();
        server.signal("TERM");
        let served = server.wait();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // What the check says of its failure comes last: logs of CI are cut from the start.
        let shown = format!("{served}\n{}{}", text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{shown}");
        assert!(shown.contains("all well"), "{shown}");
    }

    /// Returns a `PATH` with the client, or `None` if it is not installed.
    pub(crate) fn path(&self) -> Option<OsString> {
        let Self { version: expected, variable } = self;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let configured = std::env::var_os(variable).filter(|dir| !dir.is_empty());
        let dirs = configured.iter().map(PathBuf::from).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs).unwrap();
        let version = Command::new("prime").arg("--version").env("PATH", &path).output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        match (version, configured) {
            (Ok(version), _) if version.contains(expected) => Some(path),
            (version, Some(dir)) => {
                panic!("{variable}={}: no prime {expected} there: {version:?}", dir.display())
            }
            (_, None) => {
                let reason = format!("prime {expected} is not on the PATH, nor is {variable} set");
                self.skipped(&reason);
                None
            }
        }
    }

    /// Reports a skipped test.
    fn skipped(&self, reason: &str) {
        use std::io::Write;
        // Unlike `eprintln!`, this is not captured in tests that succeed.
        let stderr = &mut std::io::stderr();
        let _ = writeln!(stderr, "SKIPPED: tests/prime/check-{}.sh: {reason}", self.version);
    }
}
