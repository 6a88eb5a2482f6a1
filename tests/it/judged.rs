//! Compares what a build reaches with BuildKit's `dockerfile2llb`.
//!
//! The judge, a program built from BuildKit, is in the folder that the variable `IMGPLAN_JUDGES`
//! names. Its answers to a fixed set of Dockerfiles are recorded in `tests/data/judged`, so that a
//! clone without it compares as well. `IMGPLAN_JUDGED=write` asks it again and rewrites the records,
//! so that `git diff` shows the changes.

mod cases;
mod differences;
mod generator;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imgplan::test_support::base::name::Platform;
use imgplan::test_support::base::reference::RegistryRef;
use imgplan::test_support::dockerfile::{
    Dockerfile, ReachRequest, ReachedPath, ReferencePlatform, WholeContext,
};
use serde::{Deserialize, Serialize};

use self::differences::{DIFFERENCES, Difference};

/// Number of seeds whose answers are recorded.
const RECORDED_SEEDS: u64 = 160;

/// Number of seeds that the judge is asked about.
const SEEDS: u64 = 3_000;

/// A build, as the judge reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Question {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<String, String>,
    platform: String,
}

/// The answer of the judge, without the build graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    images: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    local: BTreeSet<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
}

/// A line of the records.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    question: Question,
    answer: Answer,
}

/// The answer of imgplan.
#[derive(Debug, Default)]
struct Ours {
    answer: Answer,
    /// True if the value of a variable in a path is not known.
    is_unresolved: bool,
    /// The paths, even if the whole context counts.
    paths: BTreeSet<String>,
}

/// Returns the platform as `os/architecture`, as the judge shows it.
fn shown(platform: &ReferencePlatform, unit: Platform) -> String {
    let platform = match platform {
        ReferencePlatform::Unit => unit.to_string(),
        ReferencePlatform::Fixed(platform) => platform.to_string(),
        // The platform of the machine that the judge asks for.
        ReferencePlatform::Builder => "linux/amd64".to_owned(),
        ReferencePlatform::Other(other) => other.clone(),
    };
    platform.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
}

fn ours(question: &Question) -> Ours {
    let failed = |error: String| {
        let answer = Answer { error: Some(error), ..Answer::default() };
        Ours { answer, ..Ours::default() }
    };
    let file = match Dockerfile::parse(&question.text) {
        Ok(file) => file,
        Err(errors) => return failed(errors[0].to_string()),
    };
    let platform: Platform = question.platform.parse().unwrap();
    let request = ReachRequest {
        args: &question.args,
        target: question.target.as_deref(),
        builder: Some(Platform::Amd64),
        ..ReachRequest::new(platform)
    };
    let reach = match file.reach(&request) {
        Ok(reach) => reach,
        Err(error) => return failed(error.to_string()),
    };
    if let Some(error) = reach.errors.first() {
        return failed(error.to_string());
    }
    let mut images = BTreeSet::new();
    for reference in &reach.references {
        let image = match &reference.image {
            Ok(image) => image,
            Err(error) => return failed(error.to_string()),
        };
        match image.parse::<RegistryRef>() {
            Ok(full) if reference.pulled => {
                images.insert(format!("{full} {}", shown(&reference.platform, platform)));
            }
            Ok(_) => {}
            Err(error) => return failed(error.to_string()),
        }
    }
    let paths: BTreeSet<String> = reach.paths.iter().map(ReachedPath::path_from_root).collect();
    let whole = reach.whole.is_some();
    let local = if whole { BTreeSet::new() } else { paths.clone() };
    let is_unresolved = matches!(reach.whole, Some(WholeContext::Variable(_)));
    Ours { answer: Answer { error: None, images, local, whole }, is_unresolved, paths }
}

/// Asks the judge, or returns `None` with a line that says why not.
fn judge(questions: &[Question]) -> Option<Vec<Answer>> {
    let Some(folder) = std::env::var_os("IMGPLAN_JUDGES") else {
        // The test harness captures the output of `eprintln!`, but not this.
        let _ = writeln!(std::io::stderr(), "SKIPPED: IMGPLAN_JUDGES does not name a folder");
        return None;
    };
    let mut judge = Command::new(PathBuf::from(folder).join("dfjudge"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("IMGPLAN_JUDGES has dfjudge");
    let mut input = judge.stdin.take().unwrap();
    let mut lines = String::new();
    for question in questions {
        writeln!(lines, "{}", serde_json::to_string(question).unwrap()).unwrap();
    }
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = judge.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Answer> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), questions.len(), "the judge answers each line");
    Some(answers)
}

/// Compares answers. Fails if a difference has no reason, or if a reason is never needed.
fn compare(questions: &[Question], answers: &[Answer]) {
    let mut found = String::new();
    let mut unexplained = 0;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (question, theirs) in questions.iter().zip(answers) {
        let ours = ours(question);
        let same = match (&theirs.error, &ours.answer.error) {
            (Some(_), Some(_)) => true,
            (None, None) => ours.answer == *theirs,
            _ => false,
        };
        if same {
            let kind = if theirs.error.is_some() { "equal: an error" } else { "equal" };
            *counts.entry(kind).or_default() += 1;
            continue;
        }
        let reason = DIFFERENCES.iter().find(|difference| (difference.is)(question, theirs, &ours));
        if let Some(difference) = reason {
            *counts.entry(difference.name).or_default() += 1;
            continue;
        }
        unexplained += 1;
        if unexplained <= 5 {
            let Question { text, target, args, platform } = question;
            writeln!(found, "--- {platform} {target:?} {args:?}\n{text}").unwrap();
            writeln!(found, "judge: {theirs:?}\nours: {:?}", ours.answer).unwrap();
        }
    }
    assert_eq!(unexplained, 0, "differences without a reason, of which up to five:\n{found}");
    for Difference { name, .. } in DIFFERENCES {
        assert!(counts.contains_key(name), "the difference does not occur: {name}");
    }
    let errors = counts.get("equal: an error").copied().unwrap_or_default();
    let equal = counts.get("equal").copied().unwrap_or_default();
    assert!(equal * 2 > questions.len(), "{counts:?}: too few comparisons of successful builds");
    assert!(errors * 2 < questions.len(), "{counts:?}: too many errors");
}

fn records() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/judged/answers.jsonl")
}

#[test]
fn recorded_answers_agree() {
    let mut questions = cases::questions();
    questions.extend((0..RECORDED_SEEDS).map(generator::question));
    assert!(questions.len() >= 150);
    if std::env::var_os("IMGPLAN_JUDGED").is_some_and(|how| how == "write") {
        let answers = judge(&questions).expect("IMGPLAN_JUDGES names the folder of the judges");
        let mut lines = String::new();
        for (question, answer) in questions.iter().cloned().zip(answers) {
            let line = serde_json::to_string(&Record { question, answer }).unwrap();
            writeln!(lines, "{line}").unwrap();
        }
        std::fs::write(records(), lines).unwrap();
    }
    let lines = std::fs::read_to_string(records()).unwrap();
    let recorded: Vec<Record> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (recorded, answers): (Vec<Question>, Vec<Answer>) =
        recorded.into_iter().map(|record| (record.question, record.answer)).unzip();
    assert!(recorded == questions, "other questions are recorded: set IMGPLAN_JUDGED=write");
    compare(&questions, &answers);
}

#[test]
fn generated_files_agree_with_the_judge() {
    let questions: Vec<Question> = (0..SEEDS).map(generator::question).collect();
    if let Some(answers) = judge(&questions) {
        compare(&questions, &answers);
    }
}
