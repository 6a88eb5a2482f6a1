//! The journal: all changes since the lockfile was last written, one JSON object per line. A record is
//! on disk before any step depends on it. Reading it is pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::lockfile::{Built, Pending, Pin, Submission};
use crate::base::digest::Digest;
use crate::base::image_path::ImagePath;
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use crate::base::plain_text::deserialize_plain;

/// A change of the state. It survives the death of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A request for a build is about to be sent. Unless a `Created` or `NotAccepted` follows, the
    /// request is in doubt: the service may have accepted it.
    Submitting {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// The request.
        submission: Submission,
    },
    /// The service rejected the request.
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
    /// The context was uploaded.
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
    /// The build ended.
    Ended {
        /// The unit.
        unit: ImageRef,
        /// The build.
        build: BuildId,
        /// Its outcome.
        outcome: BuildOutcome,
        /// Error of the service, if the build failed.
        #[serde(default)]
        error: Option<String>,
        /// Path of the image, if the service reported it only now.
        path: Option<ImagePath>,
        /// Name of the image, if the service chose another one than that of the unit.
        #[serde(default)]
        image: Option<ImageRef>,
        /// End time by the service's clock, if the service reported it. A time of another clock would
        /// later look as if the image had been replaced.
        #[serde(default)]
        at: Option<Timestamp>,
        /// Duration of the build in seconds, by the service's clock, if the service reported it.
        #[serde(default)]
        seconds: Option<u64>,
    },
    /// An image was changed without a build. Unchanged properties are `None`.
    Updated {
        /// The unit, by its old `name:tag`.
        unit: ImageRef,
        /// The new `name:tag`.
        #[serde(default)]
        to: Option<ImageRef>,
        /// The new visibility.
        visibility: Option<Visibility>,
        /// The new owner.
        owner: Option<Owner>,
        /// The new path, if the image moved and the service reported it.
        #[serde(default)]
        path: Option<ImagePath>,
    },
    /// A unit was dropped from the lockfile. Its image stays, or was deleted.
    Forgotten {
        /// The unit.
        unit: ImageRef,
    },
    /// The last build of a unit was recorded without building it: by an import, or because a refresh
    /// found it changed or missing.
    Known {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// The last build. `None` if the image no longer exists.
        built: Option<Built>,
    },
    /// The protection of a unit from deletion changed.
    Protected {
        /// The unit.
        unit: ImageRef,
        /// Built or mirrored.
        kind: ImageKind,
        /// The platform.
        platform: Platform,
        /// True if the unit is now protected.
        protect: bool,
    },
    /// The pin of a reference was added, moved or removed.
    Pinned {
        /// The reference, in its full form.
        #[serde(deserialize_with = "deserialize_plain")]
        reference: String,
        /// The new pin.
        pin: Option<Pin>,
    },
    /// All records above are contained in the lockfile with this digest.
    Committed {
        /// Digest of the lockfile's text.
        lockfile: Digest,
    },
}

impl Record {
    /// Returns the units whose entries the record changes.
    pub(super) fn units(&self) -> impl Iterator<Item = &ImageRef> {
        let (unit, other) = match self {
            Self::Updated { unit, to, .. } => (Some(unit), to.as_ref()),
            Self::Submitting { unit, .. }
            | Self::NotAccepted { unit }
            | Self::Created { unit, .. }
            | Self::Uploaded { unit, .. }
            | Self::Started { unit, .. }
            | Self::Ended { unit, .. }
            | Self::Forgotten { unit }
            | Self::Known { unit, .. }
            | Self::Protected { unit, .. } => (Some(unit), None),
            Self::Pinned { .. } | Self::Committed { .. } => (None, None),
        };
        unit.into_iter().chain(other)
    }
}

/// The outcome of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// The image was built.
    Completed,
    /// The build failed.
    Failed,
    /// A user or the service cancelled the build.
    Cancelled,
}

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub journal: u64,
    /// URL of the service, or `local`.
    #[serde(deserialize_with = "deserialize_plain")]
    pub service: String,
    /// Digest of the lockfile that the journal continues. `None` if there was no lockfile.
    pub lockfile: Option<Digest>,
}

/// The version of the journal's format.
pub(super) const JOURNAL_VERSION: u64 = 1;

/// Reads a journal: its header and its records in order. `None` if there is no complete line.
///
/// An incomplete last line is dropped: the process died while it wrote it, so no step depends on it.
///
/// # Errors
///
/// Fails if a complete line is damaged, or if a later imgplan wrote the journal.
pub fn decode(text: &str) -> Result<Option<(Header, Vec<Record>)>, JournalError> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = complete.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, first)) = lines.next() else { return Ok(None) };
    let header: Header = serde_json::from_str(first).map_err(|_| JournalError::Damaged(1))?;
    if header.journal > JOURNAL_VERSION {
        let (version, supported) = (header.journal, JOURNAL_VERSION);
        return Err(JournalError::Newer { version, supported });
    }
    let records = lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|_| JournalError::Damaged(index + 1))
        })
        .collect::<Result<_, _>>()?;
    Ok(Some((header, records)))
}

/// Returns a header or a record as a line of a journal.
pub fn line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_line_is_dropped_but_a_damaged_line_is_an_error() {
        let header =
            line(&Header { journal: JOURNAL_VERSION, service: "s".to_owned(), lockfile: None });
        let record = Record::Forgotten { unit: "a:b".parse().unwrap() };
        let one = line(&record);
        let journal = format!("{header}{one}{one}");
        for end in 0..journal.len() {
            let decoded = decode(&journal[..end]).unwrap();
            let expected = journal[..end].matches('\n').count().saturating_sub(1);
            assert_eq!(decoded.map_or(0, |(_, records)| records.len()), expected, "{end}");
        }
        let damaged = format!("{header}{{\"rec\n{one}");
        assert_eq!(decode(&damaged), Err(JournalError::Damaged(2)));
        let unsafe_path = format!(
            "{header}{{\"record\":\"updated\",\"unit\":\"a:b\",\"visibility\":null,\"owner\":null,\
             \"path\":\"x\\nRUN y\"}}\n"
        );
        assert_eq!(decode(&unsafe_path), Err(JournalError::Damaged(2)));
        let newer = line(&Header { journal: 2, service: "s".to_owned(), lockfile: None });
        assert_eq!(decode(&newer), Err(JournalError::Newer { version: 2, supported: 1 }));
    }
}
