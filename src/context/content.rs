//! Reads the content of open files.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};

use crate::base::digest::Digest;

/// Size of the buffer for computing digests.
const DIGEST_BUFFER_BYTES: usize = 128 * 1024;

/// Reads into `buffer` until it is full or the file ends. Returns the number of bytes read.
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

/// Returns the length in bytes and the digest of a file's content.
pub(super) fn digest(file: &mut File) -> io::Result<(u64, Digest)> {
    thread_local! {
        // Allocating a buffer for each file would take longer than reading a small file.
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DIGEST_BUFFER_BYTES]);
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
