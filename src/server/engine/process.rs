//! Runs a child process that ends with the server, whose output goes line by line into a log.

use std::fs::File;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{EngineFailure, LogSink};

/// Time between the request to end and the end by force.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Time to read the rest of the output after the end of a process.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);

/// Maximum length of a line of the log in bytes; the rest of a longer one is dropped.
const MAX_LINE_BYTES: usize = 4096;

/// Maximum size of an output that is returned, in bytes.
const MAX_CAPTURED_BYTES: usize = 4 << 20;

/// Runs a command whose output goes into the log.
///
/// # Errors
/// Fails if the command cannot be started, and with [`EngineFailure::Cancelled`] once it has ended after
/// a cancellation.
pub(super) async fn run(
    command: Command,
    stdin: Option<File>,
    log: &dyn LogSink,
    cancel: &CancellationToken,
) -> Result<ExitStatus, EngineFailure> {
    let no_pipe = |error: io::Error| format!("the server cannot read the output: {error}");
    // One pipe for both, so that their lines stay in order.
    let (output, input) = io::pipe().map_err(no_pipe)?;
    let (out, err) = (input.try_clone().map_err(no_pipe)?, input);
    let output = pipe::Receiver::from_owned_fd(output.into()).map_err(no_pipe)?;
    let mut child = spawn(command, stdin, (out.into(), err.into()))?;
    Ok(finish(&mut child, to_log(Some(output), log), cancel).await?.0)
}

/// Runs a command, and returns what it writes to its standard output. Its errors go into the log.
///
/// # Errors
/// Fails as [`run`] does.
pub(super) async fn capture(
    command: Command,
    log: &dyn LogSink,
    cancel: &CancellationToken,
) -> Result<(ExitStatus, Vec<u8>), EngineFailure> {
    let mut child = spawn(command, None, (Stdio::piped(), Stdio::piped()))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(to_memory(out), to_log(err, log)).0 };
    let (status, output) = finish(&mut child, reading, cancel).await?;
    Ok((status, output.unwrap_or_default()))
}

fn spawn(
    mut command: Command,
    stdin: Option<File>,
    (out, err): (Stdio, Stdio),
) -> Result<Child, EngineFailure> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    command.stdout(out).stderr(err);
    // A group of its own gets no Ctrl-C from a terminal, so that the server decides how it ends.
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(|error| {
        EngineFailure::Failed(format!("the server cannot start `{program}`: {error}"))
    })
}

/// Waits for the end of a process while its output is read.
async fn finish<T>(
    child: &mut Child,
    reading: impl Future<Output = T>,
    cancel: &CancellationToken,
) -> Result<(ExitStatus, Option<T>), EngineFailure> {
    let mut reading = std::pin::pin!(reading);
    let ending = end(child, cancel);
    let mut ending = std::pin::pin!(ending);
    let (status, output) = tokio::select! {
        status = &mut ending => {
            // A process that has left the namespace may still hold the pipe.
            (status, tokio::time::timeout(OUTPUT_GRACE, reading).await.ok())
        }
        output = &mut reading => (ending.await, Some(output)),
    };
    if cancel.is_cancelled() {
        return Err(EngineFailure::Cancelled);
    }
    let status = status.map_err(|error| format!("the server lost a process: {error}"))?;
    Ok((status, output))
}

/// Waits for the end of a process. If it is cancelled, its group is asked to end, and then killed.
async fn end(child: &mut Child, cancel: &CancellationToken) -> io::Result<ExitStatus> {
    if let Some(status) = cancel.run_until_cancelled(child.wait()).await {
        return status;
    }
    // `None` once it has ended.
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process_group(group, Signal::TERM);
        if let Ok(status) = tokio::time::timeout(STOP_GRACE, child.wait()).await {
            return status;
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().await
}

/// Writes an output to the log. A carriage return ends a line too, because progress bars use it.
async fn to_log(output: Option<impl AsyncRead + Unpin>, log: &dyn LogSink) {
    let Some(mut output) = output else { return };
    let (mut line, mut buffer) = (Vec::new(), vec![0; 8 << 10]);
    let write = |line: &mut Vec<u8>| {
        if !line.is_empty() {
            log.line(&String::from_utf8_lossy(line));
            line.clear();
        }
    };
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        for &byte in &buffer[..count] {
            match byte {
                b'\n' | b'\r' => write(&mut line),
                _ if line.len() < MAX_LINE_BYTES => line.push(byte),
                _ => {}
            }
        }
    }
    write(&mut line);
}

/// Reads an output to its end, and returns its beginning.
async fn to_memory(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 8 << 10]);
    let Some(mut output) = output else { return bytes };
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        let room = MAX_CAPTURED_BYTES.saturating_sub(bytes.len());
        bytes.extend_from_slice(&buffer[..count.min(room)]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::LogTail;
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_is_read_line_by_line() {
        let (log, token) = (LogTail::default(), CancellationToken::new());
        let script =
            "printf 'a\\n\\nb\\r10%%\\r20%%\\n'; head -c 10000 /dev/zero | tr '\\0' x; exit 3";
        let status = run(shell(script), None, &log, &token).await.unwrap();
        assert_eq!(status.code(), Some(3));
        let lines = log.lines();
        assert_eq!(lines[..4], ["a", "b", "10%", "20%"]);
        assert_eq!(lines[4].len(), MAX_LINE_BYTES);
        let (_, output) = capture(shell("echo out; echo err >&2"), &log, &token).await.unwrap();
        assert_eq!(output, b"out\n");
        assert_eq!(log.lines().last().map(String::as_str), Some("err"));
    }

    #[tokio::test]
    async fn a_cancelled_process_ends() {
        let (log, token) = (LogTail::default(), CancellationToken::new());
        token.cancel();
        let failure = run(shell("sleep 100"), None, &log, &token).await.unwrap_err();
        assert_eq!(failure, EngineFailure::Cancelled);
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let (log, token) = (LogTail::default(), CancellationToken::new());
        let failure = run(Command::new("/none"), None, &log, &token).await.unwrap_err();
        let EngineFailure::Failed(message) = failure else { panic!("{failure:?}") };
        assert!(message.starts_with("the server cannot start `/none`: "), "{message}");
    }
}
