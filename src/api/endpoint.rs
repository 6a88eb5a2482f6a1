//! Resolves the URL, API key and owner of the service, by the rules of the provider's own client
//! (API contract, section 4). Pure: environment and file content are given.

use crate::base::name::Owner;
use crate::base::owner::DefaultOwner;
use crate::base::secret::ApiKey;
use crate::http::loopback::is_loopback;

/// URL of the provider's service.
pub(super) const DEFAULT_URL: &str = "https://api.primeintellect.ai";

/// Variable with the API key.
const KEY_VARIABLE: &str = "PRIME_API_KEY";

/// File of the provider's client with the API key, the team and the URL.
const CONFIG_FILE: &str = "~/.prime/config.json";

/// Variable with the ID of the team that owns new images; empty for the personal account.
const TEAM_VARIABLE: &str = "PRIME_TEAM_ID";

/// Variable with the URLs, separated by spaces or commas, that a manifest may name and that receive
/// the API key.
pub(crate) const ALLOW_URL_VARIABLE: &str = "IMGPLAN_ALLOW_URL";

/// The service to use, with its API key and default owner.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// URL of the service, without `/api/v1` and without a slash at its end.
    pub url: String,
    /// API key. Without one, no request can be sent.
    pub key: Option<ApiKey>,
    /// Variable or file with the API key, also with a withheld one; `None` without an API key.
    pub key_from: Option<&'static str>,
    /// Owner of images without an owner in the manifest.
    pub owner: DefaultOwner,
}

impl Endpoint {
    /// Resolves the endpoint from the environment, then from `settings.url` of the manifest, then
    /// from the content of `~/.prime/config.json`. Content that is not JSON counts as empty, as in
    /// the provider's SDK.
    ///
    /// A manifest cannot move the API key: anyone may have written it. The key is sent to a URL of
    /// the environment, of the file or of `IMGPLAN_ALLOW_URL`, to the provider's own service and to
    /// this machine. For any other URL it is withheld.
    pub fn resolve(
        env: &dyn Fn(&str) -> Option<String>,
        manifest_url: Option<&str>,
        config: Option<&str>,
    ) -> Self {
        let config: serde_json::Value =
            config.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let from_file =
            |key: &str| config.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty());
        let variable = |name: &str| env(name).filter(|text| !text.trim().is_empty());
        let env_url = variable("PRIME_API_BASE_URL").or_else(|| variable("PRIME_BASE_URL"));
        let file_url = normalize(from_file("base_url").unwrap_or(DEFAULT_URL));
        let url = match env_url.as_deref().or(manifest_url) {
            Some(url) => normalize(url),
            None => file_url.clone(),
        };
        let allowed = variable(ALLOW_URL_VARIABLE).unwrap_or_default();
        let is_allowed = allowed.split([' ', ',']).any(|allowed| normalize(allowed) == url);
        let is_known = env_url.is_some() || url == file_url;
        let is_trusted = is_known || is_allowed || url == DEFAULT_URL || is_local(&url);
        // The key of the file belongs to its service: the provider's own may be another.
        let file_key = from_file("api_key");
        let key = match variable(KEY_VARIABLE) {
            Some(key) => ApiKey::new(&key).filter(|_| is_trusted),
            None => file_key.and_then(ApiKey::new).filter(|_| is_known || is_allowed),
        };
        // An empty variable selects the personal account, even if the file names a team.
        let (team, from) = match (env(TEAM_VARIABLE), from_file("team_id")) {
            (Some(team), _) => (team.trim().to_owned(), Some(TEAM_VARIABLE)),
            (None, Some(team)) => (team.to_owned(), Some(CONFIG_FILE)),
            (None, None) => (String::new(), None),
        };
        let owner = if team.is_empty() { Owner::Personal } else { Owner::Team(team) };
        let key_from = match variable(KEY_VARIABLE) {
            Some(_) => Some(KEY_VARIABLE),
            None => file_key.map(|_| CONFIG_FILE),
        };
        Self { url, key, key_from, owner: DefaultOwner { owner, from } }
    }

    /// Returns the reason for which the URL is invalid, or `None` if it is valid. The reason does
    /// not contain the URL, which may contain a password.
    pub fn invalid_url_reason(&self) -> Option<&'static str> {
        let url = match reqwest::Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => return Some("the URL of the service is invalid: start it with https://"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Some("the URL of the service contains a user name or password: remove it");
        }
        let has_query = url.query().is_some() || url.fragment().is_some();
        has_query.then_some("the URL of the service has a query or fragment: remove it")
    }

    /// Returns true if there is an API key, and it is withheld because only the manifest names the URL.
    pub fn withholds_key(&self) -> bool {
        self.key_from.is_some() && self.key.is_none()
    }

    /// Returns true if the service runs on the local machine.
    pub fn is_loopback(&self) -> bool {
        is_local(&self.url)
    }

    /// Returns true if the API key would be sent over a network without encryption.
    pub fn sends_key_unencrypted(&self) -> bool {
        self.url.starts_with("http://") && !self.is_loopback()
    }
}

fn is_local(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| is_loopback(&url))
}

/// Removes slashes and one `/api/v1` from the end of a URL.
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
    fn invalid_urls_are_recognized() {
        let is_invalid = |url: &str| {
            resolve(&[("PRIME_API_BASE_URL", url)], None, None).invalid_url_reason().is_some()
        };
        for invalid in [
            "x",
            "ftp://h",
            "https://",
            "http://u:p@h",
            "https://u@h",
            "https://h?a=1",
            "https://h#x",
        ] {
            assert!(is_invalid(invalid), "{invalid}");
        }
        for valid in ["https://h", "http://127.0.0.1:8080/", "https://h/sub/api/v1"] {
            assert!(!is_invalid(valid), "{valid}");
        }
    }

    #[test]
    fn a_manifest_cannot_move_the_key() {
        let file = Some(r#"{"api_key": "file-key", "base_url": "https://f/"}"#);
        let key = ("PRIME_API_KEY", "env-key");
        let allow = |urls| ("IMGPLAN_ALLOW_URL", urls);
        let (env, own) = (Some("env-key"), Some("file-key"));
        for (variables, url, sent) in [
            (vec![key], "https://evil", None),
            (vec![key], "https://f.evil", None),
            (vec![key], "https://f/api/v1", env),
            (vec![key], "https://api.primeintellect.ai/", env),
            (vec![key], "http://api.primeintellect.ai", None),
            (vec![key], "http://localhost:8080", env),
            (vec![key, allow("https://other, https://evil/")], "https://evil", env),
            (vec![key, allow("https://evil.example")], "https://evil", None),
            (vec![key, ("PRIME_API_BASE_URL", "https://e")], "https://evil", env),
            (vec![], "https://evil", None),
            (vec![], "https://f", own),
            (vec![allow("https://evil")], "https://evil", own),
        ] {
            let endpoint = resolve(&variables, Some(url), file);
            assert_eq!(endpoint.key.as_ref().map(ApiKey::expose), sent, "{variables:?} {url}");
        }
        assert!(resolve(&[key], Some("https://evil"), None).withholds_key());
        assert!(!resolve(&[key], Some("https://f"), file).withholds_key());
        assert!(resolve(&[], Some("https://evil"), file).withholds_key());
        assert_eq!(resolve(&[key], Some("https://evil"), file).key_from, Some("PRIME_API_KEY"));
        assert_eq!(resolve(&[], None, file).key_from, Some("~/.prime/config.json"));
        assert_eq!(resolve(&[], None, None).key_from, None);
        assert!(!resolve(&[], Some("https://evil"), None).withholds_key(), "there is no key");
    }

    #[test]
    fn the_environment_wins_over_the_manifest_and_the_file() {
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
        assert_eq!(all.owner.to_string(), "team te (PRIME_TEAM_ID)");

        let blank = resolve(&[("PRIME_API_KEY", " "), ("PRIME_TEAM_ID", "")], None, file);
        assert_eq!(blank.url, "https://f");
        assert_eq!(blank.key.unwrap().expose(), "f");
        assert_eq!(blank.owner.to_string(), "personal (PRIME_TEAM_ID)");
        assert_eq!(resolve(&[], None, file).owner.to_string(), "team tf (~/.prime/config.json)");
        assert_eq!(resolve(&[], None, None).owner.to_string(), "personal");

        let manifest = resolve(&[], Some("https://m"), file);
        assert_eq!(manifest.url, "https://m");
        assert!(manifest.key.is_none(), "the API key of one service is not sent to another");
        assert!(resolve(&[], Some("https://f/api/v1"), file).key.is_some());
        assert_eq!(
            resolve(&[("PRIME_BASE_URL", "https://b")], Some("https://m"), file).url,
            "https://b"
        );
        let none = resolve(&[], None, Some("not json"));
        assert_eq!((none.url.as_str(), none.key.is_none()), (DEFAULT_URL, true));
    }
}
