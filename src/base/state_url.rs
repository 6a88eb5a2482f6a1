//! The URL of a shared state. Pure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::name::NameError;
use super::safe_text::is_unsafe;

/// The URL of a shared state: `s3://bucket/path`, `gs://bucket/path`, `az://container/path`, or
/// `file:///folder`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StateUrl {
    text: String,
    pub(crate) place: StatePlace,
}

/// The parts of a [`StateUrl`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum StatePlace {
    /// A bucket of an object store, and a path in it without slashes at its ends.
    Bucket { store: StoreKind, bucket: String, path: String },
    /// A folder, relative to the manifest's folder unless it is absolute.
    Folder(PathBuf),
}

/// The kind of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StoreKind {
    /// Amazon S3, or a server that is compatible with it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl StateUrl {
    /// Returns the folder of a `file:` URL.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.place {
            StatePlace::Folder(folder) => Some(folder),
            StatePlace::Bucket { .. } => None,
        }
    }

    /// Returns the URL with a folder that no longer depends on the manifest's folder `root`.
    pub(crate) fn resolved(self, root: &Path) -> Self {
        match self.place {
            StatePlace::Folder(folder) if folder.is_relative() => {
                let folder = root.strip_prefix(".").unwrap_or(root).join(folder);
                Self {
                    text: format!("file:{}", folder.display()),
                    place: StatePlace::Folder(folder),
                }
            }
            _ => self,
        }
    }
}

impl fmt::Display for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StateUrl {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |message: String| {
            NameError::new(message, "write s3://BUCKET/PATH, gs://…, az://… or file:///FOLDER")
        };
        let invalid = || bad(format!("`{text}` is not the URL of a shared state"));
        if text.contains(is_unsafe) {
            return Err(bad("the URL of the state has a control character".to_owned()));
        }
        let (scheme, rest) = text.split_once(':').ok_or_else(invalid)?;
        let store = match scheme {
            "file" => {
                let folder = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
                if folder.as_os_str().is_empty() {
                    return Err(invalid());
                }
                return Ok(Self { text: text.to_owned(), place: StatePlace::Folder(folder) });
            }
            "s3" => StoreKind::S3,
            "gs" => StoreKind::Gcs,
            "az" => StoreKind::Azure,
            _ => return Err(invalid()),
        };
        let rest = rest.strip_prefix("//").ok_or_else(invalid)?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.is_empty() || !bucket.chars().all(is_name) {
            return Err(bad(format!("`{text}` names no bucket")));
        }
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..") && segment.chars().all(|c| is_name(c) || c == '=')
        };
        // A bucket is seldom for one state only.
        if path.is_empty() {
            return Err(bad(format!("`{text}` names no path in the bucket")));
        }
        if !path.split('/').all(is_segment) {
            let message = format!("the path of `{text}` has other characters than a-z, 0-9, -._=");
            return Err(bad(message));
        }
        let (bucket, path) = (bucket.to_owned(), path.to_owned());
        Ok(Self { text: text.to_owned(), place: StatePlace::Bucket { store, bucket, path } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let bucket = |store, bucket: &str, path: &str| {
            Some(StatePlace::Bucket { store, bucket: bucket.to_owned(), path: path.to_owned() })
        };
        let folder = |path: &str| Some(StatePlace::Folder(PathBuf::from(path)));
        for (text, expected) in [
            ("s3://b/p", bucket(StoreKind::S3, "b", "p")),
            ("gs://b.c/p/q/", bucket(StoreKind::Gcs, "b.c", "p/q")),
            ("az://b/team=a/p", bucket(StoreKind::Azure, "b", "team=a/p")),
            ("file:///srv/state", folder("/srv/state")),
            ("file:state", folder("state")),
            ("s3://b", None),
            ("s3://b/", None),
            ("s3://b/../c", None),
            ("s3://b//c", None),
            ("s3://user@b/c", None),
            ("s3://b:9/c", None),
            ("s3:b/c", None),
            ("https://b.s3.amazonaws.com/c", None),
            ("file:", None),
            ("state", None),
            ("s3://b/c\u{1b}", None),
        ] {
            let place = text.parse::<StateUrl>().ok().map(|url| url.place);
            assert_eq!(place, expected, "{text}");
        }
    }
}
