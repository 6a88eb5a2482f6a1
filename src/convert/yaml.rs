//! Writes a draft as YAML that readers of YAML 1.1 and 1.2 read alike. Not a general emitter. Pure.

use std::fmt::Write as _;

use super::draft::{Draft, DraftImage, DraftOrigin};
use crate::base::safe_text::{escaped, is_unsafe};

/// First line of a manifest, by which editors find the schema. `imgplan schema -o imgplan.schema.json`
/// writes the file.
pub(crate) const SCHEMA_LINE: &str = "# yaml-language-server: $schema=imgplan.schema.json";

/// Words that YAML 1.1 or 1.2 reads as something else than text.
const RESERVED_WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Returns the text of a manifest. `origin` says where it comes from.
pub(crate) fn write(draft: &Draft, origin: &str) -> String {
    let mut text = format!("{SCHEMA_LINE}\n");
    comments(&mut text, "", std::iter::once(origin).chain(draft.comments.iter().map(|it| &**it)));
    text.push_str("version: 1\n\n");
    if !draft.published_as.is_empty() {
        let _ = writeln!(text, "defaults:\n  published_as: {}\n", sequence(&draft.published_as));
    }
    text.push_str("images:\n");
    for image in &draft.images {
        write_image(&mut text, image);
    }
    text
}

fn comments<'a>(text: &mut String, indent: &str, lines: impl Iterator<Item = &'a str>) {
    for line in lines {
        // No text of an input ends a comment.
        let line: String = line.chars().map(|c| if is_unprintable(c) { '?' } else { c }).collect();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{indent}# {}", escaped(&line));
    }
}

fn write_image(text: &mut String, image: &DraftImage) {
    comments(text, "  ", image.comments.iter().map(|it| &**it));
    let mut entry = EntryText { text, begun: false };
    entry.optional("name", image.name.as_deref());
    entry.optional("tag", image.tag.as_deref());
    match &image.origin {
        DraftOrigin::Context { path, dockerfile } => {
            entry.optional("context", Some(path));
            entry.optional("dockerfile", dockerfile.as_deref());
        }
        DraftOrigin::Source(source) => entry.optional("source", Some(source)),
        DraftOrigin::Discover(found) => {
            entry.line("discover:");
            entry.line(&format!("  {}: {}", found.key, scalar(&found.pattern)));
            if !found.exclude.is_empty() {
                entry.line(&format!("  exclude: {}", sequence(&found.exclude)));
            }
            entry.optional("context", found.context.as_deref());
            entry.optional("dockerfile", found.dockerfile.as_deref());
        }
    }
    entry.list("platforms", image.platforms.iter().map(|platform| platform.as_str()));
    entry.optional("target", image.target.as_deref());
    if !image.args.is_empty() {
        entry.line("args:");
        for (name, value) in &image.args {
            entry.line(&format!("  {}: {}", scalar(name), scalar(value)));
        }
    }
    entry.list("needs", &image.needs);
    entry.list("published_as", &image.published_as);
    entry.list("groups", &image.groups);
}

/// Writer of one item of `images`.
struct EntryText<'a> {
    text: &'a mut String,
    begun: bool,
}

impl EntryText<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(if self.begun { "    " } else { "  - " });
        self.text.push_str(line);
        self.text.push('\n');
        self.begun = true;
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(&format!("{key}: {}", scalar(value)));
        }
    }

    fn list<T: AsRef<str>>(&mut self, key: &str, items: impl IntoIterator<Item = T>) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            self.line(&format!("{key}: {}", sequence(items)));
        }
    }
}

/// Returns literal texts as a YAML sequence.
fn sequence<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| scalar(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// Returns a literal text as a YAML string, in quotes unless every reader takes it for a string. A
/// dollar sign is doubled, so that the manifest takes it for none of its variables.
pub(super) fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_reserved = RESERVED_WORDS.contains(&&*text.to_ascii_lowercase());
    if text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_plain)
        && !is_reserved
    {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut previous = ' ';
    for c in text.chars() {
        match c {
            '$' => quoted.push_str("$$"),
            '"' | '\\' => quoted.extend(['\\', c]),
            // `##[` on standard output would be an order to the runner of a CI job.
            '#' if previous == '#' => quoted.push_str("\\x23"),
            c if is_unsafe(c) || is_unprintable(c) => {
                // Writing into a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
        previous = c;
    }
    quoted.push('"');
    quoted
}

/// Returns true for the characters above the control characters that YAML does not allow, or that a
/// reader may take for a mark of the byte order. They have at most four hex digits.
fn is_unprintable(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::name::Platform;
    use crate::convert::draft::Discovery;

    #[test]
    fn only_texts_that_every_reader_takes_for_texts_are_plain() {
        for (text, expected) in [
            ("api", "api"),
            ("linux/amd64", "linux/amd64"),
            ("a-b_c.d", "a-b_c.d"),
            ("", "\"\""),
            ("3.10", "\"3.10\""),
            ("0x1f", "\"0x1f\""),
            ("1e3", "\"1e3\""),
            ("12:30", "\"12:30\""),
            ("yes", "\"yes\""),
            ("Off", "\"Off\""),
            ("n", "\"n\""),
            ("NULL", "\"NULL\""),
            ("~", "\"~\""),
            (".", "\".\""),
            ("../a", "\"../a\""),
            (".inf", "\".inf\""),
            ("-", "\"-\""),
            ("a:1", "\"a:1\""),
            ("a b", "\"a b\""),
            ("${A} $b", "\"$${A} $$b\""),
            ("\"\\", "\"\\\"\\\\\""),
            ("a\nb\u{7}\u{85}\u{2028}\u{feff}", "\"a\\u000ab\\u0007\\u0085\\u2028\\ufeff\""),
            ("##[x]###", "\"#\\x23[x]#\\x23\\x23\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(scalar(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_key_is_written() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let build = DraftImage {
            comments: texts(&["two\nlines"]),
            name: Some("api".to_owned()),
            tag: Some("1.10".to_owned()),
            platforms: Platform::ALL.to_vec(),
            target: Some("run".to_owned()),
            args: vec![("ON".to_owned(), "a$b".to_owned())],
            needs: texts(&["base:v1"]).into_iter().collect(),
            published_as: texts(&["quay.io/o/api"]).into_iter().collect(),
            groups: texts(&["default", "no"]).into_iter().collect(),
            ..DraftImage::new(DraftOrigin::Context {
                path: "../api".to_owned(),
                dockerfile: Some("x.Dockerfile".to_owned()),
            })
        };
        let mut draft = Draft::default();
        draft.comments = texts(&["more"]);
        draft.published_as = texts(&["quay.io/o/{name}"]);
        let images = [
            build,
            DraftImage::new(DraftOrigin::Source("redis:7".to_owned())),
            DraftImage::new(DraftOrigin::Discover(Discovery {
                key: "glob",
                pattern: "services/*".to_owned(),
                exclude: texts(&["services/old", "services/a b"]),
                dockerfile: Some("Containerfile".to_owned()),
                context: Some(".".to_owned()),
            })),
        ];
        for (index, image) in images.into_iter().enumerate() {
            draft.add(&index.to_string(), image).unwrap();
        }
        insta::assert_snapshot!(write(&draft, "from x"), @r#"
        # yaml-language-server: $schema=imgplan.schema.json
        # from x
        # more
        version: 1

        defaults:
          published_as: ["quay.io/o/{name}"]

        images:
          # two\nlines
          - name: api
            tag: "1.10"
            context: "../api"
            dockerfile: x.Dockerfile
            platforms: [linux/amd64, linux/arm64]
            target: run
            args:
              "ON": "a$$b"
            needs: ["base:v1"]
            published_as: [quay.io/o/api]
            groups: [default, "no"]
          - source: "redis:7"
          - discover:
              glob: "services/*"
              exclude: [services/old, "services/a b"]
            context: "."
            dockerfile: Containerfile
        "#);
    }

    proptest! {
        #[test]
        fn a_scalar_reads_as_the_text(text in any::<String>()) {
            let read: String = serde_saphyr::from_str(&format!("a: {}", scalar(&text)))
                .map(|map: std::collections::BTreeMap<String, String>| map["a"].clone())
                .unwrap();
            prop_assert_eq!(read, text.replace('$', "$$"));
        }
    }
}
