//! URLs of registries. Pure.
//!
//! Connections use HTTPS. Only registries on this machine, which rarely have a certificate, use HTTP,
//! and a registry that the user has configured so.

use reqwest::Url;

use crate::base::reference::{DOCKER_HUB, OciDigest, RegistryRef};
use crate::http::loopback::is_loopback;

/// Host of Docker Hub's registry.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// The protocol of the registries of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegistryProtocol {
    /// HTTP for registries on this machine, HTTPS for all others.
    #[default]
    HttpsUnlessLoopback,
    /// HTTPS for all registries.
    Https,
    /// HTTP for all registries.
    Http,
}

impl RegistryProtocol {
    /// Returns the URL of a manifest. `None` if the reference is not valid in a URL.
    pub(super) fn manifest_url(self, image: &RegistryRef, name: &str) -> Option<Url> {
        self.url_of(image, &format!("manifests/{name}"))
    }

    /// Returns the URL of a blob. `None` if the reference is not valid in a URL.
    pub(super) fn blob_url(self, image: &RegistryRef, digest: OciDigest) -> Option<Url> {
        self.url_of(image, &format!("blobs/{digest}"))
    }

    /// Returns the URL at which uploads of blobs begin. `None` if the reference is not valid in a URL.
    pub(super) fn uploads_url(self, image: &RegistryRef) -> Option<Url> {
        self.url_of(image, "blobs/uploads/")
    }

    fn url_of(self, image: &RegistryRef, path: &str) -> Option<Url> {
        let host = match image.registry() {
            DOCKER_HUB => DOCKER_HUB_HOST,
            host => host,
        };
        let https = format!("https://{host}/v2/{}/{path}", image.repository());
        let url = Url::parse(&https).ok()?;
        let is_http = match self {
            Self::HttpsUnlessLoopback => is_loopback(&url),
            Self::Https => false,
            Self::Http => true,
        };
        if is_http { Url::parse(&https.replacen("https", "http", 1)).ok() } else { Some(url) }
    }
}

/// Returns the repository in the URL of a manifest or a blob.
pub(super) fn repository(url: &Url) -> Option<&str> {
    let path = url.path().strip_prefix("/v2/")?;
    let end = path.rfind("/manifests/").or_else(|| path.rfind("/blobs/"))?;
    Some(&path[..end])
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
            let url =
                RegistryProtocol::default().manifest_url(&image.parse().unwrap(), "x").unwrap();
            assert_eq!(url.as_str(), expected);
        }
        let local = "localhost:5000/a".parse().unwrap();
        let remote = "r.example/a".parse().unwrap();
        let uploads = |protocol: RegistryProtocol, image| protocol.uploads_url(image).unwrap();
        let https = uploads(RegistryProtocol::Https, &local);
        assert_eq!(https.as_str(), "https://localhost:5000/v2/a/blobs/uploads/");
        let http = uploads(RegistryProtocol::Http, &remote);
        assert_eq!(http.as_str(), "http://r.example/v2/a/blobs/uploads/");
    }

    #[test]
    fn the_repository_is_a_part_of_the_url() {
        for (url, expected) in [
            ("https://a/v2/library/redis/manifests/7?x=1", Some("library/redis")),
            ("https://a/v2/b/blobs/sha256:0", Some("b")),
            ("https://a/v2/b/blobs/uploads/", Some("b")),
            ("https://a/v2/manifests/manifests/1", Some("manifests")),
            ("https://a/storage/b?sig=s", None),
            ("https://a/v2/", None),
        ] {
            assert_eq!(repository(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
