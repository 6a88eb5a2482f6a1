//! Keeps an archive in a file until it is sent: its length must be known before, and it is too large
//! for the memory.

use std::fs::File;
use std::io::{self, Seek, Write};

/// An archive in a file without a name, which is gone with the process, however that ends.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Its length in bytes.
    pub len: u64,
}

impl Spool {
    /// The file from its start. All readers share one place in it: use one at a time.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Room that is left to others on the file system of temporary files.
const RESERVE: u64 = 16 << 20;

/// Bytes that are written between two looks at the room that is left.
const STRIDE: u64 = 8 << 20;

/// Writes a spool, and stops before the file system is full: whoever else needs it should not have
/// to suffer.
pub(super) struct SpoolWriter<F = fn(&File) -> Option<u64>> {
    file: File,
    len: u64,
    looked_at: u64,
    free: F,
}

impl SpoolWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self::with(tempfile::tempfile()?, free))
    }
}

impl<F: Fn(&File) -> Option<u64>> SpoolWriter<F> {
    /// The first look comes after the first stride: what is smaller fits, or the system says so.
    fn with(file: File, free: F) -> Self {
        Self { file, len: 0, looked_at: 0, free }
    }

    pub(super) fn finish(self) -> Spool {
        Spool { file: self.file, len: self.len }
    }

    fn look(&self) -> io::Result<()> {
        match (self.free)(&self.file) {
            Some(free) if free < RESERVE + STRIDE => {
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
        if self.len - self.looked_at >= STRIDE {
            self.look()?;
            self.looked_at = self.len;
        }
        let written = self.file.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes that are free on a file's file system; `None` where the system does not say.
#[cfg(unix)]
fn free(file: &File) -> Option<u64> {
    let stat = rustix::fs::fstatvfs(file).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &File) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;

    use super::*;

    #[test]
    fn it_stops_before_the_disk_is_full() {
        let left = Cell::new(RESERVE + 3 * STRIDE);
        let free = |file: &File| Some(left.get() - file.metadata().unwrap().len());
        let mut spooler = SpoolWriter::with(tempfile::tempfile().unwrap(), free);
        let mut written = 0;
        let error = loop {
            match spooler.write(&vec![0; 1 << 20]) {
                Ok(count) => written += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(written <= 3 * STRIDE, "{written}");
        let mut small = SpoolWriter::with(tempfile::tempfile().unwrap(), |_| Some(0));
        assert!(small.write_all(&vec![0; 1 << 20]).is_ok(), "little needs no look");
    }

    #[test]
    fn what_was_written_is_read_from_the_start_each_time() {
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
