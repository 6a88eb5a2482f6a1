//! The names of the files in the work folder. A file can only be opened by a name of this list, and
//! `tests/it/work_folder.rs` attacks each of them.

use std::borrow::Cow;
use std::ffi::OsStr;

use crate::base::digest::Digest;
use crate::base::name::BuildId;

/// Every file and folder of the work folder, relative to it; `DIGEST` is the digest of a context,
/// `STATE` that of the URL of a shared state, and `BUILD` the ID of a build. A new name must join this list.
#[cfg(any(test, feature = "test-support"))]
pub const WORK_PATHS: [&str; 34] = [
    "",
    ".gitignore",
    "contexts",
    "contexts/DIGEST",
    "imgplan.lock.old",
    "journal.jsonl",
    "local",
    "local/.gitignore",
    "local/contexts",
    "local/contexts/DIGEST",
    "local/imgplan.lock",
    "local/imgplan.lock.old",
    "local/journal.jsonl",
    "local/lock",
    "local/server",
    "local/server/changes.jsonl",
    "local/server/lock",
    "local/server/logs",
    "local/server/logs/BUILD.log",
    "local/server/made-here",
    "local/server/state.json",
    "local/server/token",
    "local/server/uploads",
    "local/server/uploads/BUILD.tar.gz",
    "lock",
    "registry-cache",
    "shared",
    "shared/STATE",
    "shared/STATE/.gitignore",
    "shared/STATE/contexts",
    "shared/STATE/contexts/DIGEST",
    "shared/STATE/journal.jsonl",
    "shared/STATE/lock",
    "stat-cache",
];

/// Length of the name of the work folder of a shared state, in characters: of one checkout, there are
/// few.
const SHARED_STATE_CHARS: usize = 16;

/// The name of a file or folder in the work folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkName(Cow<'static, str>);

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        impl WorkName {
            $($(#[$doc])* pub(crate) const $name: Self = Self(Cow::Borrowed($text));)*

            /// The names that are always the same.
            #[cfg(test)]
            const FIXED_NAMES: &[&str] = &[$($text,)*];
        }
    };
}

names! {
    /// Excludes the folder from git.
    GITIGNORE = ".gitignore",
    /// The lock of a run or a server.
    LOCK = "lock",
    /// The changes since the lockfile was last written.
    JOURNAL = "journal.jsonl",
    /// A copy of the lockfile while the lockfile is written in place.
    LOCKFILE_COPY = "imgplan.lock.old",
    /// The lockfile of the local server.
    LOCAL_LOCKFILE = "imgplan.lock",
    /// The digests of files that have not changed.
    STAT_CACHE = "stat-cache",
    /// The recent lookups of external references.
    REGISTRY_CACHE = "registry-cache",
    /// The folder with the file lists of contexts that were built.
    FILE_LISTS = "contexts",
    /// The state of the local server, with the key that signs upload URLs.
    SERVER_STATE = "state.json",
    /// The changes of the local server since its state was last written.
    SERVER_LOG = "changes.jsonl",
    /// The mark of a folder that this machine has made, for the engine of the local server.
    MADE_HERE = "made-here",
    /// The token of a local server with an engine that builds.
    SERVER_TOKEN = "token",
    /// The folder with the contexts that were uploaded to the local server.
    UPLOADS = "uploads",
    /// The folder with the logs of the local server's builds.
    LOGS = "logs",
}

impl WorkName {
    /// Returns the name of the file list of a context. It has no `b3:`, because some file systems allow
    /// no `:` in names.
    pub(crate) fn file_list(context: Digest) -> Self {
        Self(context.to_string().trim_start_matches("b3:").to_owned().into())
    }

    /// Returns the name of the uploaded context of a build.
    pub(crate) fn upload(build: &BuildId) -> Self {
        Self(format!("{build}.tar.gz").into())
    }

    /// Returns the name of the log of a build.
    pub(crate) fn build_log(build: &BuildId) -> Self {
        Self(format!("{build}.log").into())
    }

    /// Returns the name of the work folder of a shared state, which is of no other state: a run on it
    /// replays its journal.
    pub(crate) fn shared_state(url: &str) -> Self {
        let digest = Digest::of(url.as_bytes()).to_string();
        Self(digest.trim_start_matches("b3:").chars().take(SHARED_STATE_CHARS).collect())
    }

    /// Returns the name of an object of a shared state in a folder.
    pub(crate) fn of_object(name: &str) -> Self {
        Self(name.to_owned().into())
    }

    /// Returns any name.
    #[cfg(test)]
    pub(crate) const fn any(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

impl AsRef<OsStr> for WorkName {
    fn as_ref(&self) -> &OsStr {
        OsStr::new(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_list_of_paths() {
        for name in WorkName::FIXED_NAMES {
            let ends_so = |path: &&str| path.rsplit('/').next() == Some(name);
            assert!(WORK_PATHS.iter().any(ends_so), "add {name} to WORK_PATHS");
        }
    }
}
