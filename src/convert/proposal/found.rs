//! Files that `imgplan init` looks for: their names, and the context of a Dockerfile. Pure.

use std::collections::BTreeSet;

/// A file that has a meaning by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KnownFile {
    Dockerfile,
    /// The `task.toml` of a Harbor task.
    HarborTask,
    /// A file of another tool, with its format for `imgplan convert`.
    Foreign(&'static str),
}

/// Ends of the names of files beside Dockerfiles that are none themselves: ignore files, templates,
/// and copies that editors and patches leave.
const NO_DOCKERFILES: [&str; 13] = [
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

/// Ends of the names of Dockerfiles with a name of their own.
const DOCKERFILE_ENDS: [&str; 2] = [".Dockerfile", ".dockerfile"];

/// Returns the meaning of a file name, if it has one.
pub(crate) fn known_file(name: &str) -> Option<KnownFile> {
    let yaml = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    Some(match (name, yaml) {
        ("task.toml", _) => KnownFile::HarborTask,
        ("docker-bake.json" | "docker-bake.hcl", _) => KnownFile::Foreign("bake"),
        (_, Some("compose" | "docker-compose")) => KnownFile::Foreign("compose"),
        (_, Some("regsync")) => KnownFile::Foreign("regsync"),
        (_, Some(stem)) if stem.contains("skopeo") => KnownFile::Foreign("skopeo"),
        _ => DockerfileName::parse(name).map(|_| KnownFile::Dockerfile)?,
    })
}

/// The name of a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DockerfileName<'a> {
    /// `api` of `api.Dockerfile` and of `Dockerfile.api`; `None` for `Dockerfile` and
    /// `Containerfile`.
    pub(super) variant: Option<&'a str>,
    /// `.Dockerfile` if the name ends so.
    pub(super) end: Option<&'static str>,
}

impl<'a> DockerfileName<'a> {
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        if let "Dockerfile" | "Containerfile" = name {
            return Some(Self { variant: None, end: None });
        }
        let end = DOCKERFILE_ENDS.into_iter().find(|end| name.ends_with(end));
        let variant = match end {
            Some(end) => name.strip_suffix(end)?,
            None => name.strip_prefix("Dockerfile.")?,
        };
        let last = variant.rsplit('.').next().unwrap_or(variant).to_ascii_lowercase();
        let is_one = !variant.is_empty()
            && !variant.starts_with('.')
            && !variant.ends_with('~')
            && (end.is_some() || !NO_DOCKERFILES.contains(&&*last));
        is_one.then_some(Self { variant: Some(variant), end })
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
    /// Paths of Dockerfiles that are not proposed.
    pub(crate) left_out: Vec<String>,
    /// Folders of Harbor tasks, relative to the folder; `.` for itself.
    pub(crate) tasks: BTreeSet<String>,
    /// Folders in which a pattern would find more than was found.
    pub(crate) irregular: BTreeSet<String>,
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
/// folder up to `.`, in which most of the files exist that its instructions copy. `sources` are their
/// paths.
pub(crate) fn context_of(path: &str, sources: &[String], exists: &dyn Fn(&str) -> bool) -> String {
    let own = split(path).0;
    let count = |folder: &str| sources.iter().filter(|it| exists(&join(folder, it))).count();
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
        let exists = |path: &str| files.contains(&path);
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
            let sources: Vec<String> = sources.iter().map(|&it| it.to_owned()).collect();
            assert_eq!(context_of(path, &sources, &exists), expected, "{path} {sources:?}");
        }
    }
}
