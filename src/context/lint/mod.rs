//! Finds what people regret to have sent: keys, `.env` files, what git and npm keep, and far more
//! than was meant. All of it is read off the tree; only of a file that is named like a key is the
//! head looked at, since a certificate is named so too.

pub mod warnings;

use std::path::{Path, PathBuf};

use super::tree::{EntryKind, RelPath, Tree, TreeEntry};
use super::tree_reader;

/// A folder of so few files needs no `.dockerignore`: one glance shows all that is sent.
const FEW_FILES: usize = 10;

/// How many of the largest parts of a context are named.
const MOST_PARTS: usize = 3;

/// How much of a file is searched for a key: one may follow a chain of certificates.
const HEAD: usize = 16 * 1024;

/// How large a context may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Above this it is worth a warning.
    pub warn: u64,
    /// Above this it is an error.
    pub max: Option<u64>,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { warn: 500_000_000, max: None }
    }
}

/// A kind of path that is rarely meant to be sent; the most dangerous first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintKind {
    /// A private key.
    Key,
    /// A file of variables, as `.env` and `.env.local`, which often holds passwords.
    Env,
    /// What git keeps: its folder, or the file that stands for it in a worktree or submodule.
    Git,
    /// What npm installed.
    NodeModules,
}

/// What of a context is worth a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintFindings {
    /// The context's folder.
    pub root: PathBuf,
    /// The `.dockerignore` that was followed, or else the one that would be, as people write it.
    pub ignore: PathBuf,
    /// Whether there is no `.dockerignore` at all, and there are so many files that one would help.
    pub unignored: bool,
    /// Paths that are rarely meant to be sent, in their order.
    pub paths: Vec<(LintKind, RelPath)>,
    /// Set where the context is above a limit.
    pub large: Option<LargeContext>,
}

/// The size of a large context, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeContext {
    /// The bytes of all files.
    pub size: u64,
    /// Its largest files and folders, the largest first, without those that hardly count: a folder
    /// that holds little but one thing gives way to it.
    pub parts: Vec<LargePart>,
}

/// A file or folder and the bytes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargePart {
    /// Where it is.
    pub path: RelPath,
    /// Its bytes.
    pub size: u64,
}

/// Looks at a tree, and into those of its files that are named like keys.
pub fn look(tree: &Tree, limits: SizeLimits) -> LintFindings {
    find(tree, limits, |path| {
        tree_reader::head(tree, path, HEAD).is_ok_and(|head| holds_private_key(&head))
    })
}

/// Looks at a tree. `holds_key` is asked about files whose name alone does not tell; whatever is
/// inside of a `.git` or `node_modules` is not, since that is reported as a whole.
pub fn find(tree: &Tree, limits: SizeLimits, holds_key: impl Fn(&RelPath) -> bool) -> LintFindings {
    let mut paths = Vec::new();
    let (mut files, mut size) = (0, 0u64);
    for (folder, name, kind) in tree.items() {
        if let EntryKind::File { size: more, .. } = kind {
            files += 1;
            size = size.saturating_add(*more);
        }
        let Some(suspect) = suspect(name, kind) else { continue };
        if folder.is_some_and(is_inside_another) {
            continue;
        }
        let path = RelPath::child(folder, name);
        let kind = match suspect {
            NameMatch::Is(LintKind::Git) if is_picked(tree, &path, kind) => continue,
            NameMatch::Is(kind) => kind,
            NameMatch::MayBeKey if holds_key(&path) => LintKind::Key,
            NameMatch::MayBeKey => continue,
        };
        paths.push((kind, path));
    }
    paths.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    let limit = limits.max.map_or(limits.warn, |max| max.min(limits.warn));
    let ignore = tree.ignored_by.clone().unwrap_or_else(|| tree.root.join(".dockerignore"));
    LintFindings {
        root: tree.root.clone(),
        ignore: ignore.strip_prefix(".").map(Path::to_owned).unwrap_or(ignore),
        unignored: tree.ignored_by.is_none() && files > FEW_FILES,
        paths,
        large: (size > limit).then(|| LargeContext { size, parts: largest(tree.entries()) }),
    }
}

/// What a name says.
enum NameMatch {
    Is(LintKind),
    MayBeKey,
}

/// A link is nothing to regret: what is sent is its own text, never what it points to.
fn suspect(name: &[u8], kind: &EntryKind) -> Option<NameMatch> {
    match (kind, name) {
        (EntryKind::File { .. } | EntryKind::Dir, b".git") => Some(NameMatch::Is(LintKind::Git)),
        (EntryKind::Dir, b"node_modules") => Some(NameMatch::Is(LintKind::NodeModules)),
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

/// Whether a file is named `.env` or `.env.something`, and is not an example to start from.
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

fn is_inside_another(folder: &RelPath) -> bool {
    let mut parts = folder.as_bytes().split(|byte| *byte == b'/');
    parts.any(|part| part == b".git" || part == b"node_modules")
}

/// Whether somebody has left in a few files of a `.git`, such as `!.git/HEAD`: a whole one has its
/// objects and its settings.
fn is_picked(tree: &Tree, git: &RelPath, kind: &EntryKind) -> bool {
    let has = |name: &[u8]| tree.get(&[git.as_bytes(), name].concat()).is_some();
    *kind == EntryKind::Dir && tree.ignored_by.is_some() && !has(b"/objects") && !has(b"/config")
}

/// Whether the head of a file says that a private key is in it.
fn holds_private_key(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| {
        let line = line.trim_ascii();
        line.starts_with(b"PuTTY-User-Key-File")
            || (line.starts_with(b"-----BEGIN ") && line.ends_with(b" PRIVATE KEY-----"))
    })
}

fn largest(entries: &[TreeEntry]) -> Vec<LargePart> {
    let mut parts = children(entries, b"");
    // The sort is stable, so that among equals the order is that of the paths.
    parts.sort_by_key(|part| std::cmp::Reverse(part.size));
    parts.truncate(MOST_PARTS);
    let most = parts.first().map_or(0, |part| part.size);
    parts.retain(|part| part.size >= most / 20);
    for part in &mut parts {
        while let Some(child) = most_of(entries, part) {
            *part = child;
        }
    }
    parts
}

/// What holds nearly all of a folder.
fn most_of(entries: &[TreeEntry], folder: &LargePart) -> Option<LargePart> {
    let prefix = [folder.path.as_bytes(), b"/"].concat();
    let children = children(entries, &prefix);
    let most = children.into_iter().max_by_key(|child| child.size)?;
    (most.size > folder.size / 10 * 9).then_some(most)
}

/// The children of the folder `prefix`, which ends with `/` or is empty, each with its bytes.
fn children(entries: &[TreeEntry], prefix: &[u8]) -> Vec<LargePart> {
    let start = entries.partition_point(|entry| entry.path.as_bytes() < prefix);
    let mut children: Vec<LargePart> = Vec::new();
    for TreeEntry { path, kind } in &entries[start..] {
        let Some(rest) = path.as_bytes().strip_prefix(prefix) else { break };
        let EntryKind::File { size, .. } = kind else { continue };
        let len = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let child = &path.as_bytes()[..prefix.len() + len];
        // What a folder holds stands together, since its path and a `/` begin all of it.
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

    /// A tree of files, each with a size; a path that ends with `/` is a folder, `@` a link.
    fn tree(files: &[(&str, u64)], ignored: bool) -> Tree {
        let digest = FieldHasher::new("test").finish();
        let entry = |(path, size): &(&str, u64)| {
            let kind = match path.as_bytes().last() {
                Some(b'/') => EntryKind::Dir,
                Some(b'@') => EntryKind::Link { target: b"x".to_vec() },
                _ => EntryKind::File { size: *size, executable: false, digest },
            };
            TreeEntry { path: RelPath::new(path.trim_end_matches(['/', '@'])).unwrap(), kind }
        };
        let root = PathBuf::from("ctx");
        let ignore = ignored.then(|| root.join("Dockerfile.dockerignore"));
        Tree::of_entries(root, files.iter().map(entry).collect(), ignore)
    }

    /// What is found, where every candidate holds a key.
    fn found(files: &[&str], ignored: bool) -> Vec<String> {
        let files: Vec<(&str, u64)> = files.iter().map(|path| (*path, 1)).collect();
        let findings = find(&tree(&files, ignored), SizeLimits::default(), |_| true);
        findings.paths.iter().map(|(kind, path)| format!("{kind:?} {path}")).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn names_are_told_apart() {
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
            assert_eq!(found(&[path], false), expected, "{path}");
        }
    }

    #[test]
    fn what_is_reported_as_a_whole_is_not_searched() {
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
        assert_eq!(found(&files, false), expected);
    }

    #[test]
    fn a_git_of_which_a_little_is_left_in_is_meant() {
        let picked = [".git/", ".git/HEAD", ".git/refs/", ".git/refs/heads/main"];
        assert_eq!(found(&picked, true), [""; 0]);
        assert_eq!(found(&picked, false), ["Git .git"]);
        assert_eq!(found(&[".git/", ".git/config"], true), ["Git .git"]);
        assert_eq!(found(&[".git/", ".git/objects/"], true), ["Git .git"]);
        assert_eq!(found(&[".git"], true), ["Git .git"]);
    }

    #[test]
    fn a_name_alone_makes_no_key() {
        let tree = tree(&[("a.pem", 1), ("b.pem", 1), ("c.p12", 1), ("d.txt", 1)], false);
        let findings = find(&tree, SizeLimits::default(), |path| path.as_bytes() == b"b.pem");
        let paths: Vec<String> = findings.paths.iter().map(|(_, path)| path.to_string()).collect();
        assert_eq!(paths, ["b.pem", "c.p12"]);
    }

    #[test]
    fn heads_are_told_apart() {
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
            assert_eq!(holds_private_key(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn few_files_need_no_ignore_file() {
        let names: Vec<String> = (0..=FEW_FILES).map(|number| format!("src/{number}")).collect();
        let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let unignored = |count: usize, ignored| {
            let mut files = files[..count].to_vec();
            files.push(("src/", 0));
            find(&tree(&files, ignored), SizeLimits::default(), |_| true).unignored
        };
        assert!(!unignored(FEW_FILES, false));
        assert!(unignored(FEW_FILES + 1, false));
        assert!(!unignored(FEW_FILES + 1, true));
    }

    #[test]
    fn the_largest_parts_are_named() {
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
        let large = |warn, max| find(&tree, SizeLimits { warn, max }, |_| true).large;
        let parts = large(100, None).unwrap();
        assert_eq!(parts.size, 209);
        let shown: Vec<String> =
            parts.parts.iter().map(|part| format!("{} {}", part.path, part.size)).collect();
        assert_eq!(shown, ["a/deep/er/x.bin 95", "b 80", "a-b 30"]);
        assert!(large(208, None).is_some() && large(209, None).is_none());
        assert!(large(1000, Some(208)).is_some() && large(1000, Some(209)).is_none());
    }

    #[test]
    fn the_ignore_file_is_the_one_that_counts() {
        let ignore = |ignored| find(&tree(&[], ignored), SizeLimits::default(), |_| true).ignore;
        assert_eq!(ignore(true), Path::new("ctx/Dockerfile.dockerignore"));
        assert_eq!(ignore(false), Path::new("ctx/.dockerignore"));
    }
}
