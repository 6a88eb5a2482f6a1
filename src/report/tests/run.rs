//! The text of events and summaries.

use std::time::Duration;

use super::super::human::HumanReporter;
use super::super::{Reporter, Verbosity};
use super::options;
use crate::event::Summary;
use crate::plan::PartialPlan;

#[test]
fn the_summary_of_a_partial_run_says_so() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let partial = Some(PartialPlan { selected: 3, left: 1 });
    let summary = Summary { built: 2, partial, ..Summary::default() };
    let mut human = HumanReporter::new(&mut out, &mut err, options(None, false, Verbosity::Normal));
    human.summary(&summary, Duration::from_secs(65), None).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    Apply: 2 built, 0 mirrored, 0 updated, 0 forgotten, 0 deleted, 0 failed, 0 skipped, in 1m05s.
    Note: this was a partial run: 3 targets selected, 1 step left out.
    ");
}
