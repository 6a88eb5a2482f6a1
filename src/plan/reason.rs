//! Why a step is in a plan, as data: for telling, never for deciding. Pure.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::name::{ImageRef, Owner, Visibility};
use crate::context::FileChange;

/// Files that are named where there is one line for all of them.
const FEW: usize = 3;

/// One reason. The codes are stable; readers treat unknown ones as no reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// Not in the lockfile.
    New,
    /// The files that would be sent differ.
    ContextChanged {
        /// Which; `None` where it is not known which files the last build was sent.
        files: Option<Arc<[FileChange]>>,
    },
    /// The Dockerfile, or its place in the context, differs.
    DockerfileChanged,
    /// Something that the manifest says differs.
    ConfigChanged {
        /// Which key.
        field: String,
        /// What the lockfile has.
        old: String,
        /// What the manifest says.
        new: String,
    },
    /// A base will be made again, or was.
    DependencyChanged {
        /// The base.
        base: ImageRef,
        /// The bases below it, down to where it began.
        via: Vec<ImageRef>,
    },
    /// A base outside of the manifest stands for another image now.
    BaseChanged {
        /// The base as the Dockerfile names it.
        reference: String,
        /// The digest that the last build stood on; `None` where it was not pinned.
        old: Option<String>,
        /// The digest now; `None` where it is not pinned any more.
        new: Option<String>,
    },
    /// A mirror's source stands for another image now.
    SourceChanged {
        /// The source.
        reference: String,
        /// The digest that was mirrored; `None` where it was not pinned.
        old: Option<String>,
        /// The digest now; `None` where it is not pinned any more.
        new: Option<String>,
    },
    /// The service does not have the image any more.
    MissingRemote,
    /// Somebody else put another image in its place.
    RemoteChanged {
        /// When, by the service's clock.
        at: Option<Timestamp>,
    },
    /// The service has one at the unit's place that is not in the lockfile: it will be replaced.
    ExistsRemote,
    /// It was asked for.
    Requested,
    /// It became older than the manifest allows.
    Expired {
        /// Since it was made.
        age_seconds: u64,
    },
    /// The last build failed, or its end was never seen.
    PreviousFailed,
    /// It was asked for, and whether the service took it is not known.
    InDoubt,
    /// imgplan digests in a new way; nothing else is known to differ.
    FingerprintFormatChanged,
    /// A build of just this is under way.
    Pending {
        /// Since it was started, where the service says so.
        age_seconds: Option<u64>,
    },
    /// The manifest wants another visibility.
    VisibilityChanged {
        /// What it has.
        old: Visibility,
        /// What the manifest says.
        new: Visibility,
    },
    /// The manifest wants another owner.
    OwnerChanged {
        /// Whose it is.
        old: Owner,
        /// What the manifest says.
        new: Owner,
    },
    /// The manifest calls it otherwise than before.
    Moved {
        /// What it was called.
        from: ImageRef,
    },
    /// Another tag has what the manifest wants now.
    Superseded {
        /// That tag.
        by: ImageRef,
        /// Whether the image stays.
        kept: bool,
    },
    /// In the lockfile, but no longer in the manifest.
    RemovedFromManifest {
        /// Whether the image stays.
        kept: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::ContextChanged { files } => match files.as_deref() {
                None | Some([]) => f.write_str("context changed"),
                Some(files) => context_changed(files, f),
            },
            Self::DockerfileChanged => f.write_str("Dockerfile changed"),
            Self::ConfigChanged { field, old, new } => match (old.as_str(), new.as_str()) {
                ("", "") => write!(f, "{field} changed"),
                ("", new) => write!(f, "{field} {new} added"),
                (old, "") => write!(f, "{field} {old} removed"),
                (old, new) => write!(f, "{field} {old} -> {new}"),
            },
            Self::DependencyChanged { base, via } => {
                write!(f, "base {base} changes")?;
                via.iter().try_for_each(|below| write!(f, " < {below}"))
            }
            Self::BaseChanged { reference, old, new } => {
                write!(f, "base {reference} ")?;
                digests(old.as_deref(), new.as_deref(), f)
            }
            Self::SourceChanged { reference, old, new } => {
                write!(f, "upstream {reference} ")?;
                digests(old.as_deref(), new.as_deref(), f)
            }
            Self::MissingRemote => f.write_str("the service does not have it any more"),
            Self::RemoteChanged { at: None } => f.write_str("somebody else replaced it"),
            Self::RemoteChanged { at: Some(at) } => {
                write!(f, "somebody else replaced it on {}", at.strftime("%Y-%m-%d %H:%M UTC"))
            }
            Self::ExistsRemote => f.write_str("the service has one that is not in the lockfile"),
            Self::Requested => f.write_str("asked for"),
            Self::Expired { age_seconds } => write!(f, "{} old", roughly(*age_seconds)),
            Self::PreviousFailed => f.write_str("the last build did not succeed"),
            Self::InDoubt => f.write_str("whether the service took it is not known"),
            Self::FingerprintFormatChanged => f.write_str("imgplan digests in a new way"),
            Self::Pending { age_seconds: None } => f.write_str("its build is under way"),
            Self::Pending { age_seconds: Some(age) } => {
                write!(f, "its build is under way, started {} ago", roughly(*age))
            }
            Self::VisibilityChanged { old, new } => write!(f, "visibility {old} -> {new}"),
            Self::OwnerChanged { old, new } => write!(f, "owner {old} -> {new}"),
            Self::Moved { from } => write!(f, "was {from}"),
            Self::Superseded { by, kept } => write!(f, "{by} has its place{}", stays(*kept)),
            Self::RemovedFromManifest { kept } => {
                write!(f, "removed from the manifest{}", stays(*kept))
            }
        }
    }
}

fn stays(kept: bool) -> &'static str {
    if kept { ", image kept" } else { "" }
}

/// Two digests, short, as what was and what is.
fn digests(old: Option<&str>, new: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (old, new) {
        (Some(old), Some(new)) => write!(f, "moved {} -> {}", short(old), short(new)),
        (None, Some(new)) => write!(f, "pinned to {}", short(new)),
        (_, None) => f.write_str("is not pinned any more"),
    }
}

/// The first digits of a digest: enough to tell two apart.
pub fn short(digest: &str) -> &str {
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// An age as people say it: `42 s`, `3 min`, `5 h`, `2 days`.
fn roughly(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..DAY => format!("{} h", seconds / 3600),
        _ if seconds < 2 * DAY => "1 day".to_owned(),
        _ => format!("{} days", seconds / DAY),
    }
}

/// The first files, and how many more there are.
fn context_changed(files: &[FileChange], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("context: ")?;
    for (index, file) in files.iter().take(FEW).enumerate() {
        write!(f, "{}{file}", if index == 0 { "" } else { ", " })?;
    }
    match files.len().saturating_sub(FEW) {
        0 => Ok(()),
        more => write!(f, ", and {more} more"),
    }
}
