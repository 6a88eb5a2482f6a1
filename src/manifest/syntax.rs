//! Describes text that is not YAML in words for the person who wrote it. Pure.

use serde_saphyr::{Error, Location, UserMessageFormatter};

use crate::base::span::{Problem, Span};

/// Parts of the parser's messages, and the message and help to show instead.
const EXPLANATIONS: [(&str, &str, &str); 6] = [
    ("merge value", "`<<` takes a mapping", "write `<<: *anchor`, or a list of such aliases"),
    (
        "mapping values are not allowed",
        "this value contains the colon of a key",
        "quote a value that contains `: `, or begin a new line",
    ),
    (
        "expected string scalar",
        "a list or a mapping cannot be a key",
        "quote a text in brackets or braces; a variable is written ${NAME}",
    ),
    ("null is not allowed", "a key cannot be empty", "write a name before the `:`"),
    ("Recursive reference", "this anchor contains its own alias", "remove the alias"),
    (
        "block sequence entries are not allowed",
        "a list cannot begin on the line of its key",
        "write each item on a line of its own, after `- `",
    ),
];

/// Describes an error of the YAML parser. `start` is the offset of the text in its
/// [`SourceMap`](crate::base::span::SourceMap).
pub(super) fn problem(error: &Error, text: &str, start: usize) -> Problem {
    let error = error.without_snippet();
    let span = error.location().map_or(Span::new(start, 0), |at| span_of(&at, text, start));
    let offset = span.start - start;
    let line = text.get(offset..).unwrap_or_default().lines().next().unwrap_or_default();
    if let Error::DuplicateMappingKey { .. } = error {
        let problem = Problem::new(format!("duplicate key `{}`", first_key(line)), span, "");
        return problem.help("remove one of the two");
    }
    let message = first_line(&error.render_with_formatter(&UserMessageFormatter));
    let lower = message.to_lowercase();
    let tabbed = tabbed_line(text, offset).filter(|(at, _)| *at <= offset || lower.contains("tab"));
    if let Some((at, len)) = tabbed {
        let span = Span::new(start + at, len);
        let problem = Problem::new("this line is indented with a tab", span, "");
        return problem.help("replace the tab: YAML allows only spaces");
    }
    if lower.contains("recursion") {
        return Problem::new("nested too deeply", span, "").help("close the brackets above");
    }
    if lower.contains("too large or too complex") {
        let message = "the aliases of this file expand to too many values";
        let help = "use fewer aliases (`*name`) of lists that contain aliases";
        return Problem::new(message, span, "").help(help);
    }
    if let Some(problem) = wrong_indent(text, offset, start) {
        return problem;
    }
    if let Some(tag) = tag_before(text, offset) {
        let value = text.get(offset..offset + span.len).unwrap_or_default();
        let message = format!("`{value}` is not what its YAML tag `{tag}` says");
        return Problem::new(message, span, "").help("correct the value, or remove the tag");
    }
    let (message, help) = explain(message, line);
    Problem::new(message, span, "").help(help)
}

/// Returns the tag of a core type, such as `!!int`, in front of a value on the same line.
fn tag_before(text: &str, offset: usize) -> Option<&str> {
    let line = text.get(..offset)?.lines().next_back()?;
    line.split_whitespace().next_back().filter(|word| word.starts_with("!!"))
}

/// Returns the message and the help for a line that the parser rejects.
fn explain(message: String, line: &str) -> (String, String) {
    let value = line.split(" #").next().unwrap_or_default().trim_end();
    if let Some((key, rest)) = line.trim_start_matches("- ").split_once(':')
        && message.contains("simple key expected")
        && !rest.starts_with(' ')
    {
        let help = format!("add a space after the colon: `{key}: {rest}`");
        return (format!("`{value}` is not a key with a value"), help);
    }
    if let Some(first) = value.chars().next()
        && message.contains("unexpected character")
    {
        let help = format!("quote the value: \"{}\"", value.replace(['"', '\\'], ""));
        return (format!("a value cannot begin with `{first}`"), help);
    }
    if value.starts_with('*') && message.contains("unknown") {
        let name = value.trim_start_matches('*');
        let help = format!("define it above with `&{name}`, or quote the value");
        return (format!("there is no anchor `&{name}`"), help);
    }
    if let Some((_, message, help)) = EXPLANATIONS.iter().find(|(part, ..)| message.contains(part))
    {
        return ((*message).to_owned(), (*help).to_owned());
    }
    let help = "check the quotes, brackets and indentation of this line and the one above";
    (message, help.to_owned())
}

/// Describes a line whose indentation fits none of the lines above it. Returns `None` if the
/// indentation fits, and inside of brackets, where it does not matter.
fn wrong_indent(text: &str, offset: usize, start: usize) -> Option<Problem> {
    let line_start = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(line_start..)?.lines().next()?;
    let (own, content) = split_indent(line);
    let is_item = is_item(content);
    let above: Vec<(usize, &str)> = text[..line_start].lines().enumerate().collect();
    let above = above.into_iter().rev().filter(|(_, line)| !is_blank(line));
    let mut levels: Vec<Level> = Vec::new();
    for (number, line) in above {
        let (indent, content) = split_indent(line);
        let key = content.trim_start_matches("- ");
        if levels.is_empty() && may_go_deeper(key, line.len() - key.len(), (own, is_item)) {
            return None;
        }
        let lowest = levels.last().map_or(usize::MAX, |level| level.indent);
        let keys = Level { indent: line.len() - key.len(), is_item: false, line: number + 1 };
        // The key after `- ` sets the indentation of the keys below it.
        levels.extend(Some(keys).filter(|keys| keys.indent < lowest && !key.is_empty()));
        let lowest = levels.last().map_or(usize::MAX, |level| level.indent);
        if indent < lowest && content != key {
            levels.push(Level { indent, is_item: true, line: number + 1 });
        }
        if indent == 0 {
            break;
        }
    }
    let fits: Vec<&Level> = levels.iter().filter(|level| level.is_item == is_item).collect();
    let nearest = fits.iter().min_by_key(|level| level.indent.abs_diff(own))?;
    if nearest.indent == own {
        return None;
    }
    let help = match nearest.indent {
        0 => format!("remove the spaces before it, as on line {}", nearest.line),
        1 => format!("begin it with 1 space, as on line {}", nearest.line),
        spaces => format!("begin it with {spaces} spaces, as on line {}", nearest.line),
    };
    let span = Span::new(start + line_start + own, content.trim_end().len());
    Some(Problem::new("the indentation of this line fits no line above it", span, "").help(help))
}

/// True if the line below `above` may have any greater indentation: `above` ends with the colon of a
/// key, or inside of brackets. `indent` is the one of its key, `below` that of the line below, which
/// may be an item.
fn may_go_deeper(above: &str, indent: usize, (below, is_item): (usize, bool)) -> bool {
    let above = above.trim_end();
    let deeper = below > indent || is_item && below == indent;
    above.ends_with([',', '[', '{']) || above.ends_with(':') && deeper
}

/// An indentation that a line may have.
struct Level {
    indent: usize,
    /// True for lines that begin with `- `.
    is_item: bool,
    /// A line with this indentation.
    line: usize,
}

fn is_blank(line: &str) -> bool {
    let content = line.trim();
    content.is_empty() || content.starts_with('#') || content.starts_with("---")
}

fn is_item(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}

/// Returns the number of spaces before a line, and the line without them.
fn split_indent(line: &str) -> (usize, &str) {
    let content = line.trim_start_matches(' ');
    (line.len() - content.len(), content)
}

/// Finds the first line at or after `offset` that is indented with a tab. Returns the offset and
/// the length of its text without the indentation.
fn tabbed_line(text: &str, offset: usize) -> Option<(usize, usize)> {
    let mut at = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    for line in text.get(at..)?.split_inclusive('\n') {
        let content = line.trim_start();
        let (indent, _) = line.split_at(line.len() - content.len());
        if indent.contains('\t') && !content.is_empty() {
            return Some((at + indent.len(), content.trim_end().len()));
        }
        at += line.len();
    }
    None
}

/// Returns the key at the start of a line.
fn first_key(line: &str) -> &str {
    line.split(':').next().unwrap_or_default().trim().trim_matches(['"', '\''])
}

/// Returns the first line of an error message without its location (` at line 3, column 5`).
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest.to_owned(),
        _ => line.split(" at line ").next().unwrap_or(line).to_owned(),
    }
}

/// Returns the span of a location; from its line and column to the end of the line, if it has no
/// length.
fn span_of(location: &Location, text: &str, start: usize) -> Span {
    let span = location.span();
    if let (Some(offset), Some(len)) = (span.byte_offset(), span.byte_len())
        && len > 0
    {
        let number = |at| usize::try_from(at).unwrap_or(0);
        return Span::new(start + number(offset), number(len));
    }
    let number = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let (line, column) = (number(location.line()), number(location.column()));
    let mut offset = 0;
    for (index, raw_line) in text.split_inclusive('\n').enumerate() {
        if index + 1 == line {
            let content = raw_line.trim_end();
            let before = content.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
            let indent = content.len() - content.trim_start().len();
            let skip: usize = if before < content.len() { before } else { indent };
            return Span::new(start + offset + skip, content.len().saturating_sub(skip));
        }
        offset += raw_line.len();
    }
    Span::new(start + text.trim_end().len(), 0)
}

#[cfg(test)]
mod tests {
    use super::super::node::parse;

    /// Returns the underlined text, the message and the help.
    fn shown(text: &str) -> (String, String, String) {
        let problem = parse(text, 5).expect_err(text);
        let span = problem.labels[0].0;
        let underlined = text[span.start - 5..][..span.len].to_owned();
        (underlined, problem.message, problem.help.unwrap_or_default())
    }

    #[test]
    fn a_line_with_a_wrong_indentation_is_named() {
        for (text, line, help) in [
            ("i:\n  - n: a\n    c: x\n   t: v\n", "t: v", "4 spaces, as on line 3"),
            ("i:\n  - n: a\n    c: x\n     t: v\n", "t: v", "4 spaces, as on line 3"),
            ("i:\n  - n: a\n   c: x\n", "c: x", "4 spaces, as on line 2"),
            ("i:\n  - n: a\n  c: x\n", "c: x", "4 spaces, as on line 2"),
            ("i:\n- n: a\n - n: b\n", "- n: b", "remove the spaces before it, as on line 2"),
            ("i:\n  - n: a\n - n: b\n", "- n: b", "2 spaces, as on line 2"),
            ("i:\n  - n: a\n    c: x\n    - n: b\n", "- n: b", "2 spaces, as on line 2"),
            ("v: 1\n i:\n  - n: a\n", "i:", "remove the spaces before it, as on line 1"),
            ("i:\n  # c\n\n  - n: é\n\n    # c\n   t: v\n", "t: v", "4 spaces, as on line 4"),
        ] {
            let (underlined, message, found) = shown(text);
            assert_eq!(message, "the indentation of this line fits no line above it", "{text:?}");
            assert_eq!(underlined, line, "{text:?}");
            assert!(found.contains(help), "{text:?}: {found}");
        }
        // Here the indentation is right, and something else is wrong.
        for text in [
            "i:\n  - n: a\n    c: x: y\n",
            "i:\n  - n: a\n    p:\n      - l: x: y\n",
            "i:\n  - n: a\n    p:\n    - l: x: y\n",
            "i:\n  - n: a\n    g:\n      A: x: y\n",
            "i:\n  - {n: a,\n     c: x: y}\n",
            "a: [1\nb: 2\n",
        ] {
            let (_, message, _) = shown(text);
            assert!(!message.contains("indentation"), "{text:?}: {message}");
        }
    }

    #[test]
    fn other_mistakes_are_explained() {
        for (text, message, help) in [
            ("a: @v\n", "a value cannot begin with `@`", "quote the value: \"@v\""),
            ("a: `v`  # c\n", "a value cannot begin with ``", "quote the value: \"`v`\""),
            ("a: %v\n", "a value cannot begin with `%`", "quote the value: \"%v\""),
            ("a: {{ x }}\n", "a list or a mapping cannot be a key", "written ${NAME}"),
            ("? [a]\n: b\n", "a list or a mapping cannot be a key", "quote a text"),
            ("a: b: c\n", "this value contains the colon of a key", "quote a value"),
            ("a: {<<: x}\n", "`<<` takes a mapping", "write `<<: *anchor`"),
            ("a: {<<: [x]}\n", "`<<` takes a mapping", "write `<<: *anchor`"),
            (": x\n", "a key cannot be empty", "before the `:`"),
            ("a: &a [*a]\n", "this anchor contains its own alias", "remove the alias"),
            ("a: - b\n", "a list cannot begin on the line of its key", "after `- `"),
            ("a: *x\n", "there is no anchor `&x`", "define it above with `&x`"),
            ("a: 1\nb:2\n", "`b:2` is not a key with a value", "`b: 2`"),
            ("a: 1\na: 2\n", "duplicate key `a`", "remove one of the two"),
            ("a: 'it\n", "quote", "check the quotes"),
            ("a: [1\nb: 2\n", "", "check the quotes, brackets"),
            ("a: !!int x\n", "`x` is not what its YAML tag `!!int` says", "remove the tag"),
            ("a: !!bool yes\n", "`yes` is not what its YAML tag `!!bool` says", "remove the tag"),
            ("a: !!map x\n", "`x` is not what its YAML tag `!!map` says", "remove the tag"),
        ] {
            let (_, found, found_help) = shown(text);
            assert!(found.contains(message), "{text:?}: {found}");
            assert!(found_help.contains(help), "{text:?}: {found_help}");
            for word in ["from_str", "Policy", "Options", "Budget"] {
                assert!(!found.contains(word), "{text:?}: {found}");
            }
        }
    }
}
