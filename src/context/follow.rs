//! Follows the links on the paths that a build reads, so that the targets are sent too.
//!
//! As BuildKit's client does, but a link behind a folder that a wildcard matches is followed as
//! well: BuildKit leaves its target out, and then its build fails.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::ScanCache;
use super::dir::{Dir, NativeDir};
use super::error::{ScanError, ScanProblem};
use super::ignore::MAX_PATTERNS;
use super::names::ItemKind;
use super::path::{RelPath, as_os_str, lossy};
use super::pattern::Matcher;
use super::selection::{ReadSelection, SelectedPattern, escape, has_wildcard};
use super::shared_listings::SharedListings;
use crate::base::file::PathError;

/// Maximum number of parts of all paths that are followed. A build that needs more is taken to read
/// its whole context.
const MAX_FOLLOWED_PARTS: usize = 100_000;

/// Maximum number of links on the way to a file. Builders follow at most 255, so that they refuse
/// a link such as `a -> a/b`, which never ends.
const MAX_LINKS: usize = 255;

/// A path or pattern that a build reads from its context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextRead {
    /// The path from the root, without `.` and `..`; empty for the whole context.
    pub path: String,
    /// The patterns of the entries below the path that the build does not read.
    pub excludes: Vec<String>,
}

/// Returns the patterns of everything that a build reads from the context in `root`; `None` for the
/// whole context. Fails if a folder on the way cannot be read.
pub(super) fn patterns<D: Dir>(
    root: &Path,
    reads: &[ContextRead],
    listings: &SharedListings<'_>,
) -> Result<Option<Vec<SelectedPattern>>, PathError> {
    let whole = |read: &ContextRead| read.path.is_empty() && read.excludes.is_empty();
    if reads.iter().any(whole) {
        return Ok(None);
    }
    let mut follower: Follower<'_, '_, D> = Follower {
        root,
        listings,
        dir: PhantomData,
        pending: VecDeque::new(),
        seen: HashSet::new(),
        parts: 0,
        selected: BTreeSet::new(),
    };
    for read in reads {
        follower.read(read)?;
    }
    while let Some((path, links)) = follower.pending.pop_front() {
        follower.follow(path, links)?;
    }
    let Follower { parts, selected, .. } = follower;
    if parts > MAX_FOLLOWED_PARTS || selected.len() > MAX_PATTERNS {
        return Ok(None);
    }
    Ok(Some(selected.into_iter().collect()))
}

/// The selections by their patterns. The contexts of a repository are often read alike, and a selection
/// is larger than a small context.
#[derive(Default)]
pub(super) struct SelectionsCache(Mutex<HashMap<Vec<SelectedPattern>, Option<Arc<ReadSelection>>>>);

impl SelectionsCache {
    /// Returns the selection of these patterns; `None` for the whole context.
    pub(super) fn select(&self, patterns: Vec<SelectedPattern>) -> Option<Arc<ReadSelection>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&patterns) {
            return known.clone();
        }
        // Docker refuses an invalid pattern when it copies, so nothing that is sent for it is wrong.
        let selection = ReadSelection::new(patterns.clone()).ok().map(Arc::new);
        lock().insert(patterns, selection.clone());
        selection
    }
}

/// The relation of a path to what a build reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ReadMatch {
    /// The build does not read it.
    Unread,
    /// The build may read something in this folder.
    Below,
    /// The build reads it.
    Read,
}

/// Returns the relation of a path in the context `root` to what a build reads. The path need not
/// exist.
///
/// # Errors
///
/// Fails if a folder on the way cannot be read.
pub(crate) fn read_match(
    root: &Path,
    reads: &[ContextRead],
    path: &RelPath,
    is_dir: bool,
) -> Result<ReadMatch, ScanError> {
    let unreadable = |error| ScanError::new(root, vec![ScanProblem::Unreadable(error)]);
    let cache = ScanCache::default();
    let patterns = patterns::<NativeDir>(root, reads, &SharedListings::new(&cache));
    let patterns = patterns.map_err(unreadable)?;
    let selection = patterns.and_then(|patterns| SelectionsCache::default().select(patterns));
    Ok(match selection {
        Some(selection) if selection.selects(path, is_dir) => ReadMatch::Read,
        Some(selection) if is_dir && selection.may_select_below(path) => ReadMatch::Below,
        Some(_) => ReadMatch::Unread,
        None => ReadMatch::Read,
    })
}

/// A part of a path that is not followed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PathPart {
    Name(Vec<u8>),
    Pattern(String),
}

/// A path that is followed in part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PartialPath {
    /// The folder that is reached, without a link.
    at: Vec<u8>,
    /// The parts after it.
    rest: Vec<PathPart>,
    /// True if a selected pattern matches the path already.
    is_selected: bool,
}

struct Follower<'r, 'b, D> {
    root: &'r Path,
    listings: &'r SharedListings<'b>,
    dir: PhantomData<fn() -> D>,
    /// The paths to follow, each with the number of links on the way. Paths with fewer links come
    /// first, because a path that was seen is not followed again. A queue, because following calls
    /// itself so often that the stack could overflow.
    pending: VecDeque<(PartialPath, usize)>,
    seen: HashSet<PartialPath>,
    /// The number of parts of the paths that were seen.
    parts: usize,
    selected: BTreeSet<SelectedPattern>,
}

impl<D: Dir> Follower<'_, '_, D> {
    fn read(&mut self, read: &ContextRead) -> Result<(), PathError> {
        let part = |part: &str| {
            if has_wildcard(part) {
                PathPart::Pattern(part.to_owned())
            } else {
                PathPart::Name(part.as_bytes().to_vec())
            }
        };
        let parts: Vec<PathPart> =
            read.path.split('/').filter(|part| !part.is_empty()).map(part).collect();
        // The exclusions of a link or a pattern are relative to what it leads to.
        if !read.excludes.is_empty() && self.is_folder(&parts)? {
            let (pattern, excludes) = (read.path.clone(), read.excludes.clone());
            self.selected.insert(SelectedPattern { pattern, excludes });
            return Ok(());
        }
        self.push(PartialPath { at: Vec::new(), rest: parts, is_selected: false }, 0);
        Ok(())
    }

    fn push(&mut self, path: PartialPath, links: usize) {
        if links <= MAX_LINKS && self.parts <= MAX_FOLLOWED_PARTS && !self.seen.contains(&path) {
            self.parts += path.rest.len() + 1;
            self.seen.insert(path.clone());
            self.pending.push_back((path, links));
        }
    }

    /// Returns true for the path of a folder without links and patterns.
    fn is_folder(&self, parts: &[PathPart]) -> Result<bool, PathError> {
        let mut at = Vec::new();
        for part in parts {
            let PathPart::Name(name) = part else { return Ok(false) };
            at = joined(&at, name);
            if self.kind(&at)? != Some(ItemKind::Dir) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Follows a path that is reached through a number of links.
    fn follow(&mut self, path: PartialPath, links: usize) -> Result<(), PathError> {
        let PartialPath { mut at, rest, is_selected } = path;
        for (index, part) in rest.iter().enumerate() {
            let after = &rest[index + 1..];
            let name = match part {
                PathPart::Name(name) => name,
                PathPart::Pattern(pattern) => {
                    if !is_selected {
                        self.select(&at, &rest[index..]);
                    }
                    return self.follow_matches(&at, pattern, after, links);
                }
            };
            at = joined(&at, name);
            match self.kind(&at)? {
                Some(ItemKind::Link) => return self.follow_link(&at, after, links + 1),
                Some(_) => {}
                None => return Ok(()),
            }
        }
        if !is_selected {
            self.select(&at, &[]);
        }
        Ok(())
    }

    /// Follows the links and folders that a pattern matches. The pattern and the parts after it are
    /// selected.
    fn follow_matches(
        &mut self,
        at: &[u8],
        pattern: &str,
        after: &[PathPart],
        links: usize,
    ) -> Result<(), PathError> {
        let Ok(matcher) = Matcher::new(pattern) else { return Ok(()) };
        let folder = self.full(at);
        let listed = match self.listings.list::<D>(&folder, None) {
            Ok(listed) => listed,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(unreadable("read the folder", folder, error)),
        };
        let names = &listed.names;
        for index in 0..names.len() {
            let name = names.name(index);
            let is_match = matcher.matches(&lossy(name));
            match names.kind(index) {
                ItemKind::Link if is_match => {
                    self.follow_link(&joined(at, name), after, links + 1)?;
                }
                // Builders take two stars for one where they follow links.
                ItemKind::Dir if is_match && !after.is_empty() => {
                    let (at, rest) = (joined(at, name), after.to_vec());
                    self.push(PartialPath { at, rest, is_selected: true }, links);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Selects the link at `at`, and follows its target. As in BuildKit, a target that is absolute
    /// begins at the root of the context, and `..` does not leave it.
    fn follow_link(
        &mut self,
        at: &[u8],
        after: &[PathPart],
        links: usize,
    ) -> Result<(), PathError> {
        self.select(at, &[]);
        let path = self.full(at);
        let target = match fs::read_link(&path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(unreadable("read the link", path, error)),
        };
        let slash = at.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let folder = if target.starts_with(b"/") { &b""[..] } else { &at[..slash] };
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in folder.split(|byte| *byte == b'/').chain(target.split(|byte| *byte == b'/')) {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let target = parts.into_iter().map(|part| PathPart::Name(part.to_vec()));
        let rest: Vec<PathPart> = target.chain(after.iter().cloned()).collect();
        self.push(PartialPath { at: Vec::new(), rest, is_selected: false }, links);
        Ok(())
    }

    fn select(&mut self, at: &[u8], rest: &[PathPart]) {
        let at = lossy(at);
        // A path without special characters is compared as a text, which is faster.
        let is_text = rest.is_empty() && !has_wildcard(&at);
        let mut pattern = if is_text { at.into_owned() } else { escape(&at) };
        for part in rest {
            if !pattern.is_empty() {
                pattern.push('/');
            }
            match part {
                PathPart::Name(name) => pattern.push_str(&escape(&lossy(name))),
                PathPart::Pattern(part) => pattern.push_str(part),
            }
        }
        self.selected.insert(SelectedPattern { pattern, excludes: Vec::new() });
    }

    /// Returns the kind of a path, or `None` if nothing is there. The folders before its name are no links.
    fn kind(&self, at: &[u8]) -> Result<Option<ItemKind>, PathError> {
        let slash = at.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = slash.map_or((&b""[..], at), |slash| (&at[..slash], &at[slash + 1..]));
        let folder = self.full(folder);
        match self.listings.list::<D>(&folder, None) {
            Ok(listed) => {
                let names = &listed.names;
                Ok(names.find(name).map(|index| names.kind(index)))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(unreadable("read the folder", folder, error)),
        }
    }

    fn full(&self, at: &[u8]) -> PathBuf {
        self.root.join(as_os_str(at))
    }
}

fn unreadable(action: &'static str, path: PathBuf, source: io::Error) -> PathError {
    PathError { action, path, source }
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}
