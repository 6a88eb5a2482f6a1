//! The failures of a run with their texts, which are cut so that the reports keep a limited size. Pure.

use super::super::human::run::group_failures;
use super::RunView;
use super::escape::markup_lines;
use crate::event::TargetFailure;

/// Maximum number of bytes of the text of one failure.
pub(super) const MAX_TEXT_BYTES: usize = 16_000;

/// Maximum number of bytes of the advice for one failure.
const MAX_HELP_BYTES: usize = 600;

/// Maximum number of bytes of a text for which there is no room.
const MIN_TEXT_BYTES: usize = 120;

/// Failures with the same text.
pub(super) struct FailureGroup<'a> {
    /// The failures; at least one.
    pub(super) failures: Vec<&'a TargetFailure>,
    /// Their text, or its beginning and its end.
    pub(super) text: String,
    /// The advice, if there is one and room for it.
    pub(super) help: Option<String>,
}

/// Returns the failures: those first because of which others were skipped, and builds that continue
/// last. Their texts have about `max_bytes` in all once they are escaped: after that, only their beginnings
/// are shown.
pub(super) fn failure_groups<'a>(view: &RunView<'a>, max_bytes: usize) -> Vec<FailureGroup<'a>> {
    let summary = view.result.summary;
    let causes = summary.causes();
    let is_cause = |failure: &&TargetFailure| causes.contains(&failure.unit);
    let mut groups = group_failures(summary);
    groups.sort_by_key(|group| (group[0].pending, !group.iter().any(is_cause)));
    let mut free_bytes = max_bytes;
    groups
        .into_iter()
        .map(|failures| {
            let first = failures.first();
            let message = first.map_or("", |failure| failure.message.as_str());
            let text = shortened(message, free_bytes.clamp(MIN_TEXT_BYTES, MAX_TEXT_BYTES));
            let help = first.and_then(|failure| failure.help.as_deref()).map(short_help);
            let help = help.filter(|_| free_bytes > 0);
            // Some characters take several bytes once they are escaped.
            let bytes = [Some(&text), help.as_ref()].into_iter().flatten();
            let bytes: usize = bytes.map(|text| markup_lines(text).len()).sum();
            free_bytes = free_bytes.saturating_sub(bytes);
            FailureGroup { failures, text, help }
        })
        .collect()
}

/// Returns the advice for a failure, with a limited length.
pub(super) fn short_help(help: &str) -> String {
    shortened(help, MAX_HELP_BYTES)
}

/// Returns a text of at most about `max_bytes`. Of a longer one, the first line stays, because it says
/// what failed, and the end, because it says why.
pub(super) fn shortened(text: &str, max_bytes: usize) -> String {
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    let first = &first[..boundary(first, max_bytes / 2)];
    let end = &text[boundary(text, text.len() - (max_bytes - first.len()))..];
    format!("{first}\n[... {} bytes left out ...]\n{end}", text.len() - first.len() - end.len())
}

/// Returns the last boundary of a character at or before an index.
fn boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
