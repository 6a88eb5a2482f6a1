//! Finds the Dockerfiles that one entry with `discover` describes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::DraftOrigin;
use super::found::{DockerfileName, FoundDockerfile, join, split};

/// Minimum number of images for which `discover` is proposed instead of an entry for each.
const MIN_DISCOVERED: usize = 4;

/// Characters that have a meaning in patterns and templates.
const PATTERN_CHARACTERS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// Properties that the Dockerfiles of one entry share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// The folder that has their folders, or with `end` the Dockerfiles themselves.
    folder: String,
    /// The name of each Dockerfile; empty with `end`.
    file: String,
    /// The end of each name: `.Dockerfile`.
    end: Option<&'static str>,
    /// The context of all, unless each is built from its own folder.
    context: Option<String>,
}

impl Shape {
    fn of(found: &FoundDockerfile) -> Option<Self> {
        let (own, file) = split(&found.path);
        let name = DockerfileName::parse(file)?;
        let (folder, file) = match (name.variant, name.end) {
            (None, _) if own != "." => (split(own).0, file),
            (Some(_), Some(_)) => (own, ""),
            _ => return None,
        };
        let context = (found.context != own).then(|| found.context.clone());
        Some(Self { folder: folder.to_owned(), file: file.to_owned(), end: name.end, context })
    }

    /// Returns true if a pattern with this folder, file and end finds the Dockerfile too.
    fn finds_with(&self, other: &Self) -> bool {
        (&self.folder, &self.file, self.end) == (&other.folder, &other.file, other.end)
    }

    /// Returns the entry that discovers the Dockerfiles.
    pub(super) fn origin(&self) -> DraftOrigin {
        let context = self.context.clone();
        match self.end {
            Some(end) => DraftOrigin::Discover {
                key: "dockerfiles",
                pattern: join(&self.folder, &format!("*{end}")),
                dockerfile: None,
                context,
            },
            None => DraftOrigin::Discover {
                key: "glob",
                pattern: join(&self.folder, "*"),
                dockerfile: Some(self.file.clone()).filter(|file| file != "Dockerfile"),
                context,
            },
        }
    }

    /// Returns the name that the entry gives an image with this many parts in its name: `None` for the
    /// name of the folder or file alone, which is the default.
    pub(super) fn name_template(&self, parts: usize) -> Option<&'static str> {
        match (parts, self.end) {
            (1, _) => None,
            (_, Some(_)) => Some("{dir}-{file}"),
            (_, None) => Some("{parent}-{dir}"),
        }
    }
}

/// Dockerfiles, and the entries that discover them.
pub(super) struct Clusters {
    /// Cluster of each Dockerfile.
    pub(super) of: Vec<usize>,
    /// Shape of each cluster; `None` for one Dockerfile with an entry of its own.
    pub(super) shapes: Vec<Option<Shape>>,
}

/// Puts Dockerfiles of one shape into one cluster if their entry finds them and no others. `irregular`
/// are the folders in which a pattern would find more.
pub(super) fn cluster(dockerfiles: &[FoundDockerfile], irregular: &BTreeSet<String>) -> Clusters {
    let mut by_shape: BTreeMap<Shape, Vec<usize>> = BTreeMap::new();
    for (index, found) in dockerfiles.iter().enumerate() {
        if let Some(shape) = Shape::of(found) {
            by_shape.entry(shape).or_default().push(index);
        }
    }
    let fits = |shape: &Shape| {
        let same = by_shape.keys().filter(|other| shape.finds_with(other)).count();
        same == 1
            && !irregular.contains(&shape.folder)
            && !shape.folder.contains(PATTERN_CHARACTERS)
    };
    let mut shape_of = vec![None; dockerfiles.len()];
    for (shape, members) in &by_shape {
        if members.len() >= MIN_DISCOVERED && fits(shape) {
            for &member in members {
                shape_of[member] = Some(shape);
            }
        }
    }
    let mut clusters = Clusters { of: Vec::new(), shapes: Vec::new() };
    let mut known: BTreeMap<&Shape, usize> = BTreeMap::new();
    for shape in shape_of {
        let next = clusters.shapes.len();
        let cluster = shape.map_or(next, |shape| *known.entry(shape).or_insert(next));
        if cluster == next {
            clusters.shapes.push(shape.cloned());
        }
        clusters.of.push(cluster);
    }
    clusters
}
