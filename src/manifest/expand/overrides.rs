//! Applies the overrides of `--set` to the images that they match. Pure.

use super::entry::{self, ImageEntry, text_node};
use super::scope::RawScope;
use crate::base::name::{Platform, TagTemplate};
use crate::base::nearest::did_you_mean;
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, SourceMap, Span};
use crate::manifest::diagnostics::Diagnostics;
use crate::manifest::invocation::Override;
use crate::manifest::node::{ScalarKind, Value, YamlNode};

/// Fields that are lists, written with commas.
const LIST_FIELDS: [&str; 4] = ["platforms", "needs", "groups", "published_as"];

/// Fields that are Booleans.
const BOOLEAN_FIELDS: [&str; 2] = ["protect", "infer_bases"];

/// Keys that are expanded before overrides are applied.
const EXPANDED_KEYS: [&str; 4] = ["matrix", "discover", "sources", "sources_from"];

/// Applies all overrides, in order. Patterns match the names from before the first override.
pub(super) fn apply(
    overrides: &[Override],
    files: &mut [RawScope],
    sources: &mut SourceMap,
    diagnostics: &mut Diagnostics,
) {
    if overrides.is_empty() {
        return;
    }
    let names: Vec<Vec<Option<ImageNames>>> = files
        .iter()
        .map(|file| file.entries.iter().map(|entry| image_names(entry, &file.root)).collect())
        .collect();
    for set in overrides {
        let set = PlacedOverride { set, start: sources.add("--set", set.text()) };
        if let Some(problem) = set.invalid_field() {
            diagnostics.push(problem);
            continue;
        }
        let mut matched = false;
        for (file, names) in files.iter_mut().zip(&names) {
            let defaults = file.root.get("defaults");
            for (entry, names) in file.entries.iter_mut().zip(names) {
                if names.as_ref().is_some_and(|names| set.matches(names)) {
                    matched = true;
                    set.apply(&mut entry.node, defaults);
                }
            }
        }
        // The pattern may match an image that is missing.
        if !matched && !diagnostics.incomplete {
            let names = names.iter().flatten().flatten();
            let known: Vec<&str> = names.flat_map(|names| set.candidates(names)).collect();
            diagnostics.push(set.without_match(&known));
        }
    }
}

/// Names that a pattern can match.
struct ImageNames {
    name: String,
    /// Each `name:tag`: of the image, and of its unit on each platform.
    tagged: Vec<String>,
}

/// Returns the names of an image, or `None` if it has no name yet.
fn image_names(entry: &ImageEntry, root: &YamlNode) -> Option<ImageNames> {
    let node = &entry.node;
    let defaults = root.get("defaults");
    let owner = entry::text(node, "owner").or_else(|| entry::text(root, "owner"));
    let source: Option<SourceRef> =
        entry::text(node, "source").and_then(|source| source.parse().ok());
    let destination = source.and_then(|source| source.destination(owner == Some("platform")).ok());
    let name = entry::text(node, "name").or(destination.as_ref().map(|(name, _)| name.as_str()))?;
    let tag = entry::text(node, "tag")
        .or(destination.as_ref().map(|(_, tag)| tag.as_str()))
        .or_else(|| entry::text(defaults?, "tag"))
        .unwrap_or("latest");
    let platforms = node.get("platforms").or_else(|| defaults?.get("platforms"));
    let platforms: Vec<Platform> = match platforms.map(|platforms| &platforms.value) {
        Some(Value::Seq(items)) => {
            items.iter().filter_map(|item| scalar_text(item)?.parse().ok()).collect()
        }
        _ => vec![Platform::default()],
    };
    let mut tagged = vec![format!("{name}:{tag}")];
    if let Ok(template) = tag.parse::<TagTemplate>() {
        let tags = platforms.iter().map(|platform| template.for_one_of(*platform, platforms.len()));
        tagged.extend(tags.flatten().map(|tag| format!("{name}:{tag}")));
    }
    Some(ImageNames { name: name.to_owned(), tagged })
}

/// An override, with the offset of its text in the source map.
struct PlacedOverride<'s> {
    set: &'s Override,
    start: usize,
}

impl PlacedOverride<'_> {
    /// Returns a part of the text with its span.
    fn part(&self, range: std::ops::Range<usize>) -> (&str, Span) {
        let span = Span::new(self.start + range.start, range.len());
        (self.set.text().get(range).unwrap_or_default(), span)
    }

    /// Returns the names that the pattern is compared with: `name:tag` if it contains a `:`.
    fn candidates<'n>(&self, names: &'n ImageNames) -> impl Iterator<Item = &'n str> {
        let names = if self.set.images().as_str().contains(':') {
            names.tagged.as_slice()
        } else {
            std::slice::from_ref(&names.name)
        };
        names.iter().map(String::as_str)
    }

    fn matches(&self, names: &ImageNames) -> bool {
        self.candidates(names).any(|name| self.set.images().matches(name))
    }

    /// Describes a field that cannot be overridden.
    fn invalid_field(&self) -> Option<Problem> {
        let (field, span) = self.part(self.set.field_range());
        if EXPANDED_KEYS.contains(&field) {
            let message = format!("`{field}` cannot be overridden");
            let help = "set it in the manifest, with variables: --var NAME=VALUE";
            return Some(Problem::new(message, span, "").help(help));
        }
        if self.set.adds && !LIST_FIELDS.contains(&field) {
            let problem = Problem::new(format!("`{field}` is not a list"), span, "");
            return Some(problem.help(format!("`+=` adds to a list: {}", LIST_FIELDS.join(", "))));
        }
        None
    }

    /// Describes a pattern that no image matches.
    fn without_match(&self, names: &[&str]) -> Problem {
        let (pattern, span) = self.part(self.set.pattern_range());
        let help = did_you_mean(pattern, names).unwrap_or_else(|| {
            "name an image of the manifest; `*` matches any characters, `?` one".to_owned()
        });
        Problem::new(format!("no image matches `{pattern}`"), span, "").help(help)
    }

    /// Sets the field of an image. The decoder rejects a value that does not fit the field.
    fn apply(&self, node: &mut YamlNode, defaults: Option<&YamlNode>) {
        let (field, field_span) = self.part(self.set.field_range());
        let (value, span) = self.part(self.set.value_range());
        let current = || node.get(field).or_else(|| defaults?.get(field)).cloned();
        let value = if let Some(inner) = self.set.inner_range() {
            let (inner, inner_span) = self.part(inner);
            let empty = YamlNode { span: field_span, value: Value::Map(Vec::new()) };
            // The pairs of `defaults` are added later.
            let mut map = node.get(field).cloned().unwrap_or(empty);
            map.put(inner, inner_span, text_node(value, span));
            map
        } else if LIST_FIELDS.contains(&field) {
            let mut items =
                if self.set.adds { list_items(field, current(), span) } else { Vec::new() };
            for item in self.items() {
                let is_new = items.iter().all(|own| scalar_text(own) != scalar_text(&item));
                if !self.set.adds || is_new {
                    items.push(item);
                }
            }
            YamlNode { span, value: Value::Seq(items) }
        } else if BOOLEAN_FIELDS.contains(&field) && matches!(value, "true" | "false") {
            let kind = ScalarKind::Bool;
            YamlNode { span, value: Value::Scalar { text: value.to_owned(), kind } }
        } else {
            text_node(value, span)
        };
        node.put(field, field_span, value);
    }

    /// Returns the items of a list with commas.
    fn items(&self) -> Vec<YamlNode> {
        let (value, span) = self.part(self.set.value_range());
        let mut offset = span.start;
        let mut items = Vec::new();
        for part in value.split(',') {
            let indent = part.len() - part.trim_start().len();
            let item = part.trim();
            if !item.is_empty() {
                items.push(text_node(item, Span::new(offset + indent, item.len())));
            }
            offset += part.len() + 1;
        }
        items
    }
}

/// Returns the current items of a list that `+=` adds to.
fn list_items(field: &str, list: Option<YamlNode>, span: Span) -> Vec<YamlNode> {
    match list.map(|list| list.value) {
        Some(Value::Seq(items)) => items,
        // `published_as` may be a single string.
        Some(value @ Value::Scalar { kind: ScalarKind::Text, .. }) if field == "published_as" => {
            vec![YamlNode { span, value }]
        }
        // An image without `platforms` has the default platform.
        None if field == "platforms" => vec![text_node(Platform::default().to_string(), span)],
        _ => Vec::new(),
    }
}

fn scalar_text(node: &YamlNode) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::node::{self, MapKey};
    use crate::manifest::scalars::OnError;

    /// Applies overrides. Returns the image as text, and the problems with their source text.
    fn set(image: &str, sets: &[&str]) -> (String, Vec<String>) {
        let mut sources = SourceMap::default();
        let root = "defaults: { platforms: [linux/arm64], args: { D: d } }";
        let root = node::parse(root, sources.add("m", root)).unwrap();
        let node = node::parse(image, sources.add("i", image)).unwrap();
        let entry =
            ImageEntry { node, note: None, named_by_folder: false, on_error: OnError::default() };
        let file = RawScope { dir: ".".into(), root, images: None, entries: vec![entry] };
        let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
        let (mut files, mut diagnostics) = ([file], Diagnostics::default());
        apply(&sets, &mut files, &mut sources, &mut diagnostics);
        let (problems, _) = diagnostics.finish();
        let shown = |p: &Problem| format!("{} at {}", p.message, sources.text(p.labels[0].0));
        (flow(&files[0].entries[0].node), problems.iter().map(shown).collect())
    }

    fn flow(node: &YamlNode) -> String {
        match &node.value {
            Value::Scalar { text, kind: ScalarKind::Text } => text.clone(),
            Value::Scalar { text, kind } => format!("{kind:?} {text}"),
            Value::Seq(items) => format!("{:?}", items.iter().map(flow).collect::<Vec<_>>()),
            Value::Map(entries) => {
                let pair =
                    |(key, value): &(MapKey, YamlNode)| format!("{}: {}", key.text, flow(value));
                entries.iter().map(pair).collect::<Vec<_>>().join("; ")
            }
            Value::Bad => "bad".to_owned(),
        }
    }

    #[test]
    fn values_are_set() {
        for (image, sets, expected) in [
            ("{name: a}", &["*.visibility=public"][..], "name: a; visibility: public"),
            ("{name: a, tag: x}", &["a.tag=3.10", "b*.tag=no"], "name: a; tag: 3.10"),
            ("{source: 'quay.io/x/y:1'}", &["y.tag=v"], "source: quay.io/x/y:1; tag: v"),
            (
                "{source: 'x/y:1', owner: platform}",
                &["x/*.tag=v"],
                "source: x/y:1; owner: platform; tag: v",
            ),
            ("{name: a}", &["a.protect=true"], "name: a; protect: Bool true"),
            ("{name: a}", &["a.args.X=1"], "name: a; args: X: 1"),
            ("{name: a, tag: v1}", &["a:v1.protect=true"], "name: a; tag: v1; protect: Bool true"),
            (
                "{name: a, platforms: [linux/amd64, linux/arm64]}",
                &["*:latest-arm64.protect=true"],
                "name: a; platforms: [\"linux/amd64\", \"linux/arm64\"]; protect: Bool true",
            ),
            (
                "{name: a, tag: 'v1-{arch}'}",
                &["a:v1-arm64.protect=true"],
                "name: a; tag: v1-{arch}; protect: Bool true",
            ),
            ("{source: 'x/y:3.1'}", &["x/y:3.1.tag=v"], "source: x/y:3.1; tag: v"),
            ("{name: a, args: {X: 0}}", &["a.args.X=1"], "name: a; args: X: 1"),
            (
                "{name: a}",
                &["a.platforms+=linux/amd64"],
                "name: a; platforms: [\"linux/arm64\", \"linux/amd64\"]",
            ),
            ("{name: a}", &["a.platforms+=linux/arm64"], "name: a; platforms: [\"linux/arm64\"]"),
            ("{name: a}", &["a.platforms=linux/amd64"], "name: a; platforms: [\"linux/amd64\"]"),
            (
                "{name: a, needs: [b]}",
                &["a.needs+=c, b,d"],
                "name: a; needs: [\"b\", \"c\", \"d\"]",
            ),
            (
                "{name: a, published_as: b}",
                &["a.published_as+=c"],
                "name: a; published_as: [\"b\", \"c\"]",
            ),
        ] {
            let (image, problems) = set(image, sets);
            assert_eq!(image, expected);
            assert!(problems.iter().all(|problem| problem.contains("`b*`")), "{problems:?}");
        }
    }

    #[test]
    fn invalid_overrides_are_rejected() {
        for (text, problem) in [
            ("b.tag=x", "no image matches `b` at b"),
            ("a:v2.tag=x", "no image matches `a:v2` at a:v2"),
            ("a.matrix=x", "`matrix` cannot be overridden at matrix"),
            ("a.tag+=x", "`tag` is not a list at tag"),
            ("a.args.X+=x", "`args` is not a list at args"),
        ] {
            assert_eq!(set("{name: a}", &[text]), ("name: a".to_owned(), vec![problem.to_owned()]));
        }
    }
}
