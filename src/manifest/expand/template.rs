//! Fills `{dir}` and its like into the names and tags of found images. Pure.

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
        let Some((word, after)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        rest = after;
        if makes == Makes::Tag && LATER.contains(&word) {
            out.push('{');
            out.push_str(word);
            out.push('}');
            continue;
        }
        match words.iter().find(|(known, _)| *known == word) {
            Some((_, Some(value))) => out.push_str(&match makes {
                Makes::Name => name_of(value),
                Makes::Tag => tag_of(value),
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
        ] {
            assert_eq!(fill(text, makes, WORDS).as_deref(), Ok(expected), "{text}");
        }
        for (text, makes, says) in [
            ("{dri}", Makes::Name, "did you mean `{dir}`?"),
            ("{arch}", Makes::Name, "knows {dir}, {path}, {digest}"),
            ("{zzzzz}", Makes::Tag, "{arch}, {fingerprint}"),
            ("{digest}", Makes::Tag, "without `{digest}`"),
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
