//! Turns the bytes of a fuzz input into choices, so that any bytes describe a document.

use serde_json::{Value, json};

/// Texts that parsers, terminals and shells treat specially.
pub(crate) const ODD_TEXTS: [&str; 16] = [
    "",
    " ",
    "~",
    "yes",
    "0x1F",
    "1e999",
    "a: b # c",
    "- x",
    "\"'\\",
    "\u{1b}[31mred",
    "a\nb",
    "a\u{202e}b\u{2066}c",
    "\u{0}\u{7f}\u{85}",
    "\u{2028}\u{feff}é図",
    "::error::x",
    "$(id) ${HOME} `id`",
];

/// Choices that are read from bytes. When no bytes are left, every choice is the first one, so that
/// every document ends.
pub(crate) struct Choices<'b> {
    bytes: &'b [u8],
}

impl<'b> Choices<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// Returns a number below `limit`, which is at most 65,536.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let high = if limit > 256 { usize::from(self.byte()) } else { 0 };
        (high * 256 + usize::from(self.byte())) % limit.max(1)
    }

    /// Returns true with this probability.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        usize::from(self.byte()) * 100 >= 256 * (100 - percent)
    }

    /// Returns one of the items.
    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Returns `make`'s value, or `None` with the remaining probability.
    pub(crate) fn maybe<T>(
        &mut self,
        percent: usize,
        make: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        self.percent(percent).then(|| make(self))
    }

    /// Returns the text with up to three changes; often without any.
    pub(crate) fn mutated(&mut self, text: &str, fragments: &[&str]) -> String {
        let mut text = text.to_owned();
        let changes = if self.percent(30) { 1 + self.below(3) } else { 0 };
        for _ in 0..changes {
            self.mutate(&mut text, fragments);
        }
        text
    }

    /// Changes the text in one place.
    pub(crate) fn mutate(&mut self, text: &mut String, fragments: &[&str]) {
        let mut at = self.below(65_536) % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let line_end = text[at..].find('\n').map_or(text.len(), |length| at + length + 1);
        match self.below(6) {
            0 => text.insert_str(at, self.pick(&ODD_TEXTS)),
            1 => text.insert_str(at, self.pick(fragments)),
            2 => drop(text.drain(at..line_end)),
            3 => text.truncate(at),
            4 => {
                let line_start = text[..at].rfind('\n').map_or(0, |before| before + 1);
                let line = text[line_start..line_end].to_owned();
                text.insert_str(line_start, &line);
            }
            _ => {
                let end =
                    text[at..].char_indices().nth(1).map_or(text.len(), |(next, _)| at + next);
                text.replace_range(at..end, self.pick(fragments));
            }
        }
    }

    /// Replaces up to three values of a JSON document by odd ones; often none. Returns true if it
    /// replaced any.
    pub(crate) fn mutate_json(&mut self, document: &mut Value) -> bool {
        let changes = if self.percent(40) { 1 + self.below(3) } else { 0 };
        for _ in 0..changes {
            self.replace_value(document);
        }
        changes > 0
    }

    fn replace_value(&mut self, value: &mut Value) {
        let stops = self.percent(15);
        match value {
            Value::Array(items) if !items.is_empty() && !stops => {
                let index = self.below(items.len());
                match self.below(8) {
                    0 => drop(items.remove(index)),
                    1 => items.push(items[index].clone()),
                    _ => self.replace_value(&mut items[index]),
                }
            }
            Value::Object(fields) if !fields.is_empty() && !stops => {
                let index = self.below(fields.len());
                let key = fields.keys().nth(index).cloned().unwrap_or_default();
                if self.percent(10) {
                    fields.remove(&key);
                } else if let Some(field) = fields.get_mut(&key) {
                    self.replace_value(field);
                }
            }
            _ => *value = self.odd_value(),
        }
    }

    /// Returns a JSON value that is probably of the wrong type.
    pub(crate) fn odd_value(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(u64::MAX),
            4 => json!(1.5e300),
            5 => json!([]),
            6 => json!({}),
            7 => json!([{ "id": "x" }, null, 3]),
            8 => json!("x".repeat(5_000)),
            _ => json!(self.pick(&ODD_TEXTS)),
        }
    }
}

/// Prints a document if the target panics while it holds this.
pub(crate) struct ShownOnPanic<'d>(pub(crate) &'d str);

impl Drop for ShownOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- document ---\n{}\n--- end ---\n{:?}", self.0, self.0);
        }
    }
}

/// Fails if a text could move a terminal's cursor or change the direction of the text after it.
pub(crate) fn assert_printable(text: &str) {
    let unsafe_char = text
        .chars()
        .find(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert_eq!(unsafe_char, None, "not printable: {text:?}");
}
