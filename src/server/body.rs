//! Reads the bodies and queries of requests, and writes JSON responses.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Refusal;
use crate::api::wire::Page;

/// Maximum size of a request other than an upload. No request of the API comes near it.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Maximum number of bytes read of a body that is not used.
const MAX_DRAINED_BYTES: usize = 64 << 20;
/// Maximum page size; the provider's own client requests no more.
const MAX_PAGE_SIZE: u64 = 250;

/// Returns the body.
///
/// # Errors
/// Fails with 413 if the body is too large.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        Refusal::detail(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large")
    })
}

/// Reads a body that is not used, up to 64 MiB: otherwise the client would see a broken connection
/// instead of the response. Returns its beginning.
pub(super) async fn drain(body: Body) -> Vec<u8> {
    let mut beginning = Vec::new();
    let mut chunks = body.into_data_stream();
    let mut drained = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        drained += chunk.len();
        if drained <= MAX_BODY_BYTES {
            beginning.extend_from_slice(&chunk);
        } else if drained > MAX_DRAINED_BYTES {
            break;
        }
    }
    beginning
}

/// Returns the body as a JSON object.
pub(super) fn object(payload: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(payload) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refusal::invalid("body", "must be a JSON object")),
        Err(error) => Err(Refusal::invalid("body", format!("is not JSON: {error}"))),
    }
}

/// Reads a JSON object as a type of the API. `aliases` are pairs of a documented field name and
/// another one; if both are present, the documented one counts.
pub(super) fn typed<T: DeserializeOwned>(
    mut map: Map<String, Value>,
    aliases: &[(&str, &str)],
) -> Result<T, Refusal> {
    for (documented, other) in aliases {
        if map.get(*documented).is_some_and(|value| !value.is_null()) {
            map.shift_remove(*other);
        } else if map.contains_key(*other) {
            map.shift_remove(*documented);
        }
    }
    let parse = |map: &Map<String, Value>| serde_json::from_value(Value::Object(map.clone()));
    parse(&map).map_err(|error| {
        // The invalid field is the one without which the others can be read.
        let fits_without = |key: &&String| {
            let mut others = map.clone();
            others.shift_remove(*key);
            parse(&others).is_ok()
        };
        // Limits the work for a body with very many fields; no real request has that many.
        let mut fields = map.keys().take(32);
        let param = fields.find(fits_without).map_or("body", String::as_str);
        Refusal::invalid(param, error.to_string())
    })
}

/// Returns the parameters of a query.
pub(super) fn query(uri: &Uri) -> Result<HashMap<String, String>, Refusal> {
    let Query(query) = Query::try_from_uri(uri)
        .map_err(|_| Refusal::invalid("query", "must be pairs of names and values"))?;
    Ok(query)
}

/// Returns `offset` and `limit` of a listing.
pub(super) fn paging(query: &HashMap<String, String>) -> Result<(u64, u64), Refusal> {
    let number = |name: &str, default: u64| match query.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::invalid(name, "must be a whole number, and not negative")),
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", 100)?);
    if !(1..=MAX_PAGE_SIZE).contains(&limit) {
        return Err(Refusal::invalid("limit", format!("must be from 1 to {MAX_PAGE_SIZE}")));
    }
    Ok((offset, limit))
}

/// Returns one page of all rows. Only the rows of the page are converted.
pub(super) fn page<T, U>(
    rows: impl ExactSizeIterator<Item = T>,
    (offset, limit): (u64, u64),
    to_wire: impl FnMut(T) -> U,
) -> Page<U> {
    let total_count = Some(rows.len() as u64);
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let take = usize::try_from(limit).unwrap_or(usize::MAX);
    let data = rows.skip(skip).take(take).map(to_wire).collect();
    Page { data, total_count, offset, limit }
}

/// Returns a response with a JSON body.
pub(super) fn reply<T: Serialize>(status: StatusCode, body: &T) -> Result<Response, Refusal> {
    let text = serde_json::to_vec(body).map_err(|error| Refusal::internal(error.to_string()))?;
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((status, json, text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::BuildImageRequest;

    #[test]
    fn the_documented_name_takes_precedence() {
        let read = |text: &str| {
            let map = object(text.as_bytes()).unwrap();
            typed::<BuildImageRequest>(map, &[("teamId", "team_id")]).unwrap().team_id
        };
        assert_eq!(read(r#"{"team_id": "a", "teamId": "b"}"#).as_deref(), Some("b"));
        assert_eq!(read(r#"{"team_id": "a", "teamId": null}"#).as_deref(), Some("a"));
        assert_eq!(read(r#"{"team_id": "a"}"#).as_deref(), Some("a"));
        assert_eq!(read("{}"), None);
    }

    #[test]
    fn pages() {
        let query = |text: &str| query(&format!("/images?{text}").parse().unwrap()).unwrap();
        assert_eq!(paging(&query("")), Ok((0, 100)));
        assert_eq!(paging(&query("offset=5&limit=250")), Ok((5, 250)));
        for bad in ["limit=0", "limit=251", "offset=-1", "limit=x"] {
            assert!(paging(&query(bad)).is_err(), "{bad}");
        }
        let second = page([1, 2, 3].into_iter(), (2, 2), |row| row);
        assert_eq!((second.data, second.total_count), (vec![3], Some(3)));
        assert!(page([1].into_iter(), (9, 2), |row| row).data.is_empty());
    }
}
