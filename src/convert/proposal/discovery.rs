//! Finds the Dockerfiles that one entry with `discover` describes. Pure.

use std::collections::BTreeMap;

use super::found::{DockerfileName, FoundDockerfile, FoundFiles, join, split};
use super::naming::ProposedName;
use crate::base::name::image_name_of;
use crate::convert::draft::{Discovery, DraftOrigin};

/// Minimum number of images for which `discover` is proposed instead of an entry for each.
const MIN_DISCOVERED: usize = 4;

/// Characters that have a meaning in patterns and templates.
const PATTERN_CHARACTERS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// The Dockerfiles that one pattern finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SharedPattern<'a> {
    /// The folder that has their folders, or with `end` the Dockerfiles themselves.
    folder: &'a str,
    /// The name of each Dockerfile; empty with `end`.
    file: &'a str,
    /// The end of each name: `.Dockerfile`.
    end: Option<&'static str>,
}

impl<'a> SharedPattern<'a> {
    /// Returns the pattern that finds a Dockerfile, the path that it finds, and the name that it
    /// gives the image.
    fn of(path: &'a str) -> Option<(Self, &'a str, String)> {
        let (own, file) = split(path);
        let name = DockerfileName::parse(file)?;
        let (folder, file, found, named) = match (name.variant, name.end) {
            (None, _) if own != "." => {
                let (parent, folder) = split(own);
                (parent, file, own, folder)
            }
            (Some(variant), Some(_)) => (own, "", path, variant),
            _ => return None,
        };
        Some((Self { folder, file, end: name.end }, found, image_name_of(named)))
    }

    /// Returns the entry that discovers the Dockerfiles.
    fn origin(&self, context: Option<&str>, exclude: Vec<String>) -> DraftOrigin {
        let (key, pattern) = match self.end {
            Some(end) => ("dockerfiles", format!("*{end}")),
            None => ("glob", "*".to_owned()),
        };
        let dockerfile = Some(self.file).filter(|file| !matches!(*file, "" | "Dockerfile"));
        DraftOrigin::Discover(Discovery {
            key,
            pattern: join(self.folder, &pattern),
            exclude,
            dockerfile: dockerfile.map(str::to_owned),
            context: context.map(str::to_owned),
        })
    }
}

/// Returns the entries with `discover`, each with the indexes of its Dockerfiles.
pub(super) fn discovered(
    FoundFiles { dockerfiles, left_out, irregular, .. }: &FoundFiles,
    names: &[ProposedName],
) -> Vec<(DraftOrigin, Vec<usize>)> {
    // With the index of a Dockerfile that may be discovered, because it gets its name by that.
    let mut by_pattern: BTreeMap<SharedPattern<'_>, Vec<(Option<usize>, &str)>> = BTreeMap::new();
    let proposed = dockerfiles.iter().zip(names).map(|(found, name)| (&*found.path, Some(name)));
    let all = proposed.chain(left_out.iter().map(|path| (&**path, None)));
    for (index, (path, proposed)) in all.enumerate() {
        if let Some((pattern, path, name)) = SharedPattern::of(path) {
            let has_name = proposed == Some(&ProposedName { name, tag: None });
            by_pattern.entry(pattern).or_default().push((has_name.then_some(index), path));
        }
    }
    by_pattern.retain(|pattern, _| !irregular.contains(pattern.folder));
    let entry = |(pattern, found): (SharedPattern<'_>, Vec<(Option<usize>, &str)>)| {
        let mut contexts: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for index in found.iter().filter_map(|(index, _)| *index) {
            let FoundDockerfile { path, context, .. } = &dockerfiles[index];
            let context = Some(&**context).filter(|context| *context != split(path).0);
            contexts.entry(context).or_default().push(index);
        }
        let (context, members) = contexts.into_iter().max_by_key(|(_, members)| members.len())?;
        let is_other =
            |index: Option<usize>| index.is_none_or(|it| members.binary_search(&it).is_err());
        let others = found.iter().filter(|(index, _)| is_other(*index));
        let exclude: Vec<String> = others.map(|(_, path)| (*path).to_owned()).collect();
        let is_literal = |path: &str| !path.contains(PATTERN_CHARACTERS);
        let fits = members.len() >= MIN_DISCOVERED.max(exclude.len())
            && is_literal(pattern.folder)
            && exclude.iter().all(|path| is_literal(path));
        fits.then(|| (pattern.origin(context, exclude), members))
    };
    by_pattern.into_iter().filter_map(entry).collect()
}
