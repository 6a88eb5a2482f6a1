//! Converts a lockfile that imgplan wrote to JSON, which is parsed ten times as fast as YAML. Pure.
//!
//! `encode` writes a small subset of YAML: one field per line, strings in JSON's quotes, a few words,
//! and numbers. This module accepts only that subset. `decode` gives all other texts to the YAML parser.

/// Converts the text to JSON, and counts the keys of the maps that may have any key. The caller
/// compares the counts with what it parsed, to notice duplicate keys. `None` if the text is not what
/// `encode` writes.
pub(super) fn to_json(text: &str) -> Option<(String, KeyCounts)> {
    let mut json = String::with_capacity(text.len() + text.len() / 8);
    let mut keys = KeyCounts::default();
    // Number of open maps, and whether the last line opened one.
    let (mut depth, mut opened) = (0usize, true);
    json.push('{');
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let field = line.trim_start_matches(' ');
        let indent = line.len() - field.len();
        let level = indent / 2;
        let max_level = if opened { depth } else { depth.checked_sub(1)? };
        if !indent.is_multiple_of(2) || level > max_level || (opened && level < depth) {
            return None;
        }
        (level..max_level).for_each(|_| json.push('}'));
        if !opened {
            json.push(',');
        }
        let (key, value) = split_field(field)?;
        keys.count(level);
        json.extend(["\"", key, "\":"]);
        opened = value.is_empty();
        depth = level + 1;
        match value {
            "" => json.push('{'),
            "{}" | "true" => json.push_str(value),
            _ if is_string(value) || value.bytes().all(|byte| byte.is_ascii_digit()) => {
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

/// Number of keys in the maps that may have any key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeyCounts {
    /// Keys of `units` and `pins`.
    pub(super) units: usize,
    /// Keys of all `inputs`.
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

/// Splits a line into its key, without quotes, and its value. An empty value begins a map.
fn split_field(line: &str) -> Option<(&str, &str)> {
    let is_word = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    // Quoted keys are `name:tag`, references, and the keys of inputs.
    let (key, value) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\":").filter(|(key, _)| needs_no_escape(key))?,
        None => line.split_once(':').filter(|(key, _)| is_word(key))?,
    };
    match value.strip_prefix(' ') {
        Some("") => None,
        Some(value) => Some((key, value)),
        None => value.is_empty().then_some((key, value)),
    }
}

/// True if the value is a quoted string that YAML and JSON read the same way: it has no escapes but
/// those of quotes and backslashes, which errors of builds often contain.
fn is_string(value: &str) -> bool {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return false;
    };
    let unescaped = inner.replace("\\\\", "").replace("\\\"", "");
    needs_no_escape(&unescaped)
}

fn needs_no_escape(text: &str) -> bool {
    !text.contains(['"', '\\']) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<serde_json::Value> {
        to_json(text).map(|(json, _)| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn a_lockfile_becomes_json() {
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
    fn other_yaml_is_not_converted() {
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
            "a: \"b\"c\"",
            "a: \"b\\\"",
            "a: \"b\\\\\"c\"",
            "a: \"b\\x41\"",
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
