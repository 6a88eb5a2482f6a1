//! Compares the entries that we send for the paths of a build with those that BuildKit's client sends,
//! through `tests/fsutil/main.go`. Needs Go and two of Debian's packages of Go sources, of which the
//! variable `IMGPLAN_FSUTIL` names the folder; skipped without them. See CONTRIBUTING.md.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use imgplan::test_support::context::{ContextRead, ScanRequest, scan_all};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Just, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::json;

use crate::moby::built_or_skipped;
/// The folder of Debian's packages of Go sources.
const GOPATH: &str = "/usr/share/gocode";

/// The file of `fsutil` that follows links. The rest of the package needs many more packages.
const SOURCE: &str = "src/github.com/tonistiigi/fsutil/followlinks.go";

/// Returns the program of `tests/fsutil/main.go`, which is built once.
fn fsutil_program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| built_or_skipped("tests/fsutil/main.go", build)).as_deref()
}

fn build() -> Result<PathBuf, String> {
    let packages = std::env::var_os("IMGPLAN_FSUTIL").map_or(PathBuf::from(GOPATH), PathBuf::from);
    let source = packages.join(SOURCE);
    if !source.is_file() {
        return Err(format!("there is no {}", source.display()));
    }
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fsutil");
    let copy = own.join(SOURCE);
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(source, copy).unwrap();
    let program = own.join("follow");
    let folders = std::env::join_paths([&own, &packages, Path::new(GOPATH)]).unwrap();
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fsutil/main.go"))
        .envs([("GO111MODULE", "off"), ("GOFLAGS", "")])
        .env("GOPATH", folders)
        .output()
        .map_err(|error| format!("cannot run go: {error}"))?;
    // Go and the packages are installed, so a failure is a bug of the program.
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

/// An entry of a tree.
#[derive(Debug, Clone)]
enum Node {
    File,
    Folder,
    Link(String),
}

/// A context, and the paths that a build reads from it.
#[derive(Debug)]
struct Case {
    /// Each entry, with its path. One that does not fit below those before it is left out.
    tree: Vec<(String, Node)>,
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Theirs {
    sent: BTreeSet<String>,
    copied: BTreeSet<String>,
    #[serde(default)]
    error: String,
}

impl Case {
    fn write(&self, root: &Path) {
        fs::create_dir(root).unwrap();
        for (path, node) in &self.tree {
            let path = root.join(path);
            // Nothing is written through a link.
            let is_through_link =
                path.ancestors().take_while(|above| *above != root).any(Path::is_symlink);
            if is_through_link || fs::create_dir_all(path.parent().unwrap()).is_err() {
                continue;
            }
            // An entry that is there stays.
            let _ = match node {
                Node::File => File::create_new(&path).map(drop),
                Node::Folder => fs::create_dir(&path),
                Node::Link(target) => symlink(target, &path),
            };
        }
    }

    /// Returns the entries that we send for these paths.
    fn ours(root: &Path, paths: &[String]) -> BTreeSet<String> {
        let read = |path: &String| ContextRead { path: path.clone(), excludes: Vec::new() };
        let reads = Some(paths.iter().map(read).collect());
        let request = ScanRequest { root: root.into(), dockerfile: None, reads };
        let tree = scan_all(&[request], None).unwrap().remove(0);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        tree.entries().iter().map(|entry| text(entry.path.as_bytes())).collect()
    }
}

/// Names of entries without special characters.
const PLAIN: &[&str] = &["a", "b", "c", "d", "ab", "a.go", "b.go", ".h"];

/// Names of entries with special characters, and their patterns as `COPY` takes them.
const SPECIAL: &[(&str, &str)] = &[
    ("a b", "a b"),
    ("é", "é"),
    ("a*", r"a\*"),
    ("[ab]", r"\[ab]"),
    ("a?", r"a\?"),
    ("{1}", "{1}"),
    ("a|b", "a|b"),
    ("$x", "$x"),
    ("(a)", "(a)"),
    ("a+", "a+"),
    ("^a", "^a"),
    ("#a", "#a"),
    ("~", "~"),
    ("!a", "!a"),
    (" a", " a"),
    ("a ", "a "),
];

const PATTERNS: &[&str] = &["*", "*.go", "?", "a*", "[ab]", "[^a]", "[a-c]*", "?*", ".*", "*b*"];

fn path(part: BoxedStrategy<String>, parts: std::ops::Range<usize>) -> BoxedStrategy<String> {
    vec(part, parts).prop_map(|parts| parts.join("/")).boxed()
}

/// Returns trees with these names, and paths of these parts.
fn case(names: Vec<String>, written: Vec<String>, last: Vec<String>) -> BoxedStrategy<Case> {
    let name = select(names).boxed();
    let up = prop_oneof![4 => name.clone(), 2 => Just("..".to_owned()), 1 => Just(".".to_owned())];
    let target = (select(vec!["", "", "/", "//", "./", "../"]), path(up.boxed(), 1..4))
        .prop_map(|(start, path)| Node::Link(format!("{start}{path}")));
    let node = prop_oneof![3 => Just(Node::File), 1 => Just(Node::Folder), 3 => target];
    let tree = vec((path(name, 1..4), node), 4..24);
    let written = select(written).boxed();
    let read = prop_oneof![
        3 => path(written.clone(), 1..4),
        2 => (path(written, 0..3), select(last))
            .prop_map(|(folder, last)| format!("{folder}/{last}").trim_start_matches('/').to_owned()),
    ];
    (tree, vec(read, 1..4)).prop_map(|(tree, paths)| Case { tree, paths }).boxed()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns the same cases in every run.
fn cases(strategy: &BoxedStrategy<Case>, count: usize) -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Writes the trees, and returns BuildKit's entries for each path of each, from one process.
fn theirs(program: &Path, folder: &Path, cases: &[Case]) -> Vec<Vec<Theirs>> {
    let requests = folder.join("requests");
    let mut lines = File::create(&requests).unwrap();
    for (index, case) in cases.iter().enumerate() {
        let root = folder.join(index.to_string());
        case.write(&root);
        for path in &case.paths {
            writeln!(lines, "{}", json!({ "root": root, "path": path })).unwrap();
        }
    }
    let output = Command::new(program).stdin(File::open(requests).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut results = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let mut next = || results.next().unwrap().unwrap();
    let all = cases.iter().map(|case| case.paths.iter().map(|_| next()).collect()).collect();
    assert!(results.next().is_none());
    all
}

/// Results of a comparison, by path.
#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    /// We send more than BuildKit, or less, or neither of the two.
    more: usize,
    less: usize,
    other: usize,
    /// BuildKit fails on a path below a file. Its newer versions do not.
    errors: usize,
    /// Entries that builds copy.
    copied: usize,
}

/// Compares the cases. Whatever BuildKit sends, we must send each entry that a build copies, and
/// for several paths together what we send for each alone.
fn compare(strategy: &BoxedStrategy<Case>, count: usize) -> Option<Tally> {
    let program = fsutil_program()?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let cases = cases(strategy, count);
    let mut tally = Tally::default();
    for (index, (case, theirs)) in cases.iter().zip(theirs(program, &root, &cases)).enumerate() {
        let root = root.join(index.to_string());
        let mut each = BTreeSet::new();
        for (path, theirs) in case.paths.iter().zip(theirs) {
            let ours = Case::ours(&root, std::slice::from_ref(path));
            let missing: Vec<&String> = theirs.copied.difference(&ours).collect();
            assert!(missing.is_empty(), "{path:?} of {:?}: not sent: {missing:?}", case.tree);
            tally.copied += theirs.copied.len();
            if theirs.error.is_empty() {
                *match (theirs.sent.is_subset(&ours), ours.is_subset(&theirs.sent)) {
                    (true, true) => &mut tally.equal,
                    (true, false) => &mut tally.more,
                    (false, true) => &mut tally.less,
                    (false, false) => &mut tally.other,
                } += 1;
            } else {
                assert!(theirs.error.contains("not a directory"), "{path:?}: {}", theirs.error);
                tally.errors += 1;
            }
            each.extend(ours);
        }
        let together = Case::ours(&root, &case.paths);
        // Too many links are the whole context.
        let whole = || Case::ours(&root, &[String::new()]);
        assert!(together == each || together == whole(), "{case:?}: {together:?}");
    }
    Some(tally)
}

#[test]
fn buildkit_sends_the_same_entries() {
    let plain = || owned(PLAIN);
    let Some(tally) = compare(&case(plain(), plain(), owned(PATTERNS)), 400) else { return };
    // BuildKit stops at a link that is on the way twice: `d/d`, where `d` leads to its own folder.
    let is_rare = |count: usize| count * 100 < tally.equal;
    assert!(tally.equal > 600 && is_rare(tally.more), "{tally:?}");
    assert!(tally.less + tally.other == 0 && tally.copied > 300, "{tally:?}");
}

#[test]
fn what_lies_behind_patterns_is_sent() {
    let written = [PLAIN, PATTERNS, &["**"]].concat();
    let cases = case(owned(PLAIN), owned(&written), owned(PATTERNS));
    let Some(tally) = compare(&cases, 400) else { return };
    // BuildKit does not follow a link behind a folder that a pattern matches. If the pattern matches
    // a link too, BuildKit sends everything that the first part of the path matches.
    assert!(tally.equal > 500 && tally.more > 10 && tally.less > 10, "{tally:?}");
    assert!(tally.copied > 500, "{tally:?}");
}

#[test]
fn entries_with_special_characters_are_sent() {
    let plain = owned(&["a", "b", "ab"]);
    let names = SPECIAL.iter().map(|(name, _)| (*name).to_owned()).chain(plain.clone());
    let written = SPECIAL.iter().map(|(_, pattern)| (*pattern).to_owned()).chain(plain);
    let cases = case(names.collect(), written.collect(), owned(PATTERNS));
    let Some(tally) = compare(&cases, 400) else { return };
    // BuildKit takes the name of an entry as a pattern, and `a|b` for `a` or `b`.
    assert!(tally.equal > 500 && tally.copied > 30, "{tally:?}");
}

#[test]
fn links_without_end_are_not_followed_forever() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (link, target) in
        [("a", "a/b"), ("c", "d/x"), ("d", "c/y"), ("e", "e"), ("f", "./f/../f/f")]
    {
        symlink(target, root.join(link)).unwrap();
    }
    fs::write(root.join("unread"), "").unwrap();
    fs::create_dir(root.join("g")).unwrap();
    symlink("..", root.join("g/up")).unwrap();
    let ours = |path: &str| Case::ours(root, &[path.to_owned()]);
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(ours("a"), all(&["a"]));
    assert_eq!(ours("c"), all(&["c", "d"]));
    assert_eq!(ours("e/any"), all(&["e"]));
    assert_eq!(ours("f"), all(&["f"]));
    let long = ["g/up/"; 200].concat();
    assert_eq!(ours(&format!("{long}unread")), all(&["g", "g/up", "unread"]));
    // A build that needs more links than builders follow reads nothing.
    let longer = ["g/up/"; 300].concat();
    assert_eq!(ours(&format!("{longer}unread")), all(&["g", "g/up"]));
}
