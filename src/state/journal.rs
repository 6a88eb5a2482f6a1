//! What happened since the lockfile was last written: one JSON object a line, each synced before
//! the next step leans on it. Reading it back is pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lockfile::{Built, Pending, Pin, Submission};
use crate::base::digest::Digest;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};

/// Something that must survive the death of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A build is about to be asked for. Without a `Created` or `NotAccepted` after it, whether the
    /// service took it is not known.
    Submitting {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// What is asked for.
        submission: Submission,
    },
    /// The service did not take what was asked for.
    NotAccepted {
        /// The unit.
        unit: ImageRef,
    },
    /// The service accepted a build.
    Created {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// The build.
        pending: Pending,
    },
    /// The context is with the service.
    Uploaded {
        /// The unit.
        unit: ImageRef,
        /// The build.
        build: BuildId,
    },
    /// The build was started.
    Started {
        /// The unit.
        unit: ImageRef,
        /// The build.
        build: BuildId,
    },
    /// The build came to its end.
    Ended {
        /// The unit.
        unit: ImageRef,
        /// The build.
        build: BuildId,
        /// Which end.
        outcome: BuildOutcome,
        /// Where the image is, where only the end said so.
        path: Option<String>,
        /// When, by the service's clock, where it said so: by another it would look replaced.
        #[serde(default)]
        at: Option<Timestamp>,
    },
    /// An image was changed without a build.
    Updated {
        /// The unit, as it was called before.
        unit: ImageRef,
        /// Its `name:tag` now, where that changed.
        #[serde(default)]
        to: Option<ImageRef>,
        /// Its visibility now, where that changed.
        visibility: Option<Visibility>,
        /// Its owner now, where that changed.
        owner: Option<Owner>,
        /// Where it is now, where it moved and the service said so.
        #[serde(default)]
        path: Option<String>,
    },
    /// A unit is no longer looked after: the image stays, or was deleted.
    Forgotten {
        /// The unit.
        unit: ImageRef,
    },
    /// What is now known of a unit's last build, by other ways than building it: it was imported, the
    /// service shows it changed, or not at all.
    Known {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// The last build; `None` where there is none any more.
        built: Option<Built>,
    },
    /// Whether a unit is protected from deletion.
    Protected {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// Whether it is.
        protect: bool,
    },
    /// A public reference was pinned, its pin moved, or it is not pinned any more.
    Pinned {
        /// The reference, in its full form.
        reference: String,
        /// What it stands for from now on.
        pin: Option<Pin>,
    },
    /// All that is above is in the lockfile with this digest.
    Committed {
        /// Of the lockfile's text.
        lockfile: Digest,
    },
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// The image is there.
    Completed,
    /// It is not.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) journal: u64,
    pub(super) service: String,
    /// Of the lockfile that the journal goes on from; `None` where there was none.
    pub(super) lockfile: Option<Digest>,
}

/// The version of the journal's format.
pub(super) const VERSION: u64 = 1;

/// Why a journal cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Written by a later imgplan.
    #[error("it has version {0}, and this imgplan reads {VERSION}")]
    Newer(u64),
    /// A line that is not the last makes no sense.
    #[error("line {0} is damaged")]
    Damaged(usize),
}

/// Reads a journal: its header, and the records in order. A torn last line is what a death in
/// the middle of a write leaves behind: nothing leaned on it, so it is dropped. `None` where not
/// even the first line is whole.
pub(super) fn decode(text: &str) -> Result<Option<(Header, Vec<Record>)>, JournalError> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let header: Header = serde_json::from_str(first).map_err(|_| JournalError::Damaged(1))?;
    if header.journal > VERSION {
        return Err(JournalError::Newer(header.journal));
    }
    let records = lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|_| JournalError::Damaged(index + 1))
        })
        .collect::<Result<_, _>>()?;
    Ok(Some((header, records)))
}

/// One line of a journal.
pub(super) fn line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_dropped_and_a_damaged_one_is_not() {
        let header = line(&Header { journal: VERSION, service: "s".to_owned(), lockfile: None });
        let record = Record::Forgotten { unit: "a:b".parse().unwrap() };
        let one = line(&record);
        let whole = format!("{header}{one}{one}");
        for end in 0..whole.len() {
            let read = decode(&whole[..end]).unwrap();
            let records = whole[..end].matches('\n').count().saturating_sub(1);
            assert_eq!(read.map_or(0, |(_, read)| read.len()), records, "{end}");
        }
        let damaged = format!("{header}{{\"rec\n{one}");
        assert_eq!(decode(&damaged), Err(JournalError::Damaged(2)));
        let newer = line(&Header { journal: 2, service: "s".to_owned(), lockfile: None });
        assert_eq!(decode(&newer), Err(JournalError::Newer(2)));
    }
}
