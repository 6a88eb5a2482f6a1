//! The places of a log's bytes in its file, which has a maximum size. Pure.
//!
//! A log has a beginning, which stays, and a part after it, of which only the end stays: the file has
//! a ring for it. Offsets count the bytes of the whole log, so that a reader who follows a log needs to
//! know nothing of this. A file whose ring was used more than once ends with the length of the log.

use std::ops::Range;

/// Maximum size of the file of a log, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 20;

/// Size of the length at the end of a file, in bytes.
pub(super) const LENGTH_BYTES: u64 = 8;

/// Size of the beginning that stays, in bytes.
const HEAD_BYTES: u64 = 1 << 20;

/// Size of the ring, in bytes.
const RING_BYTES: u64 = MAX_FILE_BYTES - HEAD_BYTES - LENGTH_BYTES;

/// Returns the bytes of a log of this length that are left out. Empty if none are.
pub(super) fn left_out(length: u64) -> Range<u64> {
    HEAD_BYTES..length.saturating_sub(RING_BYTES).max(HEAD_BYTES)
}

/// True if a file of this size ends with the length of its log.
pub(super) fn has_length(file_size: u64) -> bool {
    file_size >= MAX_FILE_BYTES
}

/// Returns the places in the file of the log's bytes from `offset` to `end`, in order.
pub(super) fn places(offset: u64, end: u64) -> Vec<Range<u64>> {
    let (mut places, mut at) = (Vec::new(), offset);
    while at < end {
        let (start, room) = match at.checked_sub(HEAD_BYTES) {
            None => (at, HEAD_BYTES - at),
            Some(beyond) => (HEAD_BYTES + beyond % RING_BYTES, RING_BYTES - beyond % RING_BYTES),
        };
        let taken = room.min(end - at);
        places.push(start..start + taken);
        at += taken;
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_log_lies_in_its_file_as_it_is() {
        let one = |offset, end| match &places(offset, end)[..] {
            [place] => place.clone(),
            places => panic!("{places:?}"),
        };
        assert_eq!(one(0, 100), 0..100);
        let whole = HEAD_BYTES + RING_BYTES;
        assert_eq!(places(5, whole), [5..HEAD_BYTES, HEAD_BYTES..whole]);
        assert!(left_out(whole).is_empty() && !has_length(whole));
        assert_eq!(left_out(whole + 7), HEAD_BYTES..HEAD_BYTES + 7);
        assert_eq!(one(whole, whole + 7), HEAD_BYTES..HEAD_BYTES + 7);
    }

    proptest! {
        /// Bytes that are not left out never share a place, and fit before the length.
        #[test]
        fn nothing_that_stays_is_overwritten(length in 0..5 * MAX_FILE_BYTES) {
            let gap = left_out(length);
            let head = places(0, length.min(gap.start));
            let rest = places(gap.end.min(length), length);
            let mut all: Vec<_> = head.into_iter().chain(rest).collect();
            all.sort_by_key(|place| place.start);
            prop_assert!(all.windows(2).all(|two| two[0].end <= two[1].start));
            prop_assert!(all.iter().all(|place| place.end <= MAX_FILE_BYTES - LENGTH_BYTES));
            let stays: u64 = all.iter().map(|place| place.end - place.start).sum();
            prop_assert_eq!(stays + gap.end - gap.start, length.max(gap.end - gap.start));
        }
    }
}
