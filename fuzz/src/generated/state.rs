//! Lockfiles and journals.

use std::collections::BTreeMap;

use imgplan::test_support::base::digest::{Digest, Fingerprint};
use imgplan::test_support::base::image_path::ImagePath;
use imgplan::test_support::base::kind::ImageKind;
use imgplan::test_support::base::name::{BuildId, ImageRef, Owner, Platform, Visibility};
use imgplan::test_support::base::reference::OciDigest;
use imgplan::test_support::state::error::{JournalError, LockfileError};
use imgplan::test_support::state::journal::{self, BuildOutcome, Header};
use imgplan::test_support::state::{
    BuildStage, Built, Entry, Failed, Inputs, Pending, Pin, Record, State, Submission,
    decode::decode, encode::encode,
};

use crate::choices::{Choices, ODD_TEXTS, ShownOnPanic};

const SERVICE: &str = "https://service";

const FRAGMENTS: [&str; 14] = [
    "version: 9\n",
    "units: {}\n",
    "  \"a:v1\":\n",
    "    built:\n",
    "    protect: true\n",
    "<<<<<<< HEAD\n",
    "=======\n",
    ">>>>>>> other\n",
    "*a",
    "&a ",
    "null",
    "{",
    "\t",
    "b3:00",
];

/// Writes a lockfile and reads it: the state is the same. A changed file is refused, on a line that
/// exists, or its state is the same after it was written and read again.
pub fn lockfile(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let state = state(choices);
    let text = encode(SERVICE, &state);
    let _shown = ShownOnPanic(&text);
    let decoded = decode(&text).expect("a lockfile that was written can be read");
    assert_eq!(decoded.state, state);
    assert_eq!(decoded.service, SERVICE);
    let changed = choices.mutated(&text, &FRAGMENTS);
    let _shown = ShownOnPanic(&changed);
    match decode(&changed) {
        Ok(decoded) => {
            let state = State {
                entry_conflicts: BTreeMap::new(),
                pin_conflicts: BTreeMap::new(),
                ..decoded.state
            };
            let written = encode(&decoded.service, &state);
            let again = decode(&written).expect("a lockfile that was written can be read");
            assert_eq!(again.state, state);
            true
        }
        Err(error) => {
            let line = match &error {
                LockfileError::Newer { .. } => None,
                LockfileError::Conflict(line) | LockfileError::Duplicate { line, .. } => {
                    Some(*line)
                }
                LockfileError::Malformed { line, .. } => *line,
            };
            let lines = changed.lines().count() + 1;
            assert!(line.is_none_or(|line| (1..=lines).contains(&line)), "{line:?}: {error}");
            false
        }
    }
}

/// Reads a lockfile with the conflict markers of a merge. Both sides are read: the state has the
/// entries and pins of ours, those that only theirs has, and as conflicts those that differ.
pub fn merge_conflict(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let (ours, mut theirs) = (state(choices), state(choices));
    if choices.percent(50) {
        theirs.entries.extend(ours.entries.clone().into_iter().take(2));
    }
    let [our_text, their_text] = [&ours, &theirs].map(|state| encode(SERVICE, state));
    let base =
        choices.maybe(30, |choices| format!("||||||| base\n{}", encode("", &state(choices))));
    let base = base.unwrap_or_default();
    let text = format!("<<<<<<< HEAD\n{our_text}{base}=======\n{their_text}>>>>>>> theirs\n");
    let _shown = ShownOnPanic(&text);
    let merged = decode(&text).expect("both sides are lockfiles").state;
    for (key, theirs) in &theirs.entries {
        let Some(our) = ours.entries.get(key) else {
            assert_eq!(merged.entries.get(key), Some(theirs));
            continue;
        };
        assert_eq!(merged.entry_conflicts.get(key), (our != theirs).then_some(theirs));
        assert_eq!(merged.entries[key].protect, our.protect || theirs.protect);
    }
    for (key, our) in &ours.entries {
        let merged = Entry { protect: our.protect, ..merged.entries[key].clone() };
        assert_eq!(merged, *our);
    }
    for (reference, theirs) in &theirs.pins {
        let expected = ours.pins.get(reference).unwrap_or(theirs);
        assert_eq!(merged.pins.get(reference), Some(expected));
        let conflict = (expected != theirs).then_some(theirs);
        assert_eq!(merged.pin_conflicts.get(reference), conflict);
    }
    let changed = choices.mutated(&text, &FRAGMENTS);
    let _shown = ShownOnPanic(&changed);
    decode(&changed).is_ok()
}

/// Writes a journal and reads it: the records are the same. Their state can be written as a
/// lockfile. A changed journal is refused, on a line that exists, or its records are the same after
/// they were written and read again.
pub fn journal(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let header = Header {
        journal: 1,
        service: SERVICE.to_owned(),
        lockfile: choices.maybe(50, |choices| Digest::of(&[choices.pick(&[1])])),
    };
    let records: Vec<Record> = (0..choices.below(12)).map(|_| record(choices)).collect();
    let text = journal_text(&header, &records);
    let _shown = ShownOnPanic(&text);
    let decoded = journal::decode(&text).expect("a journal that was written can be read");
    assert_eq!(decoded, Some((header, records.clone())));
    let mut state = state(choices);
    records.iter().for_each(|record| state.apply(record));
    let decoded = decode(&encode(SERVICE, &state)).expect("the lockfile can be read");
    assert_eq!(decoded.state, state);

    let changed =
        choices.mutated(&text, &["{}\n", "{\"record\":\"forgotten\",", "\n", "}", "null"]);
    let _shown = ShownOnPanic(&changed);
    match journal::decode(&changed) {
        Ok(Some((header, records))) => {
            let written = journal_text(&header, &records);
            assert_eq!(journal::decode(&written), Ok(Some((header, records))));
            true
        }
        Ok(None) => !changed.contains('\n'),
        Err(JournalError::Newer { .. }) => false,
        Err(JournalError::Damaged(line)) => {
            assert!((1..=changed.lines().count()).contains(&line), "line {line}");
            false
        }
    }
}

fn journal_text(header: &Header, records: &[Record]) -> String {
    journal::line(header) + &records.iter().map(journal::line).collect::<String>()
}

fn state(choices: &mut Choices<'_>) -> State {
    let entries = (0..choices.below(5)).map(|_| (image(choices), entry(choices))).collect();
    let pins = (0..choices.below(3)).map(|_| (reference(choices), pin(choices))).collect();
    State { entries, pins, ..State::default() }
}

fn record(choices: &mut Choices<'_>) -> Record {
    let unit = image(choices);
    let (kind, platform) = (kind(choices), platform(choices));
    match choices.below(12) {
        0 => Record::Submitting { unit, kind, platform, submission: submission(choices) },
        1 => Record::NotAccepted { unit },
        2 => Record::Created { unit, kind, platform, pending: pending(choices) },
        3 => Record::Uploaded { unit, build: build_id(choices) },
        4 => Record::Started { unit, build: build_id(choices) },
        5 => Record::Ended {
            unit,
            build: build_id(choices),
            outcome: choices.pick(&[
                BuildOutcome::Completed,
                BuildOutcome::Failed,
                BuildOutcome::Cancelled,
            ]),
            error: choices.maybe(50, text),
            path: choices.maybe(50, image_path),
            image: choices.maybe(50, image),
            at: choices.maybe(50, time),
            seconds: choices.maybe(50, |choices| choices.below(10_000) as u64),
        },
        6 => Record::Updated {
            unit,
            to: choices.maybe(50, image),
            visibility: choices.maybe(50, visibility),
            owner: choices.maybe(50, owner),
            path: choices.maybe(50, image_path),
        },
        7 => Record::Forgotten { unit },
        8 => Record::Known { unit, kind, platform, built: choices.maybe(70, built) },
        9 => Record::Protected { unit, kind, platform, protect: choices.percent(50) },
        10 => Record::Pinned { reference: reference(choices), pin: choices.maybe(70, pin) },
        _ => Record::Committed { lockfile: Digest::of(b"lockfile") },
    }
}

fn entry(choices: &mut Choices<'_>) -> Entry {
    Entry {
        built: choices.maybe(70, built),
        submitted: choices.maybe(20, submission),
        pending: choices.maybe(30, pending),
        failed: choices.maybe(30, |choices| Failed {
            fingerprint: fingerprint(choices),
            build: build_id(choices),
            error: choices.maybe(70, text),
        }),
        protect: choices.percent(20),
        ..Entry::new(kind(choices), platform(choices))
    }
}

fn built(choices: &mut Choices<'_>) -> Built {
    Built {
        fingerprint: fingerprint(choices),
        inputs: inputs(choices),
        build: build_id(choices),
        path: image_path(choices),
        owner: owner(choices),
        visibility: visibility(choices),
        image: choices.maybe(20, image),
        completed: choices.maybe(70, time),
        seconds: choices.maybe(70, |choices| choices.below(10_000) as u64),
    }
}

fn submission(choices: &mut Choices<'_>) -> Submission {
    Submission {
        at: time(choices),
        fingerprint: fingerprint(choices),
        inputs: inputs(choices),
        owner: owner(choices),
        visibility: choices.maybe(50, visibility),
    }
}

fn pending(choices: &mut Choices<'_>) -> Pending {
    Pending {
        fingerprint: fingerprint(choices),
        inputs: inputs(choices),
        build: build_id(choices),
        path: image_path(choices),
        owner: owner(choices),
        visibility: visibility(choices),
        stage: choices.pick(&[BuildStage::Created, BuildStage::Uploaded, BuildStage::Started]),
    }
}

fn inputs(choices: &mut Choices<'_>) -> Inputs {
    let keys =
        ["context", "base app:v1", "from redis:7", "source", "arg A", "dockerfile", "target"];
    let mut inputs = Inputs::new();
    for _ in 0..choices.below(4) {
        let key = if choices.percent(90) { choices.pick(&keys).to_owned() } else { text(choices) };
        inputs.set(key, text(choices));
    }
    inputs
}

fn pin(choices: &mut Choices<'_>) -> Pin {
    let digest = |choices: &mut Choices<'_>| OciDigest::of(&[choices.pick(&[1, 2, 3])]);
    let platforms = (0..choices.below(3)).map(|_| (platform(choices), digest(choices))).collect();
    Pin { digest: digest(choices), platforms }
}

fn fingerprint(choices: &mut Choices<'_>) -> Fingerprint {
    Fingerprint(Digest::of(&[choices.pick(&[1, 2, 3])]))
}

fn image(choices: &mut Choices<'_>) -> ImageRef {
    let names = ["a:v1", "a:1.10", "b--c:latest", "ns/app:020", "a:v2", "no:1e3", "x:null"];
    choices.pick(&names).parse().expect("the name is valid")
}

fn reference(choices: &mut Choices<'_>) -> String {
    choices.pick(&["docker.io/library/redis:7", "ghcr.io/a/b:1.10", "quay.io/x/y"]).to_owned()
}

fn build_id(choices: &mut Choices<'_>) -> BuildId {
    BuildId::new(choices.pick(&["b-1", "b-2", "0042", "1e5", "null"])).expect("the ID is valid")
}

fn owner(choices: &mut Choices<'_>) -> Owner {
    let team = Owner::Team("t 1".to_owned());
    choices.pick(&[Owner::Personal, Owner::Platform, team])
}

fn visibility(choices: &mut Choices<'_>) -> Visibility {
    choices.pick(&[Visibility::Private, Visibility::Public])
}

fn kind(choices: &mut Choices<'_>) -> ImageKind {
    choices.pick(&[ImageKind::Build, ImageKind::Mirror])
}

fn platform(choices: &mut Choices<'_>) -> Platform {
    choices.pick(&[Platform::Amd64, Platform::Arm64])
}

fn time<T: std::str::FromStr<Err: std::fmt::Debug>>(choices: &mut Choices<'_>) -> T {
    let times = ["2026-11-25T12:30:00Z", "2026-11-25T12:30:00.123456789Z", "1969-12-31T23:59:59Z"];
    choices.pick(&times).parse().expect("the time is valid")
}

fn image_path(choices: &mut Choices<'_>) -> ImagePath {
    let texts = ["", "a:v1", "prime/me/a:v1", "quay.io/o/a:v1@sha256:0", "3.10", "true"];
    ImagePath::new(choices.pick(&texts)).expect("the texts are paths")
}

fn text(choices: &mut Choices<'_>) -> String {
    if choices.percent(60) {
        choices.pick(&ODD_TEXTS).to_owned()
    } else {
        choices.pick(&["prime/me/a:v1", "b3:12", "3.10", "true", "plain text"]).to_owned()
    }
}
