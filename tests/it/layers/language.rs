//! The rules of language that a machine can check: how doc comments begin, what they say of errors,
//! names of types and constants.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::scan::Source;

/// Words that a doc comment does not begin with: it begins with a noun or a verb.
const VAGUE_WORDS: [&str; 11] = [
    "What",
    "How",
    "Whether",
    "Where",
    "Who",
    "Why",
    "Which",
    "Of",
    "By what",
    "Those",
    "That which",
];

/// The longest file whose private types may have a name that another file's private type has.
const MAX_LINES_FOR_A_SHARED_NAME: usize = 150;

/// An item with its doc comment.
struct Item {
    place: String,
    /// The doc comment's lines, joined by spaces.
    doc: String,
    /// The first line of code after the comment and attributes, with the lines up to its `{` or `;`.
    head: String,
}

/// Every file of `src`, with what only tests see.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    super::super::support::list(&root.join("src"), &mut |path, meta| {
        if meta.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            texts.push((name, std::fs::read_to_string(path).unwrap()));
        }
    });
    texts
}

/// The items of a file that have a doc comment.
fn items(name: &str, text: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let Some(first) = doc_line(line) else { continue };
        let mut doc = first.to_owned();
        while let Some(more) = lines.next_if(|(_, line)| doc_line(line).is_some()) {
            doc.push(' ');
            doc.push_str(doc_line(more.1).unwrap());
        }
        let mut head = String::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| doc_line(line).is_none()) {
            head.push(' ');
            head.push_str(line.trim());
            if line.contains('{')
                || line.ends_with(';')
                || line.ends_with(',') && !head.contains("fn ")
            {
                break;
            }
        }
        items.push(Item {
            place: format!("{name}:{}", index + 1),
            doc,
            head: head.trim().to_owned(),
        });
    }
    items
}

fn doc_line(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
}

fn is_vague(doc: &str) -> bool {
    let begins = |word: &str| doc.strip_prefix(word).is_some_and(|rest| rest.starts_with(' '));
    VAGUE_WORDS.into_iter().any(begins)
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let texts = texts();
    let items: Vec<Item> = texts.iter().flat_map(|(name, text)| items(name, text)).collect();
    assert!(items.len() > 2000, "{} doc comments: are these all?", items.len());
    let vague: Vec<String> = items
        .iter()
        .filter(|item| is_vague(&item.doc))
        .map(|item| format!("{}: {}", item.place, item.doc))
        .collect();
    assert!(vague.is_empty(), "\n{}\n", vague.join("\n"));
}

/// A function that other files call says when it fails.
#[test]
fn functions_say_when_they_fail() {
    static FALLIBLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^(#\[.*\] )?pub(\(crate\))? (async |const )*fn .*-> (\w+::)*Result<").unwrap()
    });
    let mut silent = Vec::new();
    for source in super::sources() {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&source.path));
        for item in items(&source.path, &text.unwrap()) {
            if FALLIBLE.is_match(&item.head) && !says_when_it_fails(&item.doc) {
                silent.push(format!("{}: {}", item.place, item.head));
            }
        }
    }
    assert!(silent.is_empty(), "say when these fail:\n{}\n", silent.join("\n"));
}

fn says_when_it_fails(doc: &str) -> bool {
    doc.contains("# Errors") || doc.to_lowercase().contains("fail")
}

/// Two types with one name are two things that a reader takes for one.
#[test]
fn type_names_are_unique() {
    let sources = super::sources();
    let mut names: BTreeMap<&str, Vec<(&Source, bool)>> = BTreeMap::new();
    for source in &sources {
        for (name, public) in source.types() {
            names.entry(name).or_default().push((source, public));
        }
    }
    let mut problems = Vec::new();
    for (name, mut places) in names {
        places.dedup_by_key(|(source, _)| &source.path);
        let excused = |(source, public): &&(&Source, bool)| {
            !public && source.lines < MAX_LINES_FOR_A_SHARED_NAME
        };
        if places.len() > 1 && places.iter().any(|place| !excused(&place)) {
            let files: Vec<&str> = places.iter().map(|(source, _)| source.path.as_str()).collect();
            problems.push(format!("{name}: {}", files.join(", ")));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// A number whose name is one word says neither its unit nor its meaning.
#[test]
fn constants_carry_their_unit_or_meaning() {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^\s*(?:pub(?:\(\w+\))? )?const ([A-Z0-9]+): (?:u|i|f|usize|Duration)\w*")
            .unwrap()
    });
    let mut short = Vec::new();
    for (name, text) in texts() {
        if name.contains("test") {
            continue;
        }
        let (code, _) = text.split_once("#[cfg(test)]\nmod").unwrap_or((&text, ""));
        for (index, line) in code.lines().enumerate() {
            let found = NUMBER.captures(line).filter(|found| &found[1] != "VERSION");
            if let Some(found) = found {
                short.push(format!("{name}:{}: {}", index + 1, &found[1]));
            }
        }
    }
    assert!(short.is_empty(), "name the unit or the meaning:\n{}\n", short.join("\n"));
}

#[test]
fn the_rules_can_fail() {
    assert!(is_vague("Whether it is so.") && is_vague("By what it is known."));
    assert!(!is_vague("Offers a place.") && !is_vague("Returns what is left."));
    assert!(says_when_it_fails("Reads it. Fails without a file."));
    assert!(!says_when_it_fails("Returns the errors."));
    let text = "/// Reads it.\n/// Twice.\npub fn read(\n    path: &str,\n) -> Result<()> {\n    /// One.\n    a: u8,\n";
    let items = items("x.rs", text);
    let heads: Vec<&str> = items.iter().map(|item| item.head.as_str()).collect();
    assert_eq!(heads, ["pub fn read( path: &str, ) -> Result<()> {", "a: u8,"]);
    assert_eq!(items[0].doc, "Reads it. Twice.");
    let source =
        Source::read("src/x.rs", "pub struct A; enum B {} trait C {} impl D { type E = u8; }");
    assert_eq!(source.types(), [("A", true), ("B", false), ("C", false)]);
}
