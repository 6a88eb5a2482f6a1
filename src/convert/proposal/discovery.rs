//! Finds the Dockerfiles that one entry with `discover` describes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::found::{DockerfileName, FoundDockerfile, join, split};
use super::naming::ProposedName;
use crate::base::name::image_name_of;
use crate::convert::draft::{Discovery, DraftOrigin};

/// Minimum number of images for which `discover` is proposed instead of an entry for each.
const MIN_DISCOVERED: usize = 4;

/// Characters that have a meaning in patterns and templates.
const PATTERN_CHARACTERS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// Returns what a manifest finds with a pattern of `discover`: the folders with a Dockerfile of this
/// name, or the files if there is no name. `None` if the pattern is not to be used.
pub(crate) type FindPaths<'a> = &'a dyn Fn(&str, Option<&str>) -> Option<Vec<String>>;

/// The Dockerfiles that one pattern finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SharedPattern<'a> {
    /// The folder that has their folders, or with `suffix` the Dockerfiles themselves.
    folder: &'a str,
    /// The name of each Dockerfile; empty with `suffix`.
    file: &'a str,
    /// The suffix of each name: `.Dockerfile`.
    suffix: Option<&'static str>,
}

impl<'a> SharedPattern<'a> {
    /// Returns the pattern that finds a Dockerfile, and the path that the pattern finds. `None` if
    /// the pattern would give the image another name.
    fn of(path: &'a str, proposed: &ProposedName) -> Option<(Self, &'a str)> {
        let (own, file) = split(path);
        let DockerfileName { variant, suffix } = DockerfileName::parse(file)?;
        let (folder, file, found, named) = match (variant, suffix) {
            (None, _) if own != "." => {
                let (parent, folder) = split(own);
                (parent, file, own, folder)
            }
            (Some(variant), Some(_)) => (own, "", path, variant),
            _ => return None,
        };
        let has_name = proposed.tag.is_none() && proposed.name == image_name_of(named);
        has_name.then_some((Self { folder, file, suffix }, found))
    }

    /// Returns the entry that discovers exactly these paths. `None` if there is none that is short.
    fn origin(
        &self,
        context: Option<&str>,
        members: &BTreeSet<&str>,
        find: FindPaths<'_>,
    ) -> Option<DraftOrigin> {
        let is_literal = |path: &str| !path.contains(PATTERN_CHARACTERS);
        if members.len() < MIN_DISCOVERED || !is_literal(self.folder) {
            return None;
        }
        let (key, pattern) = match self.suffix {
            Some(suffix) => ("dockerfiles", format!("*{suffix}")),
            None => ("glob", "*".to_owned()),
        };
        let pattern = join(self.folder, &pattern);
        let mut exclude = find(&pattern, self.suffix.is_none().then_some(self.file))?;
        exclude.retain(|path| !members.contains(&**path));
        if exclude.len() > members.len() || !exclude.iter().all(|path| is_literal(path)) {
            return None;
        }
        let dockerfile = Some(self.file).filter(|file| !matches!(*file, "" | "Dockerfile"));
        Some(DraftOrigin::Discover(Discovery {
            key,
            pattern,
            exclude,
            dockerfile: dockerfile.map(str::to_owned),
            context: context.map(str::to_owned),
        }))
    }
}

/// Returns the entries with `discover`, each with the sorted indexes of its Dockerfiles.
pub(super) fn discovered(
    dockerfiles: &[FoundDockerfile],
    names: &[ProposedName],
    find: FindPaths<'_>,
) -> Vec<(DraftOrigin, Vec<usize>)> {
    type Members<'a> = Vec<(usize, &'a str)>;
    let mut patterns: BTreeMap<SharedPattern<'_>, BTreeMap<Option<&str>, Members<'_>>> =
        BTreeMap::new();
    for (index, (FoundDockerfile { path, context, .. }, name)) in
        dockerfiles.iter().zip(names).enumerate()
    {
        if let Some((pattern, found)) = SharedPattern::of(path, name) {
            let context = Some(&**context).filter(|context| *context != split(path).0);
            patterns.entry(pattern).or_default().entry(context).or_default().push((index, found));
        }
    }
    let entry = |(pattern, contexts): (SharedPattern<'_>, BTreeMap<Option<&str>, Members<'_>>)| {
        let (context, members) = contexts.into_iter().max_by_key(|(_, members)| members.len())?;
        let (indexes, paths): (Vec<usize>, BTreeSet<&str>) = members.into_iter().unzip();
        Some((pattern.origin(context, &paths, find)?, indexes))
    };
    patterns.into_iter().filter_map(entry).collect()
}
