//! Resolves the fields of an image that do not depend on its origin: timeout, maximum age,
//! protection, groups and labels. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::diagnostics::Diagnostics;
use super::model::{Defaults, Image, Pairs};
use super::spanned::Spanned;

/// Minimum of `max_age`: with less, every run would rebuild the image.
const MIN_MAX_AGE: Duration = Duration::from_secs(60);

/// Fields that all units of an image share.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) timeout: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) protect: Option<bool>,
    pub(super) groups: BTreeSet<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// Resolves the fields of an image. Groups and labels are added to those of the defaults; all other
/// fields override them.
pub(super) fn resolve(
    entry: &Image,
    defaults: Option<&Defaults>,
    diagnostics: &mut Diagnostics,
) -> Fields {
    let none = Defaults::default();
    let defaults = defaults.unwrap_or(&none);
    let mut labels = BTreeMap::new();
    for pairs in [&defaults.labels, &entry.labels].into_iter().flatten() {
        add_labels(pairs, &mut labels, diagnostics);
    }
    let groups = [&defaults.groups, &entry.groups].into_iter().flatten().flatten();
    let max_age = entry.max_age.as_ref().or(defaults.max_age.as_ref());
    if let Some(age) = max_age
        && age.0 < MIN_MAX_AGE
    {
        let message = "`max_age` is less than one minute: every run would rebuild the image";
        diagnostics.error(message, age.span(), "write at least one minute: 1m, 24h, 7d");
    }
    let timeout = entry.timeout.as_ref().or(defaults.timeout.as_ref());
    Fields {
        timeout: timeout.map(|timeout| timeout.0),
        max_age: max_age.map(|age| age.0),
        protect: entry.protect.or(defaults.protect),
        groups: groups.map(|group| group.0.clone()).collect(),
        labels,
    }
}

fn add_labels(
    pairs: &Pairs<Spanned<String>>,
    labels: &mut BTreeMap<String, String>,
    diagnostics: &mut Diagnostics,
) {
    for (key, value) in pairs {
        if !is_label_key(key) {
            let message = format!("`{}` is not the key of a label", key.escape_debug());
            let help = "use at most 128 letters, digits, `.`, `_`, `-` and `/`; start and end with \
                        a letter or a digit";
            diagnostics.error(message, key.span(), help);
        } else if value.chars().any(|c| c.is_ascii_control()) {
            let message = format!("the label `{}` contains a control character", key.as_str());
            diagnostics.error(message, value.span(), "write one line of plain text");
        } else {
            labels.insert(key.to_string(), value.to_string());
        }
    }
}

/// Returns true for the keys that `LABEL_PATTERN` of the schema matches.
fn is_label_key(key: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    let is_inner = |c: char| is_edge(c) || matches!(c, '.' | '_' | '-' | '/');
    key.starts_with(is_edge)
        && key.ends_with(is_edge)
        && key.chars().all(is_inner)
        && key.len() <= 128
}

/// Rejects the fields of a mirror that only a build can have.
pub(super) fn reject_build_fields(entry: &Image, diagnostics: &mut Diagnostics) {
    let fields = [
        ("a mirror has no Dockerfile", entry.dockerfile.as_ref().map(Spanned::span)),
        ("a mirror has no build arguments", entry.args.as_ref().map(Spanned::span)),
        ("a mirror has no target", entry.target.as_ref().map(Spanned::span)),
        ("a mirror has no context", entry.inputs.as_ref().map(Spanned::span)),
        ("a mirror has no bases", entry.infer_bases.as_ref().map(Spanned::span)),
    ];
    for (message, span) in fields {
        if let Some(span) = span {
            diagnostics.error(message, span, "remove it, or build from a `context` instead");
        }
    }
}
