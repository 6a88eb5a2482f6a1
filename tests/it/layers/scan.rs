//! Reads Rust source as far as the rules of `layers` need it: words with their lines, without
//! comments and string literals, with or without test code.

use std::collections::BTreeSet;
use std::ops::Range;

/// A word or a mark of the source. Of a string literal, only the quote is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// One name that a `use` brings in.
pub(super) struct Import {
    pub(super) name: String,
    /// The path from the crate's root.
    pub(super) path: Vec<String>,
    /// True for a re-export.
    pub(super) public: bool,
}

/// A source file, read.
pub(super) struct Source {
    /// The path from the repository's root: `src/plan/build.rs`.
    pub(super) path: String,
    /// The lines above the first item that begin with `//!`.
    pub(super) doc: String,
    /// Everything without comments and test code.
    pub(super) tokens: Vec<Token>,
    /// Number of lines without test code.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn read(path: &str, text: &str) -> Self {
        let doc = text.lines().take_while(|line| line.starts_with("//!"));
        let doc = doc.map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>();
        let mut tokens = tokens(text);
        let mut lines = text.lines().count();
        while let Some(range) = tests(&tokens) {
            lines -= tokens[range.end - 1].line - tokens[range.start].line + 1;
            tokens.drain(range);
        }
        Self { path: path.to_owned(), doc: doc.join(" "), tokens, lines }
    }

    /// The modules that the file stands for: `plan`, `build` for `src/plan/build.rs`.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        module
    }

    /// Returns the lines on which these words and marks follow each other.
    pub(super) fn find<'a>(&'a self, words: &'a str) -> impl Iterator<Item = usize> + 'a {
        let words = tokens(words);
        self.tokens
            .windows(words.len())
            .filter(move |window| window.iter().zip(&words).all(|(a, b)| a.text == b.text))
            .map(|window| window[0].line)
    }

    /// Every path into the crate, from its root, with its line: `crate::a::{b, c::d}` are
    /// `a::b` and `a::c::d`, and so is `super::b`, seen from `a::x`.
    pub(super) fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = at;
            at += 1;
            let mut root = match self.text(start) {
                "crate" => Vec::new(),
                "super" => self.module(),
                _ => continue,
            };
            // `pub(in crate::x)` shows something; it takes nothing.
            let before = start.checked_sub(1).map_or("", |before| self.text(before));
            if before == "in" || before == "::" || self.text(at) != "::" {
                continue;
            }
            if self.text(start) == "super" {
                root.pop();
                while self.text(at) == "::" && self.text(at + 1) == "super" {
                    root.pop();
                    at += 2;
                }
            }
            let line = self.tokens[start].line;
            let mut paths = Vec::new();
            at = self.tree(at + 1, &root, &mut paths);
            found.extend(paths.into_iter().map(|path| (line, path)));
        }
        found
    }

    /// Returns the types that the file defines; true for those that other files see.
    pub(super) fn types(&self) -> Vec<(&str, bool)> {
        let is_method = |at: usize| at.checked_sub(1).is_some_and(|dot| self.text(dot) == ".");
        let keyword = |at: &usize| {
            matches!(self.text(*at), "struct" | "enum" | "trait" | "union") && !is_method(*at)
        };
        let found = (0..self.tokens.len()).filter(keyword);
        found
            .map(|at| {
                let before = at.checked_sub(1).map_or("", |before| self.text(before));
                (self.text(at + 1), matches!(before, "pub" | ")"))
            })
            .collect()
    }

    /// The child modules that have a file of their own: `mod name;`.
    fn children(&self) -> BTreeSet<&str> {
        let named = |at: usize| self.text(at) == "mod" && self.text(at + 2) == ";";
        (0..self.tokens.len()).filter(|at| named(*at)).map(|at| self.text(at + 1)).collect()
    }

    /// Every `use` of a path into the crate.
    pub(super) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if self.text(at) != "use" {
                at += 1;
                continue;
            }
            let before = at.checked_sub(1).map_or("", |before| self.text(before));
            let public = matches!(before, "pub" | ")");
            at = self.import(at + 1, None, public, &mut imports);
        }
        imports
    }

    /// Reads one tree of a `use`; returns the position of its end. `root` is `None` at the start.
    fn import(
        &self,
        mut at: usize,
        root: Option<&[String]>,
        public: bool,
        imports: &mut Vec<Import>,
    ) -> usize {
        let mut path = root.map(<[String]>::to_vec);
        loop {
            match (self.text(at), &mut path) {
                ("{", _) => {
                    while !matches!(self.text(at), "}" | "") {
                        at = self.import(at + 1, path.as_deref(), public, imports);
                    }
                    return at + 1;
                }
                ("}" | "" | ";", _) => return at,
                ("crate", None) => path = Some(Vec::new()),
                ("self", None) => path = Some(self.module()),
                ("super", None) => {
                    path = Some(self.module());
                    path.as_mut().map(Vec::pop);
                }
                ("super", Some(path)) => drop(path.pop()),
                (word, None) if self.children().contains(word) => {
                    path = Some([self.module(), vec![word.to_owned()]].concat());
                }
                // `self` in a list, or another crate.
                ("self", Some(_)) | (_, None) => {}
                (word, Some(path)) => path.push(word.to_owned()),
            }
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        let mut name = path.as_ref().and_then(|path| path.last().cloned());
        if self.text(at) == "as" {
            name = Some(self.text(at + 1).to_owned());
            at += 2;
        }
        if let (Some(path), Some(name)) = (path, name) {
            imports.push(Import { name, path, public });
        }
        at
    }

    /// The paths into the crate that the code depends on: all but re-exports.
    pub(super) fn uses(&self) -> BTreeSet<Vec<String>> {
        let imports = self.imports();
        let public: BTreeSet<&Vec<String>> =
            imports.iter().filter(|import| import.public).map(|import| &import.path).collect();
        let mut uses: BTreeSet<Vec<String>> =
            self.paths().into_iter().map(|(_, path)| path).collect();
        uses.retain(|path| !public.contains(path));
        uses.extend(imports.iter().filter(|i| !i.public).map(|import| import.path.clone()));
        let children = self.children();
        let mut in_use = false;
        for at in 0..self.tokens.len() {
            match self.text(at) {
                "use" => in_use = true,
                ";" => in_use = false,
                name if in_use || !children.contains(name) || self.text(at + 1) != "::" => {}
                // `name::` after `::` is the end of a longer path.
                _ if at > 0 && self.text(at - 1) == "::" => {}
                name => {
                    let path = [name.to_owned(), self.text(at + 2).to_owned()];
                    uses.insert([self.module().as_slice(), &path].concat());
                }
            }
        }
        uses
    }

    /// Reads the path after a `::`; returns the position of its end.
    fn tree(&self, mut at: usize, root: &[String], found: &mut Vec<Vec<String>>) -> usize {
        let mut path = root.to_vec();
        loop {
            match self.text(at) {
                "{" => {
                    while !matches!(self.text(at), "}" | "") {
                        at = self.tree(at + 1, &path, found);
                        while !matches!(self.text(at), "," | "}" | "") {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                "self" => {}
                // A list's last comma, or the `<` of `::<`.
                "}" | "<" | "" => break,
                word => path.push(word.to_owned()),
            }
            at += 1;
            if self.text(at) != "::" {
                break;
            }
            at += 1;
        }
        if path.len() > root.len() || self.text(at.saturating_sub(1)) == "self" {
            found.push(path);
        }
        at
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }
}

/// Returns the range of the first item of test code, from its attribute to its end.
fn tests(tokens: &[Token]) -> Option<Range<usize>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| &token.text);
    let is_test = |at: &usize| {
        let words = ["#", "[", "cfg", "("];
        let all = text(at + 4) == "all" && text(at + 6) == "test";
        (0..4).all(|i| text(at + i) == words[i]) && (text(at + 4) == "test" || all)
    };
    let start = (0..tokens.len()).find(is_test)?;
    let mut depth = 0;
    for at in start..tokens.len() {
        match text(at) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" if depth > 1 => depth -= 1,
            ";" if depth > 0 => {}
            "}" | ";" => return Some(start..at + 1),
            _ => {}
        }
    }
    Some(start..tokens.len())
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (len, kept) = token(rest, first);
        if kept && !first.is_whitespace() {
            let text = if first == '"' { "\"" } else { &rest[..len] };
            tokens.push(Token { text: text.to_owned(), line });
        }
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// Returns the length of the first token, and true if it is not a comment.
fn token(rest: &str, first: char) -> (usize, bool) {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), false);
    }
    if let Some(len) = raw_text(rest) {
        return (len, false);
    }
    let after_first = &rest[first.len_utf8()..];
    let len = match first {
        '"' => 1 + text_end(after_first, '"'),
        '\'' => {
            let mut chars = after_first.chars();
            match (chars.next(), chars.next()) {
                (Some('\\'), _) => 1 + text_end(after_first, '\''),
                (Some(c), Some('\'')) => 2 + c.len_utf8(),
                // A lifetime.
                _ => 1,
            }
        }
        c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
        ':' if rest.starts_with("::") => 2,
        c => c.len_utf8(),
    };
    (len, true)
}

fn raw_text(rest: &str) -> Option<usize> {
    let marks = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let body = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

/// Returns the length of a string literal up to and including its closing quote.
fn text_end(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    body.len()
}

#[test]
fn paths() {
    let text = r##"
        //! use crate::no1;
        use crate::a::{B, c::{self, D}, e as f};
        use super::g; use super::super::h::I;
        pub(in crate::no2) fn x() -> crate::j { "use crate::no3"; r#"crate::"no4"#; 'c'; crate::k::<T>() }
        /* crate::no5 */ fn y<'a>(c: char) { let d = '"'; crate::l::M::N }
        #[cfg(test)] mod tests { use crate::no6; }
        #[cfg(test)] mod files;
        use crate::{o, p::*};
        use self::no7; pub(super) fn q() {}
    "##;
    let source = Source::read("src/x/y.rs", text);
    let paths: Vec<String> = source.paths().iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(
        paths,
        ["a::B", "a::c", "a::c::D", "a::e", "x::g", "h::I", "j", "k", "l::M::N", "o", "p::*"]
    );
    assert_eq!(source.paths()[4].0, 4);
    assert_eq!(source.lines, text.lines().count() - 2);
}
