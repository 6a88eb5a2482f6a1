//! The file of `--json-into`, which gets the lines of `--json`.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::door::{Door, json_door};
use crate::base::file::{self, AtPath, PathError};
use crate::report::json::JsonReporter;

/// The file. All clones write to the same one.
#[derive(Clone)]
pub(super) struct JsonFile {
    path: PathBuf,
    state: Arc<Mutex<JsonFileState>>,
}

struct JsonFileState {
    out: Door<LineWriter<File>>,
    /// The first error. After it, nothing is written: a gap could go unseen.
    error: Option<io::Error>,
}

impl JsonFile {
    /// Replaces a file by a new one, which grows line by line. A device or descriptor is written to.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created.
    pub(super) fn create(path: &Path) -> Result<Self, PathError> {
        let file = file::replace_with(path, |file| file.try_clone())?;
        let state = JsonFileState { out: json_door(LineWriter::new(file)), error: None };
        let created = Self { path: path.to_owned(), state: Arc::new(Mutex::new(state)) };
        created.add(|out| JsonReporter::start(out).map(drop));
        Ok(created)
    }

    /// Writes lines. An error is kept for [`Self::close`]: it must not stop a run.
    pub(super) fn write(&self, write: impl FnOnce(&mut JsonReporter<'_>) -> io::Result<()>) {
        self.add(|out| write(&mut JsonReporter::resume(out)));
    }

    fn add(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        // The lines before a panic are whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.error.is_none() {
            let written = write(&mut state.out);
            state.error = written.err();
        }
    }

    /// Flushes the file.
    ///
    /// # Errors
    ///
    /// Fails with the first error of a write.
    pub(super) fn close(&self) -> Result<(), PathError> {
        self.add(|out| out.flush());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.error.take().map_or(Ok(()), Err).at("write", &self.path)
    }
}
