//! The `Authorization` header of a request, and the secrets in it.

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// An `Authorization` header. It is only sent to the origin that it is for.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) value: HeaderValue,
    /// The secrets in the header, which are removed from error messages.
    secrets: Vec<SecretString>,
}

impl Authorization {
    /// Creates a header from its scheme (`Bearer` or `Basic`) and its value. `secrets` are further
    /// secrets that the value encodes. `None` if the value is not valid in a header.
    pub(super) fn new(scheme: &str, value: &str, secrets: Vec<SecretString>) -> Option<Self> {
        let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).ok()?;
        header.set_sensitive(true);
        let secrets = secrets.into_iter().chain([value.into()]).collect();
        Some(Self { value: header, secrets })
    }

    /// Returns the secrets in the header, if there is one.
    pub(super) fn secrets(this: Option<&Self>) -> Vec<&str> {
        let secrets = this.into_iter().flat_map(|this| &this.secrets);
        secrets.map(ExposeSecret::expose_secret).collect()
    }
}
