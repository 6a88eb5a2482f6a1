//! Says where a registry is, and to which other places it may send us. Pure.
//!
//! Everything is HTTPS, but for registries on this very machine, which mostly have no certificate.
//! Nobody from outside sends us to this machine.

use reqwest::Url;

use crate::base::reference::{DOCKER_HUB, OciDigest, RegistryRef};
use crate::http::loopback::is_loopback;

/// Where Docker Hub's registry is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// The URL of a manifest. `None` where the reference has what no URL can have.
pub(super) fn manifest_url(image: &RegistryRef, name: &str) -> Option<Url> {
    url_of(image, "manifests", name)
}

/// The URL of what a manifest consists of.
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

/// Whether whoever is at `from` may send us to `to`. If not, why.
pub(super) fn may_send(from: &Url, to: &Url) -> Result<(), String> {
    let (near, far) = (is_loopback(to), !is_loopback(from));
    let why = match to.scheme() {
        _ if !to.has_host() || !to.username().is_empty() || to.password().is_some() => {
            return Err("a URL that is none".to_owned());
        }
        "https" | "http" if near && far => "which is this machine",
        "https" => return Ok(()),
        "http" if near => return Ok(()),
        _ => "which is not HTTPS",
    };
    Err(format!("{}, {why}", origin(to)))
}

/// A URL's scheme, host and port: nothing of it is secret.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_spoken_to_over_https_but_here() {
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
    fn who_may_send_us_where() {
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
            let allowed = may_send(&from, &to);
            assert_eq!(allowed.is_ok(), expected, "{from} {to} {allowed:?}");
        }
    }
}
