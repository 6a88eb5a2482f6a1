//! One part of a shared state: the entries of a bucket, or all pins, and the lease of the run that may
//! write it. Pure.
//!
//! The object is compressed with gzip. Its first line is a header in JSON; a lockfile of the entries
//! follows, so that `zcat` shows both.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::bucket::{BUCKET_COUNT, Bucket};
use crate::base::name::{ImageRef, NameError};
use crate::base::plain_text::deserialize_plain;
use crate::base::safe_text::one_line;
use crate::state::State;
use crate::state::decode::decode;
use crate::state::encode::encode;

/// Maximum size of the header of a shard, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// The version of the format of a shard.
const SHARD_FORMAT: u32 = 1;

/// Maximum length of an error of a damaged shard, and of what a run says of itself, in characters.
const MAX_TEXT_CHARS: usize = 200;

/// Maximum size of an unpacked shard of targets, in bytes. With 200,000 targets, one has about 2 MB.
const MAX_BUCKET_BYTES: usize = 32 << 20;

/// Maximum size of the unpacked shard of all pins, in bytes. 200,000 pins have about 64 MB.
const MAX_PINS_BYTES: usize = 512 << 20;

/// Names one part of a shared state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShardId {
    /// The entries of a bucket.
    Bucket(Bucket),
    /// All pins.
    Pins,
}

impl ShardId {
    /// Returns the shard with the entry of a unit.
    pub(crate) fn of(unit: &ImageRef) -> Self {
        Self::Bucket(Bucket::of(&unit.to_string()))
    }

    /// Returns all shards, in the order in which they are locked.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Bucket::all().map(Self::Bucket).chain([Self::Pins])
    }

    /// Returns the name of its object.
    pub(super) fn object(self) -> String {
        format!("shards/{self}.gz")
    }

    fn max_bytes(self) -> usize {
        match self {
            Self::Bucket(_) => MAX_BUCKET_BYTES,
            Self::Pins => MAX_PINS_BYTES,
        }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(bucket) => write!(f, "{:02}", bucket.number()),
            Self::Pins => f.write_str("pins"),
        }
    }
}

impl FromStr for ShardId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::all().find(|shard| shard.to_string() == text).ok_or_else(|| {
            let message = format!("`{text}` is not a shard");
            NameError::new(message, format!("shards are 00 to {}, and pins", BUCKET_COUNT - 1))
        })
    }
}

/// A run that holds or held a lease, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Random ID of the run.
    #[serde(deserialize_with = "deserialize_plain")]
    pub(crate) run: String,
    /// User, host and process.
    #[serde(deserialize_with = "deserialize_plain")]
    pub(crate) host: String,
    /// Page of the CI job; empty outside of CI.
    #[serde(default, deserialize_with = "deserialize_plain")]
    pub(crate) url: String,
    /// Start of the run.
    pub(crate) since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [run, host, url] =
            [&self.run, &self.host, &self.url].map(|text| one_line(text, MAX_TEXT_CHARS));
        write!(f, "run {run} of {host} since {}", time(self.since))?;
        if url.is_empty() { Ok(()) } else { write!(f, ", {url}") }
    }
}

/// Returns a time in whole seconds.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The right of one run to write a shard. It ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub(crate) holder: Holder,
    /// Its end, by the clock of the holder.
    pub(crate) until: Timestamp,
    /// Its length in milliseconds.
    pub(crate) length_ms: u32,
}

impl Lease {
    /// True if the lease has ended for a run that has seen the same version of the shard for
    /// `unchanged`. Only the time that was observed counts: clocks of two machines may differ.
    pub(super) fn is_over(&self, unchanged: Duration) -> bool {
        unchanged >= self.length()
    }

    /// Returns the length of the lease.
    pub(super) fn length(&self) -> Duration {
        Duration::from_millis(self.length_ms.into())
    }
}

/// The first line of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardHeader {
    /// Version of the format.
    imgplan_shard: u32,
    /// Random ID of the write, by which a run recognises its own write.
    #[serde(deserialize_with = "deserialize_plain")]
    pub(super) write: String,
    /// The lease; `None` if the shard is free.
    pub(super) lease: Option<Lease>,
    /// The run that last changed the entries.
    pub(super) changed_by: Option<Holder>,
}

impl ShardHeader {
    pub(super) fn new(write: String, lease: Option<Lease>, changed_by: Option<Holder>) -> Self {
        Self { imgplan_shard: SHARD_FORMAT, write, lease, changed_by }
    }
}

/// The content of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) header: ShardHeader,
    pub(super) state: State,
}

impl Shard {
    /// Returns the bytes of the object of a shard.
    ///
    /// # Errors
    ///
    /// Fails with a reason if the object would be too large to be read again.
    pub(super) fn encode(
        id: ShardId,
        header: &ShardHeader,
        service: &str,
        state: &State,
    ) -> Result<Vec<u8>, String> {
        let (lockfile, max_bytes) = (encode(service, state), id.max_bytes());
        if lockfile.len() > max_bytes {
            return Err(format!("it would have more than {max_bytes} bytes"));
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let header = serde_json::to_string(header).unwrap_or_default();
        // Writing into a Vec cannot fail.
        let _ = encoder.write_all(format!("{header}\n").as_bytes());
        let _ = encoder.write_all(lockfile.as_bytes());
        Ok(encoder.finish().unwrap_or_default())
    }

    /// Reads the bytes of the object of a shard that belongs to `service`.
    ///
    /// # Errors
    ///
    /// Fails with a reason if the object is damaged, was written by a later imgplan, or belongs to
    /// another service.
    pub(super) fn decode(id: ShardId, bytes: &[u8], service: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            imgplan_shard: u32,
        }
        let shorten = |error: &dyn fmt::Display| one_line(&error.to_string(), MAX_TEXT_CHARS);
        let mut text = String::new();
        // The header comes on top, and is short.
        let max_bytes = id.max_bytes() + MAX_HEADER_BYTES;
        let read = GzDecoder::new(bytes).take(max_bytes as u64 + 1).read_to_string(&mut text);
        read.map_err(|error| shorten(&error))?;
        if text.len() > max_bytes {
            return Err(format!("it has more than {max_bytes} bytes"));
        }
        let (header, lockfile) = text.split_once('\n').ok_or("it has no header")?;
        let Format { imgplan_shard: format } =
            serde_json::from_str(header).map_err(|error| shorten(&error))?;
        if format > SHARD_FORMAT {
            return Err(format!("it has format {format}, and this imgplan reads {SHARD_FORMAT}"));
        }
        let header = serde_json::from_str(header).map_err(|error| shorten(&error))?;
        let decoded = decode(lockfile).map_err(|error| shorten(&error))?;
        if decoded.service != service {
            return Err(format!("it belongs to {}", decoded.service));
        }
        Ok(Self { header, state: decoded.state })
    }
}

/// Returns a random ID of 16 hex digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 8];
    // The operating system has random numbers, or nothing works.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        let [run, host, url] = ["r1", "ci@host", "https://ci/1"].map(str::to_owned);
        Holder { run, host, url, since: Timestamp::UNIX_EPOCH }
    }

    fn lease() -> Lease {
        let until = Timestamp::from_second(1_000).unwrap();
        Lease { holder: holder(), until, length_ms: 60_000 }
    }

    #[test]
    fn a_shard_is_read_as_it_was_written() {
        let state = State::with_one_pending_build();
        let header = ShardHeader::new("w1".to_owned(), Some(lease()), Some(holder()));
        let bytes = Shard::encode(ShardId::Pins, &header, "s", &state).unwrap();
        let shard = Shard::decode(ShardId::Pins, &bytes, "s").unwrap();
        assert_eq!(shard, Shard { header: header.clone(), state });
        assert_eq!(Shard::decode(ShardId::Pins, &bytes, "t").unwrap_err(), "it belongs to s");
        for end in 0..bytes.len() {
            Shard::decode(ShardId::Pins, &bytes[..end], "s").unwrap_err();
        }
        let newer = ShardHeader { imgplan_shard: 2, ..header };
        let bytes = Shard::encode(ShardId::Pins, &newer, "s", &State::default()).unwrap();
        let error = Shard::decode(ShardId::Pins, &bytes, "s").unwrap_err();
        assert_eq!(error, "it has format 2, and this imgplan reads 1");
    }

    #[test]
    fn a_lease_ends_when_it_was_not_renewed() {
        for (unchanged, expected) in [(0, false), (59, false), (60, true)] {
            assert_eq!(lease().is_over(Duration::from_secs(unchanged)), expected, "{unchanged}");
        }
    }

    #[test]
    fn shards_have_names() {
        let names: Vec<String> = ShardId::all().map(|shard| shard.to_string()).collect();
        assert_eq!((names.len(), &*names[7], &*names[64]), (65, "07", "pins"));
        for name in names {
            assert_eq!(name.parse::<ShardId>().unwrap().to_string(), name);
        }
        "7".parse::<ShardId>().unwrap_err();
    }
}
