//! Mappings whose keys the user chooses. Pure.

use super::decode::{Decode, decode_pairs};
use super::diagnostics::Diagnostics;
use super::node::YamlNode;
use super::spanned::Spanned;

/// A mapping with keys of the user, in the order of the file.
#[derive(Debug, Clone)]
pub struct Pairs<T>(pub Vec<(Spanned<String>, T)>);

impl<T> Pairs<T> {
    /// Returns the keys and their values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Spanned<String>, T)> {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a Pairs<T> {
    type Item = &'a (Spanned<String>, T);
    type IntoIter = std::slice::Iter<'a, (Spanned<String>, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Decode> Decode for Pairs<T> {
    fn decode(node: &mut YamlNode, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode_pairs(node, diagnostics).map(Self)
    }
}
