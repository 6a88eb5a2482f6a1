//! Stores an archive in a temporary file until it is uploaded: its length must be known before the
//! upload, and it can be too large for memory.

use std::fs::File;
use std::io::{self, Seek, Write};

use crate::base::free_space::free_bytes;

/// An archive in a file without a name. The system deletes it when the process ends, even after a
/// crash.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// The length in bytes.
    pub len: u64,
}

impl Spool {
    /// Returns a reader from the start of the file. All readers share one position: use one at a
    /// time. Fails if the system cannot duplicate the descriptor.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Disk space that an archive must leave free for other programs.
const RESERVED_BYTES: u64 = 16 << 20;

/// Number of bytes between two checks of the free disk space.
const CHECK_INTERVAL_BYTES: u64 = 8 << 20;

/// Writes a spool, and fails before the file system is full, because other programs need space too.
pub(super) struct SpoolWriter<F = fn(&File) -> Option<u64>> {
    file: File,
    len: u64,
    checked_at: u64,
    /// Returns the free disk space in bytes, if it is known.
    free: F,
}

impl SpoolWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self::with(tempfile::tempfile()?, free_bytes))
    }
}

impl<F: Fn(&File) -> Option<u64>> SpoolWriter<F> {
    /// Starts a spool. The first check comes after the first interval: if a smaller archive does
    /// not fit, writing it fails.
    fn with(file: File, free: F) -> Self {
        Self { file, len: 0, checked_at: 0, free }
    }

    pub(super) fn finish(self) -> Spool {
        Spool { file: self.file, len: self.len }
    }

    fn check_free_space(&self) -> io::Result<()> {
        match (self.free)(&self.file) {
            Some(free) if free < RESERVED_BYTES + CHECK_INTERVAL_BYTES => {
                let folder = std::env::temp_dir();
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    format!("only {} MB are free in {}", free / 1_000_000, folder.display()),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl<F: Fn(&File) -> Option<u64>> Write for SpoolWriter<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len - self.checked_at >= CHECK_INTERVAL_BYTES {
            self.check_free_space()?;
            self.checked_at = self.len;
        }
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use super::*;

    #[test]
    fn writing_fails_before_the_disk_is_full() {
        let available = Cell::new(RESERVED_BYTES + 3 * CHECK_INTERVAL_BYTES);
        let free = |file: &File| Some(available.get() - file.metadata().unwrap().len());
        let mut spooler = SpoolWriter::with(tempfile::tempfile().unwrap(), free);
        let mut written = 0;
        let error = loop {
            match spooler.write(&vec![0; 1 << 20]) {
                Ok(count) => written += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(written <= 3 * CHECK_INTERVAL_BYTES, "{written}");
        let mut small = SpoolWriter::with(tempfile::tempfile().unwrap(), |_| Some(0));
        assert!(small.write_all(&vec![0; 1 << 20]).is_ok(), "a small archive is not checked");
    }

    #[test]
    fn each_reader_starts_at_the_beginning() {
        let mut spooler = SpoolWriter::with(tempfile::tempfile().unwrap(), |_| None);
        spooler.write_all(b"archive").unwrap();
        let spool = spooler.finish();
        for _ in 0..2 {
            let mut text = String::new();
            spool.reader().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!((text.as_str(), spool.len), ("archive", 7));
        }
    }
}
