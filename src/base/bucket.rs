//! The bucket of a target: a number that depends on its `name:tag` only. The shards of a shared
//! state are its buckets. Pure.

use super::digest::Digest;

/// Number of buckets. It is a part of the format of a shared state.
pub(crate) const BUCKET_COUNT: u8 = 64;

/// One of the 64 buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u8);

impl Bucket {
    /// Returns the bucket of a text: a target's `name:tag`, or a reference.
    pub(crate) fn of(text: &str) -> Self {
        Self(Digest::of(text.as_bytes()).as_bytes()[0] % BUCKET_COUNT)
    }

    /// Returns all buckets, in order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..BUCKET_COUNT).map(Self)
    }

    /// Returns its number, from 0 to 63.
    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_about_the_same_size() {
        let mut sizes = [0_u32; BUCKET_COUNT as usize];
        for index in 0..64_000 {
            sizes[usize::from(Bucket::of(&format!("image-{index}:v1")).number())] += 1;
        }
        assert!(sizes.iter().all(|size| (850..1150).contains(size)), "{sizes:?}");
    }

    #[test]
    fn the_bucket_of_a_name_never_changes() {
        // A shared state is found by these numbers.
        for (name, bucket) in [("a:v1", 55), ("web:latest", 38), ("team/base:1.0", 18)] {
            assert_eq!(Bucket::of(name).number(), bucket, "{name}");
        }
    }
}
