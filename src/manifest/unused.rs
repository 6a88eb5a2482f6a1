//! Collects the parts of a manifest that may have no effect. A value of `defaults`, or of an entry
//! that generates many images, is used if one of the images uses it. Pure.

use std::collections::BTreeMap;

use super::diagnostics::{Diagnostics, Note};
use crate::base::span::{Problem, Span};
use crate::base::text::plural;

/// Parts of a manifest that at least one image could use, by their spans.
#[derive(Debug, Default)]
pub(super) struct UnusedParts(BTreeMap<Span, Part>);

#[derive(Debug, Default)]
struct Part {
    is_used: bool,
    /// Number of images that do not use the part.
    images: usize,
    /// Message, help and note of the first image that does not use the part.
    warning: Option<(String, String, Option<Note>)>,
}

impl UnusedParts {
    /// Records that an image uses a part.
    pub(super) fn used(&mut self, span: Span) {
        self.0.entry(span).or_default().is_used = true;
    }

    /// Records that an image does not use a part. The warning has the current note of `diagnostics`.
    pub(super) fn unused(
        &mut self,
        span: Span,
        (message, help): (String, String),
        diagnostics: &Diagnostics,
    ) {
        let part = self.0.entry(span).or_default();
        part.images += 1;
        part.warning.get_or_insert_with(|| (message, help, diagnostics.note().cloned()));
    }

    /// Warns about each part that no image uses.
    pub(super) fn warn(self, diagnostics: &mut Diagnostics) {
        for (span, Part { is_used, images, warning }) in self.0 {
            let Some((message, help, note)) = warning.filter(|_| !is_used) else { continue };
            // A part of many images is a part of the entry, not of one row or folder.
            let (label, note) = match images {
                1 => (String::new(), note),
                _ => (format!("in {}", plural(images, "image")), None),
            };
            let outer = diagnostics.enter(note.as_ref());
            diagnostics.push(Problem::new(message, span, label).help(help).warning());
            diagnostics.leave(outer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_unused_if_no_image_uses_it() {
        let note = Note { words: "for a".into(), siblings: 2, line: None };
        for (uses, expected) in [
            (&[true, false][..], None),
            (&[false, true], None),
            (&[true], None),
            (&[], None),
            (&[false], Some("for a")),
            (&[false, false], Some("in 2 images")),
        ] {
            let (mut parts, mut diagnostics) = (UnusedParts::default(), Diagnostics::default());
            let outer = diagnostics.enter(Some(&note));
            for is_used in uses {
                match is_used {
                    true => parts.used(Span::new(3, 1)),
                    false => {
                        let words = ("unused".to_owned(), "remove it".to_owned());
                        parts.unused(Span::new(3, 1), words, &diagnostics);
                    }
                }
            }
            diagnostics.leave(outer);
            parts.warn(&mut diagnostics);
            let (errors, warnings) = diagnostics.finish();
            let labels: Vec<&str> = warnings.iter().map(|w| w.labels[0].1.as_str()).collect();
            assert_eq!(labels, expected.into_iter().collect::<Vec<_>>(), "{uses:?}");
            assert!(errors.is_empty());
        }
    }
}
