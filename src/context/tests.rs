//! Tests of contexts in temporary folders, and tables that compare `.dockerignore` with Docker.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;

use super::dir::portable::PortableDir;
use super::ignore::IgnorePatterns;
use super::names::SpecialKind;
use super::permissions::Permissions;
use super::placement::PlacedFile;
use super::tree::TreeEntry;
use super::*;
use crate::base::digest::Digest;

/// Scans one context.
pub(super) fn scan(root: &Path, dockerfile: Option<&Path>) -> Result<Tree, ScanError> {
    let request =
        ScanRequest { root: root.into(), dockerfile: dockerfile.map(Arc::from), reads: None };
    let mut trees = scan_all(&[request], None).map_err(|mut errors| errors.remove(0))?;
    Ok(Arc::unwrap_or_clone(trees.remove(0)))
}

/// Returns the digest of a tree and everything in it.
fn digest(tree: &Tree) -> Digest {
    tree.digest_without(b"")
}

/// Returns a folder with these files, each with its path as content; `x/` is an empty folder. The
/// modes are 644 and 755, whatever the umask.
fn folder(paths: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        let full = dir.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, path).unwrap();
        }
    }
    #[cfg(unix)]
    set_usual_modes(dir.path());
    dir
}

#[cfg(unix)]
fn set_usual_modes(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if path.is_dir() {
            set_usual_modes(&path);
        }
    }
}

/// Scans a context with both implementations of `Dir`, which must return the same.
fn tree(dir: &TempDir) -> Tree {
    let tree = scan(dir.path(), None).unwrap();
    let request = ScanRequest { root: dir.path().into(), dockerfile: None, reads: None };
    let portable = scan::scan_with::<PortableDir>(&[request], None).unwrap();
    assert_eq!(portable[0].entries(), tree.entries());
    tree
}

/// Returns the paths of a tree, with a `/` after those of folders.
fn paths(tree: &Tree) -> Vec<String> {
    let slash = |entry: &TreeEntry| if entry.kind.is_dir() { "/" } else { "" };
    tree.entries().iter().map(|entry| format!("{}{}", entry.path, slash(entry))).collect()
}

/// Returns the placement of a Dockerfile at a path.
fn dockerfile(path: &str) -> Placement {
    let path = RelPath::new(path).unwrap();
    let text = "FROM scratch\n".to_owned();
    let file = PlacedFile { path: path.clone(), text, permissions: Permissions::FILE };
    Placement { dockerfile: path, files: vec![file] }
}

/// Packs a tree with both implementations of `Dir`, which must write the same bytes.
fn packed(tree: &Tree) -> Vec<u8> {
    let dockerfile = dockerfile("Dockerfile");
    let out = pack(tree, &dockerfile, Vec::new()).unwrap();
    let portable = pack::pack_with::<PortableDir, _>(tree, &dockerfile, Vec::new()).unwrap();
    assert!(portable == out);
    out
}

/// Packs a tree with both implementations of `Dir`, and discards the archives.
fn pack_results(tree: &Tree, path: &str) -> [Result<(), PackError>; 2] {
    let dockerfile = dockerfile(path);
    let native = pack(tree, &dockerfile, std::io::sink()).map(drop);
    [native, pack::pack_with::<PortableDir, _>(tree, &dockerfile, std::io::sink()).map(drop)]
}

#[track_caller]
fn check_changed(tree: &Tree, what: &str) {
    for result in pack_results(tree, "D") {
        assert!(matches!(result, Err(PackError::Changed { .. })), "{what}: {result:?}");
    }
}

/// Returns each member as `path mode content`; the content of a link is its target.
fn members(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let describe = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
        let mut content = link.unwrap_or_default();
        entry.read_to_string(&mut content).unwrap();
        format!("{path} {:o} {content}", header.mode().unwrap())
    };
    archive.entries().unwrap().map(describe).collect()
}

/// A `.dockerignore`, paths that are sent, and paths that are ignored.
const IGNORE_CASES: &[(&str, &[&str], &[&str])] = &[
    // Cases in which the service's own client is wrong, because it follows git's rules.
    ("*\n!src", &["src", "src/a", "src/a/b"], &["a", "a/b", "Dockerfile"]),
    ("*\n!src/a", &["src/a", "src/a/b"], &["src", "src/b"]),
    ("vendor\n!vendor/keep", &["vendor/keep", "vendor/keep/x"], &["vendor", "vendor/x"]),
    (
        "foo\n*.md\na[0-9]\nbuild/",
        &["x/foo", "x/a.md", "x/a1", "x/build"],
        &["foo", "foo/x", "a.md", "a1", "build", "build/x"],
    ),
    ("./foo\nbar/../baz\nqux/.", &["bar"], &["foo", "baz", "qux"]),
    ("\u{feff}foo  \n  bar\t\n", &["x"], &["foo", "bar"]),
    ("Dockerfile\n.dockerignore", &[], &["Dockerfile", ".dockerignore"]),
    // Cases in which it is right.
    (
        "/foo\n**/x\ny/**\na/b",
        &["y", "a", "a/c", "q/foo", "q/y/z"],
        &["foo", "x", "q/x", "q/r/x", "x/q", "y/z", "y/z/w", "a/b", "a/b/c"],
    ),
    ("#foo\n #bar\n\r\nbaz\r\n", &["#foo", "foo"], &["#bar", "baz"]),
    ("a*\n!ab\nab/c", &["ab", "ab/d"], &["aa", "ab/c"]),
    // The examples of Docker's documentation.
    (
        "# comment\n*/temp*\n*/*/temp*\ntemp?",
        &["temp", "tempest", "a/b/c/temp"],
        &["a/temp.txt", "a/temp/x", "a/b/temporary", "tempa", "tempb/x"],
    ),
    ("**/*.go", &["go", "a/go"], &["a.go", "a/b.go", "a/b/c.go", ".go"]),
    ("*.md\n!README.md", &["README.md", "docs/a.md"], &["a.md", "README.md.md"]),
    (
        "*.md\n!README*.md\nREADME-secret.md",
        &["README.md", "README-a.md"],
        &["a.md", "README-secret.md"],
    ),
    ("*.md\nREADME-secret.md\n!README*.md", &["README.md", "README-secret.md"], &["a.md"]),
    ("/foo/bar\nq/w", &["x/foo/bar", "foo"], &["foo/bar", "foo/bar/x", "q/w"]),
    ("a /\n b/ \n", &["a ", "b "], &["a", "b"]),
    // Exceptions below folders, and exceptions to exceptions.
    ("docs\n!docs/README.md", &["docs/README.md"], &["docs", "docs/a", "docs/a/README.md"]),
    ("a\n!a/b\na/b/c\n!a/b/c/d", &["a/b", "a/b/x", "a/b/c/d"], &["a", "a/x", "a/b/c"]),
    ("!a\na", &["b"], &["a", "a/b"]),
    ("a/**\n!a/b", &["a", "a/b", "a/b/c"], &["a/c", "a/c/b"]),
    ("**\n!*/*.md", &["a/b.md"], &["a", "b.md", "a/b/c.md"]),
    ("**/x\n!**/x/y", &["x/y", "a/x/y", "x/y/z"], &["x", "x/z", "a/x/b/y"]),
    // Stars, classes, escapes.
    ("*/*.c\n?", &["a.c", "aa/b/c.c", "ab", "xx/ab"], &["a/b.c", "a"]),
    ("**", &[], &["a", "a/b"]),
    ("**/*.md\n!**/R*.md", &["R.md", "a/R.md"], &["a.md", "a/b.md"]),
    ("a/**/b", &["b", "a/c", "x/a/b"], &["a/b", "a/c/b", "a/c/d/b", "a/b/x"]),
    ("**foo", &["foox"], &["foo", "xfoo", "a/xfoo"]),
    ("[a-c]\n[^x]y\n[\\]]\n[[]", &["d", "xy"], &["a", "ay", "]", "["]),
    ("\\*\n\\#a\n\\!b\na\\ b", &["x"], &["*", "#a", "!b", "a b"]),
    ("a&&b\n[a&&b]c\n[~x]d", &["bd"], &["a&&b", "&c", "ac", "~d"]),
    ("a.c\na+\n(x)\n$y", &["abc", "aa"], &["a.c", "a+", "(x)", "$y"]),
    ("a**/b\n***c", &["a/d", "xab"], &["a/b", "ab", "ax/b", "a/x/b", "c", "x/yc"]),
    ("é?\n[à-ü]x", &["é", "e1", "ax"], &["éa", "éé", "ôx"]),
    // Differences between Docker's matcher and its documentation: parts of regular expressions.
    ("a|b*", &["xa"], &["a", "ax", "b", "bx"]),
    ("*a{2}", &["a", "ba", "a{2}"], &["aa", "baa"]),
    ("a{2}", &["aa"], &["a{2}"]),
    ("[*]y", &["*y", "ay"], &["]y", "^]y"]),
    ("?\\d", &["xd"], &["x7"]),
    // A byte order mark counts only where text is compared.
    ("x\n\u{feff}a*", &["\u{feff}ab"], &["a", "ab"]),
    ("x\n\u{feff}**/y", &["y", "a/y"], &["\u{feff}**/y"]),
    // Cleaned patterns.
    ("/\n.\n..\n../x\n/../y", &["a", "x"], &["y"]),
    ("//a//b/", &["a"], &["a/b"]),
    ("*\n! a", &["a"], &["b"]),
    ("*\n/!a", &["a"], &["b"]),
];

#[test]
fn patterns_ignore_what_docker_ignores() {
    for (text, sent, ignored) in IGNORE_CASES {
        let patterns = IgnorePatterns::parse(text).unwrap();
        for (paths, expected) in [(sent, false), (ignored, true)] {
            for path in *paths {
                assert_eq!(patterns.match_path(path).ignored, expected, "{text:?} on {path}");
            }
        }
    }
}

#[test]
fn the_deciding_line_is_returned() {
    let patterns = IgnorePatterns::parse("# c\n*\n\n!src\nsrc/*.md\n").unwrap();
    let lines =
        ["a", "src", "src/x", "src/x.md", "src/y/z.md"].map(|path| patterns.match_path(path).line);
    assert_eq!(lines, [Some(2), Some(4), Some(4), Some(5), Some(4)]);
    assert_eq!(IgnorePatterns::parse("x").unwrap().match_path("a").line, None);
}

#[test]
fn invalid_patterns_are_errors() {
    let text = "ok\n[\na[]\n[a\n\\\n[-a]\n[a-]\n!\n[b-a]\n! /\n\\p\n[[:no:]]\n";
    let errors = IgnorePatterns::parse(text).unwrap_err();
    let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, (2..=12).collect::<Vec<_>>());
    assert_eq!(errors[0].to_string(), "line 2: invalid pattern `[`: missing `]`");
}

#[test]
fn entries_are_sorted_by_bytes() {
    let dir = folder(&["b", "a/x", "a-b", "a/empty/", "a.c", "é", ".imgplan/journal.jsonl"]);
    fs::write(dir.path().join("imgplan.lock"), "").unwrap();
    fs::write(dir.path().join("a/.imgplan.new-Ab12yZ"), "").unwrap();
    let tree = tree(&dir);
    assert_eq!(paths(&tree), ["a/", "a-b", "a.c", "a/empty/", "a/x", "b", "é"]);
    assert_eq!((tree.files(), tree.size()), (5, 3 + 3 + 3 + 1 + 2));
    assert_eq!((tree.root(), tree.ignore_file()), (dir.path(), None));
}

#[test]
fn an_ignored_folder_is_sent_with_its_exceptions() {
    let dir = folder(&["v/a/keep", "v/a/x", "v/b/x", "w/y", "src/e/", ".imgplan/x"]);
    let ignore = dir.path().join(".dockerignore");
    let table: &[(&str, &[&str])] = &[
        ("*\n!src", &["src/", "src/e/"]),
        ("*\n!v/a/keep", &["v/", "v/a/", "v/a/keep"]),
        ("*\n!**/keep\n!.imgplan", &["v/", "v/a/", "v/a/keep"]),
        ("*\n!v/a/*", &["v/", "v/a/", "v/a/keep", "v/a/x"]),
        ("*\n!none/x", &[]),
        ("v/*\n!v/b\n.d*", &["src/", "src/e/", "v/", "v/b/", "v/b/x", "w/", "w/y"]),
    ];
    for (text, expected) in table {
        fs::write(&ignore, text).unwrap();
        let tree = tree(&dir);
        assert_eq!(paths(&tree), *expected, "{text:?}");
        assert_eq!(tree.ignore_file(), Some(ignore.as_path()));
    }
}

#[test]
fn the_own_ignore_file_of_a_dockerfile_wins() {
    let dir = folder(&["a", "b", "Api.Dockerfile"]);
    fs::write(dir.path().join(".dockerignore"), "a\n.*").unwrap();
    let api = dir.path().join("Api.Dockerfile");
    let sent = |dockerfile: &Path| paths(&scan(dir.path(), Some(dockerfile)).unwrap());
    assert_eq!(sent(&api), ["Api.Dockerfile", "b"]);
    fs::write(dir.path().join("Api.Dockerfile.dockerignore"), "b\n*.*").unwrap();
    assert_eq!(sent(&api), ["a"]);
    assert_eq!(sent(&dir.path().join("none/Dockerfile")).len(), 3);
}

/// Returns the problems of a context, with `R` for its folder.
fn problems(root: &Path) -> Vec<String> {
    let error = scan(root, None).unwrap_err();
    let shown = error.problems.iter().map(ToString::to_string);
    shown.map(|text| text.replace(&*root.to_string_lossy(), "R")).collect()
}

#[test]
fn all_problems_are_returned() {
    let dir = folder(&["f"]);
    assert_eq!(problems(&dir.path().join("none")), ["R does not exist"]);
    assert_eq!(problems(&dir.path().join("f")), ["R is not a folder"]);
    let ignore = dir.path().join(".dockerignore");
    fs::write(&ignore, "a\n[\n\\").unwrap();
    assert_eq!(
        problems(dir.path()),
        [
            "R/.dockerignore, line 2: invalid pattern `[`: missing `]`",
            "R/.dockerignore, line 3: invalid pattern `\\`: a backslash at the end escapes nothing",
        ]
    );
    fs::write(&ignore, b"a\nb\xff").unwrap();
    assert_eq!(problems(dir.path()), ["R/.dockerignore is not UTF-8: invalid bytes in line 2"]);
}

#[test]
fn the_digest_depends_on_what_is_sent() {
    let dir = folder(&["a/f", "b"]);
    let first = tree(&dir);
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(dir.path().join("b")).unwrap().set_modified(old).unwrap();
    let second = tree(&dir);
    assert_eq!(digest(&first), digest(&second));
    assert_eq!(packed(&first), packed(&second));

    // The same tree in another folder, created in another order.
    let elsewhere = folder(&["b", "a/f"]);
    assert_eq!(digest(&tree(&elsewhere)), digest(&first));
    assert_eq!(packed(&tree(&elsewhere)), packed(&first));

    let mut digests = vec![digest(&first)];
    let mut next = |what: &str| {
        let digest = digest(&tree(&dir));
        assert!(!digests.contains(&digest), "{what}");
        digests.push(digest);
    };
    fs::write(dir.path().join("b"), "c").unwrap();
    next("content");
    fs::create_dir(dir.path().join("e")).unwrap();
    next("an empty folder");
    fs::rename(dir.path().join("b"), dir.path().join("c")).unwrap();
    next("a name");
}

#[test]
fn too_many_patterns_are_an_error() {
    let dir = folder(&["f"]);
    let file = dir.path().join(".dockerignore");
    for (patterns, message) in
        [(10_000, None), (10_001, Some("R/.dockerignore has 10001 patterns; the maximum is 10000"))]
    {
        fs::write(&file, format!("# comment\n\n{}", "x\n".repeat(patterns))).unwrap();
        match message {
            None => assert_eq!(paths(&tree(&dir)), [".dockerignore", "f"]),
            Some(message) => assert_eq!(problems(dir.path()), [message]),
        }
    }
}

#[test]
fn the_dockerfile_is_packed_in_sorted_order() {
    let dir = folder(&["a/f", "Dockerfile", "z"]);
    let tree = tree(&dir);
    assert_eq!(
        members(&packed(&tree)),
        ["Dockerfile 644 FROM scratch\n", "a/ 755 ", "a/f 644 a/f", "z 644 z",]
    );
    let at = |path: &str| members(&pack(&tree, &dockerfile(path), Vec::new()).unwrap());
    assert_eq!(at("a/D")[2], "a/D 644 FROM scratch\n");
    assert_eq!(at("zz")[4], "zz 644 FROM scratch\n");
    let spool = spool(&tree, &dockerfile("Dockerfile")).unwrap();
    let mut bytes = Vec::new();
    spool.reader().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!((bytes.len() as u64, &bytes), (spool.len, &packed(&tree)));
}

#[test]
fn an_empty_context_can_be_packed() {
    let dir = folder(&[]);
    assert_eq!(members(&packed(&tree(&dir))), ["Dockerfile 644 FROM scratch\n"]);
}

#[test]
fn packing_fails_after_a_change() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 8] = [
        ("shorter", |dir| fs::write(dir.join("d/f"), "").unwrap()),
        ("longer", |dir| fs::write(dir.join("d/f"), "d/ff").unwrap()),
        ("other", |dir| fs::write(dir.join("d/f"), "d/g").unwrap()),
        ("gone", |dir| fs::remove_file(dir.join("d/f")).unwrap()),
        ("folder", |dir| {
            fs::remove_file(dir.join("d/f")).unwrap();
            fs::create_dir(dir.join("d/f")).unwrap();
        }),
        ("no folder", |dir| fs::remove_dir(dir.join("e")).unwrap()),
        ("long", |dir| fs::write(dir.join("d/f"), vec![0; 1 << 20]).unwrap()),
        ("all gone", |dir| fs::remove_dir_all(dir.join("d")).unwrap()),
    ];
    for (what, change) in changes {
        let dir = folder(&["d/f", "e/"]);
        let tree = tree(&dir);
        change(dir.path());
        check_changed(&tree, what);
    }
}

/// Returns the placement of a Dockerfile.
fn placement(tree: &Tree, inside: Option<&str>, is_changed: bool) -> Placement {
    let text = "FROM scratch\n".to_owned();
    Placement::new(tree, DockerfileToSend { inside, is_changed, text })
}

/// Returns the paths of the placed files, for a Dockerfile that is sent unchanged.
fn placed(dir: &TempDir, inside: Option<&str>) -> Vec<String> {
    let dockerfile = inside.map(|inside| dir.path().join(inside));
    let tree = scan(dir.path(), dockerfile.as_deref()).unwrap();
    let placement = placement(&tree, inside, false);
    assert_eq!(placement.dockerfile, placement.files[0].path);
    placement.files.iter().map(|file| file.path.to_string()).collect()
}

#[test]
fn a_dockerfile_keeps_its_path_if_the_builder_finds_it_and_its_ignore_file() {
    const ELSEWHERE: [&str; 2] = [".imgplan.Dockerfile", ".imgplan.Dockerfile.dockerignore"];
    let dir = folder(&["a", "d/Dockerfile"]);
    let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).unwrap();
    let unchanged = ["d/Dockerfile"];
    assert_eq!(placed(&dir, Some("d/Dockerfile")), unchanged);
    assert_eq!(placed(&dir, None), ELSEWHERE);
    write(".dockerignore", "a");
    assert_eq!(placed(&dir, Some("d/Dockerfile")), unchanged);
    write(".dockerignore", "a\n.dockerignore");
    assert_eq!(
        placed(&dir, Some("d/Dockerfile")),
        unchanged,
        "the ignore file at the root need not be sent"
    );
    write(".dockerignore", "d");
    assert_eq!(placed(&dir, Some("d/Dockerfile")), ELSEWHERE, "the Dockerfile is ignored");
    write("d/Dockerfile.dockerignore", "a");
    assert_eq!(placed(&dir, Some("d/Dockerfile")), unchanged, "its own ignore file is sent");
    write("d/Dockerfile.dockerignore", "a\n**/*.dockerignore");
    assert_eq!(
        placed(&dir, Some("d/Dockerfile")),
        ELSEWHERE,
        "the builder would use the ignore file at the root"
    );

    write(".imgplan.Dockerfile.dockerignore", "");
    let next = [".imgplan.2.Dockerfile", ".imgplan.2.Dockerfile.dockerignore"];
    assert_eq!(placed(&dir, None), next);
    let placement = placement(&tree(&dir), None, false);
    assert_eq!(placement.files[1].text, next.map(|name| format!("{name}\n")).concat());
}

#[test]
fn a_dockerfile_that_the_build_does_not_read_keeps_its_path() {
    const HIDDEN: &str = ".imgplan.Dockerfile";
    let dir = folder(&["Dockerfile", "d/Dockerfile", "d/a", "e/Dockerfile"]);
    fs::write(dir.path().join(".dockerignore"), "x\n").unwrap();
    let path_of = |inside: &str, read: &str, is_changed: bool| {
        let read = ContextRead { path: read.to_owned(), excludes: Vec::new() };
        let reads: Arc<[ContextRead]> = [read].into();
        let (root, dockerfile) = (dir.path().into(), Some(dir.path().join(inside).into()));
        let request = ScanRequest { root, dockerfile, reads: Some(reads) };
        let tree = scan_all(&[request], None).unwrap().remove(0);
        placement(&tree, Some(inside), is_changed).dockerfile.to_string()
    };
    for (inside, read, unchanged, changed) in [
        ("Dockerfile", "d/a", "Dockerfile", "Dockerfile"),
        ("d/Dockerfile", "d/a", "d/Dockerfile", "d/Dockerfile"),
        // Its folder is not sent.
        ("e/Dockerfile", "d/a", HIDDEN, HIDDEN),
        // The builder may apply the ignore file to it.
        ("Dockerfile", ".dockerignore", HIDDEN, HIDDEN),
        // The build copies it, so that it must be the file.
        ("d/Dockerfile", "d", "d/Dockerfile", HIDDEN),
        ("Dockerfile", "Dock*", "Dockerfile", HIDDEN),
    ] {
        let paths = [path_of(inside, read, false), path_of(inside, read, true)];
        assert_eq!(paths, [unchanged, changed], "{inside} {read}");
    }
}

#[test]
fn paths_cannot_leave_the_context() {
    for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0"] {
        assert!(RelPath::new(bad).is_none(), "{bad:?}");
    }
    let path = RelPath::new(b"a\n\xff\xc3/\xc3\xa9".to_vec()).unwrap();
    assert_eq!(path.to_string(), "a\\n\\xff\\xc3/é");
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_are_sent_as_links() {
        let outside = folder(&["secret"]);
        let dir = folder(&[]);
        let at = |name: &str| dir.path().join(name);
        symlink(outside.path(), at("out")).unwrap();
        symlink("./a//b", at("raw")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let first = tree(&dir);
        assert_eq!(
            members(&packed(&first)),
            [
                "Dockerfile 644 FROM scratch\n".to_owned(),
                "loop 777 loop".to_owned(),
                format!("out 777 {}", outside.path().display()),
                "raw 777 ./a//b".to_owned(),
            ]
        );
    }

    #[test]
    fn modes_are_kept_except_those_of_another_umask() {
        let dir = folder(&["file", "dir/inside"]);
        let (file, sub) = (dir.path().join("file"), dir.path().join("dir"));
        let mut digests = std::collections::HashMap::new();
        for (mode, sent) in [
            (0o644, "644"),
            (0o664, "644"),
            (0o755, "755"),
            (0o775, "755"),
            (0o600, "600"),
            (0o440, "440"),
            (0o640, "640"),
            (0o700, "700"),
            (0o666, "666"),
            (0o777, "777"),
            (0o1777, "1777"),
            (0o2775, "2775"),
            (0o4755, "4755"),
        ] {
            chmod(&file, mode);
            // A folder that its owner cannot enter cannot be read either.
            chmod(&sub, mode | 0o700);
            let tree = tree(&dir);
            let members = members(&packed(&tree));
            assert!(members.contains(&format!("file {sent} file")), "{mode:o}: {members:?}");
            if mode & 0o700 == 0o700 {
                assert!(members.contains(&format!("dir/ {sent} ")), "{mode:o}: {members:?}");
            }
            // Equal sent modes have equal digests, and different ones different digests.
            let sent = members.iter().find(|member| member.starts_with("file")).unwrap().clone();
            let sent = (sent, members.iter().find(|member| member.starts_with("dir/ ")).cloned());
            let known = digests.insert(sent, digest(&tree));
            assert!(known.is_none_or(|known| known == digest(&tree)), "{mode:o}");
            assert_eq!(FileList::new(&tree, b"").digest(), digest(&tree));
        }
        let distinct: std::collections::HashSet<Digest> = digests.values().copied().collect();
        assert_eq!(distinct.len(), digests.len());
        chmod(&file, 0o644);
        let before = tree(&dir);
        chmod(&file, 0o600);
        check_changed(&before, "the mode");
    }

    /// Lockfiles of earlier versions, which kept only the executable bit, stay valid.
    #[test]
    fn the_usual_modes_have_the_digests_of_earlier_versions() {
        let dir = folder(&["Dockerfile", "bin/run", "etc/conf", "empty/"]);
        chmod(&dir.path().join("bin/run"), 0o775);
        symlink("etc/conf", dir.path().join("link")).unwrap();
        let expected = "b3:ad4c174eaa5a1621eb9f6c3c3465138050da409c2fffbdd9f854aede263cc052";
        assert_eq!(tree(&dir).digest_without(b"Dockerfile").to_string(), expected);
    }

    #[test]
    fn the_dockerfile_keeps_its_mode() {
        for mode in [0o644, 0o600, 0o755] {
            let dir = folder(&["Dockerfile", "a"]);
            chmod(&dir.path().join("Dockerfile"), mode);
            let placement = placement(&tree(&dir), Some("Dockerfile"), false);
            let archive = pack(&tree(&dir), &placement, Vec::new()).unwrap();
            assert_eq!(members(&archive)[0], format!("Dockerfile {mode:o} FROM scratch\n"));
            let digest = tree(&dir).digest_without(b"Dockerfile");
            fs::write(dir.path().join("Dockerfile"), "FROM b\n").unwrap();
            assert_eq!(tree(&dir).digest_without(b"Dockerfile"), digest, "the content");
            chmod(&dir.path().join("Dockerfile"), 0o640);
            assert_ne!(tree(&dir).digest_without(b"Dockerfile"), digest, "the mode");
        }
    }

    #[test]
    fn the_root_may_be_a_link() {
        let dir = folder(&["real/f"]);
        symlink("real", dir.path().join("link")).unwrap();
        let tree = scan(&dir.path().join("link"), None).unwrap();
        assert_eq!(members(&packed(&tree)), ["Dockerfile 644 FROM scratch\n", "f 644 real/f"]);
    }

    #[test]
    fn a_link_that_replaces_a_file_or_folder_is_not_followed() {
        let outside = folder(&["d/f", "f"]);
        for (name, target) in [("d", "d"), ("d/f", "d/f")] {
            let dir = folder(&["d/f"]);
            let tree = tree(&dir);
            let path = dir.path().join(name);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            symlink(outside.path().join(target), &path).unwrap();
            // The target has the same content.
            check_changed(&tree, name);
        }
    }

    #[test]
    fn packing_fails_after_a_link_changed() {
        let dir = folder(&[]);
        let link = dir.path().join("l");
        symlink("a", &link).unwrap();
        let tree = tree(&dir);
        fs::remove_file(&link).unwrap();
        symlink("b", &link).unwrap();
        check_changed(&tree, "a link");
    }

    #[test]
    fn special_files_are_left_out() {
        let dir = folder(&["a", "run/b", "only/"]);
        let without = digest(&tree(&dir));
        let left_out = |dir: &TempDir| {
            let shown = |(path, kind): &(RelPath, SpecialKind)| format!("{path} {kind:?}");
            tree(dir).left_out.iter().map(shown).collect::<Vec<_>>()
        };
        let _sockets = ["run/s.sock", "only/s.sock"]
            .map(|path| UnixListener::bind(dir.path().join(path)).unwrap());
        let mut expected = vec!["only/s.sock Socket", "run/s.sock Socket"];
        // Only root may make a device, and some systems have no such programs.
        let make = |program: &str, args: &[&str]| {
            let status = Command::new(program).args(args).current_dir(dir.path()).output();
            status.is_ok_and(|output| output.status.success())
        };
        if make("mkfifo", &["pipe"]) {
            expected.push("pipe Fifo");
        }
        if make("mknod", &["null", "c", "1", "3"]) {
            expected.push("null Device");
        }
        expected.sort_unstable();
        assert_eq!(left_out(&dir), expected);
        assert_eq!(paths(&tree(&dir)), ["a", "only/", "run/", "run/b"]);
        assert_eq!(digest(&tree(&dir)), without);
        assert!(packed(&tree(&dir)).len() > 1);
        fs::write(dir.path().join(".dockerignore"), "**/*.sock\npipe\nnull\n").unwrap();
        assert_eq!(left_out(&dir), [""; 0]);
    }

    #[test]
    fn long_names_and_invalid_utf8_are_packed() {
        let dir = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for len in [99, 100, 101, 155, 200, 255] {
            names.push("n".repeat(len));
        }
        names.push(format!("{}/{}/{}", "d".repeat(150), "e".repeat(200), "f".repeat(100)));
        for name in &names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
        }
        symlink("t".repeat(100), dir.path().join("l100")).unwrap();
        symlink("t".repeat(300), dir.path().join("l300")).unwrap();
        let raw = OsStr::from_bytes(b"raw\xff\n\xc3");
        fs::write(dir.path().join(raw), "raw").unwrap();
        symlink(raw, dir.path().join("lraw")).unwrap();

        let tree = tree(&dir);
        let archive = packed(&tree);
        let out = tempfile::tempdir().unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(&archive[..])).unpack(out.path()).unwrap();
        fs::remove_file(out.path().join("Dockerfile")).unwrap();
        assert_eq!(digest(&scan(out.path(), None).unwrap()), digest(&tree));
        unpack_with_other_programs(&archive, &tree);
    }

    /// Checks that GNU tar and Python unpack the same tree, if they are installed.
    fn unpack_with_other_programs(archive: &[u8], tree: &Tree) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tgz");
        fs::write(&file, archive).unwrap();
        let python = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
        for program in ["tar", "python3"] {
            let out = dir.path().join(program);
            fs::create_dir(&out).unwrap();
            let mut command = Command::new(program);
            match program {
                "tar" => command.arg("-xzf").arg(&file).arg("-C").arg(&out),
                _ => command.args(["-W", "ignore", "-c", python]).arg(&file).arg(&out),
            };
            let Ok(output) = command.output() else { continue };
            assert!(output.status.success(), "{program}: {output:?}");
            fs::remove_file(out.join("Dockerfile")).unwrap();
            assert_eq!(digest(&scan(&out, None).unwrap()), digest(tree), "{program}");
        }
    }

    #[test]
    fn deep_folders_are_supported() {
        let dir = tempfile::tempdir().unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", 1500).collect();
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        fs::write(dir.path().join(&deep).join("f"), "x").unwrap();
        let tree = tree(&dir);
        assert_eq!((tree.entries().len(), tree.files()), (1501, 1));
        packed(&tree);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..<_>::default() })]

    /// Not entering folders that no exception concerns must not change what is sent.
    #[test]
    fn the_walk_agrees_with_the_patterns(
        lines in proptest::collection::vec("!?(a|b|\\*|\\*\\*|\\?)(/(a|b|c|\\*|\\*\\*|[ab]*)){0,2}", 1..6),
        files in proptest::collection::btree_set("[abc](/[def]){0,3}", 1..12),
    ) {
        let dir = folder(&[]);
        let mut expected = Vec::new();
        for file in &files {
            let path = dir.path().join(format!("{file}x"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
            expected.push(format!("{file}x"));
        }
        let text = lines.join("\n");
        let own = tempfile::tempdir().unwrap();
        fs::write(own.path().join("D.dockerignore"), &text).unwrap();
        let tree = scan(dir.path(), Some(&own.path().join("D"))).unwrap();
        let patterns = IgnorePatterns::parse(&text).unwrap();
        expected.retain(|path| !patterns.match_path(path).ignored);
        expected.sort();
        let files: Vec<_> = paths(&tree).into_iter().filter(|path| !path.ends_with('/')).collect();
        prop_assert_eq!(files, expected);
    }
}
