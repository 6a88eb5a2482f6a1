//! The requests to a registry, and its responses. Pure.

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use reqwest::{Body, Method, Request, Response, Url};
use secrecy::{ExposeSecret, SecretString};

use super::authorization::Authorization;
use super::error;

/// A request to a registry or a token service.
pub(super) struct RegistryRequest<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Accepted media types, a header for each.
    pub(super) accept: &'static [&'static str],
    pub(super) authorization: Option<&'a Authorization>,
    pub(super) body: RequestBody,
    /// True if redirects to other hosts are followed, without the authorization.
    pub(super) follows_to_other_hosts: bool,
    /// True if the caller reads the body of a success, as [`RegistryResponse::unread`].
    pub(super) leaves_body: bool,
}

/// The body of a request, which may be sent repeatedly.
#[derive(Clone)]
pub(super) enum RequestBody {
    Empty,
    /// A form. Contains secrets.
    Form(SecretString),
    /// A manifest or an index.
    Manifest {
        media_type: HeaderValue,
        bytes: Bytes,
    },
}

/// A final response: not a redirect, a 429 or a transient error.
pub(super) struct RegistryResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The response itself, with its body, if the request leaves the body to the caller.
    pub(super) unread: Option<Response>,
    /// URL that was answered, after all redirects.
    pub(super) url: Url,
    /// False if the request was redirected to another origin.
    pub(super) from_first_origin: bool,
    /// The secrets of the request, which an error message must not contain.
    pub(super) secrets: Vec<SecretString>,
}

impl RegistryResponse {
    /// Describes the response for an error message.
    pub(super) fn describe(&self) -> String {
        let secrets: Vec<&str> = self.secrets.iter().map(ExposeSecret::expose_secret).collect();
        error::describe_response(self.status, &self.body, &secrets)
    }
}

/// Returns the HTTP request to `url`, to which `request` may have been redirected.
pub(super) fn build_request(
    request: &RegistryRequest<'_>,
    url: &Url,
    with_authorization: bool,
) -> Request {
    let mut http_request = Request::new(request.method.clone(), url.clone());
    let headers = http_request.headers_mut();
    for media_type in request.accept {
        headers.append(ACCEPT, HeaderValue::from_static(media_type));
    }
    if let Some(authorization) = request.authorization.filter(|_| with_authorization) {
        headers.insert(AUTHORIZATION, authorization.value.clone());
    }
    let (media_type, body): (_, Body) = match &request.body {
        RequestBody::Empty => {
            if request.method == Method::POST {
                // Some proxies answer 411 to a POST without a length.
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            return http_request;
        }
        RequestBody::Form(form) => (
            HeaderValue::from_static("application/x-www-form-urlencoded"),
            form.expose_secret().to_owned().into(),
        ),
        RequestBody::Manifest { media_type, bytes } => (media_type.clone(), bytes.clone().into()),
    };
    headers.insert(CONTENT_TYPE, media_type);
    *http_request.body_mut() = Some(body);
    http_request
}
