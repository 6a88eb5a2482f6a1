//! Our verdicts on the paths of a context against those of Docker's own matcher, by way of
//! `tests/moby/main.go`: where Go is, and Debian's `golang-github-moby-patternmatcher-dev`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use imgplan::context::ignore::{IgnoreError, IgnorePatterns};
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::json;

/// Where Debian puts the sources of Go's packages.
const GOPATH: &str = "/usr/share/gocode";

/// The judge, built once; `None`, and a word about it, where it cannot be.
pub(crate) fn judge() -> Option<&'static Path> {
    static JUDGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let judge = JUDGE.get_or_init(|| match build() {
        Ok(judge) => Some(judge),
        Err(why) if std::env::var_os("IMGPLAN_MOBY").is_some_and(|how| how == "required") => {
            panic!("IMGPLAN_MOBY=required: {why}")
        }
        Err(why) => {
            // Unlike `eprintln!`, this is not kept from whoever runs the tests.
            let _ = writeln!(std::io::stderr(), "SKIPPED: tests/moby/main.go: {why}");
            None
        }
    });
    judge.as_deref()
}

fn build() -> Result<PathBuf, String> {
    let package = Path::new(GOPATH).join("src/github.com/moby/patternmatcher");
    if !package.is_dir() {
        return Err(format!("there is no {}", package.display()));
    }
    let judge = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moby-judge");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&judge)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moby/main.go"))
        .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")])
        .output()
        .map_err(|error| format!("cannot run go: {error}"))?;
    let said = String::from_utf8_lossy(&built.stderr);
    // Go is there, and so is the package: that it does not build is a mistake of ours.
    assert!(built.status.success(), "{said}");
    Ok(judge)
}

/// A `.dockerignore`, and the paths to judge, folders and all.
#[derive(Debug)]
struct Case {
    text: String,
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    ignored: Vec<bool>,
    bad: Vec<usize>,
    #[serde(default)]
    error: String,
}

/// What Docker makes of each case, by one process for all.
fn ask(judge: &Path, cases: &[Case]) -> Vec<Answer> {
    let mut questions = tempfile::NamedTempFile::new().unwrap();
    for Case { text, paths } in cases {
        writeln!(questions, "{}", json!({ "text": text, "paths": paths })).unwrap();
    }
    let questions = File::open(questions.path()).unwrap();
    let output = Command::new(judge).arg("judge").stdin(questions).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let answers: Vec<Answer> = answers.map(Result::unwrap).collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

/// The text without its bad lines, each in its place, so that the numbers of the others stay.
fn without(text: &str, bad: &[usize]) -> String {
    let keep = |(index, line)| if bad.contains(&(index + 1)) { "" } else { line };
    text.split('\n').enumerate().map(keep).collect::<Vec<_>>().join("\n")
}

/// What a comparison saw.
#[derive(Debug, Default)]
struct Tally {
    verdicts: usize,
    ignored: usize,
    /// Lines that both refuse.
    refused: usize,
    /// Files that Docker takes although a line of them is bad, since it did not find out.
    unnoticed: usize,
    /// Lines that we alone refuse.
    ours_alone: usize,
}

/// Compares everything there is to compare, and lists what differs.
fn compare(judge: &Path, cases: Vec<Case>) -> (Tally, Vec<String>) {
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    let mut sound = Vec::new();
    for (case, answer) in cases.iter().zip(ask(judge, &cases)) {
        let errors = IgnorePatterns::parse(&case.text).err().unwrap_or_default();
        lines(case, &answer, &errors, &mut tally, &mut wrong);
        let bad: Vec<usize> = errors.iter().map(|error| error.line).collect();
        sound.push(Case { text: without(&case.text, &bad), paths: case.paths.clone() });
    }
    for (case, answer) in sound.iter().zip(ask(judge, &sound)) {
        let ignore = IgnorePatterns::parse(&case.text).unwrap();
        if !answer.error.is_empty() {
            wrong.push(format!("{:?}: moby alone refuses it: {}", case.text, answer.error));
            continue;
        }
        for (path, theirs) in case.paths.iter().zip(answer.ignored) {
            tally.verdicts += 1;
            tally.ignored += usize::from(theirs);
            let ours = ignore.match_path(path);
            if ours.ignored != theirs {
                wrong.push(format!("{:?} on {path:?}: {ours:?}, moby: {theirs}", case.text));
            }
        }
    }
    (tally, wrong)
}

/// Compares which lines are no patterns.
///
/// Two differences are meant. Docker finds out late that a pattern is none, or never: it compiles a
/// pattern when it is first asked, and does not check what follows a star that matches nothing. We
/// refuse such a line whatever the paths are. And Docker hands `\b`, `\x41` or `\pL` on to Go's
/// regular expressions, where `\b` is no `b` but the end of a word; we refuse a backslash before a
/// letter or digit that means something there which nobody can have meant.
fn lines(
    case: &Case,
    answer: &Answer,
    errors: &[IgnoreError],
    tally: &mut Tally,
    wrong: &mut Vec<String>,
) {
    let bad = |line| errors.iter().any(|error: &IgnoreError| error.line == line);
    if let Some(line) = answer.bad.iter().find(|line| !bad(**line)) {
        wrong.push(format!("{:?}: moby alone refuses line {line}", case.text));
    }
    if !answer.error.is_empty() && errors.is_empty() {
        wrong.push(format!("{:?}: moby alone refuses it: {}", case.text, answer.error));
    }
    for error in errors {
        if answer.bad.contains(&error.line) {
            tally.refused += 1;
        } else if error.message.contains("read as a part of a regular expression") {
            tally.ours_alone += 1;
        } else {
            wrong.push(format!("{:?}: we alone refuse it: {error}", case.text));
        }
    }
    tally.unnoticed += usize::from(!answer.bad.is_empty() && answer.error.is_empty());
}

/// All folders of these paths, and the paths.
fn with_folders(paths: Vec<String>) -> Vec<String> {
    let mut all = std::collections::BTreeSet::new();
    for path in paths {
        all.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        all.insert(path);
    }
    all.into_iter().collect()
}

/// Folders that people have.
const FOLDERS: &[&str] =
    &["src", "app", "tests", "docs", "node_modules", "target", "build", ".git", ".env", "lib"];

/// Files that people have; one is a folder elsewhere.
const FILES: &[&str] =
    &["a.py", "b.py", "b.md", "README.md", "main.rs", "x.log", "Dockerfile", "a.test.js", "src"];

/// Text that is mostly itself.
const PLAIN: &[&str] = &["a", "b", "c", "A", "é", "2", "d", "w", "n", "x", "ab", ".", "-"];

/// Characters that mean something to somebody, or are easily got wrong.
const ODD: &[&str] = &[
    "!", "#", "[", "]", "^", "\\", "{", "}", ",", "|", "(", ")", "+", "$", "&", "~", "&&", "*",
    "?", "..", " ", "\t", "\r", "\u{a0}", "\u{feff}", "\u{fffd}", "\"", "'", "<", "\u{7f}", "𝄞",
];

/// Parts of patterns, of expressions, and of paths.
const SPECIAL: &str = r"
    * * ** ** *** **/ /** /* ? / / // ./ ../ /..
    [ab] [a-c] [^a] [^a-c] [!a] []] [\]] [a- -] [[:alpha:]] [[:^digit:]2]
    {2} {1,2} {,2} {0} {2,1} {1001}
    \* \? \[ \\ \/ \é \d \S \w \b \x41 \pL \Q \1
";

/// What people write.
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

/// What nobody should write.
fn hostile() -> BoxedStrategy<Case> {
    let special: Vec<&str> = SPECIAL.split_ascii_whitespace().collect();
    let token = prop_oneof![5 => select(PLAIN), 4 => select(special), 1 => select(ODD)];
    let line = (select(vec!["", "", "", "!", "! ", "/", "/!", "#", " #", " "]), vec(token, 1..6))
        .prop_map(|(mark, tokens)| format!("{mark}{}", tokens.concat()));
    let odd = prop_oneof![2 => select(PLAIN), 1 => select(ODD), 1 => select(vec!["\n", "\\d"])];
    let part = prop_oneof![4 => vec(select(PLAIN), 1..3), 1 => vec(odd, 1..4)];
    let path = vec(part.prop_map(|parts| parts.concat()), 1..4).prop_map(|parts| parts.join("/"));
    let text = (select(vec!["", "", "\u{feff}"]), vec(line, 1..5))
        .prop_map(|(mark, lines)| format!("{mark}{}", lines.join("\n")));
    (text, vec(path, 15), select(vec!["b", "ab", "c/a"]))
        .prop_map(|(text, mut paths, star)| {
            // A path at random is seldom one that a pattern was made for.
            for line in text.lines() {
                let like = line.trim_start_matches(['!', ' ', '\u{feff}']);
                paths.push(like.replace('*', star).replace('?', "a").replace('\\', ""));
                paths.push(like.replace("**/", "").replace('*', ""));
                paths.push(like.replace('*', "a/b").replace('?', "/"));
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

/// The same cases in every run.
fn cases(strategy: &BoxedStrategy<Case>, count: usize) -> Vec<Case> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn agrees(strategy: &BoxedStrategy<Case>, count: usize) -> Option<Tally> {
    let (tally, wrong) = compare(judge()?, cases(strategy, count));
    let shown: Vec<&str> = wrong.iter().take(10).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}\n{tally:?}", wrong.len(), shown.join("\n"));
    Some(tally)
}

#[test]
fn docker_agrees_on_what_people_write() {
    let Some(tally) = agrees(&realistic(), 2000) else { return };
    assert!(tally.verdicts > 60_000, "{tally:?}");
    assert!(tally.ignored > 15_000 && tally.ignored < tally.verdicts - 15_000, "{tally:?}");
    assert_eq!((tally.refused, tally.ours_alone), (0, 0), "{tally:?}");
}

#[test]
fn docker_agrees_on_what_nobody_should_write() {
    let Some(tally) = agrees(&hostile(), 2000) else { return };
    assert!(tally.verdicts > 60_000, "{tally:?}");
    assert!(tally.ignored > 4_000 && tally.ignored < tally.verdicts - 4_000, "{tally:?}");
    assert!(tally.refused > 500 && tally.unnoticed > 0 && tally.ours_alone > 50, "{tally:?}");
}
