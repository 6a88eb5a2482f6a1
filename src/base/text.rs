//! Writes lists, counts, durations, wrapped lines and shell words for people. Pure.

use std::fmt::Display;
use std::time::Duration;

use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

/// Returns the first `max` items, and how many more there are: `a, b and 3 more`.
///
/// ```
/// use imgplan::test_support::base::text::list;
/// assert_eq!(list(["a", "b"], 2), "a, b");
/// assert_eq!(list(["a", "b", "c", "d"], 2), "a, b and 2 more");
/// ```
pub fn list<T: Display>(items: impl IntoIterator<Item = T>, max: usize) -> String {
    let mut items = items.into_iter();
    let named: Vec<String> = items.by_ref().take(max).map(|item| item.to_string()).collect();
    match (named.join(", "), items.count()) {
        (named, 0) => named,
        (named, more) => format!("{named} and {more} more"),
    }
}

/// Returns a count and its noun: `1 image`, `3 images`, `2 entries`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => format!("1 {noun}"),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

/// Returns a duration in its two largest units: `0.4s`, `14s`, `2m05s`, `1h02m`, `8d02h`.
pub(crate) fn duration(time: Duration) -> String {
    let secs = time.as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, s @ 0..10) => format!("{s}.{}s", time.subsec_millis() / 100),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
    }
}

/// Returns a duration as flags and the manifest write it, exact to the millisecond: `90m`, `7d`,
/// `1500ms`. [`parse_duration`](super::limit::parse_duration) reads it back.
pub(crate) fn exact_duration(time: Duration) -> String {
    const UNITS: [(u128, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let millis = time.as_millis();
    match UNITS.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// Returns the number of terminal columns that a text takes: a CJK character takes two.
pub(crate) fn columns(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// Breaks a text at its blanks into lines of at most `width` columns; all lines but the first are
/// indented by `indent` blanks. A word that is wider than a line is not broken: it may be a command
/// or a path to copy.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let indent = " ".repeat(indent);
    let options = textwrap::Options::new(width)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(text, options)
}

/// Returns a word of a command line, quoted where a shell would otherwise not read it as it is.
pub(crate) fn shell_word(word: &str) -> String {
    // shlex quotes `initiate=50/2s` and `a,b` as well; no shell changes these in an argument.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    // The only error is a NUL byte, which no argument of a program can have.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::limit::parse_duration;
    use super::*;

    #[test]
    fn list_names_the_first_items() {
        assert_eq!(list([""; 0], 3), "");
        assert_eq!(list(["a"], 3), "a");
        assert_eq!(list(["a", "b", "c"], 3), "a, b, c");
        assert_eq!(list(["a", "b", "c"], 1), "a and 2 more");
        assert_eq!(list(["a", "b", "c"], usize::MAX), "a, b, c");
    }

    #[test]
    fn plural_follows_the_count() {
        let plurals = [(0, "image"), (1, "entry"), (2, "entry"), (2, "day"), (3, "base image")];
        let texts = plurals.map(|(count, noun)| plural(count, noun));
        assert_eq!(texts, ["0 images", "1 entry", "2 entries", "2 days", "3 base images"]);
    }

    #[test]
    fn duration_has_two_units() {
        let texts = [0, 400, 9_999, 14_000, 125_000, 3_720_000, 700_000_000]
            .map(|millis| duration(Duration::from_millis(millis)));
        assert_eq!(texts, ["0.0s", "0.4s", "9.9s", "14s", "2m05s", "1h02m", "8d02h"]);
    }

    #[test]
    fn exact_duration_has_the_largest_whole_unit() {
        let texts = [0, 1_500, 2_000, 5_400_000, 7_200_000, 604_800_000]
            .map(|millis| exact_duration(Duration::from_millis(millis)));
        assert_eq!(texts, ["0ms", "1500ms", "2s", "90m", "2h", "7d"]);
    }

    #[test]
    fn wrap_breaks_between_words() {
        let text = "Cost: 3 builds with 1.2 MB to pack.";
        assert_eq!(wrap(text, 20, 2), "Cost: 3 builds with\n  1.2 MB to pack.");
        assert_eq!(wrap("averylongword x", 4, 2), "averylongword\n  x");
        // Several blanks separate columns and stay.
        assert_eq!(wrap("a   b", 9, 0), "a   b");
        // Two columns for each character.
        assert_eq!(wrap("図書 図書 図書", 9, 0), "図書 図書\n図書");
    }

    #[test]
    fn shell_words_are_quoted_where_needed() {
        let words = ["a/b:1", "initiate=50/2s", "a,b", "my apps", "it's.yaml", "*.tag=v1", ""];
        let quoted = words.map(shell_word);
        assert_eq!(
            quoted,
            ["a/b:1", "initiate=50/2s", "a,b", "'my apps'", "\"it's.yaml\"", "'*.tag=v1'", "''"]
        );
    }

    proptest! {
        #[test]
        fn wrap_loses_no_word(text in "[a-c ]{0,60}", width in 1usize..30, indent in 0usize..4) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&wrap(&text, width, indent)), words(&text));
        }

        #[test]
        fn exact_duration_is_read_back(millis in 0u64..10_000_000_000) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&exact_duration(time)), Some(time));
        }

        #[test]
        fn shell_word_is_read_back(word in "[ -~é\n]{0,20}") {
            prop_assert_eq!(shlex::split(&shell_word(&word)), Some(vec![word]));
        }
    }
}
