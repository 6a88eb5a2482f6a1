//! BLAKE3 digests, written as `b3:` and 64 hex digits. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Creates a digest from its 32 raw bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("b3:")?;
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_prefix("b3:")
            .and_then(|hex| blake3::Hash::from_hex(hex).ok())
            .map(Self::from)
            .ok_or_else(|| format!("`{text}` is not a digest of the form b3:<64 hex digits>"))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Digest of everything that decides what a unit contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub Digest);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Digests a sequence of fields. Each field is preceded by its length, so two different sequences
/// never produce the same bytes.
pub(crate) struct FieldHasher {
    /// Bytes not yet passed to `hasher`: BLAKE3 is fast only on long inputs, and fields are short.
    buffer: Vec<u8>,
    /// `None` until the buffer has been flushed once.
    hasher: Option<Box<blake3::Hasher>>,
}

/// Size at which the buffer of a [`FieldHasher`] is flushed.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

impl FieldHasher {
    /// Starts a digest. `kind` separates domains: digests of different kinds are never equal.
    pub(crate) fn new(kind: &str) -> Self {
        let mut hasher = Self { buffer: Vec::with_capacity(1024), hasher: None };
        hasher.field(kind.as_bytes());
        hasher
    }

    /// Adds one field.
    pub(crate) fn field(&mut self, bytes: &[u8]) -> &mut Self {
        // A length below 255 takes one byte, since most fields are short.
        match u8::try_from(bytes.len()) {
            Ok(len) if len < u8::MAX => self.buffer.push(len),
            _ => {
                self.buffer.push(u8::MAX);
                self.buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            }
        }
        if self.buffer.len() + bytes.len() < MAX_BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.hasher.get_or_insert_default().update(&self.buffer).update(bytes);
            self.buffer.clear();
        }
        self
    }

    /// Returns the digest of all fields.
    pub(crate) fn finish(self) -> Digest {
        match self.hasher {
            Some(mut hasher) => hasher.update(&self.buffer).finalize().into(),
            None => blake3::hash(&self.buffer).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_boundaries_change_the_digest() {
        let digest = |fields: &[&str]| {
            let mut hasher = FieldHasher::new("test");
            for field in fields {
                hasher.field(field.as_bytes());
            }
            hasher.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }

    #[test]
    fn a_digest_round_trips_through_text() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("b3:12".parse::<Digest>().is_err());
        assert!("sha256:12".parse::<Digest>().is_err());
    }
}
