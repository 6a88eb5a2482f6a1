//! Compresses on all cores, to the same bytes for any number of them.
//!
//! What is written is cut into blocks of one size, and each is compressed for itself, with the end
//! of the block before it as its dictionary; together they are one gzip member, since there are
//! readers that stop after the first. The bytes depend on nothing but what is written: not on how
//! it was cut into writes, nor on who compressed which block.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Close to the best ratio at several times the speed. Its bytes depend on how much is handed over
/// in one call, which is always a whole block.
const LEVEL: Compression = Compression::new(5);

/// Bytes of a block.
const BLOCK: usize = 1 << 20;

/// Bytes of the block before that a block may refer to: all that the format allows.
const WINDOW: usize = 32 << 10;

/// Blocks of one archive that are compressed at once, at most, however many cores there are: each
/// costs two megabytes, and one reader fills no more.
const MOST_WAITING: usize = 16;

/// The magic, no name, no time, no flags, and no system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writes a gzip member to `out`. Waits for the threads of the pool, and so is none of them.
pub(super) struct Gzip<W: Write> {
    out: W,
    block: Vec<u8>,
    /// The end of the block before.
    window: Vec<u8>,
    crc: Crc,
    /// Blocks that are being compressed, in order.
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most_waiting: usize,
}

impl<W: Write> Gzip<W> {
    /// Begins a member.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK),
            window: Vec::new(),
            crc: Crc::new(),
            waiting: VecDeque::new(),
            // Enough for no thread to wait for the writer, and a bound on the memory.
            most_waiting: (rayon::current_num_threads() + 1).min(MOST_WAITING),
        })
    }

    /// Ends the member.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.hand_over(FlushCompress::Finish)?;
        while let Some(block) = self.waiting.pop_front() {
            self.take(&block)?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Has the block compressed that was filled so far.
    fn hand_over(&mut self, flush: FlushCompress) -> io::Result<()> {
        if self.waiting.len() >= self.most_waiting
            && let Some(first) = self.waiting.pop_front()
        {
            self.take(&first)?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let end = block[block.len().saturating_sub(WINDOW)..].to_vec();
        let window = std::mem::replace(&mut self.window, end);
        let (done, compressed) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits any more where the writer has failed.
            let _ = done.send(compress(&window, &block, flush));
        });
        self.waiting.push_back(compressed);
        Ok(())
    }

    fn take(&mut self, block: &Receiver<io::Result<Vec<u8>>>) -> io::Result<()> {
        let block = block.recv().map_err(io::Error::other)?;
        self.out.write_all(&block?)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.hand_over(FlushCompress::Sync)?;
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.crc.update(&bytes[..taken]);
        Ok(taken)
    }

    /// Does nothing: a block that is cut short would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses one block. Always by a compressor of its own, in one call with room for all that may
/// come of it: this is what makes the bytes depend on nothing else.
fn compress(window: &[u8], block: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut compressor = Compress::new(LEVEL, false);
    if !window.is_empty() {
        compressor.set_dictionary(window).map_err(io::Error::other)?;
    }
    // Data that does not compress grows by a few bytes each 16 KiB.
    let mut out = Vec::with_capacity(block.len() + block.len() / 64 + 1024);
    compressor.compress_vec(block, &mut out, flush).map_err(io::Error::other)?;
    if compressor.total_in() != block.len() as u64 || out.len() == out.capacity() {
        return Err(io::Error::other("a block did not compress into the room that it needs"));
    }
    // The room is for the worst; what waits should not hold it.
    out.shrink_to_fit();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut gzip = Gzip::new(Vec::new()).unwrap();
        for part in parts {
            gzip.write_all(part).unwrap();
        }
        gzip.finish().unwrap()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        // A decoder that stops after the first member.
        GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    /// Bytes that do not compress, the same each time.
    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn text(len: usize) -> Vec<u8> {
        (0..)
            .flat_map(|n: u32| format!("line {} of many\n", n % 977 * (n % 89)).into_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn blocks_make_one_member() {
        for len in [0, 1, WINDOW, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 7] {
            for data in [noise(len), text(len), vec![0; len]] {
                assert_eq!(gunzip(&gzip([&data[..]])), data, "{len}");
            }
        }
    }

    #[test]
    fn a_writer_that_fails_is_told_of() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.len() > 10 {
                    Err(io::ErrorKind::StorageFull.into())
                } else {
                    Ok(bytes.len())
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::new(Full).unwrap();
        let error = match gzip.write_all(&noise(64 * BLOCK)) {
            Ok(()) => gzip.finish().map(|_| ()).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..<_>::default() })]

        #[test]
        fn how_it_was_cut_into_writes_does_not_show(
            cuts in proptest::collection::vec(1usize..2 * BLOCK, 1..20),
        ) {
            let data = [text(2 * BLOCK), noise(BLOCK / 2), text(BLOCK)].concat();
            let mut rest = &data[..];
            let mut parts = Vec::new();
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = after;
            }
            parts.push(rest);
            prop_assert_eq!(gzip(parts), gzip([&data[..]]));
        }
    }
}
