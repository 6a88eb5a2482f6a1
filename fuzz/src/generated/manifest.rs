//! Manifests, from their text to a plan.

use std::collections::BTreeMap;

use imgplan::test_support::manifest::ManifestError;
use imgplan::test_support::plan::{Action, PlanOptions};
use imgplan::test_support::state::{State, decode::decode, encode::encode};

use super::world::{applied, document, plan, root};
use crate::choices::{Choices, ShownOnPanic, assert_printable};

const FRAGMENTS: [&str; 18] = [
    "  ",
    "\t",
    "- ",
    ": ",
    "*common",
    "&common ",
    "<<: ",
    "${",
    "}",
    "{",
    "]",
    "\"",
    "# ",
    "null",
    "images:\n",
    "  - name: app0\n",
    "    context: ../..\n",
    "?",
];

/// Loads a manifest and plans it. The order of the images and keys that start with `x-` change
/// nothing but the order of the steps. After a complete apply, the next plan is empty, also when
/// another manifest was applied before and the state was written as a lockfile. The problems of a
/// changed manifest have spans in its text.
pub fn manifest(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let (earlier, document) = (document(choices), document(choices));
    let text = document.text();
    let changed = choices.mutated(&text, &FRAGMENTS);
    let _shown = ShownOnPanic(&changed);
    let prune = choices.percent(50);
    let options = PlanOptions { prune, ..PlanOptions::default() };
    let state = match plan(&earlier.text(), &State::default(), &options) {
        Ok(decision) => applied(&decision, &State::default()),
        Err(_) => State::default(),
    };
    let decide = |state: &State| plan(&changed, state, &options);
    let decision = match decide(&state) {
        Ok(decision) => decision,
        Err(error) => {
            check_error(&error);
            return false;
        }
    };
    let again = decide(&state).expect("the manifest has not changed");
    assert_eq!(again.plan, decision.plan);
    let state = applied(&decision, &state);
    let written = encode("https://service", &state);
    let state = decode(&written).expect("the lockfile can be read").state;
    let next = decide(&state).expect("the manifest has not changed");
    let earlier = earlier.text();
    let _shown = ShownOnPanic(&earlier);
    assert!(next.plan.steps.is_empty(), "{:#?}", next.plan.steps);
    assert_eq!((next.refreshed, next.bookkeeping), (Vec::new(), Vec::new()));

    if changed == text {
        let mut rearranged = document;
        rearranged.images.reverse();
        rearranged.tail.push_str("x-more: { images: [] }\n");
        assert_eq!(fingerprints(&rearranged.text()), fingerprints(&text));
    }
    true
}

/// Returns the fingerprint of each unit of a manifest without a lockfile.
fn fingerprints(text: &str) -> BTreeMap<String, String> {
    let decision = plan(text, &State::default(), &PlanOptions::default());
    let steps = decision.expect("the manifest is valid").plan.steps;
    let creates = steps.into_iter().filter_map(|step| match step.action {
        Action::Create(create) => Some((step.key.to_string(), create.fingerprint.to_string())),
        _ => None,
    });
    creates.collect()
}

/// Checks that every problem can be shown.
fn check_error(error: &ManifestError) {
    assert!(!error.problems.is_empty());
    for problem in &error.problems {
        for (span, _) in &problem.labels {
            let (file, start, end) = error.sources.locate(*span).expect("the span is in a file");
            assert!(start.byte <= end.byte, "{problem:?} in {file}");
        }
    }
    let named = error.to_string().replace(&root().display().to_string(), "");
    assert_printable(&named);
}
