//! Fills `{dir}` and its like into what is said of found images. Pure.

use crate::base::nearest::nearest;

/// What a template may hold: each word with its value. One without a value was asked for in vain.
pub(super) type Words<'a> = [(&'static str, Option<&'a str>)];

/// Words of a tag that are known later.
const LATER: [&str; 2] = ["arch", "fingerprint"];

/// What a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Makes {
    /// A name: values are put into its alphabet.
    Name,
    /// A tag: values keep their case; `{arch}` and `{fingerprint}` stay for later.
    Tag,
    /// Names of other images: values are put into their alphabet. What is no word stays.
    Names,
    /// Names of groups: values are put into their alphabet. What is no word stays.
    Groups,
    /// Any text. What is no word stays.
    Text,
}

/// Why a template cannot be filled, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfilled {
    pub(super) message: String,
    pub(super) help: String,
}

/// Fills a template. Braces that hold no word stay: what is made is read as a name or tag after.
pub(super) fn fill(text: &str, makes: Makes, words: &Words<'_>) -> Result<String, Unfilled> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let end = after.find('}');
        let lenient = matches!(makes, Makes::Names | Makes::Groups | Makes::Text);
        let is_word = |word: &str| words.iter().any(|(known, _)| *known == word);
        // In other texts braces are common, and `${...}` is a shell's.
        let stays = |end: usize| lenient && (before.ends_with('$') || !is_word(&after[..end]));
        let Some(end) = end.filter(|end| !stays(*end)) else {
            out.push('{');
            rest = after;
            continue;
        };
        let word = &after[..end];
        rest = &after[end + 1..];
        if makes == Makes::Tag && LATER.contains(&word) {
            out.push('{');
            out.push_str(word);
            out.push('}');
            continue;
        }
        match words.iter().find(|(known, _)| *known == word) {
            Some((_, Some(value))) => out.push_str(&match makes {
                Makes::Name | Makes::Names => name_of(value),
                Makes::Tag | Makes::Groups => tag_of(value),
                Makes::Text => (*value).to_owned(),
            }),
            Some((_, None)) => {
                return Err(Unfilled {
                    message: format!("`{{{word}}}` has no value here"),
                    help: format!("write the template without `{{{word}}}`"),
                });
            }
            None => return Err(unknown(word, makes, words)),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(word: &str, makes: Makes, words: &Words<'_>) -> Unfilled {
    let mut known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
    if makes == Makes::Tag {
        known.extend(LATER);
    }
    let help = match nearest(word, &known) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("a template here knows {{{}}}", known.join("}, {")),
    };
    Unfilled { message: format!("`{{{word}}}` is no word of a template"), help }
}

/// A text in the alphabet of names, as the provider's tool derives one (`api.md` §5): lower case,
/// each run of other characters a `-`, letters and digits at both ends. May be empty.
pub(super) fn name_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// A text in the alphabet of tags: each run of other characters is a `-`.
fn tag_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &Words<'static> =
        &[("dir", Some("My App")), ("path", Some("libs/My App")), ("digest", None)];

    #[test]
    fn templates_are_filled() {
        for (text, makes, expected) in [
            ("{dir}", Makes::Name, "my-app"),
            ("task-{dir}-{path}x", Makes::Name, "task-my-app-libs-my-appx"),
            ("{dir}", Makes::Tag, "My-App"),
            ("{arch}-{dir}", Makes::Tag, "{arch}-My-App"),
            ("plain", Makes::Name, "plain"),
            ("a{b", Makes::Name, "a{b"),
            (
                "{dir} of {path}, {arch} {dri} {{dir}} ${dir} {",
                Makes::Text,
                "My App of libs/My App, {arch} {dri} {My App} ${dir} {",
            ),
            ("base-{dir}:v1", Makes::Names, "base-my-app:v1"),
            ("of-{dir}", Makes::Groups, "of-My-App"),
        ] {
            assert_eq!(fill(text, makes, WORDS).as_deref(), Ok(expected), "{text}");
        }
        for (text, makes, says) in [
            ("{dri}", Makes::Name, "did you mean `{dir}`?"),
            ("{arch}", Makes::Name, "knows {dir}, {path}, {digest}"),
            ("{zzzzz}", Makes::Tag, "{arch}, {fingerprint}"),
            ("{digest}", Makes::Tag, "without `{digest}`"),
            ("{digest}", Makes::Text, "without `{digest}`"),
            ("{}", Makes::Tag, "knows"),
        ] {
            let unfilled = fill(text, makes, WORDS).unwrap_err();
            assert!(unfilled.help.contains(says), "{text}: {unfilled:?}");
        }
    }

    #[test]
    fn names_are_made_as_the_provider_makes_them() {
        for (text, expected) in [
            ("Hello World", "hello-world"),
            ("org/task", "org-task"),
            ("a--b__c", "a--b__c"),
            ("--x!!", "x"),
            ("a  /  b", "a-b"),
            ("Ünï", "n"),
            ("___", ""),
        ] {
            assert_eq!(name_of(text), expected, "{text}");
        }
    }
}
