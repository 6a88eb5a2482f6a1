//! Runs the program as a process, and observes it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::output::Output;

/// A prepared call of the program.
pub(crate) struct Call {
    command: Command,
    line: String,
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
        let line = format!("imgplan {}", args.join(" "));
        Self { command, line, stdin: Vec::new(), redactions }
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Limits the number of files that the program may have open.
    #[cfg(unix)]
    pub(crate) fn with_descriptors(self, count: u32) -> Self {
        self.in_shell(&format!(r#"ulimit -n {count}; exec "$0" "$@""#))
    }

    /// Runs a shell script, which runs the program as `"$0" "$@"`.
    #[cfg(unix)]
    pub(crate) fn in_shell(mut self, script: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell.arg(self.command.get_program()).args(self.command.get_args());
        let vars = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        shell.env_clear().envs(vars);
        self.command.get_current_dir().into_iter().for_each(|dir| _ = shell.current_dir(dir));
        self.command = shell;
        self
    }

    /// Sets the whole of standard input.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// Runs the program to its end.
    #[must_use]
    pub(crate) fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts the program.
    pub(crate) fn start(self) -> Running {
        let mut running = self.start_interactive();
        running.stdin = None;
        running
    }

    /// Starts the program, and does not read its standard output.
    pub(crate) fn start_unread(self) -> Running {
        let mut running = self.spawn(false);
        running.stdin = None;
        running
    }

    /// Starts the program, and keeps its standard input open for [`Running::type_in`].
    pub(crate) fn start_interactive(self) -> Running {
        self.spawn(true)
    }

    /// Runs the program to its end with both streams on a terminal, and returns what it wrote. Nothing
    /// is typed.
    #[cfg(unix)]
    pub(crate) fn on_terminal(self) -> String {
        self.on_terminal_of(0, 0)
    }

    /// The same with the size of the terminal; 0 is an unknown size.
    #[cfg(unix)]
    pub(crate) fn on_terminal_of(mut self, columns: u16, lines: u16) -> String {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{Winsize, tcsetwinsize};

        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        self.command.stdin(Stdio::null()).stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let mut child = self.command.spawn().unwrap();
        // The command keeps the terminal open.
        drop(self.command);
        let (mut master, mut text, mut part) = (std::fs::File::from(master), Vec::new(), [0; 4096]);
        // Linux reports the end as an error.
        while let Ok(read @ 1..) = master.read(&mut part) {
            text.extend_from_slice(&part[..read]);
        }
        child.wait().unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Starts the program on a terminal.
    #[cfg(unix)]
    pub(crate) fn start_on_terminal(self) -> super::Terminal {
        super::Terminal::start(self.command)
    }

    fn spawn(mut self, read: bool) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Fails if the program ends before it reads its input.
        let _ = stdin.write_all(&self.stdin);
        let stdout = if read { capture(child.stdout.take().unwrap()) } else { Capture::default() };
        let stderr = capture(child.stderr.take().unwrap());
        let (command, redactions) = (self.line, self.redactions);
        Running { child: Some(child), stdin: Some(stdin), stdout, stderr, command, redactions }
    }
}

/// The text of a stream so far.
#[derive(Default)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

fn capture(mut from: impl Read + Send + 'static) -> Capture {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&bytes);
    let thread = std::thread::spawn(move || {
        let mut part = vec![0; 64 * 1024];
        loop {
            match from.read(&mut part).unwrap() {
                0 => break,
                read => shared.lock().unwrap().extend_from_slice(&part[..read]),
            }
        }
    });
    Capture { bytes, thread: Some(thread) }
}

impl Capture {
    /// Returns the whole text, once the stream has ended.
    fn text(mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        String::from_utf8(std::mem::take(&mut self.bytes.lock().unwrap())).unwrap()
    }
}

/// A running program. It is killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    stdout: Capture,
    stderr: Capture,
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

    /// Sends SIGKILL, unless the program has ended.
    pub(crate) fn kill(&mut self) {
        self.child.as_mut().unwrap().kill().unwrap();
    }

    /// True if the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// True if standard error contains a text so far.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stderr.bytes.lock().unwrap()).contains(text)
    }

    /// True if standard output contains a text so far.
    pub(crate) fn has_written(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).contains(text)
    }

    /// Writes a text to standard input, and closes it.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the program to end.
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
