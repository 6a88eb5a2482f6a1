//! The program as a process: told what to do, and watched while it does it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use super::output::Output;

/// A run of the program that is still being described.
pub(crate) struct Call {
    command: Command,
    said: String,
    stdin: Vec<u8>,
    redactions: Vec<(String, &'static str)>,
}

impl Call {
    pub(super) fn new<'a>(
        dir: &Path,
        vars: &BTreeMap<String, String>,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let args: Vec<&str> = args.into_iter().collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgplan"));
        command.args(&args).current_dir(dir).env_clear().envs(vars);
        let mut redactions = vec![(dir.display().to_string(), "[dir]")];
        redactions.extend(vars.get("PRIME_API_BASE_URL").map(|url| (url.clone(), "[service]")));
        let said = format!("imgplan {}", args.join(" "));
        Self { command, said, stdin: Vec::new(), redactions }
    }

    /// With a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With this on standard input, which ends after it.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// Runs it to its end.
    #[must_use]
    pub(crate) fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who reads nothing may be gone before it is written.
        let _ = stdin.write_all(&self.stdin);
        drop(stdin);
        let stdout = gather(child.stdout.take().unwrap());
        let stderr = gather(child.stderr.take().unwrap());
        let (command, redactions) = (self.said, self.redactions);
        Running { child: Some(child), stdout, stderr, command, redactions }
    }
}

type Gathering = JoinHandle<Vec<u8>>;

fn gather(mut from: impl Read + Send + 'static) -> Gathering {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A run of the program that goes on; killed where a test forgets it.
pub(crate) struct Running {
    child: Option<Child>,
    stdout: Gathering,
    stderr: Gathering,
    command: String,
    redactions: Vec<(String, &'static str)>,
}

impl Running {
    /// Sends a signal, by its short name: `INT`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success(), "cannot send {name}");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[must_use]
    pub(crate) fn wait(mut self) -> Output {
        let status = self.child.take().unwrap().wait().unwrap();
        let text = |gathering: Gathering| String::from_utf8(gathering.join().unwrap()).unwrap();
        let ended = std::mem::replace(&mut self.stdout, std::thread::spawn(Vec::new));
        let stdout = text(ended);
        let ended = std::mem::replace(&mut self.stderr, std::thread::spawn(Vec::new));
        let stderr = text(ended);
        Output {
            command: std::mem::take(&mut self.command),
            stdout,
            stderr,
            code: status.code(),
            redactions: std::mem::take(&mut self.redactions),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
