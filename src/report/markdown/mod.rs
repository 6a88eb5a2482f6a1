//! Markdown for the comment of a pull request and for the step summary of GitHub Actions: a plan
//! ([`plan()`]), the result of a run ([`result()`]), and the explanation of targets ([`why()`]). Every
//! value is escaped, and every text has a limited length: what does not fit is left out row by row, and
//! counted in the last line. Pure.

mod plan;
mod result;
mod why;

pub(crate) use self::plan::plan;
pub(crate) use self::result::result;
pub(in crate::report) use self::result::{Extras, result_with};
pub(crate) use self::why::why;

use crate::base::text::plural;

/// Maximum number of bytes of a text. A comment at GitHub has at most 65,536 characters.
pub(crate) const MAX_COMMENT_BYTES: usize = 65_000;

/// Bytes reserved for the line on rows that were left out.
const LEFT_OUT_LINE_BYTES: usize = 100;

/// The bytes of a text that are still free, and the rows that did not fit.
#[derive(Debug)]
struct Room {
    free_bytes: usize,
    left_out: usize,
}

impl Room {
    fn new(max_bytes: usize) -> Self {
        Self { free_bytes: max_bytes.saturating_sub(LEFT_OUT_LINE_BYTES), left_out: 0 }
    }

    /// Takes the bytes of a text, if there are enough.
    fn takes(&mut self, text: &str) -> bool {
        let rest = self.free_bytes.checked_sub(text.len());
        self.free_bytes = rest.unwrap_or(self.free_bytes);
        rest.is_some()
    }

    /// Returns a row, or an empty text if there is no room for it.
    fn row(&mut self, row: String) -> String {
        if self.takes(&row) {
            return row;
        }
        self.left_out += 1;
        String::new()
    }

    /// Returns the rows that fit.
    fn rows(&mut self, rows: impl IntoIterator<Item = String>) -> String {
        rows.into_iter().map(|row| self.row(row)).collect()
    }

    /// Returns a heading with the rows that fit; empty without any.
    fn table(&mut self, heading: &str, rows: impl IntoIterator<Item = String>) -> String {
        let rows: Vec<String> = rows.into_iter().collect();
        if !self.takes(heading) {
            self.left_out += rows.len();
            return String::new();
        }
        format!("{heading}{}", self.rows(rows))
    }

    /// Returns the line on rows that were left out; empty if there are none.
    fn left_out_line(&self) -> String {
        match self.left_out {
            0 => String::new(),
            rows => format!("\n_{} left out: the text would be too long._\n", plural(rows, "row")),
        }
    }
}
