//! The explanation of targets as Markdown: a heading for each, and its reasons as a block of code, which
//! keeps their indentation. Pure.

use super::super::human::HumanReporter;
use super::super::markup::{block, code, prose};
use super::super::why::WhyView;
use super::super::{Progress, ReportOptions, Verbosity};
use super::Room;

/// Options of the text in a block: neither coloured nor cut.
const PLAIN: ReportOptions = ReportOptions {
    color_stdout: false,
    color_stderr: false,
    width: 100,
    columns: None,
    verbosity: Verbosity::Normal,
    hints: false,
    progress: Progress::Lines,
};

/// Returns the explanation of targets.
pub(crate) fn why(view: &WhyView<'_>, max_bytes: usize) -> String {
    let mut room = Room::new(max_bytes);
    let notes = view.plan.notes().map(|note| format!("**Note:** {}\n\n", prose(&note)));
    let notes = room.rows(notes);
    let targets = view.units.iter().map(|key| {
        let (mut text, mut err) = (Vec::new(), Vec::new());
        let mut reporter = HumanReporter::new(&mut text, &mut err, PLAIN);
        // Writing into a vector cannot fail.
        let _ = reporter.target(view, key);
        let text = String::from_utf8_lossy(&text);
        let lines = block(text.lines().map(str::to_owned));
        format!("### {}\n\n{lines}\n", code(&key.to_string()))
    });
    let targets = room.rows(targets);
    format!("{notes}{targets}{}", room.left_out_line().trim_start())
}
