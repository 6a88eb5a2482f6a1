//! Checks a context for files that are rarely meant to be sent: private keys, `.env` files, the
//! data of git and npm, and very large files. The checks need only the tree, except that a file
//! with the name of a key is searched for one, because certificates have such names too.

pub(crate) mod warnings;

use std::path::{Path, PathBuf};

use super::listing::EntryKind;
use super::names::SpecialKind;
use super::path::RelPath;
use super::tree::{Tree, TreeEntry};
use super::tree_reader;
use crate::base::clean_path::clean;

/// Maximum number of files in a context that needs no `.dockerignore`: they are easy to check.
const MAX_FILES_WITHOUT_IGNORE_FILE: usize = 10;

/// Maximum number of parts that are listed for a large context.
const MAX_PARTS_SHOWN: usize = 3;

/// Number of bytes that are searched for a key, which may follow a chain of certificates.
const SEARCHED_BYTES: usize = 16 * 1024;

/// Limits for the size of a context, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeLimits {
    /// A larger context gets a warning.
    pub warn: u64,
    /// A larger context is an error.
    pub max: Option<u64>,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { warn: 500_000_000, max: None }
    }
}

/// A kind of file that is rarely meant to be sent; the most dangerous first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LintKind {
    /// A private key.
    Key,
    /// A file of variables, such as `.env` and `.env.local`, which often contains passwords.
    Env,
    /// The folder `.git`, or the file of that name in a worktree or submodule.
    Git,
    /// The folder `node_modules`.
    NodeModules,
    /// A file of the manifest, which changes more often than what it describes.
    Manifest,
    /// A socket, a FIFO or a device, which is not sent.
    Special(SpecialKind),
}

/// The findings in one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LintFindings {
    /// The folder of the context.
    pub root: PathBuf,
    /// The `.dockerignore` that was applied, or the path at which to create one. It has no leading
    /// `./`.
    pub ignore_file: PathBuf,
    /// True if the whole context is sent without a `.dockerignore`, and has enough files that one
    /// would help.
    pub needs_ignore_file: bool,
    /// Files and folders that are rarely meant to be sent, or that cannot be, sorted by path.
    pub paths: Vec<(LintKind, RelPath)>,
    /// Set if the context is larger than a limit.
    pub large: Option<LargeContext>,
}

/// The size of a large context, and its largest parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LargeContext {
    /// The total size of all files, in bytes.
    pub size: u64,
    /// The largest files and folders, the largest first, without those that are much smaller than
    /// the largest. A folder is replaced by its largest entry if that makes up most of it.
    pub parts: Vec<LargePart>,
}

/// A file or folder of a large context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LargePart {
    /// The path in the context.
    pub path: RelPath,
    /// The size in bytes.
    pub size: u64,
}

/// Checks a context. Reads the files whose names are those of keys; a file that cannot be read
/// counts as one without a key. `manifests` are the clean paths of the files of the manifest.
/// Returns `None` if nothing was found.
pub(crate) fn check(
    tree: &Tree,
    manifests: &[PathBuf],
    limits: SizeLimits,
) -> Option<LintFindings> {
    let mut findings = check_tree(tree, limits, |path| {
        tree_reader::head(tree, path, SEARCHED_BYTES).is_ok_and(|head| contains_private_key(&head))
    });
    findings.paths.extend(manifests_in(tree, manifests));
    let LintFindings { needs_ignore_file, paths, large, .. } = &findings;
    (*needs_ignore_file || !paths.is_empty() || large.is_some()).then_some(findings)
}

/// Returns the files of the manifest that a context sends.
fn manifests_in<'t>(
    tree: &'t Tree,
    manifests: &'t [PathBuf],
) -> impl Iterator<Item = (LintKind, RelPath)> + 't {
    let root = clean(&tree.root);
    manifests.iter().filter_map(move |file| {
        let inside = if root == Path::new(".") { file } else { file.strip_prefix(&root).ok()? };
        let path = RelPath::new(inside.as_os_str().as_encoded_bytes())?;
        tree.get(path.as_bytes()).is_some().then_some((LintKind::Manifest, path))
    })
}

/// Checks a tree. `contains_key` is called for files whose name does not decide. Entries inside a
/// `.git` or `node_modules` are not checked, because the folder as a whole is reported.
fn check_tree(
    tree: &Tree,
    limits: SizeLimits,
    contains_key: impl Fn(&RelPath) -> bool,
) -> LintFindings {
    let mut paths = Vec::new();
    let (mut files, mut total_size) = (0, 0u64);
    for (folder, name, kind) in tree.items() {
        if let EntryKind::File { size, .. } = kind {
            files += 1;
            total_size = total_size.saturating_add(*size);
        }
        let Some(name_match) = match_name(name, kind) else { continue };
        if folder.is_some_and(is_in_reported_folder) {
            continue;
        }
        let path = RelPath::child(folder, name);
        let kind = match name_match {
            NameMatch::Is(LintKind::Git) if is_intended_git(tree, &path, kind) => continue,
            NameMatch::Is(kind) => kind,
            NameMatch::MayBeKey if contains_key(&path) => LintKind::Key,
            NameMatch::MayBeKey => continue,
        };
        paths.push((kind, path));
    }
    paths.extend(tree.left_out.iter().map(|(path, kind)| (LintKind::Special(*kind), path.clone())));
    paths.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    let limit = limits.max.map_or(limits.warn, |max| max.min(limits.warn));
    let ignore_file = tree.ignore_file.clone().unwrap_or_else(|| tree.root.join(".dockerignore"));
    LintFindings {
        root: tree.root.to_path_buf(),
        ignore_file: ignore_file.strip_prefix(".").map(Path::to_owned).unwrap_or(ignore_file),
        needs_ignore_file: tree.selection.is_none()
            && tree.ignore_file.is_none()
            && files > MAX_FILES_WITHOUT_IGNORE_FILE,
        paths,
        large: (total_size > limit)
            .then(|| LargeContext { size: total_size, parts: largest(tree.entries()) }),
    }
}

/// The result of checking a name.
enum NameMatch {
    Is(LintKind),
    /// The content must be checked.
    MayBeKey,
}

/// Checks a name. Links match nothing, because only the text of a link is sent, not its target.
fn match_name(name: &[u8], kind: &EntryKind) -> Option<NameMatch> {
    match (kind, name) {
        (EntryKind::File { .. } | EntryKind::Dir { .. }, b".git") => {
            Some(NameMatch::Is(LintKind::Git))
        }
        (EntryKind::Dir { .. }, b"node_modules") => Some(NameMatch::Is(LintKind::NodeModules)),
        (EntryKind::File { .. }, name) if is_env(name) => Some(NameMatch::Is(LintKind::Env)),
        (EntryKind::File { .. }, b"id_rsa" | b"id_dsa" | b"id_ecdsa" | b"id_ed25519") => {
            Some(NameMatch::MayBeKey)
        }
        (EntryKind::File { .. }, [.., b'.', a, b, c]) => {
            match &[*a, *b, *c].map(|byte| byte.to_ascii_lowercase()) {
                b"pem" | b"key" | b"ppk" => Some(NameMatch::MayBeKey),
                b"p12" | b"pfx" => Some(NameMatch::Is(LintKind::Key)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Returns true if a file is named `.env` or `.env.something`, unless it is an example.
fn is_env(name: &[u8]) -> bool {
    match name.strip_prefix(b".env") {
        Some([]) => true,
        Some([b'.', rest @ ..]) if !rest.is_empty() => !matches!(
            rest.rsplit(|byte| *byte == b'.').next(),
            Some(b"example" | b"sample" | b"template" | b"dist" | b"defaults")
        ),
        _ => false,
    }
}

/// Returns true if a folder is, or is inside, a `.git` or `node_modules`.
fn is_in_reported_folder(folder: &RelPath) -> bool {
    let mut parts = folder.as_bytes().split(|byte| *byte == b'/');
    parts.any(|part| part == b".git" || part == b"node_modules")
}

/// Returns true if an exception such as `!.git/HEAD` selects a few files of a `.git`. A whole
/// `.git` has its objects and its configuration.
fn is_intended_git(tree: &Tree, git: &RelPath, kind: &EntryKind) -> bool {
    let has = |name: &[u8]| tree.get(&[git.as_bytes(), name].concat()).is_some();
    kind.is_dir() && tree.ignore_file.is_some() && !has(b"/objects") && !has(b"/config")
}

/// Returns true if the start of a file contains the first line of a private key.
fn contains_private_key(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| {
        let line = line.trim_ascii();
        line.starts_with(b"PuTTY-User-Key-File")
            || (line.starts_with(b"-----BEGIN ") && line.ends_with(b" PRIVATE KEY-----"))
    })
}

fn largest(entries: &[TreeEntry]) -> Vec<LargePart> {
    let mut parts = children(entries, b"");
    // The sort is stable, so parts of equal size are sorted by path.
    parts.sort_by_key(|part| std::cmp::Reverse(part.size));
    parts.truncate(MAX_PARTS_SHOWN);
    let max = parts.first().map_or(0, |part| part.size);
    parts.retain(|part| part.size >= max / 20);
    for part in &mut parts {
        while let Some(child) = dominant_child(entries, part) {
            *part = child;
        }
    }
    parts
}

/// Returns the child that makes up more than nine tenths of a folder.
fn dominant_child(entries: &[TreeEntry], folder: &LargePart) -> Option<LargePart> {
    let prefix = [folder.path.as_bytes(), b"/"].concat();
    let children = children(entries, &prefix);
    let largest = children.into_iter().max_by_key(|child| child.size)?;
    (largest.size > folder.size / 10 * 9).then_some(largest)
}

/// Returns the children of a folder with their sizes. `prefix` is the path of the folder and `/`,
/// or empty for the root.
fn children(entries: &[TreeEntry], prefix: &[u8]) -> Vec<LargePart> {
    let start = entries.partition_point(|entry| entry.path.as_bytes() < prefix);
    let mut children: Vec<LargePart> = Vec::new();
    for TreeEntry { path, kind } in &entries[start..] {
        let Some(rest) = path.as_bytes().strip_prefix(prefix) else { break };
        let EntryKind::File { size, .. } = kind else { continue };
        let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let child = &path.as_bytes()[..prefix.len() + len];
        // The entries of a folder are adjacent, because their paths begin with its path and `/`.
        match children.last_mut() {
            Some(last) if last.path.as_bytes() == child => {
                last.size = last.size.saturating_add(*size);
            }
            _ => children.extend(RelPath::new(child).map(|path| LargePart { path, size: *size })),
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::FieldHasher;
    use crate::context::permissions::Permissions;

    /// Returns a tree of files with sizes. A path that ends with `/` is a folder, with `@` a link.
    fn tree(files: &[(&str, u64)], has_ignore_file: bool) -> Tree {
        let digest = FieldHasher::new("test").finish();
        let entry = |(path, size): &(&str, u64)| {
            let kind = match path.as_bytes().last() {
                Some(b'/') => EntryKind::Dir { permissions: Permissions::EXECUTABLE },
                Some(b'@') => EntryKind::Link { target: b"x".to_vec() },
                _ => EntryKind::File { size: *size, permissions: Permissions::FILE, digest },
            };
            TreeEntry { path: RelPath::new(path.trim_end_matches(['/', '@'])).unwrap(), kind }
        };
        let root = PathBuf::from("ctx");
        let ignore_file = has_ignore_file.then(|| root.join("Dockerfile.dockerignore"));
        Tree::from_entries(root, files.iter().map(entry).collect(), ignore_file)
    }

    /// Returns the findings, if every file that may be a key is one.
    fn lint(files: &[&str], has_ignore_file: bool) -> Vec<String> {
        let files: Vec<(&str, u64)> = files.iter().map(|path| (*path, 1)).collect();
        let findings = check_tree(&tree(&files, has_ignore_file), SizeLimits::default(), |_| true);
        findings.paths.iter().map(|(kind, path)| format!("{kind:?} {path}")).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn names_decide() {
        for (path, expected) in [
            (".git/", "Git .git"),
            (".git", "Git .git"),
            ("vendor/x/.git", "Git vendor/x/.git"),
            ("x.git/", ""), (".github/", ""), (".gitignore", ""), (".git@", ""),
            ("node_modules/", "NodeModules node_modules"),
            ("web/node_modules/", "NodeModules web/node_modules"),
            ("node_modules", ""), ("node_modules@", ""), ("node_modules.d/", ""),
            (".env", "Env .env"),
            ("a/.env.local", "Env a/.env.local"),
            (".env.production", "Env .env.production"),
            (".env.example", ""), (".env.sample", ""), (".env.template", ""), (".env.dist", ""),
            (".env.defaults", ""), (".env.local.example", ""),
            (".env/", ""), (".env@", ""), (".envrc", ""), ("x.env", ""), (".env.", ""),
            ("id_rsa", "Key id_rsa"),
            ("home/.ssh/id_ed25519", "Key home/.ssh/id_ed25519"),
            ("id_dsa", "Key id_dsa"), ("id_ecdsa", "Key id_ecdsa"),
            ("id_rsa.pub", ""), ("my_id_rsa", ""), ("id_rsa/", ""), ("id_rsa@", ""),
            ("a.pem", "Key a.pem"), ("A.PEM", "Key A.PEM"), ("b.key", "Key b.key"),
            ("c.ppk", "Key c.ppk"), ("d.p12", "Key d.p12"), ("e.pfx", "Key e.pfx"),
            ("pem", ""), ("a.pem.txt", ""), ("a.keys", ""), ("monkey", ""), ("a.pem/", ""),
        ] {
            let expected: Vec<&str> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
            assert_eq!(lint(&[path], false), expected, "{path}");
        }
    }

    #[test]
    fn reported_folders_are_not_searched() {
        let files = [
            ".git/",
            ".git/config",
            ".git/key.pem",
            "node_modules/",
            "node_modules-old/",
            "node_modules-old/.env",
            "node_modules/a/",
            "node_modules/a/.env",
            "node_modules/a/node_modules/",
            "node_modules/a/test/id_rsa",
        ];
        let expected = ["Git .git", "NodeModules node_modules", "Env node_modules-old/.env"];
        assert_eq!(lint(&files, false), expected);
    }

    #[test]
    fn a_few_files_of_git_are_intended() {
        let picked = [".git/", ".git/HEAD", ".git/refs/", ".git/refs/heads/main"];
        assert_eq!(lint(&picked, true), [""; 0]);
        assert_eq!(lint(&picked, false), ["Git .git"]);
        assert_eq!(lint(&[".git/", ".git/config"], true), ["Git .git"]);
        assert_eq!(lint(&[".git/", ".git/objects/"], true), ["Git .git"]);
        assert_eq!(lint(&[".git"], true), ["Git .git"]);
    }

    #[test]
    fn files_named_like_keys_are_read() {
        let tree = tree(&[("a.pem", 1), ("b.pem", 1), ("c.p12", 1), ("d.txt", 1)], false);
        let findings = check_tree(&tree, SizeLimits::default(), |path| path.as_bytes() == b"b.pem");
        let paths: Vec<String> = findings.paths.iter().map(|(_, path)| path.to_string()).collect();
        assert_eq!(paths, ["b.pem", "c.p12"]);
    }

    #[test]
    fn private_keys_are_recognized() {
        for (head, expected) in [
            ("-----BEGIN PRIVATE KEY-----\nMIIE", true),
            ("-----BEGIN RSA PRIVATE KEY-----\r\nMIIE", true),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", true),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", true),
            ("PuTTY-User-Key-File-3: ssh-ed25519\r\n", true),
            (
                "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n",
                true,
            ),
            ("-----BEGIN CERTIFICATE-----\nMIIE", false),
            ("-----BEGIN PUBLIC KEY-----\nMIIE", false),
            ("-----BEGIN PRIVATE KEY", false),
            ("say -----BEGIN PRIVATE KEY-----", false),
            ("", false),
        ] {
            assert_eq!(contains_private_key(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn few_files_need_no_ignore_file() {
        let names: Vec<String> =
            (0..=MAX_FILES_WITHOUT_IGNORE_FILE).map(|number| format!("src/{number}")).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let needs_ignore_file = |count: usize, has_ignore_file| {
            let mut files = files[..count].to_vec();
            files.push(("src/", 0));
            check_tree(&tree(&files, has_ignore_file), SizeLimits::default(), |_| true)
                .needs_ignore_file
        };
        assert!(!needs_ignore_file(MAX_FILES_WITHOUT_IGNORE_FILE, false));
        assert!(needs_ignore_file(MAX_FILES_WITHOUT_IGNORE_FILE + 1, false));
        assert!(!needs_ignore_file(MAX_FILES_WITHOUT_IGNORE_FILE + 1, true));
    }

    #[test]
    fn the_largest_parts_are_listed() {
        let tree = tree(
            &[
                ("a/", 0),
                ("a-b", 30),
                ("a/deep/", 0),
                ("a/deep/er/x.bin", 95),
                ("a/y", 3),
                ("b/one", 40),
                ("b/two", 40),
                ("tiny", 1),
            ],
            true,
        );
        let large = |warn, max| check_tree(&tree, SizeLimits { warn, max }, |_| true).large;
        let parts = large(100, None).unwrap();
        assert_eq!(parts.size, 209);
        let shown: Vec<String> =
            parts.parts.iter().map(|part| format!("{} {}", part.path, part.size)).collect();
        assert_eq!(shown, ["a/deep/er/x.bin 95", "b 80", "a-b 30"]);
        assert!(large(208, None).is_some() && large(209, None).is_none());
        assert!(large(1000, Some(208)).is_some() && large(1000, Some(209)).is_none());
    }

    #[test]
    fn the_ignore_file_is_the_applied_one() {
        let ignore_file =
            |exists| check_tree(&tree(&[], exists), SizeLimits::default(), |_| true).ignore_file;
        assert_eq!(ignore_file(true), Path::new("ctx/Dockerfile.dockerignore"));
        assert_eq!(ignore_file(false), Path::new("ctx/.dockerignore"));
    }
}
