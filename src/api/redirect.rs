//! Decides about redirects of the service. Pure.
//!
//! HTTP libraries turn a redirected POST into a GET, as browsers do, and may send the key along.
//! Therefore only reads within the service are followed; the provider's own client follows them too
//! (API contract, section 4).

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, StatusCode, Url};

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: u32 = 5;

/// Decision about a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// Send the request to this URL of the same service.
    Follow(Url),
    /// Fail with this message. It has no secrets, except for an API key that the URL may contain.
    Refuse(String),
}

/// Decides about the response to a request with this method, which was sent to `from` after
/// `redirects` redirects. Returns `None` if the response is not a redirect.
///
/// The refusal names the target and advises nothing: to send the key there is what an attacker wants.
pub(super) fn redirect(
    method: &Method,
    from: &Url,
    redirects: u32,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Redirect> {
    if !status.is_redirection() {
        return None;
    }
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(to) = location.and_then(|to| from.join(to).ok()).filter(Url::has_host) else {
        return Some(Redirect::Refuse("redirected without a valid URL".to_owned()));
    };
    let shown = without_secrets(&to);
    if redirects >= MAX_REDIRECTS {
        return Some(Redirect::Refuse(format!("too many redirects, the last one to {shown}")));
    }
    let is_within = to.origin() == from.origin() && to.username().is_empty();
    if is_within && *method == Method::GET && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
    {
        return Some(Redirect::Follow(to));
    }
    Some(Redirect::Refuse(format!("redirected to {shown}, which is not followed")))
}

/// Returns a URL without its user name, password, query and fragment.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    // The setters fail only for URLs without a host.
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
    fn only_reads_within_the_service_are_followed() {
        let from = Url::parse("https://api.example/api/v1/images/build?a=1").unwrap();
        let refuse = |text: &str| Redirect::Refuse(text.to_owned());
        let refuse_to = |to: &str| refuse(&format!("redirected to {to}, which is not followed"));
        let follow = |url: &str| Redirect::Follow(Url::parse(url).unwrap());
        let (get, post) = (Method::GET, Method::POST);
        let api = "https://api.example/api/v1/images/build";
        let plain = "http://api.example/api/v1/images/build";
        let eu = "https://eu.example/api/v1/images/build";
        let to_eu = || refuse_to(eu);
        let login = "https://api.example:8443/login";
        let table = [
            (&get, 307, "/api/v1/images/build/", follow(&format!("{api}/"))),
            (&get, 301, "https://api.example:443/x?y", follow("https://api.example/x?y")),
            (&post, 307, "/api/v1/images/build/?sig=s", refuse_to(&format!("{api}/"))),
            (&post, 302, eu, to_eu()),
            (&get, 302, "https://u:p@eu.example/api/v1/images/build?sig=s#f", to_eu()),
            (&get, 302, "//eu.example/api/v1/images/build", to_eu()),
            (&get, 302, plain, refuse_to(plain)),
            (&get, 302, login, refuse_to(login)),
            (&get, 302, "mailto:a@b", refuse("redirected without a valid URL")),
        ];
        for (method, status, location, expected) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
            assert_eq!(redirect(method, &from, 0, status, &headers), Some(expected), "{location}");
        }
        let none = HeaderMap::new();
        let no_location = redirect(&get, &from, 0, StatusCode::FOUND, &none);
        assert_eq!(no_location, Some(refuse("redirected without a valid URL")));
        assert_eq!(redirect(&get, &from, 0, StatusCode::OK, &none), None);
        let circle = HeaderMap::from_iter([(LOCATION, "/x".parse().unwrap())]);
        let circle = redirect(&get, &from, MAX_REDIRECTS, StatusCode::FOUND, &circle);
        assert_eq!(
            circle,
            Some(refuse("too many redirects, the last one to https://api.example/x"))
        );
    }
}
