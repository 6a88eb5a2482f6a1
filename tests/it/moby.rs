//! Compares our ignore patterns with Docker's own matcher, through `tests/moby/main.go`. Needs Go
//! and Debian's package `golang-github-moby-patternmatcher-dev`; skipped without them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use imgplan::test_support::context::ignore::{IgnoreError, IgnorePatterns};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::json;

/// The folder of Debian's packages of Go sources.
const GOPATH: &str = "/usr/share/gocode";

/// Returns the program of `tests/moby/main.go`, which is built once. If it cannot be built, prints
/// the reason and returns `None`.
pub(crate) fn moby_program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| built_or_skipped("tests/moby/main.go", build)).as_deref()
}

/// Returns the program that `build` makes of this Go file. If it cannot be built, prints the reason and
/// returns `None`, or fails if it is required.
pub(crate) fn built_or_skipped(
    file: &str,
    build: impl FnOnce() -> Result<PathBuf, String>,
) -> Option<PathBuf> {
    match build() {
        Ok(program) => Some(program),
        Err(why) if std::env::var_os("IMGPLAN_MOBY").is_some_and(|how| how == "required") => {
            panic!("IMGPLAN_MOBY=required: {why}")
        }
        Err(why) => {
            // The test harness captures the output of `eprintln!`, but not this.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {file}: {why}");
            None
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let package = Path::new(GOPATH).join("src/github.com/moby/patternmatcher");
    if !package.is_dir() {
        return Err(format!("there is no {}", package.display()));
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moby-matcher");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moby/main.go"))
        .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")])
        .output()
        .map_err(|error| format!("cannot run go: {error}"))?;
    // Go and the package are installed, so a failure is a bug of the program.
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(program)
}

/// A `.dockerignore`, and the paths to match, including folders.
#[derive(Debug)]
struct Case {
    text: String,
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MobyResult {
    ignored: Vec<bool>,
    invalid: Vec<usize>,
    #[serde(default)]
    error: String,
}

/// Returns Docker's result for each case, from one process.
fn run_moby(program: &Path, cases: &[Case]) -> Vec<MobyResult> {
    let mut requests = tempfile::NamedTempFile::new().unwrap();
    for Case { text, paths } in cases {
        writeln!(requests, "{}", json!({ "text": text, "paths": paths })).unwrap();
    }
    let requests = File::open(requests.path()).unwrap();
    let output = Command::new(program).arg("match").stdin(requests).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let results: Vec<MobyResult> = results.map(Result::unwrap).collect();
    assert_eq!(results.len(), cases.len());
    results
}

/// Returns the text with its invalid lines emptied, so that the line numbers stay the same.
fn without_lines(text: &str, invalid: &[usize]) -> String {
    let keep = |(index, line)| if invalid.contains(&(index + 1)) { "" } else { line };
    text.split('\n').enumerate().map(keep).collect::<Vec<_>>().join("\n")
}

/// Counts of a comparison.
#[derive(Debug, Default)]
struct Tally {
    paths: usize,
    ignored: usize,
    /// Lines that are invalid for both.
    invalid: usize,
    /// Files with an invalid line that Docker did not detect.
    undetected: usize,
    /// Lines that are invalid only for us.
    invalid_for_us: usize,
}

/// Compares all cases, and returns the differences.
fn compare(program: &Path, cases: Vec<Case>) -> (Tally, Vec<String>) {
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    let mut valid = Vec::new();
    for (case, moby) in cases.iter().zip(run_moby(program, &cases)) {
        let errors = IgnorePatterns::parse(&case.text).err().unwrap_or_default();
        compare_lines(case, &moby, &errors, &mut tally, &mut wrong);
        let invalid: Vec<usize> = errors.iter().map(|error| error.line).collect();
        valid.push(Case { text: without_lines(&case.text, &invalid), paths: case.paths.clone() });
    }
    for (case, moby) in valid.iter().zip(run_moby(program, &valid)) {
        let patterns = IgnorePatterns::parse(&case.text).unwrap();
        if !moby.error.is_empty() {
            wrong.push(format!("{:?}: invalid only for moby: {}", case.text, moby.error));
            continue;
        }
        for (path, theirs) in case.paths.iter().zip(moby.ignored) {
            tally.paths += 1;
            tally.ignored += usize::from(theirs);
            let ours = patterns.match_path(path);
            if ours.ignored != theirs {
                wrong.push(format!("{:?} on {path:?}: {ours:?}, moby: {theirs}", case.text));
            }
        }
    }
    (tally, wrong)
}

/// Compares the invalid lines.
///
/// Two differences are intended. Docker detects an invalid pattern late or never: it compiles a
/// pattern when it is first used, and does not check the text after a star that matches nothing. We
/// reject such a line whatever the paths are. And Docker passes `\b`, `\x41` or `\pL` on to Go's
/// regular expressions, in which `\b` is a word boundary; we reject these escapes, because nobody
/// uses them on purpose.
fn compare_lines(
    case: &Case,
    moby: &MobyResult,
    errors: &[IgnoreError],
    tally: &mut Tally,
    wrong: &mut Vec<String>,
) {
    let is_invalid = |line| errors.iter().any(|error: &IgnoreError| error.line == line);
    if let Some(line) = moby.invalid.iter().find(|line| !is_invalid(**line)) {
        wrong.push(format!("{:?}: line {line} is invalid only for moby", case.text));
    }
    if !moby.error.is_empty() && errors.is_empty() {
        wrong.push(format!("{:?}: invalid only for moby: {}", case.text, moby.error));
    }
    for error in errors {
        if moby.invalid.contains(&error.line) {
            tally.invalid += 1;
        } else if error.message.contains("is an escape of regular expressions") {
            tally.invalid_for_us += 1;
        } else {
            wrong.push(format!("{:?}: invalid only for us: {error}", case.text));
        }
    }
    tally.undetected += usize::from(!moby.invalid.is_empty() && moby.error.is_empty());
}

/// Returns these paths and all folders above them.
fn with_folders(paths: Vec<String>) -> Vec<String> {
    let mut all = std::collections::BTreeSet::new();
    for path in paths {
        all.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        all.insert(path);
    }
    all.into_iter().collect()
}

/// Common folders.
const FOLDERS: &[&str] =
    &["src", "app", "tests", "docs", "node_modules", "target", "build", ".git", ".env", "lib"];

/// Common files. One has the name of a folder.
const FILES: &[&str] =
    &["a.py", "b.py", "b.md", "README.md", "main.rs", "x.log", "Dockerfile", "a.test.js", "src"];

/// Literal text.
const PLAIN: &[&str] = &["a", "b", "c", "A", "é", "2", "d", "w", "n", "x", "ab", ".", "-"];

/// Characters with a meaning in some syntax, and characters that are easy to handle wrongly.
const UNUSUAL: &[&str] = &[
    "!", "#", "[", "]", "^", "\\", "{", "}", ",", "|", "(", ")", "+", "$", "&", "~", "&&", "*",
    "?", "..", " ", "\t", "\r", "\u{a0}", "\u{feff}", "\u{fffd}", "\"", "'", "<", "\u{7f}", "𝄞",
];

/// Special parts of patterns, regular expressions and paths.
const SPECIAL: &str = r"
    * * ** ** *** **/ /** /* ? / / // ./ ../ /..
    [ab] [a-c] [^a] [^a-c] [!a] []] [\]] [a- -] [[:alpha:]] [[:^digit:]2]
    {2} {1,2} {,2} {0} {2,1} {1001}
    \* \? \[ \\ \/ \é \d \S \w \b \x41 \pL \Q \1
";

/// Cases as people write them.
fn realistic() -> BoxedStrategy<Case> {
    let pattern = (0..27, select(FOLDERS), select(FOLDERS), select(FILES)).prop_map(
        |(form, one, two, file)| {
            let kind = file.split_once('.').map_or("*", |(_, kind)| kind);
            match form {
                0 => "*".to_owned(),
                1 => "**".to_owned(),
                2 => format!("*.{kind}"),
                3 | 4 => format!("**/*.{kind}"),
                5 | 6 => format!("**/{one}"),
                7 => format!("{one}/"),
                8 => format!("/{one}/{two}"),
                9 => format!("{one}/**"),
                10 => format!("{one}/*"),
                11 => format!("{one}/**/{file}"),
                12 => format!("*/{one}"),
                13 => ".*".to_owned(),
                14 => "[a-m]*".to_owned(),
                15 => "**/?.??".to_owned(),
                16 => format!("./{one}"),
                17 => format!("{one}*"),
                18 => "# a comment".to_owned(),
                19 => String::new(),
                20 => format!("  {file} "),
                21 => format!("{one}/{two}/{file}"),
                22 => format!("**/{one}/**/*.{kind}"),
                23 | 24 => format!("{one}/*/**"),
                _ => one.to_owned(),
            }
        },
    );
    let line = (select(vec!["", "", "!"]), pattern)
        .prop_map(|(mark, line)| if line.is_empty() { line } else { format!("{mark}{line}") });
    let text = (vec(line, 1..8), select(vec!["\n", "\r\n"]), select(vec!["", "\u{feff}"]))
        .prop_map(|(lines, end, mark)| format!("{mark}{}", lines.join(end)));
    let path = (vec(select(FOLDERS), 0..4), select(FILES))
        .prop_map(|(folders, file)| [folders, vec![file]].concat().join("/"));
    (text, vec(path, 15))
        .prop_map(|(text, paths)| Case { text, paths: with_folders(paths) })
        .boxed()
}

/// Cases with any combination of special characters.
fn hostile() -> BoxedStrategy<Case> {
    let special: Vec<&str> = SPECIAL.split_ascii_whitespace().collect();
    let token = prop_oneof![5 => select(PLAIN), 4 => select(special), 1 => select(UNUSUAL)];
    let line = (select(vec!["", "", "", "!", "! ", "/", "/!", "#", " #", " "]), vec(token, 1..6))
        .prop_map(|(mark, tokens)| format!("{mark}{}", tokens.concat()));
    let unusual =
        prop_oneof![2 => select(PLAIN), 1 => select(UNUSUAL), 1 => select(vec!["\n", "\\d"])];
    let part = prop_oneof![4 => vec(select(PLAIN), 1..3), 1 => vec(unusual, 1..4)];
    let path = vec(part.prop_map(|parts| parts.concat()), 1..4).prop_map(|parts| parts.join("/"));
    let text = (select(vec!["", "", "\u{feff}"]), vec(line, 1..5))
        .prop_map(|(mark, lines)| format!("{mark}{}", lines.join("\n")));
    (text, vec(path, 15), select(vec!["b", "ab", "c/a"]))
        .prop_map(|(text, mut paths, star)| {
            // A random path rarely matches a pattern, so derive paths from the patterns.
            for line in text.lines() {
                let pattern = line.trim_start_matches(['!', ' ', '\u{feff}']);
                paths.push(pattern.replace('*', star).replace('?', "a").replace('\\', ""));
                paths.push(pattern.replace("**/", "").replace('*', ""));
                paths.push(pattern.replace('*', "a/b").replace('?', "/"));
            }
            let is_name = |part: &&str| !["", ".", ".."].contains(part);
            let clean =
                |path: String| path.split('/').filter(is_name).collect::<Vec<_>>().join("/");
            let mut paths: Vec<String> = paths.into_iter().map(clean).collect();
            paths.retain(|path| !path.is_empty());
            Case { text, paths: with_folders(paths) }
        })
        .boxed()
}

/// Returns the same cases in every run.
fn cases(strategy: &BoxedStrategy<Case>, count: usize) -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn check(strategy: &BoxedStrategy<Case>, count: usize) -> Option<Tally> {
    let (tally, wrong) = compare(moby_program()?, cases(strategy, count));
    let shown: Vec<&str> = wrong.iter().take(10).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}\n{tally:?}", wrong.len(), shown.join("\n"));
    Some(tally)
}

#[test]
fn docker_agrees_on_realistic_patterns() {
    let Some(tally) = check(&realistic(), 2000) else { return };
    assert!(tally.paths > 60_000, "{tally:?}");
    assert!(tally.ignored > 15_000 && tally.ignored < tally.paths - 15_000, "{tally:?}");
    assert_eq!((tally.invalid, tally.invalid_for_us), (0, 0), "{tally:?}");
}

#[test]
fn docker_agrees_on_hostile_patterns() {
    let Some(tally) = check(&hostile(), 2000) else { return };
    assert!(tally.paths > 60_000, "{tally:?}");
    assert!(tally.ignored > 4_000 && tally.ignored < tally.paths - 4_000, "{tally:?}");
    assert!(tally.invalid > 500 && tally.undetected > 0 && tally.invalid_for_us > 50, "{tally:?}");
}
