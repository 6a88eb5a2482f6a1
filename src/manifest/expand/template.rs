//! Fills in templates such as `{dir}` in the entries of generated images. Pure.

use crate::base::name::NameError;
pub(super) use crate::base::name::image_name_of as image_name;
use crate::base::nearest::nearest;

/// Placeholders of a template with their values. A placeholder without a value is an error if it is
/// used.
pub(super) type TemplateValues<'a> = [(&'static str, Option<&'a str>)];

/// Placeholders of a tag that are filled in later.
const LATER_PLACEHOLDERS: [&str; 2] = ["arch", "fingerprint"];

/// Kind of text that a template produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateKind {
    /// Name of an image. Values are converted to the characters of names.
    Name,
    /// Tag. Values are converted to the characters of tags; `{arch}` and `{fingerprint}` stay.
    Tag,
    /// Reference to another image. Values are converted as for a name; unknown placeholders stay.
    Needs,
    /// Name of a group. Values are converted as for a tag; unknown placeholders stay.
    Groups,
    /// Any text. Unknown placeholders stay.
    Text,
}

/// Fills in a template. Fails if a placeholder is unknown or has no value.
pub(super) fn fill(
    text: &str,
    kind: TemplateKind,
    values: &TemplateValues<'_>,
) -> Result<String, NameError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let end = after.find('}');
        let lenient =
            matches!(kind, TemplateKind::Needs | TemplateKind::Groups | TemplateKind::Text);
        let is_known = |name: &str| values.iter().any(|(known, _)| *known == name);
        // Other texts may contain braces for other reasons, such as `${...}` of a shell.
        let stays = |end: usize| lenient && (before.ends_with('$') || !is_known(&after[..end]));
        let Some(end) = end.filter(|end| !stays(*end)) else {
            out.push('{');
            rest = after;
            continue;
        };
        let name = &after[..end];
        rest = &after[end + 1..];
        if kind == TemplateKind::Tag && LATER_PLACEHOLDERS.contains(&name) {
            out.push('{');
            out.push_str(name);
            out.push('}');
            continue;
        }
        let value = |name: &str| values.iter().find(|(known, _)| *known == name);
        let known = match value(name) {
            // The path of the manifest's own folder has no name, but the folder has.
            Some(("path", Some("."))) if kind != TemplateKind::Text => value("dir"),
            known => known,
        };
        match known {
            Some((_, Some(value))) => out.push_str(&match kind {
                TemplateKind::Name | TemplateKind::Needs => image_name(value),
                TemplateKind::Tag | TemplateKind::Groups => tag_text(value),
                TemplateKind::Text => (*value).to_owned(),
            }),
            Some((_, None)) => {
                return Err(NameError::new(
                    format!("`{{{name}}}` has no value here"),
                    format!("write the template without `{{{name}}}`"),
                ));
            }
            None => return Err(unknown_placeholder(name, kind, values)),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown_placeholder(name: &str, kind: TemplateKind, values: &TemplateValues<'_>) -> NameError {
    let mut known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
    if kind == TemplateKind::Tag {
        known.extend(LATER_PLACEHOLDERS);
    }
    let help = match nearest(name, &known) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("the placeholders here are {{{}}}", known.join("}, {")),
    };
    NameError::new(format!("unknown placeholder `{{{name}}}`"), help)
}

/// Converts a text to the characters of tags, with a `-` for other characters.
fn tag_text(text: &str) -> String {
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

    const VALUES: &TemplateValues<'static> =
        &[("dir", Some("My App")), ("path", Some("libs/My App")), ("digest", None)];

    #[test]
    fn templates_are_filled_in() {
        for (text, kind, expected) in [
            ("{dir}", TemplateKind::Name, "my-app"),
            ("task-{dir}-{path}x", TemplateKind::Name, "task-my-app-libs-my-appx"),
            ("{dir}", TemplateKind::Tag, "My-App"),
            ("{arch}-{dir}", TemplateKind::Tag, "{arch}-My-App"),
            ("plain", TemplateKind::Name, "plain"),
            ("a{b", TemplateKind::Name, "a{b"),
            (
                "{dir} of {path}, {arch} {dri} {{dir}} ${dir} {",
                TemplateKind::Text,
                "My App of libs/My App, {arch} {dri} {My App} ${dir} {",
            ),
            ("base-{dir}:v1", TemplateKind::Needs, "base-my-app:v1"),
            ("of-{dir}", TemplateKind::Groups, "of-My-App"),
        ] {
            assert_eq!(fill(text, kind, VALUES).as_deref(), Ok(expected), "{text}");
        }
        for (text, kind, message) in [
            ("{dri}", TemplateKind::Name, "did you mean `{dir}`?"),
            ("{arch}", TemplateKind::Name, "are {dir}, {path}, {digest}"),
            ("{zzzzz}", TemplateKind::Tag, "{arch}, {fingerprint}"),
            ("{digest}", TemplateKind::Tag, "without `{digest}`"),
            ("{digest}", TemplateKind::Text, "without `{digest}`"),
            ("{}", TemplateKind::Tag, "the placeholders here are"),
        ] {
            let error = fill(text, kind, VALUES).unwrap_err();
            assert!(error.help.contains(message), "{text}: {error:?}");
        }
    }

    #[test]
    fn the_own_folder_has_its_name() {
        let values = &[("dir", Some("shop")), ("path", Some("."))];
        for (kind, expected) in [
            (TemplateKind::Name, "x-shop"),
            (TemplateKind::Tag, "x-shop"),
            (TemplateKind::Needs, "x-shop"),
            (TemplateKind::Groups, "x-shop"),
            (TemplateKind::Text, "x-."),
        ] {
            assert_eq!(fill("x-{path}", kind, values).as_deref(), Ok(expected), "{kind:?}");
        }
    }

    #[test]
    fn names_are_derived_as_by_the_provider() {
        for (text, expected) in [
            ("Hello World", "hello-world"),
            ("org/task", "org-task"),
            ("a--b__c", "a--b__c"),
            ("--x!!", "x"),
            ("a  /  b", "a-b"),
            ("Ünï", "n"),
            ("___", ""),
        ] {
            assert_eq!(image_name(text), expected, "{text}");
        }
    }
}
