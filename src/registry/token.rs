//! Fetches access tokens (Docker's "Token Authentication Specification") and caches them until they
//! expire. Concurrent requests that need the same token share one fetch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::authorization::Authorization;
use super::credentials::CredentialLookup;
use super::docker_config::Credential;
use super::error::{self, RegistryErrorKind, RegistryFailure};
use super::message::{RegistryRequest, RequestBody};
use super::throttle::lock;
use super::wire::RequestSender;
use crate::http::body::without_byte_order_mark;
use crate::http::notice::ObserverRef;

/// Lifetime of a token without `expires_in`, by Docker's specification.
const DEFAULT_LIFETIME_SECS: u64 = 60;

/// Maximum lifetime of a token, whatever its `expires_in`.
const MAX_LIFETIME_SECS: u64 = 24 * 3600;

/// Time before its expiry at which a token is no longer used: requests take time, and clocks differ.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);

/// Number of tokens at which the cache is emptied, so that a process that runs for months does not
/// grow with every repository.
const MAX_SLOTS: usize = 1000;

/// The request for a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenRequest {
    /// The registry that requires the token. It is part of the cache key: another registry that names
    /// the same token service must not receive a token that is valid at this one.
    pub(super) registry: String,
    /// True if no credentials are sent, because another registry redirected to this one.
    pub(super) is_anonymous: bool,
    /// URL of the token service.
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    /// For example `repository:library/redis:pull`; several are separated by spaces. May be empty.
    pub(super) scope: String,
}

/// A cached access token.
#[derive(Debug, Clone)]
pub(super) struct AccessToken {
    pub(super) authorization: Authorization,
    expires: Instant,
    /// Number of the fetch that returned the token, from 1.
    pub(super) fetch: u64,
}

/// Cache of access tokens.
#[derive(Default)]
pub(super) struct TokenCache {
    slots: Mutex<HashMap<TokenRequest, Arc<TokenSlot>>>,
}

#[derive(Default)]
struct TokenSlot {
    /// Number of completed fetches.
    fetches: AtomicU64,
    last: tokio::sync::Mutex<Option<Result<AccessToken, RegistryFailure>>>,
}

impl TokenCache {
    /// Returns a valid token other than that of the fetch `rejected`, and true if it was fetched now.
    ///
    /// # Errors
    ///
    /// Fails if the fetch fails. Callers that waited for the same fetch share its failure.
    pub(super) async fn get(
        &self,
        request: &TokenRequest,
        rejected: Option<u64>,
        fetch: impl AsyncFnOnce() -> Result<TokenGrant, RegistryFailure>,
    ) -> Result<(AccessToken, bool), RegistryFailure> {
        let slot = {
            let mut slots = lock(&self.slots);
            if slots.len() >= MAX_SLOTS {
                // The slots of other callers are kept, so that they still share a fetch.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(slots.entry(request.clone()).or_default())
        };
        let fetches_before = slot.fetches.load(Ordering::Acquire);
        let mut last = slot.last.lock().await;
        match &*last {
            Some(Ok(token)) if token.expires > Instant::now() && Some(token.fetch) != rejected => {
                return Ok((token.clone(), false));
            }
            // The fetch failed while this caller waited: another one would fail the same way.
            Some(Err(failure)) if slot.fetches.load(Ordering::Acquire) > fetches_before => {
                return Err(failure.clone());
            }
            _ => {}
        }
        let grant = fetch().await;
        let fetch = slot.fetches.fetch_add(1, Ordering::AcqRel) + 1;
        let token = grant.map(|TokenGrant { authorization, expires }| AccessToken {
            authorization,
            expires,
            fetch,
        });
        *last = Some(token.clone());
        Ok((token?, true))
    }
}

/// A token from the token service.
pub(super) struct TokenGrant {
    authorization: Authorization,
    expires: Instant,
}

/// The fields of the token service's response that are used.
#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    /// A number. Some token services write it as a text.
    #[serde(default)]
    expires_in: Value,
}

/// Fetches a token with the found credential, or anonymously.
///
/// # Errors
///
/// Fails if the token service cannot be reached, rejects the credential, or returns no token.
pub(super) async fn fetch(
    sender: &RequestSender,
    request: &TokenRequest,
    lookup: &CredentialLookup,
    observer: ObserverRef<'_>,
) -> Result<TokenGrant, RegistryFailure> {
    let mut url = request.realm.clone();
    let mut authorization = None;
    let mut body = RequestBody::Empty;
    match &lookup.credential {
        Some(Credential::Identity(token)) => {
            body = RequestBody::Form(exchange_form(request, token));
        }
        credential => {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &request.service {
                query.append_pair("service", service);
            }
            for scope in request.scope.split_whitespace() {
                query.append_pair("scope", scope);
            }
            drop(query);
            authorization = credential.as_ref().and_then(basic_authorization);
        }
    }
    let mut secrets = Authorization::secrets(authorization.as_ref());
    if let Some(Credential::Identity(token)) = &lookup.credential {
        secrets.push(token.expose_secret());
    }
    let http_request = RegistryRequest {
        method: if matches!(body, RequestBody::Form(_)) { Method::POST } else { Method::GET },
        url,
        accept: &["application/json"],
        authorization: authorization.as_ref(),
        body,
        follows_to_other_hosts: lookup.credential.is_none(),
        leaves_body: false,
    };
    let sent_at = Instant::now();
    let response = sender.send(&http_request, observer).await?;
    let host = request.realm.host_str().unwrap_or_default();
    match response.status {
        200..=299 => parse_grant(&response.body, sent_at)
            .ok_or_else(|| RegistryFailure::unexpected(format!("{host} returned no token"))),
        status @ (400 | 401 | 403 | 404) => {
            let response = error::describe_response(status, &response.body, &secrets);
            let message = match lookup.credential {
                Some(_) => format!("{host} rejects the credentials ({response})"),
                None => format!("{host} returns no token without credentials ({response})"),
            };
            Err(denied(lookup, &message, &request.registry))
        }
        status => {
            let response = error::describe_response(status, &response.body, &secrets);
            Err(RegistryFailure::unexpected(format!("{host} returned no token ({response})")))
        }
    }
}

/// Creates the failure for denied access, with a help text that depends on the credentials.
pub(super) fn denied(lookup: &CredentialLookup, message: &str, registry: &str) -> RegistryFailure {
    let help = match (&lookup.problem, &lookup.credential) {
        (Some(problem), _) => format!("no credentials found: {problem}"),
        (None, Some(_)) => {
            format!("check the name, or log in again with `docker login {registry}`")
        }
        (None, None) => format!("check the name, or log in with `docker login {registry}`"),
    };
    RegistryFailure::new(RegistryErrorKind::Denied, message, help)
}

/// Returns the `Authorization` header for a user name and a password.
pub(super) fn basic_authorization(credential: &Credential) -> Option<Authorization> {
    let Credential::Password { user, password } = credential else { return None };
    let encoded = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
    Authorization::new("Basic", &encoded, vec![password.clone()])
}

/// Returns the form that exchanges an identity token for an access token (Docker's "Authenticate with
/// OAuth2": `POST /token`).
fn exchange_form(request: &TokenRequest, token: &SecretString) -> SecretString {
    let mut form = request.realm.clone();
    form.query_pairs_mut()
        .clear()
        .append_pair("grant_type", "refresh_token")
        .append_pair("service", request.service.as_deref().unwrap_or_default())
        .append_pair("scope", &request.scope)
        .append_pair("client_id", "imgplan")
        .append_pair("refresh_token", token.expose_secret());
    form.query().unwrap_or_default().into()
}

fn parse_grant(body: &[u8], sent_at: Instant) -> Option<TokenGrant> {
    let body: TokenResponse = serde_json::from_slice(without_byte_order_mark(body)).ok()?;
    let is_present = |token: &String| !token.is_empty();
    let token = body.token.filter(is_present).or(body.access_token.filter(is_present))?;
    let authorization = Authorization::new("Bearer", &token, Vec::new())?;
    Some(TokenGrant { authorization, expires: sent_at + lifetime(&body.expires_in) })
}

/// Returns the time for which a token is used, from its `expires_in` in seconds.
fn lifetime(expires_in: &Value) -> Duration {
    let secs = match expires_in {
        Value::String(text) => text.trim().parse().ok(),
        number => number.as_f64(),
    };
    let lifetime = secs
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .filter(|lifetime| !lifetime.is_zero())
        .unwrap_or(Duration::from_secs(DEFAULT_LIFETIME_SECS))
        .min(Duration::from_secs(MAX_LIFETIME_SECS));
    lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_used_shortly_before_its_expiry() {
        let table = [
            ("null", 55.0),
            ("300", 295.0),
            ("300.0", 295.0),
            ("10", 5.0),
            ("2", 1.0),
            ("0", 55.0),
            ("-1", 55.0),
            ("1e300", 55.0),
            ("1e9", 86_395.0),
            ("99999999999999999999", 55.0),
            (r#""300""#, 295.0),
            (r#"" 300.0 ""#, 295.0),
            (r#""0""#, 55.0),
            (r#""-5""#, 55.0),
            (r#""NaN""#, 55.0),
            (r#""inf""#, 55.0),
            (r#""5m""#, 55.0),
            (r#""""#, 55.0),
            ("true", 55.0),
            ("{}", 55.0),
        ];
        for (expires_in, expected) in table {
            let body = format!(r#"{{"token":"a","expires_in":{expires_in}}}"#);
            let now = Instant::now();
            let secs = (parse_grant(body.as_bytes(), now).unwrap().expires - now).as_secs_f64();
            assert!((secs - expected).abs() < 1e-6, "{expires_in}: {secs}");
        }
    }

    #[test]
    fn both_names_of_a_token_are_read() {
        let secret = |body: &str| {
            let grant = parse_grant(body.as_bytes(), Instant::now())?;
            Some(Authorization::secrets(Some(&grant.authorization)).join(" "))
        };
        assert_eq!(secret(r#"{"token":"a","access_token":"b"}"#).as_deref(), Some("a"));
        assert_eq!(
            secret(r#"{"token":"","access_token":"b","expires_in":300}"#).as_deref(),
            Some("b")
        );
        for (body, expected) in [
            (r#"{"token":null,"access_token":"b","expires_in":null}"#, "b"),
            ("\u{feff}{\"access_token\":\"b\"}", "b"),
        ] {
            assert_eq!(secret(body).as_deref(), Some(expected), "{body}");
        }
        for none in ["{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#, "[]", "x"] {
            assert_eq!(secret(none), None, "{none}");
        }
    }

    #[test]
    fn an_identity_token_is_exchanged_by_a_form() {
        let request = TokenRequest {
            registry: "r".to_owned(),
            is_anonymous: false,
            realm: Url::parse("https://a/t?x=1").unwrap(),
            service: Some("s s".to_owned()),
            scope: "repository:a/b:pull".to_owned(),
        };
        assert_eq!(
            exchange_form(&request, &"t&k".into()).expose_secret(),
            "grant_type=refresh_token&service=s+s&scope=repository%3Aa%2Fb%3Apull&client_id=imgplan&\
             refresh_token=t%26k"
        );
    }
}
