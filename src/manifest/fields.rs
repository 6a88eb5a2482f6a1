//! What an image says besides where it comes from and lands: how long it may take and last, its
//! protection, groups and labels. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Sp;
use super::model::{Image, Pairs};
use super::resolve::Resolver;

/// The least that `max_age` may be: below it, every run would make the image again.
const LEAST_AGE: Duration = Duration::from_secs(60);

/// What units of one image share, with defaults filled in.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) timeout: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) protect: Option<bool>,
    pub(super) groups: BTreeSet<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Resolver<'_> {
    /// What the image and the defaults say: groups and labels of both, else the image's own first.
    pub(super) fn fields(&mut self, image: &Image) -> Fields {
        let defaults = self.manifest.defaults.as_ref();
        let mut labels = BTreeMap::new();
        for said in [defaults.and_then(|d| d.labels.as_ref()), image.labels.as_ref()] {
            labels.extend(said.into_iter().flat_map(|said| self.labels(said)));
        }
        let shared = defaults.and_then(|d| d.groups.as_ref());
        let groups = [shared, image.groups.as_ref()].into_iter().flatten().flatten();
        let max_age = image.max_age.as_ref().or_else(|| defaults.and_then(|d| d.max_age.as_ref()));
        if let Some(age) = max_age
            && age.0.value.0 < LEAST_AGE
        {
            let message = "`max_age` is below a minute: every run would make the image again";
            self.report(message, age.span(), "write a minute or more: 1m, 24h, 7d");
        }
        let timeout = image.timeout.as_ref().or_else(|| defaults.and_then(|d| d.timeout.as_ref()));
        Fields {
            timeout: timeout.map(|timeout| timeout.0.value.0),
            max_age: max_age.map(|age| age.0.value.0),
            protect: image.protect.or_else(|| defaults.and_then(|d| d.protect)),
            groups: groups.map(|group| group.0.value.0.clone()).collect(),
            labels,
        }
    }

    fn labels(&mut self, said: &Pairs<Sp<String>>) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for (key, value) in said {
            if !is_label(key) {
                let message = format!("`{}` is not the key of a label", key.escape_debug());
                let help = "use at most 128 letters, digits, `.`, `_`, `-` and `/`; start and end \
                            with a letter or a digit";
                self.report(message, key.span(), help);
            } else if value.chars().any(|c| c.is_ascii_control()) {
                let message =
                    format!("the label `{}` holds a line break or the like", key.as_str());
                self.report(message, value.span(), "write one line of plain text");
            } else {
                labels.push((key.to_string(), value.to_string()));
            }
        }
        labels
    }

    /// Reports what only a build can have.
    pub(super) fn refuse_of_mirror(&mut self, image: &Image) {
        let said = [
            ("a mirror has no Dockerfile", image.dockerfile.as_ref().map(Sp::span)),
            ("a mirror has no build arguments", image.args.as_ref().map(Sp::span)),
            ("a mirror has no target", image.target.as_ref().map(Sp::span)),
            ("a mirror has no bases to find", image.infer_bases.as_ref().map(Sp::span)),
        ];
        for (message, span) in said {
            if let Some(span) = span {
                self.report(message, span, "remove it, or build from a `context` instead");
            }
        }
    }
}

/// As the schema's pattern for it says.
fn is_label(key: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| edge(c) || matches!(c, '.' | '_' | '-' | '/');
    key.starts_with(edge) && key.ends_with(edge) && key.chars().all(inner) && key.len() <= 128
}
