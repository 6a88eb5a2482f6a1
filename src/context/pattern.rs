//! Turns one pattern of a `.dockerignore` into something that matches paths. Pure.
//!
//! Docker's documentation names Go's `filepath.Match` and `**`; what decides in practice is the
//! matcher of moby, which makes a regular expression of a pattern. Both show here: a pattern must
//! be one that `filepath.Match` accepts, and then means what moby's expression means, which for
//! stars within brackets or `\d` is not the same.

use std::fmt::Write;

use regex::Regex;

/// What a pattern has become.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    /// The path itself.
    Exact(String),
    /// What begins so: `dir/**`.
    Prefix(String),
    /// What ends so: `**/name`, `**.md`.
    Suffix(Vec<u8>),
    /// Anything else; the text is what every path that matches ends with, if that can be told.
    Regex(String, Regex),
}

impl Matcher {
    /// Reads a pattern that was cleaned. The error is a sentence without a full stop.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        check(pattern)?;
        let (kind, go) = translate(pattern);
        Ok(match kind {
            Kind::Exact => Self::Exact(pattern.to_owned()),
            Kind::Prefix => Self::Prefix(pattern[..pattern.len() - 2].to_owned()),
            Kind::Suffix => Self::Suffix(pattern.as_bytes()[2..].to_owned()),
            Kind::Regex => {
                let regex = Dialect::new(&go).convert()?;
                let regex =
                    Regex::new(&regex).map_err(|_| "the pattern is too large".to_owned())?;
                Self::Regex(tail(pattern).to_owned(), regex)
            }
        })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix),
            // `**/name` is also the name alone, at the root.
            Self::Suffix(suffix) => {
                let path = path.as_bytes();
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            // Few paths end so, and to look is much cheaper than to run the expression.
            Self::Regex(tail, regex) => {
                (tail.is_empty() || path.ends_with(tail)) && regex.is_match(path)
            }
        }
    }
}

/// The shortest path that names the same, without asking a file system: Go's `filepath.Clean`.
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

/// Whether `filepath.Match` accepts a pattern: brackets that close and hold well-formed ranges,
/// and a character after every backslash.
fn check(pattern: &str) -> Result<(), String> {
    const ESCAPE: &str = "a backslash stands at the end, with nothing to escape";
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
                        None => Err("a `[` is not closed"),
                        Some('-') => Err("a `-` within brackets stands between two characters"),
                        Some('\\') => chars.next().ok_or(ESCAPE).map(Some),
                        Some(']') => Ok(None),
                        Some(c) => Ok(Some(c)),
                    };
                    match bound()? {
                        None if any => break,
                        None => return Err("there is nothing between `[` and `]`".to_owned()),
                        Some(_) => any = true,
                    }
                    if chars.next_if_eq(&'-').is_some() {
                        let high = match chars.next() {
                            Some('\\') => chars.next(),
                            Some('-' | ']') => None,
                            high => high,
                        };
                        high.ok_or("a range within brackets has no end")?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The plain text that a pattern ends with. An alternative need not end like the whole pattern, and
/// what follows a backslash need not be plain.
fn tail(pattern: &str) -> &str {
    if pattern.contains(['|', '\\']) {
        return "";
    }
    let special = ['*', '?', '[', ']', '{', '}', '^', '/'];
    pattern.rsplit(special).next().unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

/// Makes a regular expression in Go's dialect, as moby does, and says whether it is needed.
fn translate(pattern: &str) -> (Kind, String) {
    let mut kind = Kind::Exact;
    let mut regex = String::from("^");
    // moby's reader passes over a byte order mark; its comparisons of text do not.
    let mut chars = pattern.strip_prefix('\u{feff}').unwrap_or(pattern).chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` is `**`: it stands for any number of folders, and for none.
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    kind = Kind::Regex;
                } else if kind == Kind::Exact {
                    kind = Kind::Prefix;
                } else {
                    regex.push_str(".*");
                    kind = Kind::Regex;
                }
                if first {
                    kind = Kind::Suffix;
                }
            }
            '*' | '?' => {
                regex.push_str(if c == '*' { "[^/]*" } else { "[^/]" });
                kind = Kind::Regex;
            }
            // moby means to escape `{`, `|` and `}` as well, but its table has no room for them.
            '.' | '+' | '(' | ')' | '$' => regex.extend(['\\', c]),
            '\\' => {
                regex.push(c);
                if let Some(escaped) = chars.next() {
                    regex.push(escaped);
                    kind = Kind::Regex;
                }
            }
            '[' | ']' => {
                regex.push(c);
                kind = Kind::Regex;
            }
            c => regex.push(c),
        }
        first = false;
    }
    regex.push('$');
    (kind, regex)
}

/// Writes an expression of Go's dialect, as [`translate`] makes them, in that of the `regex` crate:
/// there `[[` and `&&` within brackets are set algebra, and `\d` knows all of Unicode.
struct Dialect<'p> {
    rest: &'p str,
    out: String,
    before: Before,
}

/// What a repetition would repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Atom,
    Repetition,
}

impl<'p> Dialect<'p> {
    fn new(rest: &'p str) -> Self {
        Self { rest, out: String::new(), before: Before::Nothing }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn literal(&mut self, c: char) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
    }

    fn convert(mut self) -> Result<String, String> {
        while let Some(c) = self.next() {
            let mut before = Before::Atom;
            match c {
                '\\' => match self.escape()? {
                    Escape::Char(c) => self.literal(c),
                    Escape::Class(class) => {
                        self.out.push('[');
                        self.out.push_str(class);
                        self.out.push(']');
                    }
                },
                '[' => self.class()?,
                '{' => {
                    if self.repetition()? {
                        before = Before::Repetition;
                    } else {
                        self.literal('{');
                    }
                }
                // These are the translation's own, since a pattern's are escaped; but for `^` and
                // `|`, which moby lets through.
                '^' | '$' | '.' | ')' => self.out.push(c),
                '(' | '|' => {
                    self.out.push(c);
                    before = Before::Nothing;
                }
                '*' | '?' => {
                    self.out.push(c);
                    before = Before::Repetition;
                }
                c => self.literal(c),
            }
            self.before = before;
        }
        Ok(self.out)
    }

    /// `{2}`, `{2,}` or `{2,3}`; any other brace is a character.
    fn repetition(&mut self) -> Result<bool, String> {
        let Some((inner, rest)) = self.rest.split_once('}') else { return Ok(false) };
        // Go reads no number that begins with a needless zero.
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
            return Err(format!("`{{{inner}}}` is read as a repetition that is out of bounds"));
        }
        if self.before != Before::Atom {
            return Err(format!("`{{{inner}}}` is read as a repetition, of nothing"));
        }
        self.rest = rest;
        let _ = write!(self.out, "{{{inner}}}");
        Ok(true)
    }

    fn escape(&mut self) -> Result<Escape, String> {
        let refused = |c: char| {
            format!("`\\{c}` is read as a part of a regular expression: drop the backslash")
        };
        Ok(match self.next() {
            None => return Err("a backslash stands at the end".to_owned()),
            Some('d') => Escape::Class("0-9"),
            Some('D') => Escape::Class("^0-9"),
            Some('s') => Escape::Class("\\t\\n\\x0c\\r\\x20"),
            Some('S') => Escape::Class("^\\t\\n\\x0c\\r\\x20"),
            Some('w') => Escape::Class("0-9A-Za-z_"),
            Some('W') => Escape::Class("^0-9A-Za-z_"),
            Some('a') => Escape::Char('\u{7}'),
            Some('f') => Escape::Char('\u{c}'),
            Some('n') => Escape::Char('\n'),
            Some('r') => Escape::Char('\r'),
            Some('t') => Escape::Char('\t'),
            Some('v') => Escape::Char('\u{b}'),
            Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() => Escape::Char(c),
            Some(c) => return Err(refused(c)),
        })
    }

    /// What stands between brackets. A `]` right after the opening is a character.
    fn class(&mut self) -> Result<(), String> {
        const OPEN: &str = "a `[` is not closed";
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if let Some(rest) = self.rest.strip_prefix(']')
                && !first
            {
                self.rest = rest;
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if self.named_class()? {
                continue;
            }
            let low = match self.next().ok_or(OPEN)? {
                '\\' => match self.escape()? {
                    Escape::Char(c) => c,
                    Escape::Class(class) => {
                        self.out.push('[');
                        self.out.push_str(class);
                        self.out.push(']');
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
            let high = match self.next().ok_or(OPEN)? {
                '\\' => match self.escape()? {
                    Escape::Char(c) => c,
                    Escape::Class(_) => return Err("a range has a class for its end".to_owned()),
                },
                c => c,
            };
            if high < low {
                return Err(format!("the range `{low}-{high}` runs backwards"));
            }
            self.out.push('-');
            self.literal(high);
        }
    }

    /// `[:alpha:]` and its kin, which exist within brackets only.
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
            return Err(format!("`[:{inner}:]` is not a class of characters"));
        }
        self.rest = rest;
        let _ = write!(self.out, "[:{inner}:]");
        Ok(true)
    }
}

enum Escape {
    Char(char),
    Class(&'static str),
}
