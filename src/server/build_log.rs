//! The logs of builds, one file each.
//!
//! A line begins with the time since the start of the build, in seconds. It has no control characters:
//! colors are removed, other ones are escaped. A log that cannot be written is cut off there, and the
//! build goes on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::config::StateOrigin;
use super::engine::LogSink;
use super::log_layout::{LENGTH_BYTES, MAX_FILE_BYTES, has_length, left_out, places};
use crate::base::file::{AtPath, PathError};
use crate::base::name::BuildId;
use crate::base::safe_text::push_escaped;
use crate::base::size::bytes;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// Maximum length of a line, in bytes.
const MAX_LINE_BYTES: usize = 4096;

/// Maximum number of bytes that one read returns.
const MAX_READ_BYTES: u64 = 256 << 10;

/// The log of a build that is running. All threads of an engine may write to it.
pub(super) struct BuildLog {
    started: Instant,
    writer: Mutex<LogWriter>,
}

struct LogWriter {
    dir: WorkDir,
    name: WorkName,
    /// `None` before the first line, and after an error.
    file: Option<File>,
    failed: bool,
    length: u64,
}

/// A part of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogPart {
    /// Whole lines, except at the gap of a long log.
    pub(super) text: String,
    /// Offset of the next part.
    pub(super) next: u64,
    /// True if there is nothing after this part yet.
    pub(super) is_last: bool,
}

impl BuildLog {
    fn new(dir: WorkDir, id: &BuildId) -> Self {
        let (name, file, failed) = (WorkName::build_log(id), None, false);
        let writer = LogWriter { dir, name, file, failed, length: 0 };
        Self { started: Instant::now(), writer: Mutex::new(writer) }
    }

    /// Adds a line, without its newline. A text with several lines becomes several lines.
    pub(super) fn line(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        for text in text.lines() {
            let text = plain(text);
            self.writer().write(format!("{seconds:8.2} {text}\n").as_bytes());
        }
    }

    /// Completes the file. A line that is added later is lost.
    fn finish(&self) {
        let mut writer = self.writer();
        let length = writer.length;
        if !left_out(length).is_empty() {
            writer.write_at(MAX_FILE_BYTES - LENGTH_BYTES, &length.to_le_bytes());
        }
        (writer.file, writer.failed) = (None, true);
    }

    fn writer(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSink for BuildLog {
    fn line(&self, text: &str) {
        Self::line(self, text);
    }
}

impl LogWriter {
    fn write(&mut self, line: &[u8]) {
        if self.file.is_none() && !self.failed {
            self.file = self.create().ok();
        }
        let (mut rest, end) = (line, self.length + line.len() as u64);
        for place in places(self.length, end) {
            let length = usize::try_from(place.end - place.start).unwrap_or(rest.len());
            let (now, later) = rest.split_at(length.min(rest.len()));
            self.write_at(place.start, now);
            rest = later;
        }
        if self.file.is_some() {
            self.length = end;
        }
    }

    /// Writes at a place of the file. The log ends at the first error, so that it has no gap.
    fn write_at(&mut self, place: u64, part: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if file.seek(SeekFrom::Start(place)).and_then(|_| file.write_all(part)).is_err() {
            self.file = None;
        }
        self.failed = self.file.is_none();
    }

    /// Creates the file. It replaces that of an earlier try, which a crash has ended.
    fn create(&mut self) -> Result<File, PathError> {
        self.failed = true;
        let new = self.dir.temporary(".log-")?;
        let path = new.path();
        let file = new.file.try_clone().at("open", &path)?;
        new.rename(&self.name).at("write", &path)?;
        Ok(file)
    }
}

/// The logs of all builds.
pub(super) struct BuildLogs {
    dir: WorkDir,
    /// Flags of the command that prints a log, with a space before each.
    flags: &'static str,
    running: Mutex<HashMap<BuildId, Arc<BuildLog>>>,
}

/// The log of a running build. It is completed when dropped.
pub(super) struct OpenBuildLog<'a> {
    logs: &'a BuildLogs,
    id: BuildId,
    /// The log, for an engine.
    pub(super) log: Arc<BuildLog>,
}

impl BuildLogs {
    /// Opens the logs in a subfolder of `parent`. Fails if it cannot be created.
    pub(super) fn open(parent: &WorkDir, origin: StateOrigin) -> Result<Self, PathError> {
        let dir = parent.create_child(&WorkName::LOGS, FileMode::Private)?;
        let flags = match origin {
            StateOrigin::Operator => "",
            StateOrigin::Checkout => " --local",
        };
        Ok(Self { dir, flags, running: Mutex::default() })
    }

    /// Begins the log of a build. Its file is created with the first line.
    pub(super) fn begin(&self, id: &BuildId) -> OpenBuildLog<'_> {
        let log = Arc::new(BuildLog::new(self.dir.clone(), id));
        self.running().insert(id.clone(), Arc::clone(&log));
        OpenBuildLog { logs: self, id: id.clone(), log }
    }

    /// Reads the part of a log that begins at an offset. A build without a log has an empty one. Blocks.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub(super) fn read(&self, id: &BuildId, offset: u64) -> io::Result<LogPart> {
        let running = self.running().get(id).map(Arc::clone);
        if let Some(log) = running {
            let mut writer = log.writer();
            let length = writer.length;
            if let Some(file) = &mut writer.file {
                return read_part(file, length, offset);
            }
        }
        let mut file = match self.dir.open_file(&WorkName::build_log(id)) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                return Ok(LogPart { is_last: true, ..LogPart::default() });
            }
            file => file.map_err(|error| error.source)?,
        };
        let length = length_of(&mut file)?;
        read_part(&mut file, length, offset)
    }

    /// Deletes the log of a build. One that remains only takes disk space.
    pub(super) fn delete(&self, id: &BuildId) {
        let _ = self.dir.remove(WorkName::build_log(id));
    }

    /// Deletes the logs of unknown builds, and files that a crash left.
    pub(super) fn sweep(&self, is_known: impl Fn(&str) -> bool) {
        for name in self.dir.names() {
            let id = name.to_str().and_then(|name| name.strip_suffix(".log"));
            if !id.is_some_and(&is_known) {
                let _ = self.dir.remove(&name);
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<BuildId, Arc<BuildLog>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenBuildLog<'_> {
    /// Writes the result of a build as the last line, and returns it. A failure with several lines is a
    /// part of the log, and says where the rest is.
    pub(super) fn end<T>(&self, result: Result<T, String>) -> Result<T, String> {
        match &result {
            Ok(_) if self.log.writer().length == 0 => {}
            Ok(_) => self.log.line("completed"),
            Err(message) => {
                self.log.line(&format!("failed: {message}"));
            }
        }
        result.map_err(|message| {
            let Self { logs, id, .. } = self;
            let hint = format!("`imgplan logs {id}{}` shows the whole log", logs.flags);
            if message.contains('\n') { format!("{message}\n{hint}") } else { message }
        })
    }
}

impl Drop for OpenBuildLog<'_> {
    fn drop(&mut self) {
        self.log.finish();
        self.logs.running().remove(&self.id);
    }
}

/// Returns the log of a build of a server that does not run; `path` is the folder of its state. `None`
/// without a log.
///
/// # Errors
/// Fails if the file cannot be read.
pub(crate) fn stored_log(path: &Path, id: &BuildId) -> Result<Option<String>, PathError> {
    let logs = WorkDir::open(path)?.map(|dir| dir.child(&WorkName::LOGS)).transpose()?.flatten();
    let Some(dir) = logs else { return Ok(None) };
    let name = WorkName::build_log(id);
    let mut file = match dir.open_file(&name) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let (mut text, mut part) = (String::new(), LogPart::default());
    let length = length_of(&mut file).at("read", &dir.path_of(&name))?;
    while !part.is_last {
        part = read_part(&mut file, length, part.next).at("read", &dir.path_of(&name))?;
        text.push_str(&part.text);
    }
    Ok(Some(text))
}

/// Returns the length of the log in a complete file.
fn length_of(file: &mut File) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if !has_length(size) {
        return Ok(size);
    }
    let mut length = [0; 8];
    file.seek(SeekFrom::Start(MAX_FILE_BYTES - LENGTH_BYTES))?;
    file.read_exact(&mut length)?;
    Ok(u64::from_le_bytes(length))
}

/// Reads a part of a log of this length. It ends at the end of a line. In the place of the bytes that
/// are left out, it has a line that says how many these are.
fn read_part(file: &mut File, length: u64, offset: u64) -> io::Result<LogPart> {
    let gap = left_out(length);
    let limit = |start: u64| length.min(start.saturating_add(MAX_READ_BYTES));
    let (mut text, mut start) = (String::new(), offset.min(length));
    let mut end = limit(start);
    if start < gap.start && !gap.is_empty() {
        end = end.min(gap.start);
    } else if gap.contains(&start) {
        text = format!("\n[... {} are left out ...]\n", bytes(gap.end - start));
        (start, end) = (gap.end, limit(gap.end));
    }
    let mut read = Vec::new();
    for place in places(start, end) {
        file.seek(SeekFrom::Start(place.start))?;
        Read::take(&mut *file, place.end - place.start).read_to_end(&mut read)?;
    }
    // The first line after the gap is only the end of one.
    let begin = if text.is_empty() { 0 } else { line_end(read.iter().position(|b| *b == b'\n')) };
    let stop = match line_end(read.iter().rposition(|byte| *byte == b'\n')) {
        0 => read.len(),
        stop => stop,
    };
    text.push_str(&String::from_utf8_lossy(read.get(begin..stop).unwrap_or_default()));
    let next = start + stop as u64;
    Ok(LogPart { text, next, is_last: next >= length || stop == 0 })
}

fn line_end(newline: Option<usize>) -> usize {
    newline.map_or(0, |at| at + 1)
}

/// Returns a line without colors and unsafe characters, cut to the maximum length. Of a line that was
/// overwritten with `\r`, as progress bars are, returns the last state.
fn plain(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if text.len() >= MAX_LINE_BYTES {
            text.push_str(" [...]");
            break;
        }
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            // A control sequence ends with a letter or one of `@[\]^_`{|}~`.
            chars.find(|c| ('@'..='~').contains(c));
        } else if c == '\t' {
            text.push_str("    ");
        } else {
            push_escaped(&mut text, c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (tempfile::TempDir, BuildLogs, BuildId) {
        let dir = tempfile::tempdir().unwrap();
        let logs =
            BuildLogs::open(&WorkDir::create_private(dir.path()).unwrap(), StateOrigin::Operator)
                .unwrap();
        (dir, logs, BuildId::new("b-1").unwrap())
    }

    /// Reads a log as a reader who follows it does.
    fn whole(logs: &BuildLogs, id: &BuildId) -> String {
        let (mut text, mut part) = (String::new(), LogPart::default());
        while !part.is_last {
            part = logs.read(id, part.next).unwrap();
            text.push_str(&part.text);
        }
        text
    }

    #[test]
    fn unsafe_text_is_made_plain() {
        for (line, expected) in [
            ("plain é", "plain é"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            (" 10%\r 20%\r100%\r", "100%"),
            ("a\tb\u{202e}c", "a    b\\u{202e}c"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
        let long = plain(&"é".repeat(MAX_LINE_BYTES));
        assert!(long.ends_with("é [...]") && long.len() < MAX_LINE_BYTES + 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_is_read_while_it_is_written_and_after() {
        let (dir, logs, id) = logs();
        let empty = LogPart { is_last: true, ..LogPart::default() };
        assert_eq!(logs.read(&id, 0).unwrap(), empty);
        let open = logs.begin(&id);
        assert_eq!(logs.read(&id, 0).unwrap(), empty);
        open.log.line("one");
        let first = logs.read(&id, 0).unwrap();
        assert_eq!(first.text, "    0.00 one\n");
        tokio::time::advance(std::time::Duration::from_millis(61_250)).await;
        open.log.line("two\nthree\u{1b}[0m");
        let second = logs.read(&id, first.next).unwrap();
        assert_eq!(second.text, "   61.25 two\n   61.25 three\n");
        let late = Arc::clone(&open.log);
        drop(open);
        late.line("late");
        assert_eq!(whole(&logs, &id), format!("{}{}", first.text, second.text));
        assert_eq!(logs.read(&id, 9999).unwrap().text, "");
        assert!(logs.running().is_empty());

        // A second try begins anew.
        logs.begin(&id).log.line("again");
        assert_eq!(whole(&logs, &id), "    0.00 again\n");
        logs.sweep(|id| id == "b-1");
        assert!(dir.path().join("logs/b-1.log").exists());
        logs.delete(&id);
        assert_eq!(dir.path().join("logs").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end() {
        let (dir, logs, id) = logs();
        let open = logs.begin(&id);
        let line = |number: u32| format!("line {number} {}", "x".repeat(500));
        let (count, mut followed, mut next) = (20_000, String::new(), 0);
        for number in 0..count {
            open.log.line(&line(number));
            let mut is_last = number % 1000 != 0;
            while !is_last {
                let part = logs.read(&id, next).unwrap();
                followed.push_str(&part.text);
                (next, is_last) = (part.next, part.is_last);
            }
        }
        let while_running = whole(&logs, &id);
        drop(open);
        let text = whole(&logs, &id);
        assert_eq!(text, while_running);
        let size = dir.path().join("logs/b-1.log").metadata().unwrap().len();
        assert_eq!(size, MAX_FILE_BYTES);
        let (head, rest) = text.split_once("\n[... 6.2 MB are left out ...]\n").unwrap();
        assert!(head.starts_with("    0.00 line 0 x") && head.len() > (1 << 20) - 600);
        assert!(text.len() > 4_000_000 && text.len() < 4 << 20);
        let numbers = |text: &str| -> Vec<u32> {
            let number = |line: &str| line.split_whitespace().nth(2)?.parse().ok();
            text.lines().filter_map(number).collect()
        };
        // The last line before the gap is cut off.
        let (head, rest) = (numbers(head.rsplit_once('\n').unwrap().0), numbers(rest));
        assert!(head.windows(2).chain(rest.windows(2)).all(|two| two[0] + 1 == two[1]));
        assert_eq!((head[0], rest.last()), (0, Some(&(count - 1))));
        // One who follows gets more than remains.
        assert!(numbers(&followed).windows(2).all(|two| two[0] + 1 == two[1]));
    }

    #[test]
    fn a_build_goes_on_without_its_log() {
        let (dir, logs, id) = logs();
        std::fs::create_dir_all(dir.path().join("logs/b-1.log/in-the-way")).unwrap();
        let open = logs.begin(&id);
        open.log.line("lost");
        assert!(logs.read(&id, 0).is_err());
    }
}
