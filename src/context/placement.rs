//! Decides under which name a Dockerfile is sent. Pure.
//!
//! One that is sent as it was written stays where it lies. One from outside of the context, with
//! paths of bases put in, or that the context's `.dockerignore` leaves out, goes in as
//! `.imgplan.Dockerfile`, or a name like it that the context does not have; and with it goes
//! `.imgplan.Dockerfile.dockerignore`, which names just these two. BuildKit and kaniko, as they say,
//! and Buildah, as a test sees, read such a file before they read `.dockerignore`, so that
//!
//! - a `COPY . .` does not pick the two up, as it would not pick up a Dockerfile from elsewhere;
//! - the context's own `.dockerignore`, which was followed already or which a
//!   `<Dockerfile>.dockerignore` has overruled, is not applied to what was sent.
//!
//! A builder that reads no such file copies both: some hundred bytes in the image's working folder.
//! So does Buildah where it is given the Dockerfile by a relative path that does not begin at the
//! context (seen with 1.28.2: `-f sent/.imgplan.Dockerfile sent`): it looks for the rules at that
//! path below the context, and falls back on the `.dockerignore` at the root.
//! No rule of the service's gives it another place to look for a Dockerfile than the archive.

use super::tree::{EntryKind, RelPath, Tree};

/// A file that goes into an archive besides those of the tree, or in the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its path in the archive.
    pub path: RelPath,
    /// Its text.
    pub text: String,
}

/// The Dockerfile as it is sent, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The Dockerfile's path in the archive.
    pub dockerfile: RelPath,
    /// The Dockerfile, and the file that hides it, sorted by path.
    pub files: Vec<PlacedFile>,
}

impl Placement {
    /// Finds a place for a Dockerfile with this `text`. `inside` is its path in the context where it
    /// lies there and is sent as it was written.
    pub fn of(tree: &Tree, inside: Option<&str>, text: String) -> Self {
        match inside.and_then(RelPath::new).filter(|path| may_stay(tree, path)) {
            Some(path) => {
                let files = vec![PlacedFile { path: path.clone(), text }];
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
        let hiding = |name: &str| format!("{name}.dockerignore");
        let is_free = |path: &str| tree.get(path.as_bytes()).is_none();
        let mut free = names.filter(|name| is_free(name) && is_free(&hiding(name)));
        let name = free.next().unwrap_or_default();
        let hiding = hiding(&name);
        let rules = format!("{name}\n{hiding}\n");
        let file = |name: String, text| PlacedFile { path: RelPath::of_name(name), text };
        let files = vec![file(name.clone(), text), file(hiding, rules)];
        Self { dockerfile: RelPath::of_name(name), files }
    }
}

/// Whether a Dockerfile is among what is sent, and a builder that looks for a `.dockerignore` finds
/// the one that was followed. The one at the root may be gone: what it names is not there.
fn may_stay(tree: &Tree, path: &RelPath) -> bool {
    let sent = |path: &[u8]| tree.get(path).is_some_and(|kind| *kind != EntryKind::Dir);
    let own = [path.as_bytes(), b".dockerignore"].concat();
    let followed = tree.ignored_by().and_then(|file| file.strip_prefix(tree.root()).ok());
    let at_root = followed.is_some_and(|file| file.as_os_str() == ".dockerignore");
    let by_own = tree.ignored_by().is_some() && !at_root;
    sent(path.as_bytes()) && (!by_own || sent(&own))
}
