//! Carries out `--set`: puts what the command line says into the images that it names. Pure.

use super::entry::{self, Entry, text_node};
use super::scope::{Found, Raw};
use crate::base::name::{Platform, Tag, TagTemplate};
use crate::base::nearest::nearest;
use crate::base::source_ref::SourceRef;
use crate::base::span::{Problem, SourceMap, Span};
use crate::manifest::invocation::Override;
use crate::manifest::node::{Kind, Node, Value};

/// Fields that hold a list, written with commas.
const LISTS: [&str; 3] = ["platforms", "needs", "groups"];

/// Fields that are true or false.
const SWITCHES: [&str; 2] = ["protect", "infer_bases"];

/// Keys that are gone once the images are known.
const EXPANDED: [&str; 4] = ["matrix", "discover", "sources", "sources_from"];

/// Carries out all of them, in order. What each names are the images as the files say them.
pub(super) fn apply(
    sets: &[Override],
    raws: &mut [Raw],
    sources: &mut SourceMap,
    found: &mut Found,
) {
    if sets.is_empty() {
        return;
    }
    let names: Vec<Vec<Option<Names>>> = raws
        .iter()
        .map(|raw| raw.entries.iter().map(|entry| names(entry, &raw.root)).collect())
        .collect();
    for set in sets {
        let text = Typed { set, start: sources.add("--set", set.text()) };
        if let Some(problem) = text.refused() {
            found.problems.push(problem);
            continue;
        }
        let mut matched = false;
        for (raw, names) in raws.iter_mut().zip(&names) {
            let defaults = entry::get(&raw.root, "defaults");
            for (entry, name) in raw.entries.iter_mut().zip(names) {
                if name.as_ref().is_some_and(|names| names.are_meant(set)) {
                    matched = true;
                    text.put(&mut entry.node, defaults);
                }
            }
        }
        // One that is missing may be the one that is meant.
        if !matched && !found.incomplete {
            let known = names.iter().flatten().flatten();
            let known: Vec<&str> = known.flat_map(|names| names.of(set)).collect();
            found.problems.push(text.unmatched(&known));
        }
    }
}

/// What an image can be called.
struct Names {
    name: String,
    /// Each `name:tag`: as it is written, and as it is on each platform.
    tagged: Vec<String>,
}

impl Names {
    /// Those that a pattern is over.
    fn of(&self, set: &Override) -> impl Iterator<Item = &str> {
        let (name, tagged) = if set.images().as_str().contains(':') {
            (None, self.tagged.as_slice())
        } else {
            (Some(self.name.as_str()), &[][..])
        };
        name.into_iter().chain(tagged.iter().map(String::as_str))
    }

    fn are_meant(&self, set: &Override) -> bool {
        self.of(set).any(|name| set.images().matches(name))
    }
}

/// What an image can be called, as far as it can be known.
fn names(entry: &Entry, root: &Node) -> Option<Names> {
    let owner = entry::text(&entry.node, "owner").or_else(|| entry::text(root, "owner"));
    let source: Option<SourceRef> =
        entry::text(&entry.node, "source").and_then(|source| source.parse().ok());
    let derived = source.and_then(|source| source.destination(owner == Some("platform")).ok());
    let (name, tag) = derived.map_or((None, None), |(name, tag)| (Some(name), Some(tag)));
    let name = match entry::text(&entry.node, "name") {
        Some(name) => name.to_owned(),
        None => name?.as_str().to_owned(),
    };
    let defaults = entry::get(root, "defaults");
    let default = || defaults.and_then(|defaults| entry::text(defaults, "tag"));
    let tag = entry::text(&entry.node, "tag").or(tag.as_ref().map(Tag::as_str)).or_else(default);
    let tag = tag.unwrap_or("latest");
    let platforms = entry::get(&entry.node, "platforms")
        .or_else(|| entry::get(defaults?, "platforms"))
        .map(|platforms| &platforms.value);
    let platforms: Vec<Platform> = match platforms {
        Some(Value::Seq(items)) => {
            items.iter().filter_map(|item| text(item)?.parse().ok()).collect()
        }
        _ => vec![Platform::default()],
    };
    let mut tagged = vec![format!("{name}:{tag}")];
    if let Ok(template) = tag.parse::<TagTemplate>() {
        let one = platforms.len() < 2;
        for platform in platforms {
            let own = if one || template.has_arch() {
                Ok(template.for_platform(platform))
            } else {
                template.with_suffix(platform)
            };
            tagged.extend(own.map(|own| format!("{name}:{own}")));
        }
    }
    Some(Names { name, tagged })
}

/// One `--set`, and where its text begins.
struct Typed<'s> {
    set: &'s Override,
    start: usize,
}

impl Typed<'_> {
    fn at(&self, place: std::ops::Range<usize>) -> (&str, Span) {
        let span = Span::new(self.start + place.start, place.len());
        (self.set.text().get(place).unwrap_or_default(), span)
    }

    fn refused(&self) -> Option<Problem> {
        let (field, span) = self.at(self.set.field_place());
        if EXPANDED.contains(&field) {
            let message = format!("`{field}` is gone once the images are known");
            let problem = Problem::new(message, span, "here");
            return Some(problem.help("say it in the manifest, with variables: --var NAME=VALUE"));
        }
        if self.set.adds && !LISTS.contains(&field) {
            let problem = Problem::new(format!("nothing can be added to `{field}`"), span, "here");
            return Some(problem.help(format!("`+=` adds to a list: {}", LISTS.join(", "))));
        }
        None
    }

    fn unmatched(&self, names: &[&str]) -> Problem {
        let (pattern, span) = self.at(self.set.pattern_place());
        let help = match nearest(pattern, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name an image of the manifest; `*` is any text, `?` any character".to_owned(),
        };
        Problem::new(format!("no image is called `{pattern}`"), span, "here").help(help)
    }

    /// Puts the value into an image. What the field cannot hold, the decoder refuses.
    fn put(&self, node: &mut Node, defaults: Option<&Node>) {
        let (field, at) = self.at(self.set.field_place());
        let (value, span) = self.at(self.set.value_place());
        let effective =
            || entry::get(node, field).or_else(|| entry::get(defaults?, field)).cloned();
        let value = if let Some(inner) = self.set.inner_place() {
            let (inner, inner_at) = self.at(inner);
            let empty = Node { span: at, value: Value::Map(Vec::new()) };
            let mut map = effective().unwrap_or(empty);
            entry::put(&mut map, inner, inner_at, text_node(value, span));
            map
        } else if LISTS.contains(&field) {
            let mut items =
                if self.set.adds { own_items(field, effective(), span) } else { Vec::new() };
            for item in self.items() {
                if !self.set.adds || items.iter().all(|own| text(own) != text(&item)) {
                    items.push(item);
                }
            }
            Node { span, value: Value::Seq(items) }
        } else if SWITCHES.contains(&field) && matches!(value, "true" | "false") {
            Node { span, value: Value::Scalar { text: value.to_owned(), kind: Kind::Bool } }
        } else {
            text_node(value, span)
        };
        entry::put(node, field, at, value);
    }

    /// The parts of a comma list.
    fn items(&self) -> Vec<Node> {
        let (value, span) = self.at(self.set.value_place());
        let mut at = span.start;
        let mut items = Vec::new();
        for part in value.split(',') {
            let indent = part.len() - part.trim_start().len();
            if !part.trim().is_empty() {
                let words = part.trim();
                items.push(text_node(words, Span::new(at + indent, words.len())));
            }
            at += part.len() + 1;
        }
        items
    }
}

/// What a list holds before something is added.
fn own_items(field: &str, own: Option<Node>, span: Span) -> Vec<Node> {
    match own.map(|own| own.value) {
        Some(Value::Seq(items)) => items,
        // An image that says no platform has one all the same.
        None if field == "platforms" => {
            vec![text_node(Platform::default().to_string(), span)]
        }
        _ => Vec::new(),
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::node::{self, Key};

    /// The image after these were set, as flow YAML, and the problems.
    fn set(image: &str, sets: &[&str]) -> (String, Vec<String>) {
        let mut sources = SourceMap::default();
        let root = "defaults: { platforms: [linux/arm64], args: { D: d } }";
        let root = node::parse(root, sources.add("m", root)).unwrap();
        let entry =
            Entry { node: node::parse(image, sources.add("i", image)).unwrap(), note: None };
        let raw = Raw { dir: ".".into(), root, images: None, entries: vec![entry] };
        let sets: Vec<Override> = sets.iter().map(|set| set.parse().unwrap()).collect();
        let (mut raws, mut found) = ([raw], Found::default());
        apply(&sets, &mut raws, &mut sources, &mut found);
        let shown = |p: &Problem| format!("{} at {}", p.message, sources.text(p.labels[0].0));
        (flow(&raws[0].entries[0].node), found.problems.iter().map(shown).collect())
    }

    fn flow(node: &Node) -> String {
        match &node.value {
            Value::Scalar { text, kind: Kind::Text } => text.clone(),
            Value::Scalar { text, kind } => format!("{kind:?} {text}"),
            Value::Seq(items) => format!("{:?}", items.iter().map(flow).collect::<Vec<_>>()),
            Value::Map(entries) => {
                let pair = |(key, value): &(Key, Node)| format!("{}: {}", key.text, flow(value));
                entries.iter().map(pair).collect::<Vec<_>>().join("; ")
            }
            Value::Bad => "bad".to_owned(),
        }
    }

    #[test]
    fn values_are_put_in() {
        for (image, sets, expected) in [
            ("{name: a}", &["*.visibility=public"][..], "name: a; visibility: public"),
            ("{name: a, tag: x}", &["a.tag=3.10", "b*.tag=no"], "name: a; tag: 3.10"),
            ("{source: 'x/y:1'}", &["y.tag=v"], "source: x/y:1; tag: v"),
            (
                "{source: 'x/y:1', owner: platform}",
                &["x/*.tag=v"],
                "source: x/y:1; owner: platform; tag: v",
            ),
            ("{name: a}", &["a.protect=true"], "name: a; protect: Bool true"),
            ("{name: a}", &["a.args.X=1"], "name: a; args: D: d; X: 1"),
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
            ("{source: 'x/y:3.1'}", &["y:3.1.tag=v"], "source: x/y:3.1; tag: v"),
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
        ] {
            let (image, problems) = set(image, sets);
            assert_eq!(image, expected);
            assert!(problems.iter().all(|problem| problem.contains("`b*`")), "{problems:?}");
        }
    }

    #[test]
    fn what_cannot_be_set() {
        for (text, says) in [
            ("b.tag=x", "no image is called `b` at b"),
            ("a:v2.tag=x", "no image is called `a:v2` at a:v2"),
            ("a.matrix=x", "`matrix` is gone once the images are known at matrix"),
            ("a.tag+=x", "nothing can be added to `tag` at tag"),
            ("a.args.X+=x", "nothing can be added to `args` at args"),
        ] {
            assert_eq!(set("{name: a}", &[text]), ("name: a".to_owned(), vec![says.to_owned()]));
        }
    }
}
