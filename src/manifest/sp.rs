//! A value of the manifest with its place, and how it asks the decoder for both. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::decode::SPANNED;
use crate::base::span::{Span, Spanned};

/// A value of the manifest and the place that said it.
#[derive(Debug, Clone)]
pub struct Sp<T>(pub Spanned<T>);

impl<T> std::ops::Deref for Sp<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Sp<T> {
    /// Where the value stands.
    pub fn span(&self) -> Span {
        self.0.span
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Sp<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sp<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Sp<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of a manifest")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Sp<T>, A::Error> {
                let missing = || de::Error::custom("a value without a place");
                let start = parts.next_element()?.ok_or_else(missing)?;
                let len = parts.next_element()?.ok_or_else(missing)?;
                let value = parts.next_element()?.ok_or_else(missing)?;
                Ok(Sp(Spanned::new(value, Span::new(start, len))))
            }
        }

        deserializer.deserialize_newtype_struct(SPANNED, Parts(PhantomData))
    }
}
