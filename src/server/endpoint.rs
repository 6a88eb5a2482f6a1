//! Parses a method and a path into an endpoint. Pure.
//!
//! Not a router of axum: an image's name may contain slashes and may be `build`. The last segment
//! before the verb is the tag, and all segments before that are the name.

use axum::http::Method;

use super::error::Refusal;
use super::fault::FaultClass;
use crate::base::limit::Class;

/// An endpoint of the API and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerEndpoint {
    Initiate,
    Start {
        id: String,
    },
    Status {
        id: String,
    },
    Logs {
        id: String,
    },
    Cancel {
        id: String,
    },
    Builds,
    Images,
    Update,
    VmBuild {
        name: String,
        tag: String,
    },
    Delete {
        name: String,
        tag: String,
    },
    Whoami,
    Teams,
    Members {
        team: String,
    },
    Upload {
        id: String,
    },
    /// The page for people.
    Page,
}

impl ServerEndpoint {
    /// Returns the endpoint at `path`.
    ///
    /// # Errors
    /// Fails with 404 for an unknown path, and with 405 for an unknown method of a known path.
    pub(super) fn of(method: &Method, path: &str) -> Result<Self, Refusal> {
        let not_found = || Refusal::not_found("Not Found");
        let path = percent_decode(path).ok_or_else(not_found)?;
        if path == "/" && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(Self::Page);
        }
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return Err(not_found());
        }
        Self::at(method, &segments).ok_or_else(|| {
            let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
            if methods.iter().any(|other| Self::at(other, &segments).is_some()) {
                let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
                Refusal::detail(status, "Method Not Allowed")
            } else {
                not_found()
            }
        })
    }

    fn at(method: &Method, segments: &[&str]) -> Option<Self> {
        let owned = |text: &str| text.to_owned();
        Some(match (method.as_str(), segments) {
            ("PUT", ["uploads", id]) => Self::Upload { id: owned(id) },
            ("GET", ["api", "v1", "user", "whoami"]) => Self::Whoami,
            ("GET", ["api", "v1", "user", "teams"]) => Self::Teams,
            ("GET", ["api", "v1", "teams", team, "members"]) => Self::Members { team: owned(team) },
            (method, ["api", "v1", "images", rest @ ..]) => match (method, rest) {
                ("GET", []) => Self::Images,
                ("GET", ["builds"]) => Self::Builds,
                ("GET", ["build", id]) => Self::Status { id: owned(id) },
                ("GET", ["build", id, "logs"]) => Self::Logs { id: owned(id) },
                ("POST", ["build", id, "cancel"]) => Self::Cancel { id: owned(id) },
                ("POST", ["build"]) => Self::Initiate,
                ("POST", ["build", id, "start"]) => Self::Start { id: owned(id) },
                ("PATCH", []) => Self::Update,
                ("POST", [name @ .., tag, "vm-build"]) if !name.is_empty() => {
                    Self::VmBuild { name: name.join("/"), tag: owned(tag) }
                }
                ("DELETE", [name @ .., tag]) if !name.is_empty() => {
                    Self::Delete { name: name.join("/"), tag: owned(tag) }
                }
                _ => return None,
            },
            _ => return None,
        })
    }

    /// True for an endpoint that needs no token: the URL of an upload is signed, and the page has no
    /// data.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Upload { .. } | Self::Page)
    }

    /// Returns the class that the endpoint's requests are counted in.
    pub(super) fn class(&self) -> Option<FaultClass> {
        let class = match self {
            Self::Initiate => Some(Class::Initiate),
            Self::Start { .. } | Self::Cancel { .. } => Some(Class::Start),
            Self::Status { .. } | Self::Logs { .. } => Some(Class::Status),
            Self::Builds | Self::Images => Some(Class::List),
            Self::Update => Some(Class::Update),
            Self::Delete { .. } => Some(Class::Delete),
            Self::Upload { .. } => return Some(FaultClass::Upload),
            Self::VmBuild { .. }
            | Self::Whoami
            | Self::Teams
            | Self::Members { .. }
            | Self::Page => None,
        };
        class.map(FaultClass::Class)
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut remaining = text.as_bytes();
    while let [first, tail @ ..] = remaining {
        remaining = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, tail) = remaining.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = digit(hex[0])? * 16 + digit(hex[1])?;
        bytes.push(u8::try_from(byte).ok()?);
        remaining = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, tag: &str) -> ServerEndpoint {
        ServerEndpoint::Delete { name: name.to_owned(), tag: tag.to_owned() }
    }

    #[test]
    fn a_name_has_all_segments_before_the_tag() {
        let table = [
            ("/api/v1/images/app/v1", named("app", "v1")),
            ("/api/v1/images/prime/alice/rehl/latest", named("prime/alice/rehl", "latest")),
            ("/api/v1/images/build/latest", named("build", "latest")),
            ("/api/v1/images/a%2Fb/v1", named("a/b", "v1")),
        ];
        for (path, expected) in table {
            assert_eq!(ServerEndpoint::of(&Method::DELETE, path), Ok(expected), "{path}");
        }
        let build = ServerEndpoint::VmBuild { name: "org/ubuntu".into(), tag: "22.04".into() };
        let path = "/api/v1/images/org/ubuntu/22.04/vm-build";
        assert_eq!(ServerEndpoint::of(&Method::POST, path), Ok(build));
    }

    #[test]
    fn unknown_paths_and_methods() {
        let status =
            |method, path| ServerEndpoint::of(&method, path).map_err(|e| e.status.as_u16());
        assert_eq!(status(Method::GET, "/api/v1/nothing"), Err(404));
        assert_eq!(status(Method::GET, "/api/v1/images//v1"), Err(404));
        assert_eq!(status(Method::GET, "/api/v1/images/%zz"), Err(404));
        assert_eq!(status(Method::PUT, "/api/v1/images/build"), Err(405));
        assert_eq!(status(Method::DELETE, "/api/v1/images/app"), Err(404));
    }
}
