//! Reads requests' bodies and queries, and writes answers.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::Refusal;
use crate::api::wire::Page;

/// No request of the API, other than an upload, comes near.
const LARGEST: usize = 4 << 20;
/// The largest page; the provider's own client asks for no more.
const LARGEST_PAGE: u64 = 250;

/// The whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    axum::body::to_bytes(body, LARGEST).await.map_err(|_| {
        Refusal::detail(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large")
    })
}

/// The body as a JSON object.
pub(super) fn object(payload: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(payload) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refusal::invalid("body", "must be a JSON object")),
        Err(error) => Err(Refusal::invalid("body", format!("is not JSON: {error}"))),
    }
}

/// Reads a JSON object as a struct of the wire; `nicknames` are pairs of a documented name and
/// another one. Where both are given the documented one counts.
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
        // The field at fault is the one without which the rest can be read.
        let fits_without = |key: &&String| {
            let mut rest = map.clone();
            rest.shift_remove(*key);
            parse(&rest).is_ok()
        };
        // No request has this many fields; to try them all would be slow.
        let mut fields = map.keys().take(32);
        let param = fields.find(fits_without).map_or("body", String::as_str);
        Refusal::invalid(param, error.to_string())
    })
}

/// The query's parameters.
pub(super) fn query(uri: &Uri) -> Result<HashMap<String, String>, Refusal> {
    let Query(query) = Query::try_from_uri(uri)
        .map_err(|_| Refusal::invalid("query", "must be pairs of names and values"))?;
    Ok(query)
}

/// `offset` and `limit` of a listing.
pub(super) fn paging(query: &HashMap<String, String>) -> Result<(u64, u64), Refusal> {
    let number = |name: &str, default: u64| match query.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::invalid(name, "must be a whole number, and not negative")),
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", 100)?);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Refusal::invalid("limit", format!("must be from 1 to {LARGEST_PAGE}")));
    }
    Ok((offset, limit))
}

/// One page out of all rows; only its own rows are put into words.
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

/// An answer with a JSON body.
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
    fn the_documented_name_wins() {
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
