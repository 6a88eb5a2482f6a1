//! Parses the credentials in Docker's `config.json` and Podman's `auth.json`, which have the same
//! format. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde_json::Value;

use crate::base::reference::DOCKER_HUB;

/// The server name under which Docker stores credentials for Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A credential for a registry. Its `Debug` hides the secret.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// A user name and a password (or an access token).
    Password { user: String, password: SecretString },
    /// An identity token, which is exchanged for access tokens.
    Identity(SecretString),
}

/// The source of a credential.
#[derive(Debug)]
pub(super) enum CredentialSource<'a> {
    /// The configuration file itself.
    Stored(&'a Credential),
    /// The program `docker-credential-<name>`, which has it under the name `server`.
    Helper { name: &'a str, server: String },
}

/// A parsed configuration file.
#[derive(Debug, Default)]
pub(super) struct DockerConfig {
    auths: Vec<(AuthKey, Credential)>,
    helpers: Vec<(AuthKey, String)>,
    default_helper: Option<String>,
}

/// The registry of an entry; in Podman's files also a path inside the registry.
#[derive(Debug, PartialEq, Eq)]
struct AuthKey {
    registry: String,
    path: String,
}

impl DockerConfig {
    /// Parses a file. Skips invalid entries, as Docker does.
    ///
    /// # Errors
    ///
    /// Fails with a message, to follow the path of the file, if the text is not a JSON object.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let json: Value = serde_json::from_str(text).map_err(|_| "is not JSON")?;
        let Value::Object(json) = json else { return Err("is not a JSON object") };
        let entries = |name: &str| json.get(name).and_then(Value::as_object).into_iter().flatten();
        let helper =
            |value: &Value| value.as_str().filter(|name| is_helper_name(name)).map(str::to_owned);
        let mut auths: Vec<_> = entries("auths")
            .filter_map(|(key, value)| Some((AuthKey::parse(key), parse_auth(value)?)))
            .collect();
        // The entry with the longest matching path wins.
        auths.sort_by_key(|(key, _)| std::cmp::Reverse(key.path.len()));
        let helpers = entries("credHelpers")
            .filter_map(|(key, name)| Some((AuthKey::parse(key), helper(name)?)))
            .collect();
        let default_helper = json.get("credsStore").and_then(helper);
        Ok(Self { auths, helpers, default_helper })
    }

    /// Returns the possible sources of a credential for a repository, in Docker's order.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Vec<CredentialSource<'_>> {
        let server = if registry == DOCKER_HUB { DOCKER_HUB_KEY } else { registry };
        let helper = self.helpers.iter().find(|(key, _)| key.matches(registry, repository));
        let helper = helper.map(|(_, name)| name).or(self.default_helper.as_ref());
        let helper =
            helper.map(|name| CredentialSource::Helper { name, server: server.to_owned() });
        let stored = self.auths.iter().find(|(key, _)| key.matches(registry, repository));
        let stored = stored.map(|(_, credential)| CredentialSource::Stored(credential));
        helper.into_iter().chain(stored).collect()
    }
}

impl AuthKey {
    /// Parses a key: a host or a URL, with or without the path of the API.
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let without_scheme = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let text = without_scheme.unwrap_or(text);
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let path = path.trim_matches('/');
        let host = host.to_ascii_lowercase();
        let is_hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
        Self {
            registry: if is_hub { DOCKER_HUB.to_owned() } else { host },
            path: if matches!(path, "v1" | "v2") { String::new() } else { path.to_owned() },
        }
    }

    fn matches(&self, registry: &str, repository: &str) -> bool {
        let remainder = repository.strip_prefix(&self.path);
        self.registry == registry
            && (self.path.is_empty()
                || remainder.is_some_and(|path| path.is_empty() || path.starts_with('/')))
    }
}

/// Parses an entry of `auths`.
fn parse_auth(entry: &Value) -> Option<Credential> {
    let text = |name: &str| entry.get(name)?.as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credential::Identity(token.into()));
    }
    if let Some(auth) = text("auth") {
        let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        return password_of(user, password.trim_end_matches('\0'));
    }
    password_of(text("username")?, text("password")?)
}

/// Returns a credential of user name and password. `None` if one of them is empty.
pub(super) fn password_of(user: &str, password: &str) -> Option<Credential> {
    let is_complete = !user.is_empty() && !password.is_empty();
    is_complete.then(|| Credential::Password { user: user.to_owned(), password: password.into() })
}

/// True if the name is safe as part of a program name.
fn is_helper_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    fn sources(config: &Value, image: &str) -> String {
        let config = DockerConfig::parse(&config.to_string()).unwrap();
        let image: crate::base::reference::RegistryRef = image.parse().unwrap();
        let sources = config.find(image.registry(), image.repository());
        let texts = sources.iter().map(|source| match source {
            CredentialSource::Stored(Credential::Password { user, password }) => {
                format!("{user}:{}", password.expose_secret())
            }
            CredentialSource::Stored(Credential::Identity(token)) => {
                format!("token {}", token.expose_secret())
            }
            CredentialSource::Helper { name, server } => format!("{name} {server}"),
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn credentials_are_found_by_registry_and_path() {
        let auth = |text: &str| json!({"auth": STANDARD.encode(text)});
        let hub = json!({"auths": {"https://index.docker.io/v1/": auth("u:p:q")}});
        let hosts = json!({"auths": {
            "GHCR.io": auth("g:1\0"), "https://r.example:5000/v2/": {"username": "n", "password": "2"},
            "http://old.example/": auth("o:3"), "id.example": {"auth": STANDARD.encode("x:"), "identitytoken": "t"},
        }});
        let paths = json!({"auths": {"q.io": auth("all:1"), "q.io/org": auth("org:2"), "q.io/org/app": auth("app:3")}});
        let helpers = json!({
            "auths": {"ghcr.io": {}, "left.example": auth("l:4")},
            "credHelpers": {"gcr.io": "gcloud", "docker.io": "hub", "evil.example": "../sh", "worse.example": "a b", "flag.example": "-x"},
            "credsStore": "desktop",
        });
        let bad = json!({"auths": {"a.example": auth("nocolon"), "b.example": {"auth": "%%%"},
            "c.example": auth(":p"), "d.example": auth("u:"), "e.example": 1, "f.example": null}, "credsStore": 7,
            "credHelpers": []});
        let table = [
            (&hub, "redis", "u:p:q"),
            (&hub, "index.docker.io/a/b", "u:p:q"),
            (&hub, "ghcr.io/a", ""),
            (&hosts, "ghcr.io/a", "g:1"),
            (&hosts, "r.example:5000/a", "n:2"),
            (&hosts, "r.example/a", ""),
            (&hosts, "old.example/a", "o:3"),
            (&hosts, "id.example/a", "token t"),
            (&hosts, "xghcr.io/a", ""),
            (&paths, "q.io/org/app/x", "app:3"),
            (&paths, "q.io/org/other", "org:2"),
            (&paths, "q.io/organic", "all:1"),
            (&helpers, "gcr.io/a", "gcloud gcr.io"),
            (&helpers, "redis", "hub https://index.docker.io/v1/"),
            (&helpers, "ghcr.io/a", "desktop ghcr.io"),
            (&helpers, "left.example/a", "desktop left.example, l:4"),
            (&helpers, "evil.example/a", "desktop evil.example"),
            (&helpers, "worse.example/a", "desktop worse.example"),
            (&helpers, "flag.example/a", "desktop flag.example"),
            (&bad, "a.example/a", ""),
            (&bad, "b.example/a", ""),
            (&bad, "c.example/a", ""),
            (&bad, "d.example/a", ""),
            (&bad, "e.example/a", ""),
        ];
        for (config, image, expected) in table {
            assert_eq!(sources(config, image), expected, "{image}");
        }
    }

    #[test]
    fn a_file_must_be_a_json_object() {
        assert!(DockerConfig::parse("{").is_err());
        assert!(DockerConfig::parse("[]").is_err());
        assert!(DockerConfig::parse("{}").unwrap().find("a.example", "b").is_empty());
    }

    #[test]
    fn debug_hides_secrets() {
        let config = json!({"auths": {"a.example": {"username": "u", "password": "p4ss"},
            "b.example": {"identitytoken": "p4ss"}}});
        assert!(!format!("{:?}", DockerConfig::parse(&config.to_string())).contains("p4ss"));
    }
}
