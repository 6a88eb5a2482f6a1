//! Decides the path at which a Dockerfile is sent. Pure.
//!
//! A Dockerfile that is sent unchanged keeps its path. So does one that the build does not copy. It
//! is sent as `.imgplan.Dockerfile`, or
//! under a similar name that is free, if it is outside of the context, if references in it were
//! replaced, or if the context's `.dockerignore` ignores it. `.imgplan.Dockerfile.dockerignore` is
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

impl Placement {
    /// Returns the placement of a Dockerfile with this `text`. `inside` is its path in the context,
    /// if it is in the context and is sent unchanged.
    pub fn new(tree: &Tree, inside: Option<&str>, text: String) -> Self {
        match inside.and_then(RelPath::new).filter(|path| can_keep_path(tree, path)) {
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

/// Returns true if the Dockerfile at `path` is sent, and if the builder finds the ignore file that
/// was applied. The one at the root need not be sent, because the files that it ignores are not
/// sent either. A Dockerfile that no instruction reads can be sent at its path, because nothing
/// copies it, if its folder is sent too and there is no ignore file that could hide it.
fn can_keep_path(tree: &Tree, path: &RelPath) -> bool {
    let is_sent = |path: &[u8]| tree.get(path).is_some_and(|kind| !kind.is_dir());
    if !tree.selects_file(path) {
        let in_sent_folder = path
            .parent()
            .is_none_or(|folder| tree.get(folder.as_bytes()).is_some_and(EntryKind::is_dir));
        return in_sent_folder && !is_sent(b".dockerignore");
    }
    let own = [path.as_bytes(), b".dockerignore"].concat();
    let applied = tree.ignore_file().and_then(|file| file.strip_prefix(tree.root()).ok());
    let is_at_root = applied.is_some_and(|file| file.as_os_str() == ".dockerignore");
    let is_own = tree.ignore_file().is_some() && !is_at_root;
    is_sent(path.as_bytes()) && (!is_own || is_sent(&own))
}
