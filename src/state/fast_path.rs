//! Turns the text of a lockfile into JSON, where nobody has edited it. Pure.
//!
//! What `encode` writes is a small part of YAML: a field a line, texts as JSON writes them, and words
//! and numbers. As JSON it is read ten times as fast, which is felt with every plan over a thousand
//! units. Anything else is left to YAML's own reader, with its errors.

/// The same document as JSON, and how many keys its innermost and its outermost maps have: a reader
/// that finds fewer has met one twice. `None` where the text is not just what `encode` writes.
pub(super) fn to_json(text: &str) -> Option<(String, KeyCounts)> {
    let mut json = String::with_capacity(text.len() + text.len() / 8);
    let mut keys = KeyCounts::default();
    // Maps that are open, and whether the last line opened one.
    let (mut depth, mut opened) = (0usize, true);
    json.push('{');
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let rest = line.trim_start_matches(' ');
        let (level, odd) = ((line.len() - rest.len()) / 2, (line.len() - rest.len()) % 2);
        let deepest = if opened { depth } else { depth.checked_sub(1)? };
        if odd != 0 || level > deepest || (opened && level < depth) {
            return None;
        }
        (level..deepest).for_each(|_| json.push('}'));
        if !opened {
            json.push(',');
        }
        let (key, value) = split(rest)?;
        keys.count(level);
        json.extend(["\"", key, "\":"]);
        opened = value.is_empty();
        depth = level + 1;
        match value {
            "" => json.push('{'),
            "{}" | "true" => json.push_str(value),
            _ if is_text(value) || value.bytes().all(|byte| byte.is_ascii_digit()) => {
                json.push_str(value);
            }
            "build" | "mirror" | "linux/amd64" | "linux/arm64" | "private" | "public"
            | "created" | "uploaded" | "started" => {
                json.extend(["\"", value, "\""]);
            }
            _ => return None,
        }
    }
    if opened {
        return None;
    }
    (0..depth).for_each(|_| json.push('}'));
    Some((json, keys))
}

/// How many keys there are where a map has keys of any name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyCounts {
    pub(super) units: usize,
    pub(super) inputs: usize,
}

impl KeyCounts {
    fn count(&mut self, level: usize) {
        match level {
            1 => self.units += 1,
            4 => self.inputs += 1,
            _ => {}
        }
    }
}

/// A line's key, without quotes, and its value; an empty one begins a map.
fn split(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\":")?,
        None => line.split_once(':')?,
    };
    let plain = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    // The quoted keys are `name:tag` and those of inputs, of which some have a blank.
    let quoted = |key: &str| !key.contains(['"', '\\']) && !key.contains(char::is_control);
    let fits = if line.starts_with('"') { quoted(key) } else { plain(key) };
    let value =
        if rest.is_empty() { rest } else { rest.strip_prefix(' ').filter(|v| !v.is_empty())? };
    fits.then_some((key, value))
}

/// Whether a value is a text in quotes without anything that is read differently by anyone.
fn is_text(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains(['"', '\\']) && !inner.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<serde_json::Value> {
        to_json(text).map(|(json, _)| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn what_is_written_a_field_a_line_is_json() {
        let text = "# by\nversion: 1\nunits:\n  \"a:1\":\n    built:\n      inputs:\n        \"base b:1\": \
                    \"x\"\n        \"format\": \"2\"\n  \"b:2\":\n    kind: build\n    stage: started\n";
        let expected = serde_json::json!({
            "version": 1,
            "units": {
                "a:1": { "built": { "inputs": { "base b:1": "x", "format": "2" } } },
                "b:2": { "kind": "build", "stage": "started" },
            },
        });
        assert_eq!(json(text), Some(expected));
        assert_eq!(to_json(text).unwrap().1, KeyCounts { units: 2, inputs: 2 });
        assert_eq!(
            json("version: 1\nunits: {}\n"),
            Some(serde_json::json!({ "version": 1, "units": {} }))
        );
    }

    #[test]
    fn anything_else_is_left_to_yaml() {
        for text in [
            "",
            "a",
            "a:",
            "a: b",
            "a: 'b'",
            "a: 1\n   b: 2",
            "a: 1\n  b: 2",
            "a:\nb: 1",
            "a: \"b\" c",
            "a: \"\\n\"",
            "a: &x 1",
            "a: [1]",
            "a: 1 # x",
            "- a",
            "a: |\n  b",
            "a:\n    b: 1",
            "\"a: 1",
            "a:1",
            "\ta: 1",
            "a: 1\n\nb: 2",
            "? a\n: b",
            "a: null",
            "a: yes",
            "a: -1",
            "a: 1.5",
            "{a: 1}",
        ] {
            assert_eq!(to_json(text), None, "{text:?}");
        }
    }
}
