//! URLs of registries, and the rules for redirects. Pure.
//!
//! Connections use HTTPS. Only registries on this machine, which rarely have a certificate, use HTTP.
//! No other host may redirect a request to this machine.

use reqwest::Url;

use crate::base::reference::{DOCKER_HUB, OciDigest, RegistryRef};
use crate::http::loopback::is_loopback;

/// Host of Docker Hub's registry.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Returns the URL of a manifest. `None` if the reference is not valid in a URL.
pub(super) fn manifest_url(image: &RegistryRef, name: &str) -> Option<Url> {
    url_of(image, "manifests", name)
}

/// Returns the URL of a blob. `None` if the reference is not valid in a URL.
pub(super) fn blob_url(image: &RegistryRef, digest: OciDigest) -> Option<Url> {
    url_of(image, "blobs", &digest.to_string())
}

fn url_of(image: &RegistryRef, kind: &str, name: &str) -> Option<Url> {
    let host = match image.registry() {
        DOCKER_HUB => DOCKER_HUB_HOST,
        host => host,
    };
    let https = format!("https://{host}/v2/{}/{kind}/{name}", image.repository());
    let url = Url::parse(&https).ok()?;
    if is_loopback(&url) { Url::parse(&https.replacen("https", "http", 1)).ok() } else { Some(url) }
}

/// Returns the repository in the URL of a manifest or a blob.
pub(super) fn repository(url: &Url) -> Option<&str> {
    let path = url.path().strip_prefix("/v2/")?;
    let end = path.rfind("/manifests/").or_else(|| path.rfind("/blobs/"))?;
    Some(&path[..end])
}

/// Checks that the host of `from` may redirect a request to `to`.
///
/// # Errors
///
/// Fails with a description of the target, to follow "redirects to", if it may not.
pub(super) fn check_redirect(from: &Url, to: &Url) -> Result<(), String> {
    let (to_loopback, from_loopback) = (is_loopback(to), is_loopback(from));
    let problem = match to.scheme() {
        _ if !to.has_host() || !to.username().is_empty() || to.password().is_some() => {
            return Err("an invalid URL".to_owned());
        }
        "https" | "http" if to_loopback && !from_loopback => "which is this machine",
        "https" => return Ok(()),
        "http" if to_loopback => return Ok(()),
        _ => "which is not HTTPS",
    };
    Err(format!("{}, {problem}", origin(to)))
}

/// Returns scheme, host and port of a URL. They contain no secret.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_on_this_machine_use_http() {
        let table = [
            ("redis:7", "https://registry-1.docker.io/v2/library/redis/manifests/x"),
            ("ghcr.io/a/b", "https://ghcr.io/v2/a/b/manifests/x"),
            ("r.example:5000/a", "https://r.example:5000/v2/a/manifests/x"),
            ("r.example:443/a", "https://r.example/v2/a/manifests/x"),
            ("localhost:5000/a", "http://localhost:5000/v2/a/manifests/x"),
            ("127.1.2.3/a", "http://127.1.2.3/v2/a/manifests/x"),
            ("[::1]:5000/a", "http://[::1]:5000/v2/a/manifests/x"),
            ("127.0.0.1.example.com/a", "https://127.0.0.1.example.com/v2/a/manifests/x"),
            ("localhost.example/a", "https://localhost.example/v2/a/manifests/x"),
            ("0.0.0.0:1/a", "https://0.0.0.0:1/v2/a/manifests/x"),
        ];
        for (image, expected) in table {
            let url = manifest_url(&image.parse().unwrap(), "x").unwrap();
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn the_repository_is_a_part_of_the_url() {
        for (url, expected) in [
            ("https://a/v2/library/redis/manifests/7?x=1", Some("library/redis")),
            ("https://a/v2/b/blobs/sha256:0", Some("b")),
            ("https://a/v2/manifests/manifests/1", Some("manifests")),
            ("https://a/storage/b?sig=s", None),
            ("https://a/v2/", None),
        ] {
            assert_eq!(repository(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn redirects_are_checked() {
        let table = [
            ("https://a/", "https://b/x?sig=s", true),
            ("https://a/", "http://a/", false),
            ("https://a/", "http://127.0.0.1/", false),
            ("https://a/", "https://localhost/", false),
            ("https://a/", "https://u:p@b/", false),
            ("https://a/", "ftp://b/", false),
            ("https://a/", "data:text/plain,x", false),
            ("http://127.0.0.1:1/", "http://localhost:2/", true),
            ("http://127.0.0.1:1/", "https://b/", true),
            ("http://127.0.0.1:1/", "http://b/", false),
        ];
        for (from, to, expected) in table {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            let result = check_redirect(&from, &to);
            assert_eq!(result.is_ok(), expected, "{from} {to} {result:?}");
        }
    }
}
