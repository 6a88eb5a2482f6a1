//! Reasons for the steps of a plan. Only reports read them; no decision depends on them. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::name::{ImageRef, Owner, Visibility};
use crate::base::text::{duration, list};
use crate::context::FileChange;

/// Maximum number of changed files in the text of a reason.
const MAX_FILES_SHOWN: usize = 3;

/// Number of hex digits of a shortened digest.
const SHORT_DIGEST_LENGTH: usize = 12;

/// A reason for a step. The codes are stable; readers must accept unknown ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The unit is not in the lockfile.
    New,
    /// Files of the context changed.
    ContextChanged {
        /// The files; `None` if the files of the last build are not known.
        files: Option<Arc<[FileChange]>>,
    },
    /// The last build recorded its whole context, in which something changed.
    WholeContextChanged,
    /// The Dockerfile, or its path in the context, changed.
    DockerfileChanged,
    /// A setting of the manifest changed.
    ConfigChanged {
        /// Key of the setting.
        field: String,
        /// Recorded value; empty if the setting is new or its value is not shown.
        old: String,
        /// Value in the manifest; empty if the setting is removed or its value is not shown.
        new: String,
    },
    /// A base is rebuilt, or was rebuilt since.
    DependencyChanged {
        /// The base.
        base: ImageRef,
        /// Bases below it, down to the one that changed by itself.
        via: Vec<ImageRef>,
    },
    /// An external base has another digest.
    BaseChanged {
        /// The base as in the Dockerfile.
        reference: String,
        /// Digest of the last build; `None` if the base was not pinned.
        old: Option<String>,
        /// New digest; `None` if the base is no longer pinned.
        new: Option<String>,
    },
    /// The source of a mirror has another digest.
    SourceChanged {
        /// The source.
        reference: String,
        /// Mirrored digest; `None` if the source was not pinned.
        old: Option<String>,
        /// New digest; `None` if the source is no longer pinned.
        new: Option<String>,
    },
    /// The image is missing from the service.
    MissingRemote,
    /// The image was replaced outside of imgplan.
    RemoteChanged {
        /// Time of the replacement by the service's clock.
        at: Option<Timestamp>,
    },
    /// The service has an image of this name that is not in the lockfile. It will be replaced.
    ExistsRemote,
    /// The user requested a rebuild.
    Requested,
    /// The image is older than the manifest allows.
    Expired {
        /// Age of the image.
        age_seconds: u64,
    },
    /// The last build failed, or its end is not known.
    PreviousFailed {
        /// Error of the service, if it is recorded.
        error: Option<String>,
    },
    /// The response to an earlier request was lost: the service may have accepted it.
    InDoubt,
    /// This imgplan computes fingerprints in another way; no other difference is known.
    FingerprintFormatChanged,
    /// A build of the same inputs is running.
    Pending {
        /// Time since the start of the build, if listed.
        age_seconds: Option<u64>,
    },
    /// The manifest sets another visibility.
    VisibilityChanged {
        /// Current visibility.
        old: Visibility,
        /// Visibility in the manifest.
        new: Visibility,
    },
    /// The manifest sets another owner.
    OwnerChanged {
        /// Current owner.
        old: Owner,
        /// Owner in the manifest.
        new: Owner,
    },
    /// The manifest renames the image.
    Moved {
        /// Current `name:tag`.
        from: ImageRef,
    },
    /// Another unit takes the place of this image.
    Superseded {
        /// The other unit.
        by: ImageRef,
        /// True if the image is kept.
        kept: bool,
    },
    /// The manifest no longer has the unit.
    RemovedFromManifest {
        /// True if the image is kept.
        kept: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::ContextChanged { files } => match files.as_deref() {
                None | Some([]) => f.write_str("context changed"),
                Some(files) => write!(f, "context: {}", list(files, MAX_FILES_SHOWN)),
            },
            Self::WholeContextChanged => {
                f.write_str("its whole context was recorded, and something in it changed")
            }
            Self::DockerfileChanged => f.write_str("Dockerfile changed"),
            Self::ConfigChanged { field, old, new } => match (old.as_str(), new.as_str()) {
                ("", "") => write!(f, "{field} changed"),
                ("", new) => write!(f, "{field} {new} added"),
                (old, "") => write!(f, "{field} {old} removed"),
                (old, new) => write!(f, "{field} {old} -> {new}"),
            },
            Self::DependencyChanged { base, via } => {
                write!(f, "its base {base} changes")?;
                via.last().map_or(Ok(()), |root| write!(f, ", caused by {root}"))
            }
            Self::BaseChanged { reference, old, new } => {
                write!(f, "base {reference} ")?;
                digests(old.as_deref(), new.as_deref(), f)
            }
            Self::SourceChanged { reference, old, new } => {
                write!(f, "source {reference} ")?;
                digests(old.as_deref(), new.as_deref(), f)
            }
            Self::MissingRemote => f.write_str("missing from the service"),
            Self::RemoteChanged { at: None } => f.write_str("replaced outside of imgplan"),
            Self::RemoteChanged { at: Some(at) } => {
                write!(f, "replaced outside of imgplan on {}", at.strftime("%Y-%m-%d %H:%M UTC"))
            }
            Self::ExistsRemote => f.write_str("exists in the service but not in the lockfile"),
            Self::Requested => f.write_str("rebuild requested"),
            Self::Expired { age_seconds } => write!(f, "{} old", age(*age_seconds)),
            Self::PreviousFailed { error: None } => f.write_str("the last build did not succeed"),
            Self::PreviousFailed { error: Some(error) } => {
                write!(f, "the last build failed: {error}")
            }
            Self::InDoubt => f.write_str("in doubt: the service may have accepted a request"),
            Self::FingerprintFormatChanged => f.write_str("fingerprint format changed"),
            Self::Pending { age_seconds: None } => f.write_str("a build is in progress"),
            Self::Pending { age_seconds: Some(seconds) } => {
                write!(f, "a build is in progress, started {} ago", age(*seconds))
            }
            Self::VisibilityChanged { old, new } => write!(f, "visibility {old} -> {new}"),
            Self::OwnerChanged { old, new } => write!(f, "owner {old} -> {new}"),
            Self::Moved { from } => write!(f, "was {from}"),
            Self::Superseded { by, kept } => write!(f, "replaced by {by}{}", image_kept(*kept)),
            Self::RemovedFromManifest { kept } => {
                write!(f, "removed from the manifest{}", image_kept(*kept))
            }
        }
    }
}

fn image_kept(kept: bool) -> &'static str {
    if kept { ", image kept" } else { "" }
}

fn age(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}

fn digests(old: Option<&str>, new: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (old, new) {
        (Some(old), Some(new)) => write!(f, "moved {} -> {}", short(old), short(new)),
        (None, Some(new)) => write!(f, "pinned to {}", short(new)),
        (_, None) => f.write_str("is no longer pinned"),
    }
}

/// Returns the first digits of a digest, enough to tell two apart.
pub(crate) fn short(digest: &str) -> &str {
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    hex.get(..SHORT_DIGEST_LENGTH).unwrap_or(hex)
}
