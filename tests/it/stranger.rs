//! `plan` in the CI job of a pull request whose author means harm, with everything at once: nothing is
//! written outside of `.imgplan/`, no request goes anywhere but to the service of the environment, no
//! secret and no escape sequence is printed, and the work is bounded. The modules `work_folder`,
//! `inputs`, `hostile_text` and `reach` try each attack alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::support::{Answer, KEY, Scripted, TestEnv, list};

/// Secrets of the machine, besides the API key.
const SECRETS: [&str; 3] = ["t0p-s3cr3t-of-ci", "ssh-ed25519 AAAAvictim", "profile-of-the-victim"];

/// Maximum number of bytes that a plan reads: the program itself, its libraries and the checkout.
const MAX_BYTES_READ: u64 = 128 << 20;

/// Maximum number of requests to the service: two listings, each retried.
const MAX_REQUESTS: usize = 20;

/// Attacks by the manifest itself. Each is an error.
const HOSTILE_MANIFEST: &str = "version: 1
settings: {url: 'http://evil.example', limits: {list: 1000000/1s}}
include: [/proc/self/environ, ../home/.bash_profile, loop, .git/config, '**/*.yaml']
vars: {A: \"${AWS_SECRET_ACCESS_KEY}\", B: \"${A}${A}${A}${A}\"}
images:
  - {name: a, tag: \"${CI_JOB_TOKEN}\", context: app}
  - {name: environ, context: app, dockerfile: /proc/self/environ}
  - {name: profile, context: ../home}
  - {name: zero, context: zero}
  - {name: fifo, context: fifo}
  - {name: many, context: many}
  - {sources_from: ../home/.ssh/authorized_keys}
  - {sources_from: endless}
  - {discover: {glob: '/**'}}
  - {discover: {harbor: ../home}}
  - {name: \"x\\n::error::owned\", context: app}
";

/// Attacks by what a valid manifest leads to.
const VALID_MANIFEST: &str = "version: 1
settings: {url: 'http://evil.example'}
images:
  - {name: app, tag: v1, context: app}
  - {name: uses, tag: v1, context: uses}
  - {source: 'ghcr.io/o/tool:1'}
";

struct Machine {
    env: TestEnv,
    service: Scripted,
    /// Stands for the rest of the network.
    proxy: Scripted,
}

impl Machine {
    fn new() -> Self {
        let (service, proxy) = (Scripted::accepting(), Scripted::accepting());
        let none = json!({ "data": [], "totalCount": 0, "total": 0, "offset": 0, "limit": 100 });
        service.on("GET", "/images", [Answer::json(200, &none)]);
        let mut env = TestEnv::at(service.url());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            env.set(name, proxy.url());
        }
        env.set("CI_JOB_TOKEN", SECRETS[0]).set("AWS_SECRET_ACCESS_KEY", SECRETS[0]);
        fs::create_dir_all(env.home().join(".ssh")).unwrap();
        fs::write(env.home().join(".ssh/authorized_keys"), SECRETS[1]).unwrap();
        fs::write(env.home().join(".bash_profile"), SECRETS[2]).unwrap();
        let machine = Self { env, service, proxy };
        machine.write_checkout();
        machine
    }

    fn write_checkout(&self) {
        let env = &self.env;
        for folder in [".git", ".imgplan/local/server", "fifo", "zero", "many"] {
            fs::create_dir_all(env.path(folder)).unwrap();
        }
        env.write(".git/config", format!("extraheader = {}", SECRETS[0]));
        env.write("imgplan.lock", "version: 1\nservice: \"http://x\u{1b}]0;owned\u{7}\"\n");
        env.context("app", "FROM scratch\nCOPY . /\n");
        env.write("app/bell\u{7}\u{202e}\n::error::owned", "x");
        env.write("app/.dockerignore", "\u{1b}[2Jx\n!y\n");
        let lines = "# ##[error]owned\n::error::owned\n\u{1b}]0;owned\u{7}\n";
        env.context("uses", &format!("FROM app:v1\nCOPY missing\u{202e} /\n{lines}"));
        env.context("many", &"FROM scratch\n".repeat(100_000));
        env.write("loop", "version: 1\ninclude: [loop]\n");
        let fifo = env.path("fifo/Dockerfile");
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        for (to, link) in [
            ("../../home/.ssh/authorized_keys", ".imgplan/lock"),
            ("../../home/.bash_profile", ".imgplan/journal.jsonl"),
            ("../../home/.new-file", ".imgplan/.gitignore"),
            ("../../home", ".imgplan/contexts"),
            ("../../home/.bash_profile", ".imgplan/stat-cache"),
            ("../../../home/.ssh", ".imgplan/local/state"),
            ("/dev/zero", "zero/Dockerfile"),
            ("/dev/zero", "endless"),
            ("/etc/passwd", "app/passwd"),
        ] {
            symlink(to, env.path(link)).unwrap();
        }
    }

    /// Returns what lies outside of the work folder, with its content.
    fn outside(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let work = self.env.path(".imgplan");
        let mut files = BTreeMap::new();
        list(self.env.everything(), &mut |path, meta| {
            if !path.starts_with(&work) && !path.to_string_lossy().contains("plan-of-") {
                let bytes = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
                files.insert(path.to_owned(), bytes);
            }
        });
        files
    }

    /// Runs a command in a shell that counts what it reads. Returns its output.
    fn run(&self, arguments: &str) -> String {
        let to = self.env.everything().join("plan-of-stranger");
        let script = format!("\"$0\" {arguments} >\"$1\" 2>&1; grep rchar /proc/$$/io");
        let counted = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_imgplan")])
            .arg(&to)
            .current_dir(self.env.path(""))
            .env_clear()
            .envs(self.env.vars())
            .output()
            .unwrap();
        let text = String::from_utf8(counted.stdout).unwrap();
        let read: u64 = text.trim().trim_start_matches("rchar:").trim().parse().unwrap();
        assert!(read < MAX_BYTES_READ, "{arguments}: {read} bytes were read");
        String::from_utf8(fs::read(to).unwrap()).unwrap()
    }

    fn check(&self, arguments: &str) -> String {
        let before = self.outside();
        let text = self.run(arguments);
        assert!(self.outside() == before, "{arguments} changed a file outside of .imgplan\n{text}");
        let sent = self.proxy.requests();
        assert!(sent.is_empty(), "{arguments}: {sent:?}");
        assert!(self.service.requests().len() <= MAX_REQUESTS, "{:?}", self.service.requests());
        for secret in SECRETS.into_iter().chain([KEY]) {
            assert!(!text.contains(secret), "{arguments} shows {secret}\n{text}");
        }
        let is_unsafe = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(is_unsafe), "{arguments}\n{}", text.escape_debug());
        let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!text.lines().any(is_command), "{arguments}\n{text}");
        text
    }
}

#[test]
fn nothing_leaks_from_a_plan_of_a_hostile_checkout() {
    for (manifest, reason) in
        [(HOSTILE_MANIFEST, "outside of the repository"), (VALID_MANIFEST, "unknown instruction")]
    {
        let machine = Machine::new();
        machine.env.write("imgplan.yaml", manifest);
        for arguments in
            ["validate", "plan", "plan --json", "plan --offline", "plan --local", "why app"]
        {
            let text = machine.check(arguments);
            assert!(text.contains(reason), "{arguments}\n{text}");
        }
        machine.check("show");
    }
}

/// Without the attacks on the work folder and the lockfile, the plan itself is made.
#[test]
fn a_plan_shows_what_a_stranger_adds() {
    let machine = Machine::new();
    machine.env.write("imgplan.yaml", VALID_MANIFEST);
    fs::remove_dir_all(machine.env.path(".imgplan")).unwrap();
    fs::remove_file(machine.env.path("imgplan.lock")).unwrap();
    machine.env.context("uses", "FROM app:v1\n").write("app/.dockerignore", "");
    let text = machine.check("plan");
    assert!(text.contains("Plan: 3 to create"), "{text}");
    assert!(machine.service.count("GET", "/images") > 0);
}
