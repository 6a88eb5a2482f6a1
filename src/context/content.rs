//! Reads the content of open files: as much as fits, or all of it for its digest.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};

use crate::base::digest::Digest;

/// Reads into `buffer` until it is full or the file ends.
pub(super) fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The length of a file's content and its digest.
pub(super) fn digest(file: &mut File) -> io::Result<(u64, Digest)> {
    thread_local! {
        // A buffer for each file would cost more than a small file itself.
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 128 * 1024]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            let read = fill(file, buffer)?;
            hasher.update(&buffer[..read]);
            size += read as u64;
            if read < buffer.len() {
                return Ok((size, hasher.finalize().into()));
            }
        }
    })
}
