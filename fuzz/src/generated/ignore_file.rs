//! Ignore files with the trees that they apply to.

use std::collections::BTreeSet;
use std::path::Path;

use imgplan::test_support::context::ignore::IgnorePatterns;
use imgplan::test_support::context::{ScanRequest, scan_all};

use crate::choices::{Choices, ShownOnPanic};

const NAMES: [&str; 9] = ["a", "b", "src", "x.md", ".git", "a b", "ä", "[x]", "node_modules"];

const PATTERNS: [&str; 20] = [
    "*",
    "**",
    "?",
    "*.md",
    "**/*.md",
    "src",
    "src/*",
    "src/**",
    "a/b",
    "**/a",
    "/a",
    "./b/",
    "a/../b",
    "[a-c]",
    "[^a]*",
    "\\[x\\]",
    "a b",
    "ä",
    "*/*",
    "node_modules/**/b",
];

/// Scans a tree with an ignore file. The scan returns exactly the paths that match no pattern, or an
/// exception after it; and comments, blank lines and line ends of Windows change nothing.
pub fn ignore_file(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let files: BTreeSet<String> = (0..1 + choices.below(10)).map(|_| path(choices)).collect();
    let mut made = BTreeSet::new();
    for file in &files {
        let path = folder.path().join(file);
        // A file and a folder may have the same name; then the first one stays.
        let parent = path.parent().expect("the path has a parent");
        if std::fs::create_dir_all(parent).is_ok() && std::fs::write(&path, "x").is_ok() {
            made.insert(file.clone());
        }
    }
    let text = ignore_text(choices);
    let _shown = ShownOnPanic(&text);
    let Ok(patterns) = IgnorePatterns::parse(&text) else {
        assert_eq!(scan(folder.path(), &text), None, "the scan accepts an invalid pattern");
        return false;
    };
    let scanned = scan(folder.path(), &text).expect("the folder can be scanned");
    let expected: BTreeSet<String> =
        made.into_iter().filter(|path| !patterns.match_path(path).ignored).collect();
    assert_eq!(scanned, expected);
    let padded = text.lines().flat_map(|line| ["# comment\r\n", "\r\n", line, "\r\n"]);
    let padded: String = padded.collect();
    let again = IgnorePatterns::parse(&padded).expect("the same patterns are valid");
    for path in &files {
        let (was, is) = (patterns.match_path(path), again.match_path(path));
        assert_eq!(was.ignored, is.ignored, "{path}");
        assert_eq!(was.line.map(|line| line * 3), is.line, "{path}");
    }
    true
}

/// Returns the files of a context; `None` if it cannot be scanned.
fn scan(root: &Path, ignore: &str) -> Option<BTreeSet<String>> {
    let file = root.join(".dockerignore");
    std::fs::write(&file, ignore).expect("the folder is writable");
    let request = ScanRequest { root: root.into(), dockerfile: None, reads: None };
    let trees = scan_all(&[request], None).ok()?;
    let is_file = |path: &String| root.join(path).is_file() && path != ".dockerignore";
    let paths = trees[0].entries().iter().map(|entry| entry.path.to_string());
    Some(paths.filter(is_file).collect())
}

fn path(choices: &mut Choices<'_>) -> String {
    let parts: Vec<&str> = (0..1 + choices.below(3)).map(|_| choices.pick(&NAMES)).collect();
    parts.join("/")
}

fn ignore_text(choices: &mut Choices<'_>) -> String {
    let mut text = String::new();
    for _ in 0..1 + choices.below(6) {
        if choices.percent(35) {
            text.push('!');
        }
        let pattern = if choices.percent(75) {
            choices.pick(&PATTERNS).to_owned()
        } else {
            let path = path(choices);
            choices.mutated(&path, &["*", "**/", "?", "[", "]", "\\", "/", "!"])
        };
        text.push_str(&pattern.replace('\n', ""));
        text.push_str(choices.pick(&["\n", "\n", "\n", "\r\n", " \n"]));
    }
    text
}
