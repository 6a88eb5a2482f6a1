//! A part of the targets, so that several runs share the work. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::bucket::Bucket;
use crate::base::name::{NameError, deserialize_text, text_value};
use crate::base::share::Share;

/// One part of the selected units. The trunk and the N parts of `hash` or `slice` have each selected
/// unit exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// The units that another unit is built on.
    Trunk,
    /// One of N parts of the other units, by a digest of `name:tag`.
    Hash(Share),
    /// Every Nth of the other units, in the order of the workspace.
    Slice(Share),
}

/// The forms of a partition, for messages.
const FORMS: &str = "the forms are trunk, hash:K/N and slice:K/N, with K from 1 to N";

impl Partition {
    /// Returns the share of the rate limits that a run of this part has by default.
    pub(crate) fn budget(self) -> Share {
        self.share().map_or(Share::WHOLE, Share::one)
    }

    /// Returns which of N parts this is; `None` for the trunk.
    pub(crate) fn share(self) -> Option<Share> {
        match self {
            Self::Trunk => None,
            Self::Hash(share) | Self::Slice(share) => Some(share),
        }
    }

    /// True if the part has a unit that nothing is built on. `index` is the position of the unit among
    /// the selected units of that kind, `name` its `name:tag` as the manifest writes it: a tag with a
    /// fingerprint would change during the runs.
    pub(super) fn has_leaf(self, index: usize, name: &str) -> bool {
        match self {
            Self::Trunk => false,
            Self::Hash(share) => has_bucket(share, name),
            Self::Slice(share) => index % share.parts() as usize + 1 == share.part() as usize,
        }
    }

    /// True if the part has an orphan that no unit replaces. Also `slice` uses the name: another run
    /// may forget orphans at the same time, after which the others have other positions.
    pub(super) fn has_orphan(self, name: &str) -> bool {
        self.share().is_some_and(|share| has_bucket(share, name))
    }
}

/// True if one of N parts has the bucket of a name. With more parts than buckets, some have none.
fn has_bucket(share: Share, name: &str) -> bool {
    u32::from(Bucket::of(name).number()) % share.parts() + 1 == share.part()
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trunk => f.write_str("trunk"),
            Self::Hash(share) => write!(f, "hash:{share}"),
            Self::Slice(share) => write!(f, "slice:{share}"),
        }
    }
}

impl FromStr for Partition {
    type Err = NameError;

    /// Parses `trunk`, `hash:3/16` or `slice:3/16`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let unknown = || NameError::new(format!("`{text}` is not a partition"), FORMS);
        let Some((kind, share)) = text.split_once(':') else {
            return match text {
                "trunk" => Ok(Self::Trunk),
                "hash" | "slice" => {
                    let message = format!("`{text}` does not say which part");
                    Err(NameError::new(message, format!("write {text}:K/N, as in {text}:3/16")))
                }
                _ => Err(unknown()),
            };
        };
        if !matches!(kind, "hash" | "slice") {
            return Err(unknown());
        }
        let share: Share = share.parse().map_err(|NameError { message, .. }| {
            NameError::new(
                message,
                format!("write {kind}:K/N with K from 1 to N, as in {kind}:3/16"),
            )
        })?;
        if kind == "slice" {
            return Ok(Self::Slice(share));
        }
        let buckets = Bucket::all().count();
        if share.parts() as usize > buckets {
            let message = format!("`{text}` has more than {buckets} parts");
            let help = format!(
                "the digests of names fall into {buckets} buckets, so a part of more would be empty: \
                 write slice:{share}, or at most {buckets} parts"
            );
            return Err(NameError::new(message, help));
        }
        Ok(Self::Hash(share))
    }
}

text_value!(Partition);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_parsed() {
        for text in ["trunk", "hash:1/1", "hash:64/64", "slice:3/16", "slice:100/1000"] {
            assert_eq!(text.parse::<Partition>().unwrap().to_string(), text);
        }
        let error = |text: &str| {
            let NameError { message, help } = text.parse::<Partition>().unwrap_err();
            format!("{message}: {help}")
        };
        insta::assert_snapshot!(error("hash:0/3"), @"`0/3` has part 0, and parts are counted from 1: write hash:K/N with K from 1 to N, as in hash:3/16");
        insta::assert_snapshot!(error("hash:4/3"), @"`4/3` has part 4, and there are only 3: write hash:K/N with K from 1 to N, as in hash:3/16");
        insta::assert_snapshot!(error("hash:3"), @"`3` does not say how many parts there are: write hash:K/N with K from 1 to N, as in hash:3/16");
        insta::assert_snapshot!(error("slice"), @"`slice` does not say which part: write slice:K/N, as in slice:3/16");
        insta::assert_snapshot!(error("count:1/2"), @"`count:1/2` is not a partition: the forms are trunk, hash:K/N and slice:K/N, with K from 1 to N");
        insta::assert_snapshot!(error("trunk:1/2"), @"`trunk:1/2` is not a partition: the forms are trunk, hash:K/N and slice:K/N, with K from 1 to N");
        insta::assert_snapshot!(error("hash:1/65"), @"`hash:1/65` has more than 64 parts: the digests of names fall into 64 buckets, so a part of more would be empty: write slice:1/65, or at most 64 parts");
    }

    #[test]
    fn a_part_has_whole_buckets() {
        // Runs of different parts then need different shards of a shared state.
        for parts in [1_u32, 3, 16, 48, 64] {
            let mut part_of = [None; 64];
            for index in 0..2000 {
                let name = format!("image-{index}:v1");
                let has = |part: &u32| {
                    let share = Share::from_str(&format!("{part}/{parts}")).unwrap();
                    Partition::Hash(share).has_leaf(index, &name)
                };
                let part = (1..=parts).find(has).unwrap();
                let known = part_of[usize::from(Bucket::of(&name).number())].get_or_insert(part);
                assert_eq!(*known, part, "{name} {parts}");
            }
        }
    }

    #[test]
    fn one_of_the_parts_has_each_name() {
        for parts in [1_u32, 2, 3, 16, 63, 64, 65, 300] {
            for name in ["a:v1", "web:latest", "team/base:1.0"] {
                let share = |part| Share::from_str(&format!("{part}/{parts}")).unwrap();
                let has = |part: &u32| Partition::Slice(share(*part)).has_orphan(name);
                assert_eq!((1..=parts).filter(has).count(), 1, "{name} {parts}");
            }
        }
    }
}
