//! The program as a process: told what to do, and watched while it does it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
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
    pub(crate) fn start(self) -> Running {
        let mut running = self.start_to_talk();
        running.stdin = None;
        running
    }

    /// Starts it, and reads nothing of what it writes to standard output.
    pub(crate) fn start_unread(self) -> Running {
        let mut running = self.spawn(false);
        running.stdin = None;
        running
    }

    /// Starts it, and leaves its standard input open for what is to be [said](Running::say).
    pub(crate) fn start_to_talk(self) -> Running {
        self.spawn(true)
    }

    fn spawn(mut self, read: bool) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who reads nothing may be gone before it is written.
        let _ = stdin.write_all(&self.stdin);
        let stdout = if read { gather(child.stdout.take().unwrap()) } else { Gathering::default() };
        let stderr = gather(child.stderr.take().unwrap());
        let (command, redactions) = (self.said, self.redactions);
        Running { child: Some(child), stdin: Some(stdin), stdout, stderr, command, redactions }
    }
}

/// What came on a stream so far.
#[derive(Default)]
struct Gathering {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

fn gather(mut from: impl Read + Send + 'static) -> Gathering {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let gathered = Arc::clone(&bytes);
    let thread = std::thread::spawn(move || {
        let mut part = vec![0; 64 * 1024];
        loop {
            match from.read(&mut part).unwrap() {
                0 => break,
                read => gathered.lock().unwrap().extend_from_slice(&part[..read]),
            }
        }
    });
    Gathering { bytes, thread: Some(thread) }
}

impl Gathering {
    /// All of it.
    fn text(mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        String::from_utf8(std::mem::take(&mut self.bytes.lock().unwrap())).unwrap()
    }
}

/// A run of the program that goes on; killed where a test forgets it.
pub(crate) struct Running {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    stdout: Gathering,
    stderr: Gathering,
    command: String,
    redactions: Vec<(String, &'static str)>,
}

impl Running {
    /// Sends a signal, by its short name: `INT`, `TERM`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success(), "cannot send {name}");
    }

    /// Kills it at once, by SIGKILL, unless it has ended.
    pub(crate) fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Its number among the processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it has written this to standard error so far.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).contains(text)
    }

    /// Whether it has written this to standard output so far.
    pub(crate) fn has_written(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).contains(text)
    }

    /// Says this on its standard input, which ends after it.
    pub(crate) fn say(&mut self, text: &str) {
        self.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for its end.
    #[must_use]
    pub(crate) fn wait(mut self) -> Output {
        self.stdin = None;
        let status = self.child.take().unwrap().wait().unwrap();
        Output {
            command: std::mem::take(&mut self.command),
            stdout: std::mem::take(&mut self.stdout).text(),
            stderr: std::mem::take(&mut self.stderr).text(),
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
