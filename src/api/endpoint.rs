//! Finds out which service is meant and with which key, by the provider's own rules (`api.md` §4).
//! Pure: the environment and the file's text are given.

use crate::base::name::Owner;
use crate::base::secret::ApiKey;
use crate::http::loopback::is_loopback;

/// The provider's own address.
pub const DEFAULT_URL: &str = "https://api.primeintellect.ai";

/// Where to go, as whom, and for which team.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The service's URL, without `/api/v1` and without a slash at its end.
    pub url: String,
    /// The key; without one, nothing can be asked.
    pub key: Option<ApiKey>,
    /// Who owns what the manifest gives no owner.
    pub owner: Owner,
}

impl Endpoint {
    /// Reads the environment first, then the manifest's `settings.url`, then the text of
    /// `~/.prime/config.json`. A file that is not JSON counts as empty, as in the provider's SDK.
    ///
    /// A key in the file is for the service in the file: a manifest that names another one, which
    /// anyone may have written, does not get it.
    pub fn resolve(
        env: &dyn Fn(&str) -> Option<String>,
        manifest_url: Option<&str>,
        config: Option<&str>,
    ) -> Self {
        let config: serde_json::Value =
            config.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let from_file =
            |key: &str| config.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty());
        let full = |name: &str| env(name).filter(|text| !text.trim().is_empty());
        let own = full("PRIME_API_BASE_URL").or_else(|| full("PRIME_BASE_URL"));
        let of_file = normalize(from_file("base_url").unwrap_or(DEFAULT_URL));
        let url = match own.as_deref().or(manifest_url) {
            Some(url) => normalize(url),
            None => of_file.clone(),
        };
        let trusted = own.is_some() || url == of_file;
        let key = full("PRIME_API_KEY");
        let key = key.as_deref().or_else(|| from_file("api_key").filter(|_| trusted));
        // Set but empty means the account itself, whatever the file says.
        let team = match env("PRIME_TEAM_ID") {
            Some(team) => Some(team.trim().to_owned()).filter(|team| !team.is_empty()),
            None => from_file("team_id").map(str::to_owned),
        };
        Self {
            url,
            key: key.and_then(ApiKey::new),
            owner: team.map_or(Owner::Personal, Owner::Team),
        }
    }
}

impl Endpoint {
    /// What is wrong with the URL, if anything is; never the URL itself, which may hold a password.
    pub fn invalid_url_reason(&self) -> Option<&'static str> {
        let url = match reqwest::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => return Some("the service's URL is not one: begin it with https://"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Some("the service's URL holds a user or password: take it out");
        }
        let more = url.query().is_some() || url.fragment().is_some();
        more.then_some("the service's URL ends in a `?` or `#`: take that out")
    }

    /// Whether the service is on this very machine.
    pub fn is_loopback(&self) -> bool {
        reqwest::Url::parse(&self.url).is_ok_and(|url| is_loopback(&url))
    }

    /// Whether the key would cross a network for everyone to read.
    pub fn sends_key_unencrypted(&self) -> bool {
        self.url.starts_with("http://") && !self.is_loopback()
    }
}

/// One slash at the end goes, then one `/api/v1`.
fn normalize(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    url.strip_suffix("/api/v1").unwrap_or(url).trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(env: &[(&str, &str)], manifest: Option<&str>, file: Option<&str>) -> Endpoint {
        let find = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Endpoint::resolve(&find, manifest, file)
    }

    #[test]
    fn urls_that_cannot_be_right() {
        let problem = |url: &str| {
            resolve(&[("PRIME_API_BASE_URL", url)], None, None).invalid_url_reason().is_some()
        };
        for bad in [
            "x",
            "ftp://h",
            "https://",
            "http://u:p@h",
            "https://u@h",
            "https://h?a=1",
            "https://h#x",
        ] {
            assert!(problem(bad), "{bad}");
        }
        for good in ["https://h", "http://127.0.0.1:8080/", "https://h/sub/api/v1"] {
            assert!(!problem(good), "{good}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_manifest_over_the_file() {
        let file = Some(r#"{"api_key": "f", "team_id": "tf", "base_url": "https://f/"}"#);
        let all = resolve(
            &[
                ("PRIME_API_KEY", "e"),
                ("PRIME_TEAM_ID", "te"),
                ("PRIME_API_BASE_URL", "https://e/api/v1/"),
                ("PRIME_BASE_URL", "https://b"),
            ],
            Some("https://m"),
            file,
        );
        assert_eq!(all.url, "https://e");
        assert_eq!(all.key.unwrap().expose(), "e");
        assert_eq!(all.owner, Owner::Team("te".to_owned()));

        let blank = resolve(&[("PRIME_API_KEY", " "), ("PRIME_TEAM_ID", "")], None, file);
        assert_eq!(blank.url, "https://f");
        assert_eq!(blank.key.unwrap().expose(), "f");
        assert_eq!(blank.owner, Owner::Personal);

        let manifest = resolve(&[], Some("https://m"), file);
        assert_eq!(manifest.url, "https://m");
        assert!(manifest.key.is_none(), "the key of one service is not for another");
        assert!(resolve(&[], Some("https://f/api/v1"), file).key.is_some());
        let asked = resolve(&[("PRIME_API_KEY", "e")], Some("https://m"), file);
        assert!(asked.key.is_some());
        assert_eq!(
            resolve(&[("PRIME_BASE_URL", "https://b")], Some("https://m"), file).url,
            "https://b"
        );
        let none = resolve(&[], None, Some("not json"));
        assert_eq!((none.url.as_str(), none.key.is_none()), (DEFAULT_URL, true));
    }
}
