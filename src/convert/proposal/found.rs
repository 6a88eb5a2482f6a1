//! Files that `imgplan init` looks for: their names, and the context of a Dockerfile. Pure.

use std::collections::{BTreeSet, HashSet};

/// A file that has a meaning by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KnownFile {
    Dockerfile,
    /// The `task.toml` of a Harbor task.
    HarborTask,
    /// A file of another tool, with its format for `imgplan convert`.
    Foreign(&'static str),
}

/// Suffixes of files that are not Dockerfiles although they begin with `Dockerfile.`: ignore files,
/// templates, and copies that editors and patches leave.
const NON_DOCKERFILE_EXTENSIONS: [&str; 13] = [
    "dockerignore",
    "in",
    "j2",
    "jinja",
    "jinja2",
    "tmpl",
    "tpl",
    "template",
    "erb",
    "md",
    "bak",
    "orig",
    "rej",
];

/// Suffixes of Dockerfiles that are named after their image.
const DOCKERFILE_SUFFIXES: [&str; 3] = [".Dockerfile", ".dockerfile", ".Containerfile"];

/// Maximum number of copied paths that decide the context of a Dockerfile.
const MAX_SOURCES: usize = 64;

/// Returns the meaning of a file name, if it has one.
pub(crate) fn known_file(name: &str) -> Option<KnownFile> {
    let yaml = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    Some(match (name, yaml) {
        ("task.toml", _) => KnownFile::HarborTask,
        ("docker-bake.json" | "docker-bake.hcl", _) => KnownFile::Foreign("bake"),
        (_, Some(stem)) if is_compose(stem) => KnownFile::Foreign("compose"),
        (_, Some("regsync")) => KnownFile::Foreign("regsync"),
        (_, Some(stem)) if stem.contains("skopeo") => KnownFile::Foreign("skopeo"),
        _ => DockerfileName::parse(name).map(|_| KnownFile::Dockerfile)?,
    })
}

/// Returns true for `compose`, `docker-compose` and `compose.dev`, but not for `composer`.
fn is_compose(stem: &str) -> bool {
    let rest = stem.strip_prefix("docker-").unwrap_or(stem).strip_prefix("compose");
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic()))
}

/// The name of a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DockerfileName<'a> {
    /// `api` of `api.Dockerfile`, `Dockerfile.api` and `Dockerfile-api`; `None` for `Dockerfile` and
    /// `Containerfile`.
    pub(super) variant: Option<&'a str>,
    /// The suffix of `api.Dockerfile`, which is named after its image. `Dockerfile.api` is a variant
    /// of its folder.
    pub(super) suffix: Option<&'static str>,
}

impl<'a> DockerfileName<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        if let "Dockerfile" | "Containerfile" = name {
            return Some(Self { variant: None, suffix: None });
        }
        let suffix = DOCKERFILE_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix));
        let prefixes = ["Dockerfile", "Containerfile"];
        let variant = match suffix {
            Some(suffix) => name.strip_suffix(suffix)?,
            None => prefixes
                .into_iter()
                .find_map(|prefix| name.strip_prefix(prefix)?.strip_prefix(['.', '-', '_']))?,
        };
        let last = variant.rsplit('.').next().unwrap_or(variant).to_ascii_lowercase();
        let is_dockerfile = !variant.is_empty()
            && !variant.starts_with('.')
            && !variant.ends_with('~')
            && (suffix.is_some() || !NON_DOCKERFILE_EXTENSIONS.contains(&&*last));
        is_dockerfile.then_some(Self { variant: Some(variant), suffix })
    }
}

/// A Dockerfile. Paths are relative to the folder of the search, with `/`.
#[derive(Debug, Clone, Default)]
pub(crate) struct FoundDockerfile {
    pub(crate) path: String,
    /// The folder that it is built from.
    pub(crate) context: String,
    /// The images that it uses, with variables expanded.
    pub(crate) references: Vec<String>,
}

/// Files that were found in a folder.
#[derive(Debug, Default)]
pub(crate) struct FoundFiles {
    /// Name of the folder.
    pub(crate) root: String,
    /// Sorted by their paths.
    pub(crate) dockerfiles: Vec<FoundDockerfile>,
    /// Folders of Harbor tasks, relative to the folder; `.` for itself.
    pub(crate) tasks: BTreeSet<String>,
}

/// Splits a path into its folder, `.` for none, and its name.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}

/// Joins a folder and a path in it.
pub(crate) fn join(folder: &str, path: &str) -> String {
    if folder == "." { path.to_owned() } else { format!("{folder}/{path}") }
}

/// Returns the folder that a Dockerfile is most likely built from: the nearest one, from its own
/// folder up to `.`, that contains most of the copied files. `sources` are their paths; the first
/// ones decide. `exists` says whether a folder has a path.
pub(crate) fn context_of(
    path: &str,
    sources: impl Iterator<Item = String>,
    exists: &dyn Fn(&str, &str) -> bool,
) -> String {
    let mut known = HashSet::new();
    let sources: Vec<String> =
        sources.filter(|source| known.insert(source.clone())).take(MAX_SOURCES).collect();
    let own = split(path).0;
    let count = |folder: &str| sources.iter().filter(|it| exists(folder, it)).count();
    let (mut best, mut most, mut folder) = (own, count(own), own);
    while folder != "." && most < sources.len() {
        folder = split(folder).0;
        let count = count(folder);
        if count > most {
            (best, most) = (folder, count);
        }
    }
    best.to_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        use KnownFile::*;
        for (name, expected) in [
            ("Dockerfile", Some(Dockerfile)),
            ("Containerfile", Some(Dockerfile)),
            ("api.Dockerfile", Some(Dockerfile)),
            ("api.dockerfile", Some(Dockerfile)),
            ("Dockerfile.api", Some(Dockerfile)),
            ("Dockerfile.v1.2", Some(Dockerfile)),
            ("Dockerfile-api", Some(Dockerfile)),
            ("Dockerfile_api", Some(Dockerfile)),
            ("Containerfile.api", Some(Dockerfile)),
            ("api.Containerfile", Some(Dockerfile)),
            ("Dockerfile.dockerignore", None),
            ("api.Dockerfile.dockerignore", None),
            ("Dockerfile.j2", None),
            ("Dockerfile.api.tmpl", None),
            ("Dockerfile.", None),
            ("Dockerfile.api~", None),
            (".Dockerfile", None),
            ("Dockerfiles", None),
            ("task.toml", Some(HarborTask)),
            ("docker-bake.json", Some(Foreign("bake"))),
            ("docker-bake.hcl", Some(Foreign("bake"))),
            ("compose.yml", Some(Foreign("compose"))),
            ("docker-compose.yaml", Some(Foreign("compose"))),
            ("compose.dev.yml", Some(Foreign("compose"))),
            ("docker-compose-test.yaml", Some(Foreign("compose"))),
            ("composer.yml", None),
            ("regsync.yml", Some(Foreign("regsync"))),
            ("skopeo-sync.yaml", Some(Foreign("skopeo"))),
            ("skopeo.md", None),
            ("compose.json", None),
            ("README.md", None),
        ] {
            assert_eq!(known_file(name), expected, "{name}");
        }
    }

    #[test]
    fn the_context_has_the_files_that_are_copied() {
        let files = ["go.mod", "src/api/main.c", "src/pb", "src/api/run.sh", "src/web/run.sh"];
        let exists = |folder: &str, path: &str| files.contains(&&*join(folder, path));
        for (path, sources, expected) in [
            ("Dockerfile", &["go.mod"][..], "."),
            ("src/api/Dockerfile", &[], "src/api"),
            ("src/api/Dockerfile", &["main.c", "run.sh"], "src/api"),
            ("src/api/Dockerfile", &["src/api/main.c", "go.mod"], "."),
            ("src/api/Dockerfile", &["pb", "api/main.c"], "src"),
            ("src/api/Dockerfile", &["go.mod", "src/api/built"], "."),
            ("src/api/Dockerfile", &["built"], "src/api"),
            // As many files in both: the nearer one.
            ("src/api/Dockerfile", &["run.sh", "go.mod"], "src/api"),
        ] {
            let texts = sources.iter().map(|&it| it.to_owned());
            assert_eq!(context_of(path, texts, &exists), expected, "{path} {sources:?}");
        }
        // Equal sources count once, and the first ones decide.
        let lookups = Cell::new(0);
        let count = |_: &str, _: &str| {
            lookups.set(lookups.get() + 1);
            false
        };
        let sources = (0..20_000).map(|index| format!("f{}", index / 2));
        assert_eq!(context_of("a/b/c/Dockerfile", sources, &count), "a/b/c");
        assert_eq!(lookups.get(), 4 * MAX_SOURCES);
    }
}
