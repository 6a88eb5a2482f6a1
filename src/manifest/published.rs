//! The references under which an image is known outside of the manifest: `published_as`. Pure.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::decode::{Decode, decode, decode_text};
use super::diagnostics::Diagnostics;
use super::node::{Value, YamlNode};
use super::spanned::Spanned;
use crate::base::name::{ImageName, NameError};
use crate::base::reference::RegistryRef;

/// Placeholder for the name of the image.
pub(super) const NAME_PLACEHOLDER: &str = "{name}";

/// References under which an image is known outside, as the manifest writes them: one, or a list.
#[derive(Debug, Clone)]
pub(crate) struct PublishedAs(Vec<Spanned<PublishedTemplate>>);

/// A reference that may contain [`NAME_PLACEHOLDER`].
#[derive(Debug, Clone)]
struct PublishedTemplate(String);

impl PublishedTemplate {
    /// Returns the reference of an image with this name.
    fn fill(&self, name: &str) -> Result<RegistryRef, NameError> {
        self.0.replace(NAME_PLACEHOLDER, name).parse()
    }
}

impl Decode for PublishedAs {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        if matches!(node.value, Value::Seq(_)) {
            return Decode::decode(node, diagnostics).map(Self);
        }
        Some(Self(vec![decode(node, diagnostics)?]))
    }
}

impl Decode for PublishedTemplate {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_text(node, diagnostics, |text| {
            let template = Self(text.to_owned());
            if text.replace(NAME_PLACEHOLDER, "").contains(['{', '}']) {
                let message = format!("`{}` contains an unknown placeholder", text.escape_debug());
                return Err(NameError::new(message, "the placeholder here is `{name}`"));
            }
            // Any name has the same characters for this check.
            if template.fill("name")?.digest().is_some() {
                let message = "`published_as` lists references without a digest";
                let help = "remove the digest: a reference with a digest always means that image";
                return Err(NameError::new(message, help));
            }
            Ok(template)
        })
    }
}

impl JsonSchema for PublishedAs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublishedAs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let reference =
            r"\$|^[^\s@{}]*(\{(name|dir|parent|path|file|registry|tag|digest)\}[^\s@{}]*)*$";
        json_schema!({
            "anyOf": [
                { "type": "string", "minLength": 1, "pattern": reference, "description": "A reference." },
                {
                    "type": "array",
                    "description": "Several references, or none.",
                    "items": {
                        "type": "string",
                        "minLength": 1,
                        "pattern": reference,
                        "description": "A reference.",
                    },
                },
            ],
            "examples": ["quay.io/org/{name}", ["quay.io/org/api", "ghcr.io/org/api:stable"]],
        })
    }
}

impl PublishedAs {
    /// Returns the references of the image with this name. A name that no registry accepts has no
    /// reference outside.
    pub(super) fn references(&self, name: &ImageName) -> Vec<RegistryRef> {
        self.0.iter().filter_map(|template| template.fill(name.as_str()).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::span::SourceMap;
    use crate::manifest::node;

    /// Decodes a value. Returns the references of the image `core`, and the messages of problems.
    fn references(yaml: &str) -> (Vec<String>, Vec<String>) {
        let mut diagnostics = Diagnostics::default();
        let mut node = node::parse(yaml, SourceMap::default().add("m", yaml)).unwrap();
        let published = decode::<PublishedAs>(&mut node, &mut diagnostics);
        let templates = published.map(|PublishedAs(templates)| templates).unwrap_or_default();
        let references = templates.iter().map(|template| template.fill("core").unwrap());
        let references = references.map(|reference| reference.name()).collect();
        let (problems, _) = diagnostics.finish();
        (references, problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn one_reference_or_several_are_decoded() {
        for (yaml, expected) in [
            ("quay.io/org/{name}", &["quay.io/org/core"][..]),
            ("'{name}'", &["docker.io/library/core"]),
            (
                "['rocker/x-{name}', 'localhost:5000/{name}:v1']",
                &["docker.io/rocker/x-core", "localhost:5000/core"],
            ),
            ("[]", &[]),
        ] {
            let (references, problems) = references(yaml);
            assert_eq!(references, expected, "{yaml}");
            assert_eq!(problems, [""; 0], "{yaml}");
        }
    }

    #[test]
    fn invalid_references_are_rejected() {
        let digest = "a".repeat(64);
        for (yaml, message) in [
            ("quay.io/org/{nam}", "`quay.io/org/{nam}` contains an unknown placeholder"),
            ("https://quay.io/x", "`https://quay.io/x` is a URL, not an image reference"),
            ("quay.io/Org/{name}", "`Org/name` is not an image path"),
            ("[1.5]", "YAML reads 1.5 as a number"),
            ("''", "an image reference cannot be empty"),
            (&format!("x/y@sha256:{digest}"), "`published_as` lists references without a digest"),
        ] {
            assert_eq!(references(yaml), (Vec::new(), vec![message.to_owned()]), "{yaml}");
        }
    }
}
