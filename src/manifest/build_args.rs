//! Values of build arguments: one text for all platforms, or one for each platform. Pure.

use super::decode::{Decode, decode, reject};
use super::diagnostics::Diagnostics;
use super::node::{ScalarKind, Value, YamlNode};
use super::spanned::Spanned;
use crate::base::name::Platform;
use crate::base::template::fill_arch;

/// Value of a build argument. `{arch}` in a text is the architecture of the platform.
#[derive(Debug, Clone)]
pub(crate) enum ArgValue {
    /// The value on all platforms.
    Everywhere(String),
    /// The value on each of these platforms.
    ByPlatform(Vec<(Spanned<Platform>, String)>),
}

impl ArgValue {
    /// Returns the value on a platform, or `None` if it has no entry for the platform.
    pub(super) fn on(&self, platform: Platform) -> Option<String> {
        let text = match self {
            Self::Everywhere(text) => text,
            Self::ByPlatform(texts) => {
                texts.iter().find(|(own, _)| **own == platform).map(|(_, text)| text)?
            }
        };
        Some(fill_arch(text, platform))
    }

    /// Returns the platforms that the value has entries for; none if it is the same on all.
    pub(super) fn platforms(&self) -> impl Iterator<Item = &Spanned<Platform>> {
        let texts = match self {
            Self::Everywhere(_) => &[][..],
            Self::ByPlatform(texts) => texts,
        };
        texts.iter().map(|(platform, _)| platform)
    }
}

impl Decode for ArgValue {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        let (true, Value::Map(entries)) = (is_by_platform(node), &mut node.value) else {
            return String::decode(node, diagnostics).map(Self::Everywhere);
        };
        if entries.is_empty() {
            let help = "write one text, or a text for each platform: { linux/amd64: a }";
            return reject(node, diagnostics, "this argument has no value", help);
        }
        let mut texts = Vec::new();
        for (key, value) in &mut *entries {
            match key.text.parse::<Platform>() {
                Ok(platform) => {
                    let text: Option<String> = decode(value, diagnostics);
                    texts.extend(text.map(|text| (Spanned::new(platform, key.span), text)));
                }
                Err(error) => {
                    diagnostics.error(error.message, key.span, error.help);
                    value.value = Value::Bad;
                }
            }
        }
        // With a part of its texts, the argument would lack a platform.
        (texts.len() == entries.len()).then_some(Self::ByPlatform(texts))
    }
}

/// Returns true for a mapping, except for `{arch}` without quotes, which YAML reads as one.
fn is_by_platform(node: &YamlNode) -> bool {
    match &node.value {
        Value::Map(entries) => match &entries[..] {
            [(key, YamlNode { value: Value::Scalar { kind: ScalarKind::Null, .. }, .. })] => {
                key.text.contains('/')
            }
            _ => true,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::node;

    #[test]
    fn values_depend_on_the_platform() {
        for (text, amd64, arm64) in [
            ("a", Some("a"), Some("a")),
            ("'x-{arch}.tgz'", Some("x-amd64.tgz"), Some("x-arm64.tgz")),
            ("'{arch}/{arch} {os}'", Some("amd64/amd64 {os}"), Some("arm64/arm64 {os}")),
            ("'${arch}'", Some("${arch}"), Some("${arch}")),
            ("{ linux/amd64: a, linux/arm64: 'b-{arch}' }", Some("a"), Some("b-arm64")),
            ("{ linux/arm64: b }", None, Some("b")),
        ] {
            let mut diagnostics = Diagnostics::default();
            let value: Option<ArgValue> =
                decode(&mut node::parse(text, 0).unwrap(), &mut diagnostics);
            let value = value.unwrap();
            assert_eq!(value.on(Platform::Amd64).as_deref(), amd64, "{text}");
            assert_eq!(value.on(Platform::Arm64).as_deref(), arm64, "{text}");
        }
    }

    #[test]
    fn invalid_values_are_rejected() {
        for (text, message, help) in [
            ("3.10", "YAML reads 3.10 as the number 3.1", "quote it"),
            ("{arch}", "expected a string, found a mapping", "quote it: \"{arch}\""),
            ("[a]", "expected a string, found a list", ""),
            ("{}", "has no value", "linux/amd64"),
            ("{ linux/amd64: }", "no value", ""),
            ("{ amd64: a, linux/arm64: b }", "`amd64` is not a platform", "write `linux/amd64`"),
            ("{ linux/amd64: 1 }", "YAML reads 1 as a number", "quote it"),
        ] {
            let mut diagnostics = Diagnostics::default();
            let value: Option<ArgValue> =
                decode(&mut node::parse(text, 0).unwrap(), &mut diagnostics);
            let (problems, _) = diagnostics.finish();
            assert!(value.is_none() && problems.len() == 1, "{text}: {problems:?}");
            assert!(problems[0].message.contains(message), "{text}: {problems:?}");
            assert!(problems[0].help.as_deref().unwrap_or_default().contains(help), "{problems:?}");
        }
    }
}
