//! Decides the path at which a Dockerfile is sent. Pure.
//!
//! A Dockerfile that the build does not read keeps its path, if its folder is sent. So does one that is
//! sent unchanged. Others are sent as `.imgplan.Dockerfile`, or under a similar name that is free: if
//! the Dockerfile is outside of the context, if nothing else of its folder is sent, if references in it
//! were replaced, or if an ignore file excludes it. `.imgplan.Dockerfile.dockerignore` is
//! sent with it, and ignores exactly these two files. BuildKit and kaniko (by their documentation)
//! and Buildah (by a test) prefer such a file to `.dockerignore`. So
//!
//! - `COPY . .` does not copy the two files, just as it copies no Dockerfile from elsewhere;
//! - the context's own `.dockerignore` is not applied to the sent files. It was already applied, or
//!   a `<Dockerfile>.dockerignore` was used instead.
//!
//! A builder without support for such files copies both, which adds some hundred bytes to the
//! image. Buildah does so too if the Dockerfile is given as a relative path that does not begin at
//! the context (`-f sent/.imgplan.Dockerfile sent` in version 1.28.2): it looks for the rules at
//! that path below the context, and falls back to the `.dockerignore` at the root.
//! The Dockerfile must be in the archive, because the service looks for it nowhere else.

use super::listing::EntryKind;
use super::path::RelPath;
use super::permissions::Permissions;
use super::tree::Tree;

/// A file that is added to the archive, or that replaces a file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// The path in the archive.
    pub path: RelPath,
    /// The content.
    pub text: String,
    /// The permissions.
    pub permissions: Permissions,
}

/// The Dockerfile as it is sent, and the file that hides it from `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The path of the Dockerfile in the archive.
    pub dockerfile: RelPath,
    /// The added files, sorted by path.
    pub files: Vec<PlacedFile>,
}

/// A Dockerfile before its path in the archive is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileToSend<'d> {
    /// The path in the context, if it lies there.
    pub inside: Option<&'d str>,
    /// True if the text differs from the file.
    pub is_changed: bool,
    /// The text.
    pub text: String,
}

impl Placement {
    /// Returns the placement of a Dockerfile.
    pub fn new(tree: &Tree, dockerfile: DockerfileToSend<'_>) -> Self {
        let DockerfileToSend { inside, is_changed, text } = dockerfile;
        let keeps_path = |path: &RelPath| {
            if tree.selects_file(path) {
                !is_changed && can_keep_path(tree, path)
            } else {
                can_be_added(tree, path)
            }
        };
        match inside.and_then(RelPath::new).filter(keeps_path) {
            Some(path) => {
                let permissions = match tree.get(path.as_bytes()) {
                    Some(EntryKind::File { permissions, .. }) => *permissions,
                    _ => Permissions::FILE,
                };
                let files = vec![PlacedFile { path: path.clone(), text, permissions }];
                Self { dockerfile: path, files }
            }
            None => Self::hidden(tree, text),
        }
    }

    fn hidden(tree: &Tree, text: String) -> Self {
        let names = (1..).map(|number: usize| match number {
            1 => ".imgplan.Dockerfile".to_owned(),
            number => format!(".imgplan.{number}.Dockerfile"),
        });
        let ignore_file = |name: &str| format!("{name}.dockerignore");
        let is_free = |path: &str| tree.get(path.as_bytes()).is_none();
        let mut free = names.filter(|name| is_free(name) && is_free(&ignore_file(name)));
        let name = free.next().unwrap_or_default();
        let ignore_file = ignore_file(&name);
        let rules = format!("{name}\n{ignore_file}\n");
        let permissions = Permissions::FILE;
        let file =
            |name: String, text| PlacedFile { path: RelPath::from_name(name), text, permissions };
        let files = vec![file(name.clone(), text), file(ignore_file, rules)];
        Self { dockerfile: RelPath::from_name(name), files }
    }
}

/// Returns true if a Dockerfile that the build does not read can be added at its path: its folder is
/// sent, and no ignore file that could hide it.
fn can_be_added(tree: &Tree, path: &RelPath) -> bool {
    let is_folder = |folder: RelPath| tree.get(folder.as_bytes()).is_some_and(EntryKind::is_dir);
    path.parent().is_none_or(is_folder) && tree.get(b".dockerignore").is_none()
}

/// Returns true if the Dockerfile at `path` is sent, and if the builder finds the ignore file that
/// was applied. The one at the root need not be sent, because the files that it ignores are not
/// sent either.
fn can_keep_path(tree: &Tree, path: &RelPath) -> bool {
    let is_sent = |path: &[u8]| tree.get(path).is_some_and(|kind| !kind.is_dir());
    let own = [path.as_bytes(), b".dockerignore"].concat();
    let applied = tree.ignore_file().and_then(|file| file.strip_prefix(tree.root()).ok());
    let is_at_root = applied.is_some_and(|file| file.as_os_str() == ".dockerignore");
    let is_own = tree.ignore_file().is_some() && !is_at_root;
    is_sent(path.as_bytes()) && (!is_own || is_sent(&own))
}
