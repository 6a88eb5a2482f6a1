//! Reads where an answer sends us. Pure.
//!
//! A client that follows by itself turns a POST into a GET on its way, as browsers do, and takes the
//! key along. So nothing is followed but a read within the service: the provider's own client follows
//! those too (`api.md` §4).

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode, Url};

/// So often one request may be sent on.
const MOST: u32 = 5;

/// What to do about an answer that sends us elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// Ask there: it is the same service.
    Follow(Url),
    /// That is up to the user: what to say, without secrets but for the key.
    Tell(String),
}

/// What a request that was made to `from`, for this path of the API, and sent on `hops` times before,
/// is to do after an answer. `None` where the answer sends it nowhere.
pub(super) fn redirect(
    (method, path): (&Method, &str),
    from: &Url,
    hops: u32,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Redirect> {
    if !status.is_redirection() {
        return None;
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|to| from.join(to).ok()).filter(Url::has_host) else {
        return Some(Redirect::Tell("it is redirected, and not told where".to_owned()));
    };
    let plain = plain(&to);
    if hops >= MOST {
        return Some(Redirect::Tell(format!("it is redirected on and on, at last to {plain}")));
    }
    let within = to.origin() == from.origin() && to.username().is_empty();
    if within && *method == Method::GET && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Some(Redirect::Follow(to));
    }
    let path = path.split('?').next().unwrap_or_default();
    let base = plain.strip_suffix(path).and_then(|base| base.strip_suffix("/api/v1"));
    let advice = base.unwrap_or("where the service is");
    Some(Redirect::Tell(format!("it is redirected to {plain}: set PRIME_API_BASE_URL to {advice}")))
}

/// A URL without what may be secret: user, password, query.
fn plain(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_goes_on_within_the_service_and_all_else_is_told() {
        let from = Url::parse("https://api.example/api/v1/images/build?a=1").unwrap();
        let told = |text: &str| Redirect::Tell(format!("it is redirected{text}"));
        let follow = |url: &str| Redirect::Follow(Url::parse(url).unwrap());
        let (get, post) = (Method::GET, Method::POST);
        let other = " to https://eu.example/api/v1/images/build: set PRIME_API_BASE_URL to \
                     https://eu.example";
        let table = [
            (
                &get,
                307,
                "/api/v1/images/build/",
                follow("https://api.example/api/v1/images/build/"),
            ),
            (&get, 301, "https://api.example:443/x?y", follow("https://api.example/x?y")),
            (
                &post,
                307,
                "/api/v1/images/build/?sig=s",
                told(
                    " to https://api.example/api/v1/images/build/: set PRIME_API_BASE_URL to where \
                      the service is",
                ),
            ),
            (&post, 302, "https://eu.example/api/v1/images/build", told(other)),
            (&get, 302, "https://u:p@eu.example/api/v1/images/build?sig=s#f", told(other)),
            (&get, 302, "//eu.example/api/v1/images/build", told(other)),
            (
                &get,
                302,
                "http://api.example/api/v1/images/build",
                told(
                    " to http://api.example/api/v1/images/build: set PRIME_API_BASE_URL to \
                      http://api.example",
                ),
            ),
            (
                &get,
                302,
                "https://api.example:8443/login",
                told(
                    " to https://api.example:8443/login: set PRIME_API_BASE_URL to where the \
                      service is",
                ),
            ),
            (&get, 302, "mailto:a@b", told(", and not told where")),
        ];
        for (method, status, location, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            let call = (method, "/images/build?a=1");
            assert_eq!(redirect(call, &from, 0, status, &headers), Some(expected), "{location}");
        }
        let none = HeaderMap::new();
        let call = (&get, "/images/build");
        let nowhere = redirect(call, &from, 0, StatusCode::FOUND, &none);
        assert_eq!(nowhere, Some(told(", and not told where")));
        assert_eq!(redirect(call, &from, 0, StatusCode::OK, &none), None);
        let circle = HeaderMap::from_iter([(LOCATION, "/x".parse().unwrap())]);
        let circle = redirect(call, &from, MOST, StatusCode::FOUND, &circle);
        assert_eq!(circle, Some(told(" on and on, at last to https://api.example/x")));
    }
}
