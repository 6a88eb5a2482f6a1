//! Compiles one pattern of a `.dockerignore` into a matcher for paths. Pure.
//!
//! Docker documents the syntax of Go's `filepath.Match` and `**`, but its matcher (in moby)
//! translates a pattern into a regular expression. So a pattern must be one that `filepath.Match`
//! accepts, and its meaning is that of moby's regular expression. The two differ, for example for
//! stars within brackets and for `\d`.

use std::fmt::Write;

use regex::Regex;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    /// Matches exactly this path.
    Exact(String),
    /// Matches paths with this prefix: `dir/**`.
    Prefix(String),
    /// Matches paths with this suffix: `**/name`, `**.md`.
    Suffix(Vec<u8>),
    /// Matches a regular expression. The text is the end of every path that matches, or empty if
    /// it is not known.
    Regex(String, Regex),
}

impl Matcher {
    /// Compiles a cleaned pattern. Fails with a sentence without a full stop.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        check(pattern)?;
        let (kind, go_regex) = translate(pattern);
        Ok(match kind {
            MatcherKind::Exact => Self::Exact(pattern.to_owned()),
            MatcherKind::Prefix => Self::Prefix(pattern[..pattern.len() - 2].to_owned()),
            MatcherKind::Suffix => Self::Suffix(pattern.as_bytes()[2..].to_owned()),
            MatcherKind::Regex => {
                let regex = GoRegexConverter::new(&go_regex).convert()?;
                let regex =
                    Regex::new(&regex).map_err(|_| "the pattern is too large".to_owned())?;
                Self::Regex(literal_suffix(pattern).to_owned(), regex)
            }
        })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix),
            // `**/name` also matches the name at the root.
            Self::Suffix(suffix) => {
                let path = path.as_bytes();
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            // Comparing the suffix first is much faster than running the expression on each path.
            Self::Regex(suffix, regex) => {
                (suffix.is_empty() || path.ends_with(suffix)) && regex.is_match(path)
            }
        }
    }
}

/// Returns the shortest equivalent path without using the file system, as Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Fails if `filepath.Match` rejects the pattern: brackets must be closed and contain well-formed
/// ranges, and a character must follow every backslash.
fn check(pattern: &str) -> Result<(), String> {
    const ESCAPE: &str = "a backslash at the end escapes nothing";
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next().ok_or(ESCAPE)?;
            }
            '[' => {
                chars.next_if_eq(&'^');
                let mut any = false;
                loop {
                    let mut bound = || match chars.next() {
                        None => Err("missing `]`"),
                        Some('-') => Err("`-` in brackets must be between two characters"),
                        Some('\\') => chars.next().ok_or(ESCAPE).map(Some),
                        Some(']') => Ok(None),
                        Some(c) => Ok(Some(c)),
                    };
                    match bound()? {
                        None if any => break,
                        None => return Err("the brackets are empty".to_owned()),
                        Some(_) => any = true,
                    }
                    if chars.next_if_eq(&'-').is_some() {
                        let high = match chars.next() {
                            Some('\\') => chars.next(),
                            Some('-' | ']') => None,
                            high => high,
                        };
                        high.ok_or("a range in brackets has no end")?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the literal text at the end of a pattern. It is empty if the pattern has alternatives,
/// which can end in different ways, or escapes, which need not be literal.
fn literal_suffix(pattern: &str) -> &str {
    if pattern.contains(['|', '\\']) {
        return "";
    }
    let special = ['*', '?', '[', ']', '{', '}', '^', '/'];
    pattern.rsplit(special).next().unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MatcherKind {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// Translates a pattern to a regular expression in Go's syntax, as moby does, and returns the
/// simplest kind of matcher for it.
fn translate(pattern: &str) -> (MatcherKind, String) {
    let mut kind = MatcherKind::Exact;
    let mut regex = String::from("^");
    // moby skips a byte order mark here, but not when it compares text.
    let mut chars = pattern.strip_prefix('\u{feff}').unwrap_or(pattern).chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` means `**`: any number of folders, including none.
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    kind = MatcherKind::Regex;
                } else if kind == MatcherKind::Exact {
                    kind = MatcherKind::Prefix;
                } else {
                    regex.push_str(".*");
                    kind = MatcherKind::Regex;
                }
                if first {
                    kind = MatcherKind::Suffix;
                }
            }
            '*' | '?' => {
                regex.push_str(if c == '*' { "[^/]*" } else { "[^/]" });
                kind = MatcherKind::Regex;
            }
            // moby intends to escape `{`, `|` and `}` too, but its table is too short for them.
            '.' | '+' | '(' | ')' | '$' => regex.extend(['\\', c]),
            '\\' => {
                regex.push(c);
                if let Some(escaped) = chars.next() {
                    regex.push(escaped);
                    kind = MatcherKind::Regex;
                }
            }
            '[' | ']' => {
                regex.push(c);
                kind = MatcherKind::Regex;
            }
            c => regex.push(c),
        }
        first = false;
    }
    regex.push('$');
    (kind, regex)
}

/// Converts a regular expression of [`translate`] from Go's syntax to that of the crate `regex`, in
/// which `[[` and `&&` in brackets are set operations, and `\d` matches all Unicode digits.
struct GoRegexConverter<'p> {
    rest: &'p str,
    converted: String,
    preceding: PrecedingItem,
}

/// The kind of item before the current position: only an atom can be repeated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PrecedingItem {
    Nothing,
    Atom,
    Repetition,
}

impl<'p> GoRegexConverter<'p> {
    fn new(rest: &'p str) -> Self {
        Self { rest, converted: String::new(), preceding: PrecedingItem::Nothing }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn literal(&mut self, c: char) {
        // Writing to a string cannot fail.
        let _ = write!(self.converted, "\\x{{{:x}}}", u32::from(c));
    }

    fn convert(mut self) -> Result<String, String> {
        while let Some(c) = self.next() {
            let mut preceding = PrecedingItem::Atom;
            match c {
                '\\' => match self.escape()? {
                    EscapeSequence::Char(c) => self.literal(c),
                    EscapeSequence::Class(class) => {
                        self.converted.push('[');
                        self.converted.push_str(class);
                        self.converted.push(']');
                    }
                },
                '[' => self.class()?,
                '{' => {
                    if self.repetition()? {
                        preceding = PrecedingItem::Repetition;
                    } else {
                        self.literal('{');
                    }
                }
                // `translate` wrote these: it escapes those of the pattern, except for `^` and
                // `|`, which moby does not escape.
                '^' | '$' | '.' | ')' => self.converted.push(c),
                '(' | '|' => {
                    self.converted.push(c);
                    preceding = PrecedingItem::Nothing;
                }
                '*' | '?' => {
                    self.converted.push(c);
                    preceding = PrecedingItem::Repetition;
                }
                c => self.literal(c),
            }
            self.preceding = preceding;
        }
        Ok(self.converted)
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`. Returns false for any other brace, which is a literal.
    fn repetition(&mut self) -> Result<bool, String> {
        let Some((inner, rest)) = self.rest.split_once('}') else { return Ok(false) };
        // Go does not accept leading zeros.
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            (digits && (text == "0" || !text.starts_with('0')))
                .then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let (low, high) = match inner.split_once(',') {
            None => (number(inner), number(inner)),
            Some((low, "")) => (number(low), number(low)),
            Some((low, high)) => (number(low), number(high)),
        };
        let (Some(low), Some(high)) = (low, high) else { return Ok(false) };
        if low > 1000 || high > 1000 || low > high {
            return Err(format!("`{{{inner}}}` means a repetition, and its count is out of range"));
        }
        if self.preceding != PrecedingItem::Atom {
            return Err(format!(
                "`{{{inner}}}` means a repetition, but nothing before it can be repeated"
            ));
        }
        self.rest = rest;
        let _ = write!(self.converted, "{{{inner}}}");
        Ok(true)
    }

    fn escape(&mut self) -> Result<EscapeSequence, String> {
        let unsupported =
            |c: char| format!("`\\{c}` is an escape of regular expressions: remove the backslash");
        Ok(match self.next() {
            None => return Err("a backslash at the end escapes nothing".to_owned()),
            Some('d') => EscapeSequence::Class("0-9"),
            Some('D') => EscapeSequence::Class("^0-9"),
            Some('s') => EscapeSequence::Class("\\t\\n\\x0c\\r\\x20"),
            Some('S') => EscapeSequence::Class("^\\t\\n\\x0c\\r\\x20"),
            Some('w') => EscapeSequence::Class("0-9A-Za-z_"),
            Some('W') => EscapeSequence::Class("^0-9A-Za-z_"),
            Some('a') => EscapeSequence::Char('\u{7}'),
            Some('f') => EscapeSequence::Char('\u{c}'),
            Some('n') => EscapeSequence::Char('\n'),
            Some('r') => EscapeSequence::Char('\r'),
            Some('t') => EscapeSequence::Char('\t'),
            Some('v') => EscapeSequence::Char('\u{b}'),
            Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() => EscapeSequence::Char(c),
            Some(c) => return Err(unsupported(c)),
        })
    }

    /// Reads a class in brackets. A `]` directly after the opening bracket is a literal.
    fn class(&mut self) -> Result<(), String> {
        const UNCLOSED: &str = "missing `]`";
        self.converted.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.converted.push('^');
        }
        let mut first = true;
        loop {
            if let Some(rest) = self.rest.strip_prefix(']')
                && !first
            {
                self.rest = rest;
                self.converted.push(']');
                return Ok(());
            }
            first = false;
            if self.named_class()? {
                continue;
            }
            let low = match self.next().ok_or(UNCLOSED)? {
                '\\' => match self.escape()? {
                    EscapeSequence::Char(c) => c,
                    EscapeSequence::Class(class) => {
                        self.converted.push('[');
                        self.converted.push_str(class);
                        self.converted.push(']');
                        continue;
                    }
                },
                c => c,
            };
            self.literal(low);
            let Some(high) = self.rest.strip_prefix('-').filter(|rest| !rest.starts_with(']'))
            else {
                continue;
            };
            self.rest = high;
            let high = match self.next().ok_or(UNCLOSED)? {
                '\\' => match self.escape()? {
                    EscapeSequence::Char(c) => c,
                    EscapeSequence::Class(_) => {
                        return Err("a range cannot end with a class of characters".to_owned());
                    }
                },
                c => c,
            };
            if high < low {
                return Err(format!("the range `{low}-{high}` is reversed"));
            }
            self.converted.push('-');
            self.literal(high);
        }
    }

    /// Reads a named class such as `[:alpha:]`, which is allowed only in brackets.
    fn named_class(&mut self) -> Result<bool, String> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let Some((inner, rest)) =
            self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(false);
        };
        if !NAMES.contains(&inner.strip_prefix('^').unwrap_or(inner)) {
            return Err(format!("unknown class of characters `[:{inner}:]`"));
        }
        self.rest = rest;
        let _ = write!(self.converted, "[:{inner}:]");
        Ok(true)
    }
}

enum EscapeSequence {
    Char(char),
    Class(&'static str),
}
