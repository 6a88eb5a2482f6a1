//! Compresses on all cores, with the same output for any number of cores.
//!
//! The input is cut into blocks of one size. Each block is compressed separately, with the end of
//! the previous block as its dictionary. The blocks form one gzip member, because some readers stop
//! after the first member. The output depends only on the input: not on the sizes of the writes,
//! and not on the thread that compresses a block.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Compression level: close to the best ratio at several times the speed. The output depends on the
/// size of the input of one call, which is always a whole block.
const LEVEL: Compression = Compression::new(5);

/// Size of a block.
const BLOCK_BYTES: usize = 1 << 20;

/// Size of the dictionary from the previous block: the maximum of the format.
const WINDOW_BYTES: usize = 32 << 10;

/// Maximum number of blocks that are compressed at once. Each takes two megabytes of memory, and
/// one reader does not fill more.
const MAX_PENDING_BLOCKS: usize = 16;

/// The header of the member: the magic number, without name, time, flags and system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writes a gzip member to `out`. It waits for rayon's pool, so it must not run in that pool.
pub(super) struct Gzip<W: Write> {
    out: W,
    block: Vec<u8>,
    /// The end of the previous block.
    window: Vec<u8>,
    crc: Crc,
    /// The blocks that are being compressed, in order.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    max_pending: usize,
}

impl<W: Write> Gzip<W> {
    /// Starts a member.
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK_BYTES),
            window: Vec::new(),
            crc: Crc::new(),
            pending: VecDeque::new(),
            // No thread waits for the writer, and memory is limited.
            max_pending: (rayon::current_num_threads() + 1).min(MAX_PENDING_BLOCKS),
        })
    }

    /// Ends the member, and returns the writer.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.compress_block(FlushCompress::Finish)?;
        while let Some(block) = self.pending.pop_front() {
            self.write_block(&block)?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Starts compressing the current block.
    fn compress_block(&mut self, flush: FlushCompress) -> io::Result<()> {
        if self.pending.len() >= self.max_pending
            && let Some(first) = self.pending.pop_front()
        {
            self.write_block(&first)?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let end = block[block.len().saturating_sub(WINDOW_BYTES)..].to_vec();
        let window = std::mem::replace(&mut self.window, end);
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // If the writer has failed, the receiver is gone.
            let _ = sender.send(compress(&window, &block, flush));
        });
        self.pending.push_back(receiver);
        Ok(())
    }

    /// Waits for a compressed block, and writes it.
    fn write_block(&mut self, block: &Receiver<io::Result<Vec<u8>>>) -> io::Result<()> {
        let block = block.recv().map_err(io::Error::other)?;
        self.out.write_all(&block?)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK_BYTES {
            self.compress_block(FlushCompress::Sync)?;
        }
        let accepted = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..accepted]);
        self.crc.update(&bytes[..accepted]);
        Ok(accepted)
    }

    /// Does nothing: ending a block early would change the output.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses one block with a new compressor, in one call with enough space for any output. So the
/// output depends only on the arguments.
fn compress(window: &[u8], block: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut compressor = Compress::new(LEVEL, false);
    if !window.is_empty() {
        compressor.set_dictionary(window).map_err(io::Error::other)?;
    }
    // Incompressible data grows by a few bytes per 16 KiB.
    let mut out = Vec::with_capacity(block.len() + block.len() / 64 + 1024);
    compressor.compress_vec(block, &mut out, flush).map_err(io::Error::other)?;
    if compressor.total_in() != block.len() as u64 || out.len() == out.capacity() {
        return Err(io::Error::other("a compressed block did not fit into its buffer"));
    }
    // Pending blocks must not keep the space that they do not need.
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
        // This decoder stops after the first member.
        GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    /// Returns incompressible bytes, the same each time.
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
    fn all_blocks_are_in_one_member() {
        for len in [
            0,
            1,
            WINDOW_BYTES,
            BLOCK_BYTES - 1,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            3 * BLOCK_BYTES,
            5 * BLOCK_BYTES + 7,
        ] {
            for data in [noise(len), text(len), vec![0; len]] {
                assert_eq!(gunzip(&gzip([&data[..]])), data, "{len}");
            }
        }
    }

    #[test]
    fn an_error_of_the_writer_is_returned() {
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
        let error = match gzip.write_all(&noise(64 * BLOCK_BYTES)) {
            Ok(()) => gzip.finish().map(|_| ()).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..<_>::default() })]

        #[test]
        fn the_output_does_not_depend_on_the_sizes_of_the_writes(
            cuts in proptest::collection::vec(1usize..2 * BLOCK_BYTES, 1..20),
        ) {
            let data = [text(2 * BLOCK_BYTES), noise(BLOCK_BYTES / 2), text(BLOCK_BYTES)].concat();
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
