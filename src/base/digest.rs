//! Turns bytes into digests: BLAKE3, written `b3:` and 64 hex digits. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The BLAKE3 digest of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A digest from its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
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

/// The digest of everything that decides what a unit contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub Digest);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Digests a sequence of fields so that no two sequences share their bytes: each field is
/// preceded by its length.
pub struct FieldHasher {
    /// Fields are short, and digesting is fast only on long runs.
    waiting: Vec<u8>,
    /// What was digested before; nothing as long as all of it waits.
    hasher: Option<Box<blake3::Hasher>>,
}

/// Bytes that are gathered before they are digested.
const RUN: usize = 16 * 1024;

impl FieldHasher {
    /// Starts a digest of its own kind: digests of different kinds never agree.
    pub fn new(kind: &str) -> Self {
        let mut hasher = Self { waiting: Vec::with_capacity(1024), hasher: None };
        hasher.field(kind.as_bytes());
        hasher
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        // Most fields are short: one byte says how long.
        match u8::try_from(bytes.len()) {
            Ok(len) if len < u8::MAX => self.waiting.push(len),
            _ => {
                self.waiting.push(u8::MAX);
                self.waiting.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            }
        }
        if self.waiting.len() + bytes.len() < RUN {
            self.waiting.extend_from_slice(bytes);
        } else {
            self.hasher.get_or_insert_default().update(&self.waiting).update(bytes);
            self.waiting.clear();
        }
        self
    }

    /// The digest of all fields.
    pub fn finish(self) -> Digest {
        match self.hasher {
            Some(mut hasher) => hasher.update(&self.waiting).finalize().into(),
            None => blake3::hash(&self.waiting).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let of = |fields: &[&str]| {
            let mut hasher = FieldHasher::new("test");
            for field in fields {
                hasher.field(field.as_bytes());
            }
            hasher.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    #[test]
    fn text_and_back() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        assert!("b3:12".parse::<Digest>().is_err());
        assert!("sha256:12".parse::<Digest>().is_err());
    }
}
